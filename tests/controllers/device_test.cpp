#include "controllers/device/device.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "crds/device.h"
#include "tests/controllers/pipeline.h"

namespace tango::controllers {
namespace {

using ::testing::HasSubstr;

class DeviceController : public ::testing::Test {
 protected:
  void add() { c.apply_yaml(device_yaml("dev", "10.0.0.1")); }
  FakeDevice& machine() { return c.devices["10.0.0.1"]; }
  void run(int seconds) {
    for (int i = 0; i < seconds; ++i) {
      c.settle();
      c.now += Seconds{1};
    }
    c.settle();
  }
  Pipeline c;
};

TEST_F(DeviceController, IsProvisionedOnceAndProbedQuietly) {
  add();
  run(2);
  EXPECT_EQ(c.condition("Device", "dev", "Ready"), "True/Online");
  EXPECT_EQ(c.condition("Device", "dev", "Provisioned"), "True/Provisioned");
  EXPECT_EQ(c.object("Device", "dev")["status"]["identity"]["deviceId"], "id-10.0.0.1");
  EXPECT_EQ(c.object("Device", "dev")["status"]["provisioned"]["credentialsDeletable"], true);
  const int before = c.writes;
  run(120);
  EXPECT_EQ(c.writes, before);
  EXPECT_GE(c.count_started("ssh", "probe/"), 3);
  EXPECT_EQ(c.count_started("ssh", "provision/"), 1);
}

TEST_F(DeviceController, NothingIsSentBeforeTheHostKeyIsApproved) {
  add();
  c.patch_spec("Device", "dev",
               {{"hostKey", {{"policy", "TrustOnFirstUse"}, {"fingerprints", nullptr}}}});
  run(2);
  EXPECT_EQ(c.condition("Device", "dev", "Ready"), "False/AwaitingApproval");
  EXPECT_THAT(c.message("Device", "dev", "Ready"), HasSubstr("tangoctl device approve dev"));
  EXPECT_EQ(c.object("Device", "dev")["status"]["observedHostKey"]["fingerprint"],
            "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
  EXPECT_EQ(c.count_started("ssh", "provision/"), 0);
  c.patch_spec(
      "Device", "dev",
      {{"hostKey", {{"fingerprints", {"SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}}}}});
  run(2);
  EXPECT_EQ(c.condition("Device", "dev", "Ready"), "True/Online");
}

TEST_F(DeviceController, OfflineAtFirstThenComesUpByItself) {
  machine().online = false;
  add();
  run(5);
  EXPECT_EQ(c.condition("Device", "dev", "Ready"), "False/Offline");
  run(300);
  machine().online = true;
  run(31);
  EXPECT_EQ(c.condition("Device", "dev", "Ready"), "True/Online");
}

TEST_F(DeviceController, GoingOfflineMakesTheRestUnknown) {
  add();
  run(2);
  machine().online = false;
  run(31);
  EXPECT_EQ(c.condition("Device", "dev", "Reachable"), "False/Unreachable");
  EXPECT_EQ(c.condition("Device", "dev", "Ready"), "False/Offline");
  EXPECT_EQ(c.condition("Device", "dev", "Healthy"), "Unknown/Offline");
  machine().online = true;
  run(12);
  EXPECT_EQ(c.condition("Device", "dev", "Ready"), "True/Online");
}

TEST_F(DeviceController, ChangedHostKeyStopsEverything) {
  auto normal = c.answer;
  bool changed = false;
  c.answer = [&](const kube::Work& w) -> std::optional<Result<Json>> {
    if (changed && w.executor == "ssh")
      return make_error(Code::kDenied, "HostKeyChanged", "shows another key");
    return normal(w);
  };
  add();
  run(2);
  changed = true;
  run(31);
  EXPECT_EQ(c.condition("Device", "dev", "Ready"), "False/Quarantined");
  EXPECT_EQ(c.condition("Device", "dev", "HostKeyVerified"), "False/HostKeyChanged");
}

TEST_F(DeviceController, MissingSecretIsNamedAndFixedLater) {
  auto normal = c.answer;
  bool there = false;
  c.answer = [&](const kube::Work& w) -> std::optional<Result<Json>> {
    if (!there && get_string(w.input, "op") == "provision") {
      return make_error(Code::kNotFound, "SecretNotFound", "there is no Secret boot");
    }
    return normal(w);
  };
  add();
  run(3);
  EXPECT_EQ(c.condition("Device", "dev", "Ready"), "False/SecretNotFound");
  there = true;
  run(31);
  EXPECT_EQ(c.condition("Device", "dev", "Ready"), "True/Online");
}

TEST_F(DeviceController, SuspendedDevicesAreLeftAlone) {
  add();
  c.patch_spec("Device", "dev", {{"suspend", true}});
  run(60);
  EXPECT_EQ(c.condition("Device", "dev", "Ready"), "False/Suspended");
  EXPECT_EQ(c.count_started("ssh"), 0);
}

TEST_F(DeviceController, WindowsAreUnsupportedRatherThanIgnored) {
  add();
  c.patch_spec("Device", "dev",
               {{"transferWindow", {{"schedule", "0 0 * * *"}, {"duration", "1h"}}}});
  run(1);
  EXPECT_EQ(c.condition("Device", "dev", "Accepted"), "False/Unsupported");
  EXPECT_THAT(c.message("Device", "dev", "Accepted"), HasSubstr("spec.transferWindow"));
}

TEST_F(DeviceController, AnotherAddressIsProvisionedAgain) {
  add();
  run(2);
  c.patch_spec("Device", "dev", {{"connection", {{"address", "10.0.0.2"}}}});
  run(2);
  EXPECT_EQ(c.count_started("ssh", "provision/"), 2);
  EXPECT_EQ(c.object("Device", "dev")["status"]["identity"]["deviceId"], "id-10.0.0.2");
}

TEST_F(DeviceController, DeletionOfAnUnreachableDeviceEndsAtItsDeadline) {
  add();
  run(2);
  c.object("Device", "dev")["status"]["slots"] = Json::array({Json{
      {"name", "main"}, {"sequence", 1}, {"deploymentUid", "x"}, {"current", digest_of("b")}}});
  machine().online = false;
  c.mark_deleted("Device", "dev");
  run(30);
  EXPECT_TRUE(c.has("Device", "dev"));
  c.now += Seconds{600};
  run(1);
  EXPECT_FALSE(c.has("Device", "dev"));
}

}  // namespace
}  // namespace tango::controllers
