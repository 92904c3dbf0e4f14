// The verbs against the embedded API server.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "lib/base/json.h"
#include "tests/tangoctl/cluster.h"

namespace tango::ctl {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr const char* kProject = R"(apiVersion: ml-tango.io/v1alpha1
kind: TangoProject
metadata:
  name: parts
  labels: {team: vision}
spec:
  task: Classification
  datasetRef: {name: parts}
  targets:
  - {name: edge, profileRef: {name: linux-x86}, deviceSelector: {all: true}}
)";

class Ctl : public ::testing::Test {
 protected:
  Output apply(const std::string& text, std::vector<std::string> more = {}) {
    std::vector<std::string> args{"apply", "-f", "-"};
    args.insert(args.end(), more.begin(), more.end());
    return cluster.run(args, text);
  }
  // Puts a status as a controller would.
  void set_status(const std::string& kind_plural, const std::string& name,
                  const std::string& status) {
    kube::ConfigOptions options;
    options.kubeconfig = (cluster.dir() / "kubeconfig").string();
    auto client = kube::KubeClient::connect(*kube::load_config(options));
    ASSERT_TRUE(client.ok());
    const auto* entry = crds::find_kind(kind_plural);
    kube::WriteOptions write;
    write.subresource = "status";
    auto done = (*client)->patch(entry->info, "default", name, kube::PatchType::kMerge,
                                 Json{{"status", Json::parse(status)}}, write);
    ASSERT_TRUE(done.ok()) << done.error().to_string();
  }
  Cluster cluster;
};

TEST_F(Ctl, ApplyCreatesThenIsUnchangedThenConfigures) {
  Output first = apply(kProject);
  EXPECT_EQ(first.code, kOk) << first.err;
  EXPECT_EQ(first.out, "tangoproject.ml-tango.io/parts created\n");
  EXPECT_EQ(apply(kProject).out, "tangoproject.ml-tango.io/parts unchanged\n");
  std::string changed(kProject);
  changed += "  version: 2\n";
  EXPECT_EQ(apply(changed).out, "tangoproject.ml-tango.io/parts configured\n");
  EXPECT_EQ(apply(changed, {"-o", "name"}).out, "tangoproject.ml-tango.io/parts\n");
}

TEST_F(Ctl, ApplyDryRunChangesNothing) {
  EXPECT_EQ(apply(kProject, {"--dry-run=server"}).out,
            "tangoproject.ml-tango.io/parts created (server dry run)\n");
  EXPECT_EQ(apply(kProject, {"--dry-run", "client"}).out,
            "tangoproject.ml-tango.io/parts applied (dry run)\n");
  EXPECT_EQ(cluster.run({"get", "tp", "parts"}).code, kError);
}

TEST_F(Ctl, ApplyNamesFileLineAndRemedyAndSendsNothing) {
  std::string file = cluster.write("bad.yaml", std::string(kProject) + R"(---
apiVersion: ml-tango.io/v1alpha1
kind: TangoProject
metadata: {name: other}
spec:
  task: Klassification
  datasetRef: {name: d}
  targts: []
)");
  Output bad = cluster.run({"apply", "-f", file});
  EXPECT_EQ(bad.code, kError);
  EXPECT_THAT(
      bad.err,
      HasSubstr("bad.yaml:16: spec.task: \"Klassification\" must be one of Classification"));
  EXPECT_THAT(
      bad.err,
      HasSubstr("bad.yaml:18: spec.targts: is not a known field; did you mean \"targets\"?"));
  EXPECT_EQ(bad.out, "");
  EXPECT_EQ(cluster.run({"get", "tp", "parts"}).code, kError);  // the good one was not sent either
}

TEST_F(Ctl, ApplyWarnsOfWhatIsNotSupportedYet) {
  std::string text(kProject);
  text.replace(text.find("Classification"), 14, "Detection");
  Output out = apply(text);
  EXPECT_EQ(out.code, kOk);
  EXPECT_THAT(out.err,
              HasSubstr("warning: -:7: spec.task: \"Detection\" is valid but not supported"));
}

