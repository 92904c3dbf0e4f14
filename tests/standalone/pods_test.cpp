// Pods as processes: jobs, volumes, logs, limits, and their life across kills of everything else.
#include <signal.h>

#include "lib/base/subprocess.h"
#include "standalone/pod_runner.h"
#include "standalone/pod_volumes.h"
#include "tests/standalone/api_fixture.h"

namespace tango::standalone {
namespace {

class PodTest : public ApiTest {
 protected:
  void SetUp() override {
    ApiTest::SetUp();
    start_runner();
  }
  void TearDown() override {
    if (runner_) runner_->stop_pods(Millis{200});
    runner_.reset();
    ApiTest::TearDown();
  }
  void start_runner() {
    run_controllers();
    PodRunnerOptions o;
    o.dir = dir_ / "pods";
    o.shim = fs::path(::getenv("TANGO_BIN_DIR")) / "tango-shim";
    o.images = {{"tango.local/test", "/bin/sh"}};
    runner_ = std::make_unique<PodRunner>(server_->operations(), o);
    server_->set_log_finder(runner_->log_finder());
    ASSERT_TRUE(runner_->start().ok());
  }
  // Everything but the shims goes away, and comes back on the same folder.
  void restart() {
    runner_.reset();
    close();
    open();
    start_runner();
  }
  static Json pod(const std::string& name, const std::string& script,
                  const std::string& policy = "Never") {
    return {
        {"metadata", {{"name", name}}},
        {"spec",
         {{"restartPolicy", policy},
          {"terminationGracePeriodSeconds", 2},
          {"containers",
           Json::array(
               {{{"name", "c"}, {"image", "tango.local/test:dev"}, {"args", {"-c", script}}}})}}}};
  }
  Json get_pod(const std::string& name) {
    return call("GET", std::string(kPods) + "/" + name).body;
  }
  bool phase(const std::string& name, const std::string& want) {
    return eventually([&] { return get_string(get(get_pod(name), "status"), "phase") == want; });
  }
  Json state(const std::string& name) {
    return get_pod(name)["status"]["containerStatuses"][0]["state"];
  }
  std::string log(const std::string& name, const std::string& query = "") {
    return raw("GET", std::string(kPods) + "/" + name + "/log?" + query).response.body;
  }
  fs::path run_dir(const std::string& name, int attempt = 0) {
    return dir_ / "pods" / get_string(get_pod(name)["metadata"], "uid") / "containers" / "c" /
           std::to_string(attempt);
  }

