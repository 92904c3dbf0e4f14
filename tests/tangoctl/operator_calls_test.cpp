// The verbs that go through the operator's management API, against a stand-in that answers as
// operator/openapi.yaml says; and device provisioning, which only writes objects.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/base/digest.h"
#include "lib/kube/config.h"
#include "tangoctl/tar_stream.h"
#include "tests/tangoctl/cluster.h"

namespace tango::ctl {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;

HttpReply reply(const Json& body, int status = 200) { return {{status, {}, body.dump()}, {}}; }

constexpr const char* kFleet =
    R"({"counts":{"total":2,"byState":{"Online":1,"Offline":1},"byRelease":{},"byReason":{"LatencyExceeded":1}},
  "items":[{"namespace":"default","name":"edge-1","state":"Online","reachable":"True","release":"UpToDate","health":"Healthy",
    "slots":[{"name":"main","current":"sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef",
      "deployment":"fashion-edge","latency":{"p50":1.25,"p95":2.5}}]},
   {"namespace":"default","name":"edge-3","state":"Offline","reachable":"False","release":"Offline","health":"Unknown","slots":[]}]})";

TEST(OperatorCalls, FleetStatusIsATableWithCounts) {
  Cluster cluster;
  cluster.on_rest = [](const HttpRequest&) { return reply(Json::parse(kFleet)); };
  Output out = cluster.run({"fleet", "status", "-l", "site=seoul", "--device-state", "Online"});
  EXPECT_EQ(out.code, kOk) << out.err;
  EXPECT_THAT(out.out, ContainsRegex("edge-1 +Online +True +UpToDate +Healthy +main +5f70bf18a086 "
                                     "+fashion-edge +1.25/2.50 ms"));
  EXPECT_THAT(out.out, ContainsRegex("edge-3 +Offline +False"));
  EXPECT_THAT(out.out, HasSubstr("2 devices: 1 Offline, 1 Online"));
  EXPECT_THAT(out.out, HasSubstr("failures: 1 LatencyExceeded"));
  std::string url = cluster.asked()[0].url;
  EXPECT_THAT(url, HasSubstr("namespace=default"));
  EXPECT_THAT(url, HasSubstr("label=site%3Dseoul"));
  EXPECT_THAT(url, HasSubstr("state=Online"));
}

TEST(OperatorCalls, FleetStatusReadsAllPages) {
  Cluster cluster;
  cluster.on_rest = [](const HttpRequest& r) {
    Json page = Json::parse(kFleet);
    bool second = split_target(r.url).get("continue") == "next";
    page["items"] = Json::array({page["items"][second ? 1 : 0]});
    if (!second) page["continue"] = "next";
    return reply(page);
  };
  Json all = Json::parse(cluster.run({"fleet", "status", "-o", "json"}).out);
  EXPECT_EQ(all["items"].size(), 2u);
  EXPECT_EQ(cluster.asked().size(), 2u);
}

TEST(OperatorCalls, WhyGivesTheSentenceAndTheClaims) {
  Cluster cluster;
  cluster.on_rest = [](const HttpRequest& r) {
    EXPECT_EQ(r.url, "/api/v1/namespaces/default/devices/edge-2/why");
    return reply(Json::parse(
        R"({"sentence":"edge-2 runs fashion-edge; fashion-hasty was rolled back here: LatencyExceeded",
      "slots":[{"slot":"main","state":"Succeeded","claims":[{"deployment":"fashion-hasty","priority":1,"owns":false,
        "state":"Failed","reason":"RolledBack","message":"LatencyExceeded: 1.2 ms"}]}]})"));
  };
  Output out = cluster.run({"fleet", "why", "edge-2"});
  EXPECT_EQ(out.code, kOk) << out.err;
  EXPECT_THAT(out.out, HasSubstr("rolled back here: LatencyExceeded\n"));
  EXPECT_THAT(out.out, ContainsRegex("fashion-hasty +1 +no +Failed +RolledBack"));
}