TEST_F(Ctl, ApplyRefusesBrokenInput) {
  EXPECT_THAT(apply("a: [1").err, HasSubstr("error: "));
  EXPECT_EQ(apply("a: [1").code, kError);
  EXPECT_THAT(apply("kind: X\n").err, HasSubstr("needs apiVersion and kind"));
  EXPECT_THAT(apply("apiVersion: no.such/v1\nkind: Thing\nmetadata: {name: a}\n").err,
              HasSubstr("does not serve kind Thing"));
  EXPECT_EQ(cluster.run({"apply", "-f", "/no/such/file.yaml"}).code, kError);
  EXPECT_EQ(apply("").code, kError);
}

TEST_F(Ctl, GetPrintsTablesJsonYamlAndNames) {
  apply(kProject);
  Output table = cluster.run({"get", "tangoprojects"});
  EXPECT_THAT(table.out,
              ContainsRegex("^NAME +STATUS +TASK +STAGE +BASE +AGE\nparts .*Classification"));
  Output wide = cluster.run({"get", "tp", "-o", "wide"});
  EXPECT_THAT(wide.out, HasSubstr("DATASET"));
  EXPECT_THAT(cluster.run({"get", "tp", "-A"}).out, ContainsRegex("^NAMESPACE +NAME"));
  EXPECT_EQ(cluster.run({"get", "tp/parts", "-o", "name"}).out, "tangoproject.ml-tango.io/parts\n");
  Json one = Json::parse(cluster.run({"get", "tp", "parts", "-o", "json"}).out);
  EXPECT_EQ(one["spec"]["task"], "Classification");
  EXPECT_FALSE(one["metadata"].contains("managedFields"));
  Json list = Json::parse(cluster.run({"get", "tp", "-o", "json"}).out);
  EXPECT_EQ(list["kind"], "List");
  EXPECT_EQ(list["items"][0]["kind"], "TangoProject");
  EXPECT_THAT(cluster.run({"get", "tp", "parts", "-o", "yaml"}).out,
              HasSubstr("kind: TangoProject\n"));
  EXPECT_THAT(cluster.run({"get", "tango"}).out, HasSubstr("tangoproject.ml-tango.io/parts"));
  EXPECT_EQ(cluster.run({"get", "tp", "--no-headers"}).out.find("NAME"), std::string::npos);
}

TEST_F(Ctl, GetSelectsAndSaysWhenThereIsNothing) {
  apply(kProject);
  EXPECT_THAT(cluster.run({"get", "tp", "-l", "team=vision"}).out, HasSubstr("parts"));
  Output none = cluster.run({"get", "tp", "-l", "team=audio"});
  EXPECT_EQ(none.code, kOk);
  EXPECT_EQ(none.out, "");
  EXPECT_THAT(none.err, HasSubstr("No resources found in namespace default."));
  EXPECT_EQ(cluster.run({"get", "tp", "nope"}).code, kError);
  EXPECT_EQ(cluster.run({"get", "tp", "nope", "--ignore-not-found"}).code, kOk);
  EXPECT_THAT(cluster.run({"get", "tp", "-n", "elsewhere"}).err, HasSubstr("namespace elsewhere"));
  EXPECT_EQ(cluster.run({"get", "unicorns"}).code, kError);
  EXPECT_EQ(cluster.run({"get", "tp", "-o", "xml"}).code, kUsage);
}

TEST_F(Ctl, DescribeShowsConditionsAndSecretsStaySecret) {
  apply(kProject);
  set_status(
      "tp", "parts",
      R"({"conditions":[{"type":"Ready","status":"False","reason":"Training","message":"epoch 2",
    "lastTransitionTime":"2026-11-21T12:00:00Z"}]})");
  Output out = cluster.run({"describe", "tp", "parts"});
  EXPECT_EQ(out.code, kOk) << out.err;
  EXPECT_THAT(out.out, HasSubstr("Name:         parts"));
  EXPECT_THAT(out.out, ContainsRegex("Ready +False +Training"));
  EXPECT_THAT(out.out, HasSubstr("Events:       <none>"));
  apply("apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {key: aHVudGVyMg==}\n");
  EXPECT_THAT(cluster.run({"describe", "secret", "s"}).out, Not(HasSubstr("aHVudGVyMg")));
}