  static constexpr const char* kPods = "/api/v1/namespaces/default/pods";
  static constexpr const char* kJobs = "/apis/batch/v1/namespaces/default/jobs";
  std::unique_ptr<PodRunner> runner_;
};

TEST_F(PodTest, RunsToTheEndWithLogAndExitCode) {
  ASSERT_EQ(call("POST", kPods, pod("p", "echo out; echo err >&2; printf tail; exit 3")).status,
            201);
  ASSERT_TRUE(phase("p", "Failed"));
  Json t = state("p")["terminated"];
  EXPECT_EQ(t["exitCode"], 3);
  EXPECT_EQ(t["reason"], "Error");
  std::string text = log("p");
  EXPECT_NE(text.find("out\n"), std::string::npos);
  EXPECT_NE(text.find("err\n"), std::string::npos);
  EXPECT_NE(text.find("tail\n"), std::string::npos);
  EXPECT_EQ(log("p", "tailLines=0"), "");
  EXPECT_EQ(log("p", "limitBytes=2").size(), 2u);
  std::string stamped = log("p", "timestamps=true&tailLines=1");
  EXPECT_TRUE(parse_time(stamped.substr(0, stamped.find(' '))).ok()) << stamped;
  EXPECT_EQ(log("p", "sinceTime=2100-01-01T00:00:00Z"), "");
  EXPECT_EQ(raw("GET", std::string(kPods) + "/p/log?container=nope").response.status, 400);
}

TEST_F(PodTest, UnknownImageGetsErrImagePull) {
  Json p = pod("p", "true");
  p["spec"]["containers"][0]["image"] = "nginx:1";
  call("POST", kPods, p);
  ASSERT_TRUE(eventually(
      [&] { return get_string(get(state("p"), "waiting"), "reason") == "ErrImagePull"; }));
  EXPECT_EQ(get_pod("p")["status"]["phase"], "Pending");
  EXPECT_EQ(raw("GET", std::string(kPods) + "/p/log").response.status, 400);
  auto events = call(
      "GET",
      "/api/v1/namespaces/default/events?fieldSelector=involvedObject.name%3Dp,reason%3DFailed");
  EXPECT_EQ(events.body["items"].size(), 1u);
  call("DELETE", std::string(kPods) + "/p");
  EXPECT_TRUE(eventually([&] { return call("GET", std::string(kPods) + "/p").status == 404; }));
}

TEST_F(PodTest, AProgramThatIsNotInTheImageIsRefused) {
  Json p = pod("p", "true");
  p["spec"]["containers"][0]["command"] = {"/usr/bin/id"};
  call("POST", kPods, p);
  ASSERT_TRUE(eventually([&] {
    return get_string(get(state("p"), "waiting"), "reason") == "CreateContainerConfigError";
  }));
}

TEST_F(PodTest, MountsRewriteEnvironmentAndSubPathsAreCopied) {
  call("POST", "/api/v1/namespaces/default/secrets",
       {{"metadata", {{"name", "s"}}}, {"stringData", {{"token", "hidden"}}}});
  fs::create_directories(dir_ / "data");
  ASSERT_TRUE(write_file_atomic(dir_ / "data" / "x", "datum").ok());
  Json p = pod("p",
               "cat $RUN/stage.json $DATA/x $TOKEN; echo; echo $RUN | grep -c '^/tango'; echo work "
               "> $RUN/../work/file; cat $WORK/file; echo $POD $BOTH");
  Json& c = p["spec"]["containers"][0];
  c["env"] = Json::parse(
      R"([{"name":"RUN","value":"/tango/run"},{"name":"WORK","value":"/tango/work"},{"name":"DATA","value":"/tango/data"},{"name":"TOKEN","value":"/secrets/token"},
    {"name":"POD","valueFrom":{"fieldRef":{"fieldPath":"metadata.name"}}},{"name":"BOTH","value":"$(POD)-x"}])");
  c["volumeMounts"] = Json::parse(
      R"([{"name":"stage","mountPath":"/tango/run/stage.json","subPath":"stage.json"},{"name":"run","mountPath":"/tango/run"},
    {"name":"work","mountPath":"/tango/work"},{"name":"data","mountPath":"/tango/data","readOnly":true},{"name":"sec","mountPath":"/secrets"}])");
  p["spec"]["volumes"] = Json::parse(
      R"([{"name":"run","emptyDir":{}},{"name":"work","emptyDir":{}},{"name":"stage","configMap":{"name":"late"}},{"name":"sec","secret":{"secretName":"s"}}])");
  p["spec"]["volumes"].push_back(
      {{"name", "data"}, {"hostPath", {{"path", (dir_ / "data").string()}}}});
  ASSERT_EQ(call("POST", kPods, p).status, 201);
  // It waits, with a reason, until the ConfigMap is there.
  ASSERT_TRUE(eventually([&] {
    return get_string(get(state("p"), "waiting"), "message").find("\"late\" not found") !=
           std::string::npos;
  }));
  call("POST", kMaps, {{"metadata", {{"name", "late"}}}, {"data", {{"stage.json", "{1}"}}}});
  ASSERT_TRUE(phase("p", "Succeeded")) << log("p");
  EXPECT_EQ(log("p"), "{1}datumhidden\n0\nwork\np p-x\n");
}

