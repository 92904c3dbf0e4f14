#include "lib/kube-types/core.h"

#include <gtest/gtest.h>

namespace tango::kube {
namespace {

TEST(CoreKinds, PodWithExitCode) {
  auto pod =
      Codec<Pod>::parse(R"({"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","namespace":"d"},
    "spec":{"nodeName":"n1","containers":[{"name":"main","image":"x"}]},
    "status":{"phase":"Failed","podIP":"10.0.0.1","startTime":"2026-11-21T12:00:00Z",
      "conditions":[{"type":"Ready","status":"False","reason":"X","lastProbeTime":null}],
      "containerStatuses":[{"name":"main","ready":false,"restartCount":0,"image":"x",
        "state":{"terminated":{"exitCode":137,"reason":"OOMKilled","finishedAt":"2026-11-21T12:01:00Z"}},
        "lastState":{}}]}})");
  ASSERT_TRUE(pod.ok()) << pod.error().to_string();
  EXPECT_EQ(pod->exit_code(), 137);
  EXPECT_EQ(pod->status.container_statuses[0].state.reason, "OOMKilled");
  EXPECT_EQ(pod->node_name, "n1");
  auto again = Codec<Pod>::parse(Codec<Pod>::encode(*pod).dump());
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(Codec<Pod>::encode(*again), Codec<Pod>::encode(*pod));
}

TEST(CoreKinds, JobConditions) {
  auto job = Codec<Job>::parse(
      R"({"metadata":{"name":"j"},"spec":{"backoffLimit":0,"template":{"spec":{}}},
    "status":{"failed":1,"conditions":[{"type":"Failed","status":"True","reason":"BackoffLimitExceeded"}]}})");
  ASSERT_TRUE(job.ok());
  EXPECT_TRUE(job->failed());
  EXPECT_FALSE(job->complete());
  EXPECT_EQ(job->backoff_limit, 0);
}

TEST(CoreKinds, SecretValuesAreDecodedAndDoNotPrint) {
  auto secret = Codec<KubeSecret>::parse(
      R"({"metadata":{"name":"s"},"type":"Opaque","data":{"key":"aHVudGVyMg=="}})");
  ASSERT_TRUE(secret.ok());
  EXPECT_EQ(secret->data.at("key").reveal(), "hunter2");
  auto bad = Codec<KubeSecret>::parse(R"({"data":{"key":"***"}})");
  ASSERT_FALSE(bad.ok());
  EXPECT_EQ(bad.error().message, "data.key must be base64");
  EXPECT_EQ(bad.error().message.find("***"), std::string::npos);
}

TEST(CoreKinds, LeaseConfigMapEventCrdNamespace) {
  auto lease = Codec<Lease>::parse(
      R"({"metadata":{"name":"l"},"spec":{"holderIdentity":"me","leaseDurationSeconds":15,
    "renewTime":"2026-11-21T12:00:00.123456Z","leaseTransitions":2}})");
  ASSERT_TRUE(lease.ok());
  EXPECT_EQ(Codec<Lease>::encode(*lease)["spec"]["renewTime"], "2026-11-21T12:00:00.123456Z");
  auto map = Codec<ConfigMap>::parse(
      R"({"metadata":{"name":"c"},"data":{"a":"b"},"binaryData":{"z":"AAE="}})");
  ASSERT_TRUE(map.ok());
  EXPECT_EQ(map->binary_data.at("z"), std::string("\0\1", 2));
  EXPECT_EQ(Codec<ConfigMap>::encode(*map)["binaryData"]["z"], "AAE=");
  auto event = Codec<Event>::parse(
      R"({"metadata":{"name":"e"},"involvedObject":{"kind":"Device","name":"d"},"count":3,
    "reason":"R","type":"Warning","source":{"component":"tango"}})");
  ASSERT_TRUE(event.ok());
  EXPECT_EQ(event->involved_object.kind, "Device");
  auto crd = Codec<CustomResourceDefinition>::parse(
      R"({"metadata":{"name":"x.y"},"spec":{"group":"y","scope":"Cluster",
    "names":{"kind":"X","plural":"xs","shortNames":["x"]},"versions":[{"name":"v1","served":true},{"name":"v0","served":false}]},
    "status":{"conditions":[{"type":"Established","status":"True","reason":"InitialNamesAccepted"}]}})");
  ASSERT_TRUE(crd.ok());
  EXPECT_TRUE(crd->established());
  EXPECT_EQ(crd->served_versions, std::vector<std::string>{"v1"});
  EXPECT_EQ(
      Codec<Namespace>::parse(R"({"metadata":{"name":"n"},"status":{"phase":"Active"}})")->phase,
      "Active");
}

TEST(CoreKinds, ErrorsNameThePath) {
  auto pod =
      Codec<Pod>::parse(R"({"status":{"containerStatuses":[{"name":"a"},{"restartCount":"x"}]}})");
  ASSERT_FALSE(pod.ok());
  EXPECT_EQ(pod.error().reason, "WrongType");
  EXPECT_EQ(pod.error().message, "status.containerStatuses[1].restartCount must be a whole number");
  EXPECT_FALSE(Codec<Pod>::parse("{\"metadata\":").ok());
  EXPECT_EQ(Codec<Pod>::parse("").error().reason, "InvalidJson");
  EXPECT_EQ(Codec<Pod>::parse("[]").error().reason, "WrongType");
  EXPECT_EQ(Codec<Pod>::parse("{} {}").error().reason, "InvalidJson");
}

}  // namespace
}  // namespace tango::kube
