#include "lib/rollout/rollout.h"

#include <gtest/gtest.h>

#include "lib/base/digest.h"

namespace tango::rollout {
namespace {

const TimePoint kNow{Seconds{1'700'000'000}};

DeviceView device(std::string name, DeviceState state = DeviceState::kPending) {
  DeviceView d;
  d.uid = "uid-" + name;
  d.name = std::move(name);
  d.order = order_key("dep", d.uid);
  d.state = state;
  return d;
}

TEST(Order, IsTheHashOfBothUids) {
  EXPECT_EQ(order_key("dep", "dev"), sha256("depdev").hex());
  EXPECT_NE(order_key("dep", "dev"), order_key("dep2", "dev"));
}

TEST(Owner, HighestPriorityThenOldestWins) {
  std::vector<Claim> claims{
      {"young", 1, kNow + Seconds{5}}, {"old", 1, kNow}, {"low", 0, kNow - Seconds{9}}};
  EXPECT_EQ(owner(claims), 1u);
  claims[2].priority = 2;
  EXPECT_EQ(owner(claims), 2u);
  EXPECT_EQ(owner({}), std::nullopt);
}

TEST(Owner, ARolledBackReleaseGivesTheSlotToTheNextDeployment) {
  std::vector<Claim> claims{{"a", 0, kNow}, {"b", 1, kNow}};
  EXPECT_EQ(owner(claims), 1u);
  claims[1].rejected = true;
  EXPECT_EQ(owner(claims), 0u);
  claims[0].rejected = true;
  EXPECT_EQ(owner(claims), 1u);  // nobody else could do better
}

TEST(Rejected, OnlyANewDigestOrTokenIsTriedAgain) {
  const std::vector<Rejection> list{{"dep", "sha256:aa", "t1"}};
  EXPECT_TRUE(is_rejected(list, "dep", "sha256:aa", "t1"));
  EXPECT_FALSE(is_rejected(list, "dep", "sha256:aa", "t2"));
  EXPECT_FALSE(is_rejected(list, "dep", "sha256:bb", "t1"));
  EXPECT_FALSE(is_rejected(list, "other", "sha256:aa", "t1"));
}

TEST(Deferral, SaysWhyADeviceDoesNotCount) {
  Reachability d{true, false, true, {}, true, {}};
  EXPECT_EQ(deferral(d, kNow), "");
  d.in_window = false;
  EXPECT_EQ(deferral(d, kNow), "OutOfWindow");
  d.reachable = false;
  d.unreachable_since = kNow - Seconds{599};
  EXPECT_EQ(deferral(d, kNow), "");
  d.unreachable_since = kNow - Seconds{600};
  EXPECT_EQ(deferral(d, kNow), "Offline");
  d.config_error = "cameraUrl";
  EXPECT_EQ(deferral(d, kNow), "MissingParameter");
  d.provisioned = false;
  EXPECT_EQ(deferral(d, kNow), "NeverProvisioned");
  d.suspended = true;
  EXPECT_EQ(deferral(d, kNow), "Suspended");
}

TEST(ProgressClock, CountsReachableTimeOnly) {
  ProgressClock clock;
  clock.run(true, kNow);
  clock.run(false, kNow + Seconds{10});
  EXPECT_EQ(clock.elapsed(kNow + Seconds{1000}), Nanos{Seconds{10}});
  clock.run(true, kNow + Seconds{1000});
  EXPECT_EQ(clock.elapsed(kNow + Seconds{1005}), Nanos{Seconds{15}});
}

TEST(Decide, CanaryFirstThenEverybody) {
  Strategy s;
  s.phases = {{"canary", 1, {}, false, false}, {"all", {}, 100, false, false}};
  std::vector<DeviceView> devices{device("a"), device("b"), device("c")};
  Decision d = decide(s, devices, {}, "r1", kNow);
  ASSERT_EQ(d.cursor.admitted.size(), 1u);
  EXPECT_EQ(d.cursor.phase, 0);
  EXPECT_EQ(d.reason, "Progressing");
  const std::string canary = d.cursor.admitted[0];
  for (auto& v : devices) {
    if (v.name == canary) v.state = DeviceState::kSucceeded;
  }
  d = decide(s, devices, d.cursor, "r1", kNow);
  EXPECT_EQ(d.cursor.phase, 1);
  EXPECT_EQ(d.cursor.admitted.size(), 2u);
  for (auto& v : devices) v.state = DeviceState::kSucceeded;
  d = decide(s, devices, d.cursor, "r1", kNow);
  EXPECT_TRUE(d.complete);
  EXPECT_EQ(d.reason, "RolloutComplete");
  EXPECT_TRUE(d.cursor.admitted.empty());
}

TEST(Decide, AFailedCanaryStopsTheRollout) {
  Strategy s;
  s.phases = {{"canary", 1, {}, false, false}, {"all", {}, 100, false, false}};
  std::vector<DeviceView> devices{device("a", DeviceState::kFailed), device("b")};
  Decision d = decide(s, devices, {}, "r1", kNow);
  EXPECT_TRUE(d.cursor.failed);
  EXPECT_EQ(d.reason, "FailureThreshold");
  EXPECT_TRUE(d.cursor.admitted.empty());
  devices[0].state = DeviceState::kPending;  // new token: the state is computed anew
  d = decide(s, devices, d.cursor, "r1", kNow);
  EXPECT_TRUE(d.cursor.failed) << "latched";
  d = decide(s, devices, d.cursor, "r2", kNow);
  EXPECT_FALSE(d.cursor.failed);
  EXPECT_EQ(d.cursor.admitted.size(), 1u);
}

TEST(Decide, FailureIsStrictlyAboveAndSuccessAtLeast) {
  Strategy s;
  s.failure_percent = 25;
  s.success_percent = 75;
  std::vector<DeviceView> devices{
      device("a", DeviceState::kSucceeded), device("b", DeviceState::kSucceeded),
      device("c", DeviceState::kSucceeded), device("d", DeviceState::kFailed)};
  Decision d = decide(s, devices, {}, "r", kNow);
  EXPECT_FALSE(d.cursor.failed);
  EXPECT_TRUE(d.complete);
  devices[2].state = DeviceState::kFailed;
  EXPECT_TRUE(decide(s, devices, {}, "r", kNow).cursor.failed);
}

TEST(Decide, MinSamplesDelaysTheVerdict) {
  Strategy s;
  s.min_samples = 3;
  std::vector<DeviceView> devices{device("a", DeviceState::kFailed), device("b"), device("c"),
                                  device("d")};
  EXPECT_FALSE(decide(s, devices, {}, "r", kNow).cursor.failed);
  devices[1].state = devices[2].state = DeviceState::kSucceeded;
  EXPECT_TRUE(decide(s, devices, {}, "r", kNow).cursor.failed);
}

TEST(Decide, DeferredDevicesAreInNoDenominator) {
  Strategy s;
  std::vector<DeviceView> devices{device("a", DeviceState::kSucceeded),
                                  device("b", DeviceState::kDeferred)};
  Decision d = decide(s, devices, {}, "r", kNow);
  EXPECT_TRUE(d.complete);
  EXPECT_EQ(d.counts.deferred, 1);
  devices[1].state = DeviceState::kPending;  // a late joiner comes back
  d = decide(s, devices, d.cursor, "r", kNow);
  EXPECT_EQ(d.cursor.admitted, std::vector<std::string>{"b"});
}

TEST(Decide, AnEmptyPhaseWaits) {
  Strategy s;
  s.phases = {{"canary", {}, 50, false, false}, {"all", {}, 100, false, false}};
  std::vector<DeviceView> devices{device("a", DeviceState::kDeferred)};
  Decision d = decide(s, devices, {}, "r", kNow);
  EXPECT_EQ(d.cursor.phase, 0);
  EXPECT_EQ(d.reason, "WaitingForDevices");
}

TEST(Decide, ManualPhaseWaitsForApproval) {
  Strategy s;
  s.phases = {{"canary", 1, {}, false, false}, {"rest", {}, 100, true, false}};
  std::vector<DeviceView> devices{device("a", DeviceState::kSucceeded), device("b")};
  Decision d = decide(s, devices, {}, "r", kNow);
  EXPECT_EQ(d.cursor.phase, 1);
  EXPECT_EQ(d.reason, "AwaitingApproval");
  EXPECT_TRUE(d.cursor.admitted.empty());
  s.phases[1].approved = true;
  d = decide(s, devices, d.cursor, "r", kNow);
  EXPECT_EQ(d.cursor.admitted, std::vector<std::string>{"b"});
}

TEST(Decide, PauseBetweenPhasesIsKept) {
  Strategy s;
  s.pause_between = Seconds{60};
  s.phases = {{"canary", 1, {}, false, false}, {"rest", {}, 100, false, false}};
  std::vector<DeviceView> devices{device("a", DeviceState::kSucceeded), device("b")};
  Decision d = decide(s, devices, {}, "r", kNow);
  EXPECT_EQ(d.reason, "PausedBetween");
  EXPECT_EQ(d.requeue_after, Nanos{Seconds{60}});
  d = decide(s, devices, d.cursor, "r", kNow + Seconds{61});
  EXPECT_EQ(d.cursor.phase, 1);
}

TEST(Decide, PausedLetsRunningDevicesFinish) {
  Strategy s;
  s.paused = true;
  std::vector<DeviceView> devices{device("a", DeviceState::kUpdating), device("b")};
  Cursor c;
  c.release = "r";
  c.admitted = {"a", "b"};
  Decision d = decide(s, devices, c, "r", kNow);
  EXPECT_EQ(d.reason, "Paused");
  EXPECT_EQ(d.cursor.admitted, std::vector<std::string>{"a"});
}

TEST(Decide, MaxUnavailableCountsDevicesThatAreDownAlready) {
  Strategy s;
  s.max_unavailable = 1;
  std::vector<DeviceView> devices{device("a"), device("b"), device("c")};
  for (auto& d : devices) d.group = "site";
  devices[2].group = "other";
  devices[0].available = false;
  devices[0].state = DeviceState::kFailed;
  s.failure_percent = 100;
  Decision d = decide(s, devices, {}, "r", kNow);
  EXPECT_EQ(d.cursor.admitted, std::vector<std::string>{"c"});
}

TEST(Decide, SupersededDevicesAreNotDesired) {
  std::vector<DeviceView> devices{device("a", DeviceState::kSuperseded)};
  Decision d = decide({}, devices, {}, "r", kNow);
  EXPECT_EQ(d.reason, "NoDevices");
  EXPECT_EQ(d.counts.superseded, 1);
  EXPECT_EQ(d.counts.desired, 0);
}

TEST(Admitted, BelongsToOneRelease) {
  Cursor c;
  c.release = "r1";
  c.admitted = {"a"};
  EXPECT_TRUE(admitted(c, "r1", "a"));
  EXPECT_FALSE(admitted(c, "r2", "a"));
  EXPECT_FALSE(admitted(c, "r1", "b"));
}

}  // namespace
}  // namespace tango::rollout