TEST_F(PodTest, DeletionIsTermThenKill) {
  call("POST", kPods,
       pod("nice", "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done"));
  call("POST", kPods, pod("rude", "trap '' TERM; echo up; while :; do sleep 0.05; done"));
  ASSERT_TRUE(eventually([&] { return log("nice") == "up\n" && log("rude") == "up\n"; }));
  auto deleted = call("DELETE", std::string(kPods) + "/nice");
  EXPECT_TRUE(deleted.body["metadata"].contains("deletionTimestamp"));
  EXPECT_TRUE(
      eventually([&] { return call("GET", std::string(kPods) + "/nice").status == 404; }, 3000));
  call("DELETE", std::string(kPods) + "/rude", {{"gracePeriodSeconds", 1}});
  EXPECT_TRUE(
      eventually([&] { return call("GET", std::string(kPods) + "/rude").status == 404; }, 6000));
  EXPECT_TRUE(eventually([&] { return fs::is_empty(dir_ / "pods"); }, 5000));
}

TEST_F(PodTest, MemoryLimitEndsInOomKilled) {
  Json p = pod("p", "x=$(head -c 200000000 /dev/zero | tr '\\0' x); sleep 20");
  p["spec"]["containers"][0]["resources"] = {{"limits", {{"memory", "50Mi"}}}};
  call("POST", kPods, p);
  ASSERT_TRUE(eventually(
      [&] { return get_string(get(get_pod("p"), "status"), "phase") == "Failed"; }, 20000));
  EXPECT_EQ(state("p")["terminated"]["reason"], "OOMKilled");
  EXPECT_EQ(state("p")["terminated"]["exitCode"], 137);
}

TEST_F(PodTest, RunningPodsAreAdoptedAfterARestart) {
  call("POST", kPods,
       pod("p",
           "i=0; while [ $i -lt 200 ]; do i=$((i+1)); echo tick $i; sleep 0.02; [ -e done ] && "
           "break; done; echo end; exit 7"));
  ASSERT_TRUE(eventually([&] { return log("p").find("tick 3\n") != std::string::npos; }));
  int shim = ContainerDir(run_dir("p")).started()->pid;
  restart();
  EXPECT_EQ(ContainerDir(run_dir("p")).started()->pid, shim);
  ASSERT_TRUE(phase("p", "Failed"));
  EXPECT_EQ(state("p")["terminated"]["exitCode"], 7);
  std::string text = log("p");
  EXPECT_EQ(text.find("tick 1\n"), 0u);  // one log, from its beginning
  EXPECT_NE(text.find("end\n"), std::string::npos);
  EXPECT_EQ(get_pod("p")["status"]["containerStatuses"][0]["restartCount"], 0);
}

TEST_F(PodTest, ExitWhileNobodyWatchedIsFoundLater) {
  call("POST", kPods, pod("p", "sleep 0.4; echo late; exit 5"));
  ASSERT_TRUE(phase("p", "Running"));
  runner_.reset();
  close();
  std::this_thread::sleep_for(std::chrono::milliseconds(800));
  open();
  start_runner();
  ASSERT_TRUE(phase("p", "Failed"));
  EXPECT_EQ(state("p")["terminated"]["exitCode"], 5);
  EXPECT_EQ(log("p"), "late\n");
}

TEST_F(PodTest, AKilledShimFailsThePodAndTakesTheProgramAlong) {
  call("POST", kPods, pod("p", "echo $$$$; sleep 30"));
  ASSERT_TRUE(eventually([&] { return std::atoi(log("p").c_str()) > 1; }));
  pid_t program = std::atoi(log("p").c_str());
  ASSERT_GT(program, 1);
  ::kill(ContainerDir(run_dir("p")).started()->pid, SIGKILL);
  ASSERT_TRUE(phase("p", "Failed"));
  EXPECT_EQ(state("p")["terminated"]["exitCode"], 137);
  EXPECT_TRUE(eventually([&] {
    auto stat = read_file("/proc/" + std::to_string(program) + "/stat", 4096);
    return !stat.ok() || stat->find(") Z ") != std::string::npos;
  }));
}

TEST_F(PodTest, FollowEndsWithTheContainer) {
  call("POST", kPods, pod("p", "echo one; sleep 0.5; echo two"));
  ASSERT_TRUE(eventually([&] { return log("p") == "one\n"; }));
  auto stream = watch(std::string(kPods) + "/p/log?follow=true");
  ASSERT_TRUE(stream->wait_closed(8000));
  EXPECT_EQ(stream->text(), "one\ntwo\n");
}