TEST_F(Ctl, WaitAnswersWithItsExitCodes) {
  apply(kProject);
  Output late = cluster.run({"wait", "tp/parts", "--for=condition=Ready", "--timeout", "300ms"});
  EXPECT_EQ(late.code, kWaitTimeout);
  EXPECT_THAT(late.err, HasSubstr("timed out waiting for tangoproject.ml-tango.io/parts"));
  std::thread soon([this] {
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    set_status("tp", "parts",
               R"({"conditions":[{"type":"Ready","status":"True","reason":"Ready","message":"",
      "lastTransitionTime":"2026-11-21T12:00:00Z"}]})");
  });
  Output good = cluster.run({"wait", "tp/parts", "--for=condition=Ready", "--timeout", "20s"});
  soon.join();
  EXPECT_EQ(good.code, kOk) << good.err;
  EXPECT_EQ(good.out, "tangoproject.ml-tango.io/parts condition met\n");
  set_status(
      "tp", "parts",
      R"({"conditions":[{"type":"Ready","status":"False","reason":"Failed","message":"out of memory",
    "lastTransitionTime":"2026-11-21T12:00:00Z"}]})");
  Output failed = cluster.run({"wait", "tp/parts", "--for=condition=Ready", "--timeout", "20s"});
  EXPECT_EQ(failed.code, kFinishedFailed);
  EXPECT_THAT(failed.err, HasSubstr("out of memory"));
  EXPECT_EQ(cluster.run({"wait", "tp/parts", "--for=phase=Ready"}).code, kUsage);
}

TEST_F(Ctl, WaitForDeletionAndDelete) {
  apply(kProject);
  EXPECT_EQ(cluster.run({"delete", "tp"}).code, kUsage);  // all of them must be meant
  Output gone = cluster.run({"delete", "tp", "parts"});
  EXPECT_EQ(gone.code, kOk) << gone.err;
  EXPECT_EQ(gone.out, "tangoproject.ml-tango.io \"parts\" deleted\n");
  EXPECT_EQ(cluster.run({"wait", "tp/parts", "--for=delete", "--timeout=5s"}).code, kOk);
  EXPECT_EQ(cluster.run({"delete", "tp", "parts"}).code, kError);
  EXPECT_EQ(cluster.run({"delete", "tp", "parts", "--ignore-not-found"}).code, kOk);
  apply(std::string(kProject));
  EXPECT_THAT(cluster.run({"delete", "tp", "--all", "--wait=false"}).out,
              HasSubstr("\"parts\" deleted"));
}

TEST_F(Ctl, StatusShowsTheLadder) {
  apply(kProject);
  set_status("tp", "parts", R"({"stages":[
      {"name":"Data","state":"Completed","startedAt":"2026-11-21T12:00:00Z","finishedAt":"2026-11-21T12:00:12Z"},
      {"name":"Train","state":"Failed","reason":"OutOfMemory","message":"2 GiB were not enough"},
      {"name":"Build","state":"Ready"}],
    "model":{"name":"m1","metrics":{"top1":0.9123}},
    "targets":[{"name":"edge","desired":3,"updated":2,"ready":2,"failed":1,"latency":{"p50":1.5,"p95":2.25}}],
    "conditions":[{"type":"Ready","status":"False","reason":"Failed","message":"","lastTransitionTime":"2026-11-21T12:00:00Z"}]})");
  Output tree = cluster.run({"status"});  // the only project
  EXPECT_EQ(tree.code, kOk) << tree.err;
  EXPECT_THAT(tree.out, HasSubstr("├─ ✔ Data    Completed  12s"));
  EXPECT_THAT(tree.out, HasSubstr("OutOfMemory: 2 GiB were not enough"));
  EXPECT_THAT(tree.out, HasSubstr("top1 0.9123"));
  EXPECT_THAT(tree.out, HasSubstr("2/3 updated, 2 ready, 1 failed  p50 1.50 ms, p95 2.25 ms"));
  EXPECT_EQ(cluster.run({"status", "parts", "--brief"}).out,
            "parts: Train Failed, 2 GiB were not enough (1/3 stages)\n");
  EXPECT_EQ(cluster.run({"status", "nope"}).code, kError);
}

