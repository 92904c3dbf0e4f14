// Deployments and Devices together: canary, rollback, ownership, offline devices, deletion, why.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "controllers/device/device.h"
#include "crds/device.h"
#include "tests/controllers/pipeline.h"

namespace tango::controllers {
namespace {

using ::testing::HasSubstr;

std::string deployment_yaml(const std::string& name, const std::string& digest,
                            const std::string& more = "") {
  return "---\napiVersion: ml-tango.io/v1alpha1\nkind: Deployment\nmetadata: {name: " + name +
         "}\nspec:\n  release: {digest: \"" + digest_of(digest) +
         "\", repository: tango/default/x}\n" +
         "  target: {deviceSelector: {matchLabels: {site: demo}}}\n" + more;
}

class RolloutFlow : public ::testing::Test {
 protected:
  void devices(int n) {
    for (int i = 0; i < n; ++i)
      c.apply_yaml(device_yaml("dev-" + std::to_string(i), "10.0.0." + std::to_string(i)));
  }
  FakeDevice& machine(int i) { return c.devices["10.0.0." + std::to_string(i)]; }
  void run(int seconds) {
    for (int i = 0; i < seconds; ++i) {
      c.settle();
      c.now += Seconds{1};
    }
    c.settle();
  }
  Json why(const std::string& name) {
    const auto world = c.observed();
    return explain_device(*world.get<crds::Device>("default", name), world, c.now);
  }
  Json counts(const std::string& name) { return c.object("Deployment", name)["status"]["counts"]; }
  Pipeline c;
};

TEST_F(RolloutFlow, BringsTheReleaseToAllDevicesAndRests) {
  devices(3);
  c.apply_yaml(deployment_yaml("d", "one"));
  run(5);
  EXPECT_EQ(c.condition("Deployment", "d", "Ready"), "True/Available")
      << c.message("Deployment", "d", "Ready");
  EXPECT_EQ(counts("d")["updated"], 3);
  EXPECT_EQ(c.condition("Device", "dev-0", "UpToDate"), "True/UpToDate");
  const int before = c.writes;
  run(100);
  EXPECT_EQ(c.writes, before);
  EXPECT_EQ(c.count_started("ssh", "deploy/"), 3);
}

TEST_F(RolloutFlow, SequenceIsInTheStatusBeforeTheWorkIsAskedFor) {
  devices(1);
  run(2);
  c.apply_yaml(deployment_yaml("d", "one"));
  bool ordered = false;
  for (int i = 0; i < 10 && !ordered; ++i) {
    c.pass();
    const Json& slots = c.object("Device", "dev-0")["status"]["slots"];
    for (const Json& s : slots) ordered = ordered || get_int(s, "sequence") == 1;
    if (ordered) {
      EXPECT_EQ(c.count_started("ssh", "deploy/"), 0);
    }
  }
  EXPECT_TRUE(ordered);
  c.pass();
  EXPECT_EQ(c.count_started("ssh", "deploy/"), 1);
}

TEST_F(RolloutFlow, MaxParallelHoldsAcrossControllers) {
  devices(6);
  c.apply_yaml(deployment_yaml("d", "one", "  strategy: {maxParallel: 2}\n"));
  auto normal = c.answer;
  c.answer = [&](const kube::Work& w) -> std::optional<Result<Json>> {
    if (get_string(w.input, "op") == "deploy") return std::nullopt;  // they all take for ever
    return normal(w);
  };
  run(20);
  EXPECT_EQ(c.count_started("ssh", "deploy/"), 2);
  EXPECT_EQ(counts("d")["updating"], 2);
  EXPECT_EQ(counts("d")["pending"], 4);
}

TEST_F(RolloutFlow, RolledBackReleaseGivesTheSlotBackAndIsExplained) {
  devices(1);
  c.apply_yaml(deployment_yaml("good", "one"));
  run(4);
  machine(0).outcome = "rolledBack";
  c.apply_yaml(deployment_yaml("hasty", "two", "  priority: 1\n  healthGate: {latency: 1us}\n"));
  run(6);
  EXPECT_EQ(machine(0).current, digest_of("one"));
  EXPECT_EQ(c.condition("Deployment", "hasty", "Failed"), "True/FailureThreshold");
  EXPECT_EQ(c.condition("Deployment", "hasty", "Ready"), "False/Failed");
  EXPECT_EQ(c.condition("Deployment", "good", "Ready"), "True/Available")
      << c.message("Deployment", "good", "Ready");
  EXPECT_EQ(c.condition("Device", "dev-0", "UpToDate"), "True/UpToDate");
  const Json& rejected = c.object("Device", "dev-0")["status"]["rejected"];
  ASSERT_EQ(rejected.size(), 1u);
  EXPECT_EQ(rejected[0]["reason"], "LatencyExceeded");
  EXPECT_EQ(rejected[0]["deployment"], "hasty");
  EXPECT_THAT(why("dev-0")["sentence"].get<std::string>(),
              ::testing::AllOf(HasSubstr("Deployment good"),
                               HasSubstr("hasty was rolled back here: LatencyExceeded")));
  const int deploys = c.count_started("ssh", "deploy/");
  run(120);
  EXPECT_EQ(c.count_started("ssh", "deploy/"), deploys) << "never tried again";
  // A new retry token is a new try.
  c.patch_spec("Deployment", "hasty", {{"retryToken", "again"}});
  run(6);
  EXPECT_EQ(machine(0).current, digest_of("two"));
  EXPECT_EQ(c.condition("Deployment", "good", "Ready"), "False/NoDevices");
}

TEST_F(RolloutFlow, OfflineDeviceIsDeferredAndCatchesUp) {
  devices(3);
  machine(2).online = false;
  c.apply_yaml(deployment_yaml("d", "one"));
  run(5);
  EXPECT_EQ(c.condition("Deployment", "d", "Ready"), "True/Available")
      << c.message("Deployment", "d", "Ready");
  EXPECT_EQ(counts("d")["updated"], 2);
  EXPECT_EQ(counts("d")["deferred"], 1);
  EXPECT_EQ(c.object("Deployment", "d")["status"]["reasons"][0]["reason"], "NeverProvisioned");
  EXPECT_THAT(why("dev-2")["sentence"].get<std::string>(), HasSubstr("NeverProvisioned"));
  machine(2).online = true;
  run(40);
  EXPECT_EQ(machine(2).current, digest_of("one"));
  EXPECT_EQ(counts("d")["updated"], 3);
}

TEST_F(RolloutFlow, NewReleaseSupersedesTheOld) {
  devices(2);
  c.apply_yaml(deployment_yaml("d", "one"));
  run(5);
  c.patch_spec("Deployment", "d", {{"release", {{"digest", digest_of("two")}}}});
  run(6);
  EXPECT_EQ(machine(0).current, digest_of("two"));
  EXPECT_EQ(machine(1).current, digest_of("two"));
  EXPECT_EQ(c.object("Deployment", "d")["status"]["release"]["previous"], digest_of("one"));
  EXPECT_EQ(machine(0).sequence, 2);
}

TEST_F(RolloutFlow, DeviceThatKnowsAHigherSequenceGetsAHigherOne) {
  devices(1);
  run(2);
  machine(0).sequence = 7;  // the control plane was restored from an older copy
  c.apply_yaml(deployment_yaml("d", "one"));
  run(8);
  EXPECT_EQ(machine(0).current, digest_of("one"));
  EXPECT_EQ(machine(0).sequence, 8);
}

TEST_F(RolloutFlow, RefusedReleaseIsNotRepeated) {
  devices(1);
  machine(0).error =
      make_error(Code::kDenied, "SignatureInvalid", "a signature does not fit the bytes");
  c.apply_yaml(deployment_yaml("d", "one"));
  run(60);
  EXPECT_EQ(c.condition("Deployment", "d", "Failed"), "True/FailureThreshold");
  EXPECT_EQ(c.condition("Device", "dev-0", "UpToDate"), "False/RolledBack");
  EXPECT_THAT(c.message("Device", "dev-0", "UpToDate"), HasSubstr("SignatureInvalid"));
  EXPECT_EQ(c.count_started("ssh", "deploy/"), 1);
}

TEST_F(RolloutFlow, DiskFullIsRetriedUntilTheProgressDeadline) {
  devices(1);
  machine(0).error = make_error(Code::kExhausted, "DiskFull", "12 MB are missing");
  c.apply_yaml(deployment_yaml("d", "one", "  strategy: {progressDeadline: 2m}\n"));
  run(30);
  EXPECT_EQ(c.condition("Device", "dev-0", "UpToDate"), "False/Updating");
  EXPECT_THAT(c.message("Device", "dev-0", "UpToDate"), HasSubstr("DiskFull"));
  run(150);
  EXPECT_EQ(c.condition("Deployment", "d", "Failed"), "True/FailureThreshold");
  EXPECT_EQ(c.object("Device", "dev-0")["status"]["rejected"][0]["reason"],
            "ProgressDeadlineExceeded");
}

TEST_F(RolloutFlow, MissingParameterDefersTheDevice) {
  devices(1);
  c.apply_yaml(deployment_yaml(
      "d", "one", "  config: [{name: camera.yaml, inline: \"url: ${parameters.cameraUrl}\"}]\n"));
  run(5);
  EXPECT_EQ(counts("d")["deferred"], 1);
  EXPECT_EQ(c.object("Deployment", "d")["status"]["reasons"][0]["reason"], "MissingParameter");
  c.patch_spec("Device", "dev-0", {{"parameters", {{"cameraUrl", "rtsp://x"}}}});
  run(5);
  EXPECT_EQ(machine(0).current, digest_of("one"));
}

TEST_F(RolloutFlow, DeletionRemovesTheReleaseFromTheDevices) {
  devices(2);
  c.apply_yaml(deployment_yaml("d", "one"));
  run(5);
  c.mark_deleted("Deployment", "d");
  run(5);
  EXPECT_FALSE(c.has("Deployment", "d"));
  EXPECT_EQ(machine(0).current, "");
  EXPECT_EQ(c.condition("Device", "dev-0", "UpToDate"), "True/NoRelease");
}

TEST_F(RolloutFlow, UnreachableDevicesDoNotBlockADeletionPastItsDeadline) {
  devices(1);
  c.apply_yaml(deployment_yaml("d", "one", "  deletionDeadline: 1m\n"));
  run(5);
  machine(0).online = false;
  c.mark_deleted("Deployment", "d");
  run(30);
  EXPECT_TRUE(c.has("Deployment", "d"));
  run(40);
  EXPECT_FALSE(c.has("Deployment", "d"));
}

TEST_F(RolloutFlow, WhatIsNotImplementedIsUnsupported) {
  c.apply_yaml(deployment_yaml("d", "one", "  rollback: All\n"));
  run(1);
  EXPECT_EQ(c.condition("Deployment", "d", "Accepted"), "False/Unsupported");
  EXPECT_THAT(c.message("Deployment", "d", "Accepted"), HasSubstr("spec.rollback All"));
}

TEST_F(RolloutFlow, AtMostFourWritesPerDeviceAndRollout) {
  devices(1);
  run(3);
  const int before = c.writes;
  c.apply_yaml(deployment_yaml("d", "one"));
  int device_writes = 0;
  std::string last = c.object("Device", "dev-0")["status"].dump();
  for (int i = 0; i < 30; ++i) {
    c.pass();
    const std::string next = c.object("Device", "dev-0")["status"].dump();
    device_writes += next != last;
    last = next;
  }
  EXPECT_GT(c.writes, before);
  EXPECT_LE(device_writes, 4);
  EXPECT_EQ(machine(0).current, digest_of("one"));
}

}  // namespace
}  // namespace tango::controllers