Json job(const std::string& name, const std::string& script, int backoff) {
  return {{"metadata", {{"name", name}}},
          {"spec",
           {{"backoffLimit", backoff},
            {"template",
             {{"spec",
               {{"restartPolicy", "Never"},
                {"containers", Json::array({{{"name", "c"},
                                             {"image", "tango.local/test"},
                                             {"args", {"-c", script}}}})}}}}}}}};
}

TEST_F(PodTest, JobsCompleteFailAndSuspend) {
  auto condition = [&](const std::string& name, const std::string& type) {
    Json found = call("GET", std::string(kJobs) + "/" + name).body;
    for (const Json& c : get(get(found, "status"), "conditions")) {
      if (get_string(c, "type") == type && get_string(c, "status") == "True")
        return get_string(c, "reason", "yes");
    }
    return std::string();
  };
  call("POST", kJobs, job("good", "true", 0));
  call("POST", kJobs, job("bad", "exit 10", 0));
  call("POST", kJobs, job("paused", "sleep 30", 0));
  EXPECT_TRUE(eventually([&] { return !condition("good", "Complete").empty(); }));
  EXPECT_TRUE(eventually([&] { return condition("bad", "Failed") == "BackoffLimitExceeded"; }));
  Json good = call("GET", std::string(kJobs) + "/good").body["status"];
  EXPECT_EQ(good["succeeded"], 1);
  EXPECT_TRUE(good.contains("completionTime"));
  auto pods = call("GET", std::string(kPods) + "?labelSelector=job-name%3Dbad");
  ASSERT_EQ(pods.body["items"].size(), 1u);  // backoffLimit 0: one attempt
  EXPECT_EQ(
      pods.body["items"][0]["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"],
      10);
  ASSERT_TRUE(eventually([&] {
    return get_int(get(call("GET", std::string(kJobs) + "/paused").body, "status"), "active") == 1;
  }));
  merge(std::string(kJobs) + "/paused", {{"spec", {{"suspend", true}}}});
  EXPECT_TRUE(eventually([&] {
    return !condition("paused", "Suspended").empty() &&
           call("GET", std::string(kPods) + "?labelSelector=job-name%3Dpaused")
               .body["items"]
               .empty();
  }));
  // Deleting a job takes its pods along when asked to, as kubectl does.
  call("DELETE", std::string(kJobs) + "/bad", {{"propagationPolicy", "Background"}});
  EXPECT_TRUE(eventually([&] {
    return call("GET", std::string(kPods) + "?labelSelector=job-name%3Dbad").body["items"].empty();
  }));
}

TEST(PodVolumes, PathsOutsideAMountStay) {
  std::vector<MountPoint> mounts = {{"/tango", "/l/a"}, {"/tango/run", "/l/b"}};
  EXPECT_EQ(rewrite_path("/tango/run/x", mounts), "/l/b/x");
  EXPECT_EQ(rewrite_path("/tango/running", mounts), "/l/a/running");
  EXPECT_EQ(rewrite_path("/tangos", mounts), "/tangos");
  EXPECT_EQ(rewrite_path("x/tango", mounts), "x/tango");
}

TEST(PodVolumes, EscapingPathsAreRefused) {
  TempDir dir("volumes");
  Json pod = Json::parse(
      R"({"spec":{"volumes":[{"name":"v","configMap":{"name":"m","items":[{"key":"k","path":"../../evil"}]}},{"name":"e","emptyDir":{}}]}})");
  auto lookup = [](const std::string&, const std::string&) { return Json{{"data", {{"k", "x"}}}}; };
  Json container = Json::parse(R"({"volumeMounts":[{"name":"v","mountPath":"/v"}]})");
  EXPECT_FALSE(prepare_mounts(pod, container, dir.path(), lookup).ok());
  container =
      Json::parse(R"({"volumeMounts":[{"name":"e","mountPath":"/v","subPath":"../../../x"}]})");
  EXPECT_FALSE(prepare_mounts(pod, container, dir.path(), lookup).ok());
}

}  // namespace
}  // namespace tango::standalone