TEST(OperatorCalls, PredictSendsTheImageAndShowsTheAnswer) {
  Cluster cluster;
  std::string png = cluster.write("a.png", std::string("\x89PNG\r\n\x1a\n") + "rest");
  cluster.on_rest = [](const HttpRequest& r) {
    EXPECT_EQ(r.method, "POST");
    EXPECT_EQ(header(r.headers, "Content-Type"), "image/png");
    return reply(Json::parse(R"({"class":"Ankle boot","index":9,"score":0.987,"latencyMs":1.5})"));
  };
  Output out = cluster.run({"predict", "--device", "edge-1", png, "-o", "json"});
  EXPECT_EQ(out.code, kOk) << out.err;
  Json answer = Json::parse(out.out);
  EXPECT_EQ(answer[0]["class"], "Ankle boot");
  EXPECT_THAT(cluster.run({"predict", "--device", "edge-1", png}).out,
              ContainsRegex("Ankle boot +0.987 +1.50 ms"));
  std::string text = cluster.write("b.txt", "no image");
  Output bad = cluster.run({"predict", "--device", "edge-1", text});
  EXPECT_EQ(bad.code, kError);
  EXPECT_THAT(bad.err, HasSubstr("neither PNG nor JPEG"));
}

TEST(OperatorCalls, EvaluateSendsOneSplitAsTar) {
  Cluster cluster;
  ASSERT_TRUE(make_dirs(cluster.dir() / "idx").ok());
  cluster.write("idx/t10k-images-idx3-ubyte.gz", "images");
  cluster.write("idx/t10k-labels-idx1-ubyte.gz", "labels");
  cluster.write("idx/train-images-idx3-ubyte.gz", "not these");
  cluster.on_rest = [](const HttpRequest& r) {
    EXPECT_THAT(r.url, HasSubstr("format=idx"));
    EXPECT_EQ(r.body.size() % 512, 0u);
    EXPECT_THAT(r.body, HasSubstr("t10k-labels-idx1-ubyte.gz"));
    EXPECT_THAT(r.body, Not(HasSubstr("train-images")));
    return reply(
        Json::parse(R"({"accuracy":0.9012,"samples":10000,"latencyMs":{"p50":1.0,"p95":2.0}})"));
  };
  Output out = cluster.run({"device", "evaluate", "edge-1", "--data",
                            (cluster.dir() / "idx").string(), "--format", "idx"});
  EXPECT_EQ(out.code, kOk) << out.err;
  EXPECT_THAT(out.out, HasSubstr("accuracy  0.9012 on 10000 images"));
  Output none = cluster.run({"device", "evaluate", "e", "--data", (cluster.dir() / "idx").string(),
                             "--format", "idx", "--split", "val"});
  EXPECT_THAT(none.err, HasSubstr("no files of split val"));
}

TEST(OperatorCalls, ErrorsOfTheOperatorAreShownAsTheyAre) {
  Cluster cluster;
  cluster.on_rest = [](const HttpRequest&) {
    return reply(Json{{"code", "Unavailable"},
                      {"reason", "DeviceOffline"},
                      {"message", "edge-3 does not answer"}},
                 503);
  };
  Output out = cluster.run({"fleet", "why", "edge-3"});
  EXPECT_EQ(out.code, kError);
  EXPECT_THAT(out.err, HasSubstr("edge-3 does not answer"));
  cluster.write("token", "wrong\n");
  EXPECT_THAT(cluster.run({"fleet", "status"}).err, HasSubstr("no token"));
  ASSERT_TRUE(tango::remove_all(cluster.dir() / "operator.json").ok());
  EXPECT_THAT(cluster.run({"fleet", "status"}).err, HasSubstr("TANGO_STATE"));
}

