// What becomes of releases: the gate, rollback, supervision, removal. The release is the stand-in
// for tango-infer with one fault at a time.
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/device-agent/device_fixture.h"

namespace tango::agent {
namespace {

using test::code_of;
using test::PlanOptions;

class ReleaseTest : public test::DeviceTest {
 protected:
  // Deploys A well, then the given release, which must be rolled back to A.
  Json rolled_back(const std::string& version, test::Behaviour behaviour,
                   const std::function<void(artifacts::BundleSpec&)>& edit = {},
                   const PlanOptions& options = {}) {
    channel_ = connected();
    const auto a = release("A");
    EXPECT_EQ((*op_.deploy(channel_, a))["result"]["outcome"], "committed");
    const auto b = release(version, std::move(behaviour), edit);
    const auto result = op_.deploy(channel_, b, options);
    EXPECT_TRUE(result.ok());
    EXPECT_EQ((*result)["result"]["outcome"], "rolledBack") << result->dump();
    const Json slot = slot_status(channel_);
    EXPECT_EQ(slot["state"], "Committed");
    EXPECT_EQ(slot["digest"], a.digest().to_string());
    EXPECT_EQ(test::http_get(get_string(slot, "listen"), "/version"), "A");
    EXPECT_EQ(slot["failure"]["code"], (*result)["result"]["failure"]["code"])
        << "and status still says why";
    return (*result)["result"];
  }
  test::Channel channel_;
};

TEST_F(ReleaseTest, AWrongAnswerIsRolledBackWithoutDowntime) {
  const Json result = rolled_back("B", {{"selftest_fails", "1"}});
  EXPECT_EQ(result["failure"]["code"], "KnownAnswerFailed");
  EXPECT_EQ(result["failure"]["phase"], "health");
  EXPECT_EQ(result["downtimeMs"], 0);
  EXPECT_EQ(slot_status(channel_)["restarts"], 0);
  EXPECT_FALSE(result["failure"]["retryable"].get<bool>());
  EXPECT_NE(result["failure"]["message"].get<std::string>().find("3 of 8 samples differ"),
            std::string::npos);
}

TEST_F(ReleaseTest, ARolledBackDigestIsNotTriedAgainWithoutARetryToken) {
  rolled_back("B", {{"selftest_fails", "1"}});
  const auto b = test::make_release(dir_ / "again", "B", {{"selftest_fails", "1"}});
  EXPECT_EQ(code_of(*op_.plan(channel_, b)), "ReleaseRejected");
  reopen();
  channel_ = connected();
  EXPECT_EQ(code_of(*op_.plan(channel_, b)), "ReleaseRejected") << "also after a restart";
  EXPECT_EQ(slot_status(channel_)["rejected"][0]["reason"], "KnownAnswerFailed");
  PlanOptions retry;
  retry.retry_token = "2";
  EXPECT_EQ(code_of(*op_.plan(channel_, b, retry)), "");
  PlanOptions other;
  other.deployment_uid = "deployment-2";
  EXPECT_EQ(code_of(*op_.plan(channel_, b, other)), "") << "another deployment is not held to it";
}

TEST_F(ReleaseTest, ALatencyLimitOfTheDeploymentRollsTheSameBundleBack) {
  channel_ = connected();
  const auto a = release("A");
  ASSERT_EQ((*op_.deploy(channel_, a))["result"]["outcome"], "committed");
  PlanOptions strict;
  strict.deployment_uid = "deployment-2";
  strict.config = R"({"healthGate":{"latencyUs":1}})";
  const auto result = op_.deploy(channel_, a, strict);
  ASSERT_EQ((*result)["result"]["outcome"], "rolledBack") << result->dump();
  EXPECT_EQ((*result)["result"]["failure"]["code"], "LatencyExceeded");
  EXPECT_NE((*result)["result"]["failure"]["message"].get<std::string>().find("2500 us"),
            std::string::npos);
  const Json slot = slot_status(channel_);
  EXPECT_EQ(slot["deploymentUid"], "deployment-1");
  EXPECT_EQ(test::http_get(get_string(slot, "listen"), "/version"), "A");
  // The first deployment owns the slot again and may renew its release.
  EXPECT_EQ((*op_.deploy(channel_, a))["result"]["outcome"], "committed");
}

TEST_F(ReleaseTest, ATooSlowReleaseIsRolledBackByItsOwnGate) {
  const Json result =
      rolled_back("B", {{"p95Ms", "90.5"}}, [](auto& s) { s.health_gate.latency_us = 20'000; });
  EXPECT_EQ(result["failure"]["code"], "LatencyExceeded");
  EXPECT_EQ(result["measured"]["latencyUs"]["p95"], 90'500);
}

TEST_F(ReleaseTest, TooMuchMemoryIsRolledBack) {
  EXPECT_EQ(rolled_back("B", {},
                        [](auto& s) { s.health_gate.memory_bytes = 1u << 20; })["failure"]["code"],
            "MemoryExceeded");
}

TEST_F(ReleaseTest, ACrashAtStartIsRolledBackAndTheDowntimeIsReported) {
  const Json result = rolled_back("B", {{"exit_on_start", "3"}});
  EXPECT_EQ(result["failure"]["code"], "Crashed");
  EXPECT_NE(result["failure"]["message"].get<std::string>().find("exit code 3"), std::string::npos);
  EXPECT_GT(result["downtimeMs"].get<int>(), 0);
  const auto logs = channel_.request({{"op", "logs"}, {"slot", "main"}, {"maxBytes", 10'000}});
  EXPECT_NE(get_string(*logs, "text").find("fatal: cannot load the model"), std::string::npos);
}

TEST_F(ReleaseTest, ACrashDuringTheSoakIsRolledBack) {
  const Json result =
      rolled_back("B", {{"crash_after_ms", "400"}}, [](auto& s) { s.health_gate.soak_ms = 5'000; });
  EXPECT_EQ(result["failure"]["code"], "Crashed");
  EXPECT_NE(result["failure"]["message"].get<std::string>().find("signal 9"), std::string::npos);
}

TEST_F(ReleaseTest, AReleaseThatStopsAnsweringDuringTheSoakIsRolledBack) {
  const Json result =
      rolled_back("B", {{"sick_after_ms", "300"}}, [](auto& s) { s.health_gate.soak_ms = 20'000; });
  EXPECT_EQ(result["failure"]["code"], "ReleaseNotReady");
}

// A clock whose hours pass when the test says so.
class JumpClock : public Clock {
 public:
  TimePoint now() const override { return system_clock().now(); }
  Nanos monotonic() const override { return system_clock().monotonic() + Nanos{ahead_.load()}; }
  void sleep_for(Nanos d) override { system_clock().sleep_for(d); }
  void advance(Nanos d) { ahead_ += d.count(); }

 private:
  std::atomic<std::int64_t> ahead_{0};
};

TEST_F(ReleaseTest, ATransferWithoutProgressIsDroppedAtItsDeadlineAndGivesTheSpaceBack) {
  JumpClock clock;
  slot_.clock = &clock;
  slot_.deadline_check = Millis{20};
  reopen();
  channel_ = connected();
  ASSERT_EQ((*op_.deploy(channel_, release("A")))["result"]["outcome"], "committed");
  const auto b = release("B");
  ASSERT_EQ(op_.plan(channel_, b).value()["state"], "Needed");
  clock.advance(std::chrono::hours{23});
  system_clock().sleep_for(Millis{100});
  EXPECT_TRUE(fs::exists(dir_ / "root/staging/main.data"));
  clock.advance(std::chrono::hours{2});
  EXPECT_TRUE(test::eventually([&] { return !fs::exists(dir_ / "root/staging/main.data"); }));
  const Json slot = slot_status(channel_);
  EXPECT_EQ(slot["state"], "Committed");
  EXPECT_EQ(slot["failure"]["code"], "Timeout");
  disconnect_all();
  device_.reset();  // before the clock
}

TEST_F(ReleaseTest, APlanSentAgainDuringItsActivationJoinsIt) {
  channel_ = connected();
  const auto b = release("B", {{"selftest_sleep_ms", "700"}});
  const Json planned = op_.plan(channel_, b).value();
  ASSERT_EQ(code_of(op_.transfer(channel_, b, planned).value()), "");
  ASSERT_TRUE(channel_.begin({{"op", "activate"}, {"slot", "main"}, {"sequence", 1}}).ok());
  test::Channel other = connected();
  ASSERT_TRUE(test::eventually([&] { return slot_status(other)["state"] == "Trial"; }));
  PlanOptions same;
  same.sequence = 1;
  EXPECT_EQ((*op_.plan(other, b, same))["state"], "Complete");
  EXPECT_EQ((*op_.activate(other, "main", 1))["result"]["outcome"], "committed");
}

TEST_F(ReleaseTest, AReleaseThatNeverGetsReadyIsRolledBack) {
  ready_timeout_ = Millis{400};
  reopen();
  EXPECT_EQ(rolled_back("B", {{"never_ready", "1"}})["failure"]["code"], "ReadyTimeout");
}

TEST_F(ReleaseTest, AHangingSelfTestIsStopped) {
  slot_.health.selftest_timeout = Millis{300};
  reopen();
  EXPECT_EQ(rolled_back("B", {{"selftest_sleep_ms", "20000"}})["failure"]["code"], "Timeout");
}

TEST_F(ReleaseTest, AFirstReleaseThatFailsLeavesTheSlotEmpty) {
  channel_ = connected();
  const auto result = op_.deploy(channel_, release("B", {{"selftest_fails", "1"}}));
  EXPECT_EQ((*result)["result"]["outcome"], "rolledBack");
  EXPECT_EQ(slot_status(channel_)["state"], "Empty");
  EXPECT_EQ((*op_.deploy(channel_, release("A")))["result"]["outcome"], "committed");
}

TEST_F(ReleaseTest, TheSoakIsPartOfTheTrialAndRollbackStopsIt) {
  channel_ = connected();
  ASSERT_EQ((*op_.deploy(channel_, release("A")))["result"]["outcome"], "committed");
  const auto b = release("B", {}, [](auto& s) { s.health_gate.soak_ms = 60'000; });
  const Json planned = op_.plan(channel_, b).value();
  ASSERT_EQ(code_of(op_.transfer(channel_, b, planned).value()), "");
  ASSERT_TRUE(channel_.begin({{"op", "activate"}, {"slot", "main"}, {"sequence", 2}}).ok());
  test::Channel other = connected();
  ASSERT_TRUE(test::eventually([&] { return slot_status(other)["state"] == "Trial"; }));
  EXPECT_EQ(code_of(*op_.plan(other, b)), "Busy");
  const auto result = other.request({{"op", "rollback"}, {"slot", "main"}}, {}, Seconds{20});
  ASSERT_TRUE(result.ok());
  EXPECT_EQ((*result)["result"]["outcome"], "rolledBack") << result->dump();
  EXPECT_EQ((*result)["result"]["failure"]["code"], "Cancelled");
  EXPECT_EQ(test::http_get(slot_status(other)["listen"].get<std::string>(), "/version"), "A");
}

TEST_F(ReleaseTest, RollbackOnRequestReturnsToThePreviousRelease) {
  channel_ = connected();
  ASSERT_EQ((*op_.deploy(channel_, release("A")))["result"]["outcome"], "committed");
  EXPECT_EQ(code_of(*channel_.request({{"op", "rollback"}, {"slot", "main"}})), "NoPrevious");
  ASSERT_EQ((*op_.deploy(channel_, release("B")))["result"]["outcome"], "committed");
  EXPECT_EQ(test::http_get(slot_status(channel_)["listen"].get<std::string>(), "/version"), "B");
  const auto back = channel_.request({{"op", "rollback"}, {"slot", "main"}});
  EXPECT_EQ((*back)["result"]["outcome"], "rolledBack") << back->dump();
  EXPECT_EQ((*back)["result"]["reason"], "Requested");
  EXPECT_EQ(test::http_get(slot_status(channel_)["listen"].get<std::string>(), "/version"), "A");
}

void damage(const fs::path& file) {
  ::chmod(file.c_str(), 0644);
  std::FILE* f = std::fopen(file.c_str(), "r+");
  ASSERT_NE(f, nullptr);
  std::fputc('!', f);
  std::fclose(f);
  ::chmod(file.c_str(), 0444);
}

TEST_F(ReleaseTest, AFormerReleaseThatRottedIsNotStarted) {
  channel_ = connected();
  const auto a = release("A");
  ASSERT_EQ((*op_.deploy(channel_, a))["result"]["outcome"], "committed");
  ASSERT_EQ((*op_.deploy(channel_, release("B")))["result"]["outcome"], "committed");
  damage(dir_ / "root/releases" / a.digest().hex() / "model/weights.bin");
  const auto back = channel_.request({{"op", "rollback"}, {"slot", "main"}});
  EXPECT_EQ(code_of(*back), "HashMismatch") << back->dump();
  const Json slot = slot_status(channel_);
  EXPECT_EQ(slot["state"], "Committed");
  EXPECT_EQ(test::http_get(get_string(slot, "listen"), "/version"), "B")
      << "what runs goes on running";
}

TEST_F(ReleaseTest, WhenNoReleaseCanRunThatIsSaidAndANewOneHealsIt) {
  channel_ = connected();
  const auto a = release("A");
  ASSERT_EQ((*op_.deploy(channel_, a))["result"]["outcome"], "committed");
  damage(dir_ / "root/releases" / a.digest().hex() / "model/weights.bin");
  const auto failed = op_.deploy(channel_, release("B", {{"exit_on_start", "3"}}));
  EXPECT_EQ((*failed)["result"]["outcome"], "rolledBack");
  EXPECT_EQ((*failed)["result"]["failure"]["code"], "HashMismatch") << failed->dump();
  EXPECT_NE((*failed)["result"]["failure"]["message"].get<std::string>().find("Crashed"),
            std::string::npos);
  EXPECT_EQ(slot_status(channel_)["state"], "Broken");
  EXPECT_FALSE(slot_status(channel_)["running"].get<bool>());
  EXPECT_EQ((*op_.deploy(channel_, release("C")))["result"]["outcome"], "committed");
}

TEST_F(ReleaseTest, ACrashedReleaseIsStartedAgainWithBackOff) {
  channel_ = connected();
  ASSERT_EQ((*op_.deploy(channel_, release("A", {{"crash_after_ms", "700"}})))["result"]["outcome"],
            "committed");
  EXPECT_TRUE(test::eventually([&] {
    const Json slot = slot_status(channel_);
    return slot["restarts"].get<int>() >= 1 && slot["ready"].get<bool>();
  }));
  EXPECT_EQ(slot_status(channel_)["lastExit"], "signal 9");
}

TEST_F(ReleaseTest, RemoveStopsAndForgetsButKeepsTheSequence) {
  channel_ = connected();
  const auto a = release("A");
  EXPECT_EQ(code_of(*channel_.request({{"op", "remove"}, {"slot", "main"}})), "")
      << "an empty slot is success";
  ASSERT_EQ((*op_.deploy(channel_, a))["result"]["outcome"], "committed");
  const std::string listen = slot_status(channel_)["listen"].get<std::string>();
  EXPECT_EQ(
      code_of(*channel_.request({{"op", "remove"}, {"slot", "main"}, {"deploymentUid", "other"}})),
      "AssignmentMismatch");
  EXPECT_EQ(code_of(*channel_.request(
                {{"op", "remove"}, {"slot", "main"}, {"deploymentUid", "deployment-1"}})),
            "");
  EXPECT_EQ(test::http_get(listen, "/version"), "");
  const Json slot = slot_status(channel_);
  EXPECT_EQ(slot["state"], "Empty");
  EXPECT_EQ(slot["sequence"], 1);
  EXPECT_TRUE(fs::is_empty(dir_ / "root/releases"));
  PlanOptions stale;
  stale.sequence = 1;
  EXPECT_EQ(code_of(*op_.plan(channel_, a, stale)), "SequenceStale");
}

TEST_F(ReleaseTest, ANewerReleaseSupersedesMidTransfer) {
  channel_ = connected();
  const auto a = release("A"), b = release("B");
  const Json planned = op_.plan(channel_, a).value();
  ASSERT_TRUE(op_.transfer(channel_, a, planned, 2).ok());
  test::Channel other = connected();
  ASSERT_EQ((*op_.deploy(other, b))["result"]["outcome"], "committed");
  EXPECT_EQ(code_of(*op_.activate(other, "main", 1)), "SequenceStale");
  EXPECT_EQ(slot_status(other)["digest"], b.digest().to_string());
}

TEST_F(ReleaseTest, TwoSlotsShareFilesAndDoNotDisturbEachOther) {
  channel_ = connected();
  const auto a = release("A"), b = release("B");
  PlanOptions second;
  second.slot = "second";
  ASSERT_EQ((*op_.deploy(channel_, a))["result"]["outcome"], "committed");
  ASSERT_EQ((*op_.deploy(channel_, b, second))["result"]["outcome"], "committed");
  EXPECT_EQ(code_of(*channel_.request({{"op", "remove"}, {"slot", "second"}})), "");
  const Json slot = slot_status(channel_);
  EXPECT_EQ(test::http_get(slot["listen"].get<std::string>(), "/version"), "A");
  reopen();
  channel_ = connected();
  EXPECT_TRUE(test::eventually([&] {
    return test::http_get(get_string(slot_status(channel_), "listen"), "/version") == "A";
  }));
}

TEST_F(ReleaseTest, AFullDiskDoesNotBlockARollback) {
  if (::geteuid() != 0) GTEST_SKIP() << "mounting a small tmpfs needs root";
  const fs::path mount = dir_ / "root";
  disconnect_all();
  device_.reset();
  if (::mount("tmpfs", mount.c_str(), "tmpfs", 0, "size=24m") != 0)
    GTEST_SKIP() << "no tmpfs can be mounted here";
  slot_.disk_reserve = 0;
  reopen();
  channel_ = connected();
  EXPECT_EQ((*op_.deploy(channel_, release("A")))["result"]["outcome"], "committed");
  const auto b = release("B", {{"exit_on_start", "3"}});
  const Json planned = op_.plan(channel_, b).value();
  EXPECT_EQ(code_of(op_.transfer(channel_, b, planned).value()), "");
  const auto c =
      release("C", {{"crash_after_ms", "600"}}, [](auto& s) { s.health_gate.soak_ms = 3'000; });
  const Json again = op_.plan(channel_, c).value();
  EXPECT_EQ(code_of(op_.transfer(channel_, c, again).value()), "");
  ASSERT_TRUE(channel_.begin({{"op", "activate"}, {"slot", "main"}, {"sequence", 3}}).ok());
  test::Channel other = connected();
  EXPECT_TRUE(test::eventually(
      [&] { return test::http_get(get_string(slot_status(other), "listen"), "/version") == "C"; }));
  // From here on not one byte is free.
  {
    std::FILE* f = std::fopen((mount / "filler").c_str(), "w");
    const std::string block(65536, 'x');
    while (std::fwrite(block.data(), 1, block.size(), f) == block.size()) std::fflush(f);
    std::fclose(f);
  }
  EXPECT_TRUE(test::eventually([&] { return slot_status(other)["state"] == "Committed"; }));
  const Json slot = slot_status(other);
  EXPECT_EQ(slot["failure"]["code"], "Crashed") << slot.dump();
  EXPECT_EQ(test::http_get(get_string(slot, "listen"), "/version"), "A");
  // And a plan is refused with the missing bytes.
  EXPECT_EQ(code_of(*op_.plan(other, release("D"))), "DiskFull");
  disconnect_all();
  device_.reset();
  ::umount2(mount.c_str(), MNT_DETACH);
}

}  // namespace
}  // namespace tango::agent