TEST_F(Ctl, ColoursComeOnlyWhenAsked) {
  apply(kProject);
  EXPECT_EQ(cluster.run({"status", "parts"}).out.find('\033'), std::string::npos);
  EXPECT_NE(cluster.run({"status", "parts", "--color=always"}).out.find('\033'), std::string::npos);
}

TEST_F(Ctl, LogsSayWhenNothingRuns) {
  apply(kProject);
  Output out = cluster.run({"logs", "tp/parts"});
  EXPECT_EQ(out.code, kError);
  EXPECT_THAT(out.err, HasSubstr("has no Job yet"));
  EXPECT_EQ(cluster.run({"logs", "no-such-pod"}).code, kError);
}

TEST_F(Ctl, UsageErrorsAreTwoAndHelpIsZero) {
  EXPECT_EQ(cluster.run({"frobnicate"}).code, kUsage);
  EXPECT_THAT(cluster.run({"stat"}).err, HasSubstr("did you mean status?"));
  EXPECT_EQ(cluster.run({"get"}).code, kUsage);
  EXPECT_EQ(cluster.run({"get", "--help"}).code, kOk);
  EXPECT_EQ(cluster.run({"get", "tp", "--no-such-flag"}).code, kUsage);
  std::ostringstream out, err;
  std::istringstream in;
  EXPECT_EQ(run({"/usr/local/bin/kubectl-tango", "--help"}, {out, err, in, false}), kOk);
  EXPECT_THAT(out.str(), HasSubstr("kubectl tango"));
}

TEST_F(Ctl, VersionCompletionAndResources) {
  EXPECT_THAT(cluster.run({"version"}).out, HasSubstr("Server Version: v"));
  EXPECT_THAT(cluster.run({"completion", "bash"}).out, HasSubstr("tangoprojects"));
  EXPECT_EQ(cluster.run({"completion", "tcsh"}).code, kUsage);
  EXPECT_THAT(cluster.run({"api-resources"}).out,
              ContainsRegex("tangoprojects +tp +ml-tango.io/v1alpha1 +true +TangoProject"));
}

TEST_F(Ctl, KeysAreMadeOnceAndNeverOverwritten) {
  std::string dir = (cluster.dir() / "keys").string();
  Output made = cluster.run({"keys", "init", "--dir", dir});
  EXPECT_EQ(made.code, kOk) << made.err;
  EXPECT_THAT(made.out, HasSubstr("assignment"));
  EXPECT_EQ(cluster.run({"keys", "init", "--dir", dir}).code, kError);
  Json shown = Json::parse(cluster.run({"keys", "show", "--dir", dir, "-o", "json"}).out);
  EXPECT_EQ(shown["roles"].size(), 4u);
  EXPECT_EQ(cluster.run({"keys", "show", "--dir", dir + "/none"}).code, kError);
}

TEST_F(Ctl, ServerThatIsNotThereIsOneClearError) {
  std::ostringstream out, err;
  std::istringstream in;
  std::string file =
      cluster.write("gone",
                    "apiVersion: v1\nkind: Config\ncurrent-context: t\n"
                    "clusters: [{name: t, cluster: {server: \"http://127.0.0.1:9\"}}]\nusers: "
                    "[]\ncontexts: [{name: t, context: {cluster: t}}]\n");
  EXPECT_EQ(run({"tangoctl", "get", "tp", "--kubeconfig", file}, {out, err, in, false}), kError);
  EXPECT_THAT(err.str(), HasSubstr("error: "));
  EXPECT_EQ(out.str(), "");
}

}  // namespace
}  // namespace tango::ctl