TEST(Provision, WritesSecretAndDeviceAndPrintsNoSecret) {
  Cluster cluster;
  std::string key = cluster.write(
      "id", "-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0\n-----END OPENSSH PRIVATE KEY-----\n");
  std::vector<std::string> args{"device",
                                "provision",
                                "edge-1",
                                "--address",
                                "127.0.0.1",
                                "--port",
                                "2222",
                                "--user",
                                "me",
                                "--identity",
                                key,
                                "--fingerprint",
                                "SHA256:2Zlm3mY8mGvLhqkOqIYKyzcCLKjVHPdPZcXUcBs9aHw",
                                "--profile",
                                "linux-x86",
                                "--mode",
                                "User",
                                "--root",
                                "/tmp/agent",
                                "--authorized-keys",
                                "/tmp/keys",
                                "--label",
                                "site=demo",
                                "--label",
                                "unit=edge-1",
                                "--wait=false"};
  Output out = cluster.run(args);
  EXPECT_EQ(out.code, kOk) << out.err;
  EXPECT_THAT(out.out + out.err, Not(HasSubstr("c2VjcmV0")));
  Json device = Json::parse(cluster.run({"get", "device", "edge-1", "-o", "json"}).out);
  EXPECT_EQ(device["spec"]["connection"]["port"], 2222);
  EXPECT_EQ(device["spec"]["hostKey"]["policy"], "Pinned");
  EXPECT_EQ(device["spec"]["agent"]["authorizedKeysFile"], "/tmp/keys");
  EXPECT_EQ(device["metadata"]["labels"]["unit"], "edge-1");
  Json secret = Json::parse(cluster.run({"get", "secret", "edge-1-bootstrap", "-o", "json"}).out);
  EXPECT_EQ(secret["type"], "kubernetes.io/ssh-auth");
  EXPECT_THAT(*from_base64(secret["data"]["ssh-privatekey"].get<std::string>()),
              HasSubstr("c2VjcmV0"));
}

TEST(Provision, NeedsAHostKeyAndAPrivateKey) {
  Cluster cluster;
  std::vector<std::string> args{"device",   "provision", "d",        "--address",
                                "10.0.0.1", "--profile", "linux-x86"};
  EXPECT_EQ(cluster.run(args).code, kUsage);
  args.push_back("--trust-on-first-use");
  args.push_back("--no-wait");
  auto with_key = args;
  with_key.push_back("--identity");
  with_key.push_back(cluster.write("id.pub", "ssh-ed25519 AAAA"));
  Output bad = cluster.run(with_key);
  EXPECT_EQ(bad.code, kError);
  EXPECT_THAT(bad.err, HasSubstr("not a private key"));
  EXPECT_EQ(cluster.run(args).code, kOk);
}

TEST(Provision, ApproveFixesTheKeyThatWasShown) {
  Cluster cluster;
  ASSERT_EQ(cluster
                .run({"device", "provision", "d", "--address", "10.0.0.1", "--profile", "linux-x86",
                      "--trust-on-first-use", "--wait=false"})
                .code,
            kOk);
  EXPECT_THAT(cluster.run({"device", "approve", "d"}).err, HasSubstr("has shown no host key yet"));
  kube::ConfigOptions options;
  options.kubeconfig = (cluster.dir() / "kubeconfig").string();
  auto client = kube::KubeClient::connect(*kube::load_config(options));
  ASSERT_TRUE(client.ok());
  kube::WriteOptions write;
  write.subresource = "status";
  const std::string fingerprint = "SHA256:2Zlm3mY8mGvLhqkOqIYKyzcCLKjVHPdPZcXUcBs9aHw";
  ASSERT_TRUE((*client)
                  ->patch(crds::find_kind("device")->info, "default", "d", kube::PatchType::kMerge,
                          Json{{"status", {{"observedHostKey", {{"fingerprint", fingerprint}}}}}},
                          write)
                  .ok());
  Output out = cluster.run({"device", "approve", "d"});
  EXPECT_EQ(out.code, kOk) << out.err;
  Json device = Json::parse(cluster.run({"get", "device", "d", "-o", "json"}).out);
  EXPECT_EQ(device["spec"]["hostKey"]["policy"], "Pinned");
  EXPECT_EQ(device["spec"]["hostKey"]["fingerprints"][0], fingerprint);
}

TEST(Tar, RefusesNamesThatCannotTravel) {
  TempDir dir("tar");
  ASSERT_TRUE(write_file_atomic(dir / "a", "x").ok());
  EXPECT_EQ(make_tar({{"../a", dir / "a"}}).error().reason, "UnsafePath");
  EXPECT_EQ(make_tar({{std::string(101, 'n'), dir / "a"}}).error().reason, "NameTooLong");
  auto one = make_tar({{"b", dir / "a"}, {"a", dir / "a"}});
  ASSERT_TRUE(one.ok());
  EXPECT_EQ(*one, *make_tar({{"a", dir / "a"}, {"b", dir / "a"}}));  // order does not matter
  EXPECT_EQ(one->size(), 4u * 512 + 1024);
}

}  // namespace
}  // namespace tango::ctl
