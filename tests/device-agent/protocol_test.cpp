// The daemon's side of the protocol: a device in this process, sessions over a socket pair.
#include "tests/device-agent/device_fixture.h"

namespace tango::agent {
namespace {

using test::Channel;
using test::code_of;
using test::PlanOptions;

class ProtocolTest : public test::DeviceTest {};

TEST_F(ProtocolTest, HelloProvesTheIdentityAndItSurvivesARestart) {
  {
    Channel channel = raw();
    const auto hello = op_.hello(channel);  // checks the proof
    ASSERT_TRUE(hello.ok()) << hello.error().to_string();
    EXPECT_EQ((*hello)["rootVersion"], 1);
    EXPECT_FALSE((*hello)["rescue"].get<bool>());
    EXPECT_EQ(get_string((*hello)["sandbox"][0], "state"), "Enforced");
  }
  const std::string id = op_.device_id;
  reopen();
  Channel channel = connected();
  EXPECT_EQ(op_.device_id, id);
}

TEST_F(ProtocolTest, NothingButHelloIsAnsweredBeforeHello) {
  Channel channel = raw();
  for (const char* op : {"status", "plan", "inventory", "relay", "remove"}) {
    EXPECT_EQ(code_of(channel.request({{"op", op}, {"slot", "main"}}).value()), "HelloRequired")
        << op;
  }
  EXPECT_EQ(code_of(op_.hello(channel).value()), "");
  EXPECT_EQ(code_of(channel.request({{"op", "upgradeAgent"}}).value()), "Unsupported");
  EXPECT_EQ(code_of(channel.request({{"op", "decommission"}}).value()), "Unsupported");
  EXPECT_EQ(code_of(channel.request({{"no", "op"}}).value()), "InvalidRequest");
}

TEST_F(ProtocolTest, ALowerFleetEpochIsRefusedAlsoAfterARestart) {
  op_.epoch = 5;
  { Channel channel = connected(); }
  reopen();
  op_.epoch = 4;
  Channel channel = raw();
  EXPECT_EQ(code_of(op_.hello(channel).value()), "EpochBehind");
  EXPECT_EQ(code_of(channel.request({{"op", "status"}}).value()), "HelloRequired");
  op_.epoch = 6;
  EXPECT_EQ(code_of(op_.hello(channel).value()), "");
}

TEST_F(ProtocolTest, TheRootIsPinnedAtFirstContactAndThenChangesOnlyByTheChain) {
  { Channel channel = connected(); }
  Json foreign = test::Operator().hello_request();  // another operator's keys, same version
  Channel channel = raw();
  EXPECT_EQ(code_of(channel.request(foreign).value()), "RootConflict");
  Json without = op_.hello_request();
  without["epoch"] = foreign["epoch"];
  EXPECT_EQ(code_of(channel.request(without).value()), "ThresholdUnmet");
  auto rotated = artifacts::rotate_key(op_.keys.dir, artifacts::Role::kAssignment);
  ASSERT_TRUE(rotated.ok()) << rotated.error().to_string();
  op_.keys = *rotated;
  const auto hello = op_.hello(channel);
  ASSERT_TRUE(hello.ok());
  EXPECT_EQ((*hello)["rootVersion"], 2);
}

TEST_F(ProtocolTest, AReleaseIsDeliveredActivatedAndReportedOnce) {
  Channel channel = connected();
  const auto a = release("A");
  const auto result = op_.deploy(channel, a);
  ASSERT_TRUE(result.ok()) << result.error().to_string();
  ASSERT_EQ(code_of(*result), "") << result->dump();
  EXPECT_EQ((*result)["result"]["outcome"], "committed") << result->dump();
  EXPECT_EQ((*result)["result"]["measured"]["latencyUs"]["p95"], 2500);
  EXPECT_GE(channel.events.size(), 5u);

  const Json slot = slot_status(channel);
  EXPECT_EQ(slot["state"], "Committed");
  EXPECT_EQ(slot["digest"], a.digest().to_string());
  EXPECT_TRUE(slot["ready"].get<bool>());
  EXPECT_EQ(test::http_get(slot["listen"].get<std::string>(), "/version"), "A");

  // The result waits in the outbox until it is acknowledged, over a restart.
  const std::string id = (*result)["result"]["id"].get<std::string>();
  reopen();
  channel = connected();
  auto status = channel.request({{"op", "status"}}).value();
  ASSERT_EQ(status["outbox"].size(), 1u);
  EXPECT_EQ(status["outbox"][0]["id"], id);
  EXPECT_EQ(code_of(channel.request({{"op", "ack"}, {"ids", {id}}}).value()), "");
  EXPECT_TRUE(channel.request({{"op", "status"}}).value()["outbox"].empty());
  reopen();
  channel = connected();
  EXPECT_TRUE(channel.request({{"op", "status"}}).value()["outbox"].empty());
}

TEST_F(ProtocolTest, TheSamePlanAgainIsCurrentAndActivateAnswersWithTheOutcome) {
  Channel channel = connected();
  const auto a = release("A");
  ASSERT_EQ((*op_.deploy(channel, a))["result"]["outcome"], "committed");
  PlanOptions again;
  again.sequence = 1;
  const auto plan = op_.plan(channel, a, again);
  EXPECT_EQ((*plan)["state"], "Current") << plan->dump();
  EXPECT_EQ((*op_.activate(channel, "main", 1))["result"]["outcome"], "committed");
  EXPECT_EQ(code_of(*op_.activate(channel, "main", 99)), "SequenceStale");
}

TEST_F(ProtocolTest, OnlyMissingChunksTravelAndAConfigurationMovesNoBytes) {
  Channel channel = connected();
  const auto a = release("A");
  ASSERT_EQ((*op_.deploy(channel, a))["result"]["outcome"], "committed");
  const auto b = release("B");  // same program, other weights
  const auto planned = op_.plan(channel, b);
  EXPECT_EQ((*planned)["state"], "Needed");
  const auto needed = (*planned)["needed"]["bytes"].get<std::uint64_t>();
  EXPECT_LT(needed, 310'000u) << "the program is held, only weights and behaviour are asked for";
  EXPECT_GT((*planned)["held"].size(), 0u);

  PlanOptions config;
  config.config = R"({"args":["--x"],"parameters":{"cameraUrl":"rtsp://a"}})";
  const auto result = op_.deploy(channel, a, config);
  ASSERT_EQ((*result)["result"]["outcome"], "committed") << result->dump();
  EXPECT_EQ(channel.credits.size(), 0u) << "no Data was needed";
  auto text = read_file(dir_ / "root/slots/main/run/3/config/parameters.json");
  EXPECT_EQ(std::move(text).value_or(""), R"({"cameraUrl":"rtsp://a"})");
}

TEST_F(ProtocolTest, ATransferResumesWhereItsDurablePartEnded) {
  const auto a = release("A", {}, {}, 3'000'000);
  Json planned;
  {
    Channel channel = connected();
    planned = op_.plan(channel, a).value();
    ASSERT_TRUE(op_.transfer(channel, a, planned, 20).ok());
    // Wait for a durable acknowledgement, then lose the connection.
    while (channel.credit.durable == 0) {
      const auto frame = channel.next(Seconds{5});
      ASSERT_TRUE(frame.ok()) << frame.error().to_string();
      if (frame->type == artifacts::FrameType::kCredit)
        channel.credit = artifacts::parse_credit(frame->payload).value();
    }
  }
  reopen();
  Channel channel = connected();
  PlanOptions same;
  same.sequence = 1;
  const Json again = op_.plan(channel, a, same).value();
  EXPECT_LT(again["needed"]["chunks"].get<int>(), planned["needed"]["chunks"].get<int>())
      << again.dump();
  EXPECT_GT(again["needed"]["chunks"].get<int>(), 0);
  ASSERT_EQ(code_of(op_.transfer(channel, a, again).value()), "");
  EXPECT_EQ((*op_.activate(channel, "main", 1))["result"]["outcome"], "committed");
}

TEST_F(ProtocolTest, AFlippedBitInAChunkEndsTheTransferAndKeepsTheGoodOnes) {
  Channel channel = connected();
  const auto a = release("A");
  const Json planned = op_.plan(channel, a).value();
  const auto failed =
      op_.transfer(channel, a, planned, std::nullopt, [](std::size_t i, std::string& bytes) {
        if (i == 5) bytes[100] = static_cast<char>(bytes[100] ^ 4);
      });
  EXPECT_EQ(code_of(*failed), "HashMismatch") << failed->dump();
  EXPECT_EQ((*failed)["failure"]["element"], "5");
  PlanOptions same;
  same.sequence = 1;
  const Json again = op_.plan(channel, a, same).value();
  EXPECT_EQ(again["needed"]["chunks"].get<int>(), planned["needed"]["chunks"].get<int>() - 5);
  ASSERT_EQ(code_of(op_.transfer(channel, a, again).value()), "");
}

TEST_F(ProtocolTest, PlansThatMustNotBeBelievedAreRefusedBeforeTheFirstByte) {
  Channel channel = connected();
  const auto a = release("A");
  const auto refused = [&](PlanOptions options) {
    return code_of(op_.plan(channel, a, options).value());
  };
  PlanOptions p;
  p.tamper = [](auto& d) { d.index.document[30] = static_cast<char>(d.index.document[30] ^ 1); };
  EXPECT_EQ(refused(p), "SignatureInvalid");
  test::Operator stranger;
  p.tamper = [&](auto& d) {
    d.index.envelope = artifacts::encode_envelope(artifacts::sign_document(
        d.index.document, artifacts::kIndexType, *stranger.keys.key(artifacts::Role::kRelease)));
  };
  EXPECT_EQ(refused(p), "ThresholdUnmet");
  p = {};
  p.edit = [](auto& d) { d.device_id = std::string(64, 'a'); };
  EXPECT_EQ(refused(p), "AssignmentMismatch");
  p.edit = [](auto& d) {  // hello brought a newer time than its end
    d.issued_at -= std::chrono::hours{2};
    d.expires = d.issued_at + std::chrono::hours{1};
  };
  EXPECT_EQ(refused(p), "AssignmentExpired");
  p.edit = [](auto& d) { d.slot = "other"; };
  EXPECT_EQ(refused(p), "AssignmentMismatch");
  p = {};
  p.tamper = [](auto& d) { d.chunk_list[40] = static_cast<char>(d.chunk_list[40] ^ 1); };
  EXPECT_NE(refused(p), "");
  EXPECT_TRUE(slot_status(channel).empty()) << "a refused plan makes no slot";
  EXPECT_FALSE(fs::exists(dir_ / "root/slots/main"));
}

TEST_F(ProtocolTest, AStaleSequenceIsRefused) {
  Channel channel = connected();
  const auto a = release("A"), b = release("B");
  PlanOptions p;
  p.sequence = 7;
  ASSERT_EQ((*op_.deploy(channel, a, p))["result"]["outcome"], "committed");
  p.sequence = 6;
  EXPECT_EQ(code_of(*op_.plan(channel, b, p)), "SequenceStale");
  p.sequence = 7;
  EXPECT_EQ(code_of(*op_.plan(channel, b, p)), "SequenceStale")
      << "the same number for another release";
  reopen();
  channel = connected();
  p.sequence = 6;
  EXPECT_EQ(code_of(*op_.plan(channel, b, p)), "SequenceStale");
}

TEST_F(ProtocolTest, ALowerSecurityVersionIsRefusedOnceAHigherOneCommitted) {
  Channel channel = connected();
  const auto b = release("B", {}, [](auto& s) { s.security_version = 2; });
  const auto a = release("A", {}, [](auto& s) { s.security_version = 1; });
  ASSERT_EQ((*op_.deploy(channel, b))["result"]["outcome"], "committed");
  EXPECT_EQ(code_of(*op_.plan(channel, a)), "DowngradeRefused");
}

TEST_F(ProtocolTest, AnotherArchitectureIsRefused) {
  Channel channel = connected();
  const auto a = release("A", {}, [](auto& s) { s.target.arch = "arm64"; });
  EXPECT_EQ(code_of(*op_.plan(channel, a)), "WrongArchitecture");
}

TEST_F(ProtocolTest, MemoryAndSpaceAreCheckedBeforeTheFirstByte) {
  std::uint64_t free = 100u << 20;
  slot_.machine.memory_total = [] { return 1ull << 30; };
  slot_.machine.memory_available = [] { return 1ull << 29; };
  slot_.machine.free_bytes = [&](const fs::path&) -> Result<std::uint64_t> { return free; };
  reopen();
  Channel channel = connected();
  const auto big = release("big", {}, [](auto& s) { s.resources.memory_bytes = 2ull << 30; });
  EXPECT_EQ(code_of(*op_.plan(channel, big)), "MemoryShort");
  free = 17u << 20;  // the reserve alone is 16 MiB
  const auto a = release("A");
  const auto full = op_.plan(channel, a);
  EXPECT_EQ(code_of(*full), "DiskFull");
  EXPECT_NE((*full)["failure"]["message"].get<std::string>().find("missing"), std::string::npos);
  EXPECT_TRUE((*full)["failure"]["retryable"].get<bool>());
  free = 1u << 30;
  EXPECT_EQ((*op_.deploy(channel, a))["result"]["outcome"], "committed");
}

TEST_F(ProtocolTest, LogsRelayEvaluateAndBenchReachTheRunningRelease) {
  Channel channel = connected();
  EXPECT_EQ(
      code_of(channel.request({{"op", "relay"}, {"slot", "main"}, {"path", "/version"}}).value()),
      "InvalidRequest");
  ASSERT_EQ((*op_.deploy(channel, release("A")))["result"]["outcome"], "committed");
  const std::string image(700'000, 'p');
  auto reply = channel.request({{"op", "relay"},
                                {"slot", "main"},
                                {"method", "POST"},
                                {"path", "/predict"},
                                {"headers", {{"content-type", "image/png"}}}},
                               image);
  ASSERT_TRUE(reply.ok()) << reply.error().to_string();
  EXPECT_EQ((*reply)["status"], 200) << reply->dump();
  EXPECT_EQ(channel.body, R"({"class":"A","bytes":700000})");
  reply =
      channel.request({{"op", "relay"}, {"slot", "main"}, {"method", "GET"}, {"path", "/chunked"}});
  EXPECT_EQ(channel.body, "hello world");
  EXPECT_EQ(
      code_of(*channel.request({{"op", "relay"}, {"slot", "main"}, {"path", "/x\r\nHost: evil"}})),
      "InvalidRequest");
  EXPECT_EQ(code_of(*channel.request(
                {{"op", "relay"}, {"slot", "main"}, {"method", "DELETE"}, {"path", "/"}})),
            "InvalidRequest");

  ASSERT_TRUE(test::eventually([&] {
    const auto logs = channel.request({{"op", "logs"}, {"slot", "main"}, {"maxBytes", 4096}});
    return logs.ok() && get_string(*logs, "text").find("serving version A") != std::string::npos;
  }));
  const auto measured = channel.request({{"op", "bench"}, {"slot", "main"}});
  EXPECT_EQ((*measured)["measured"]["latencyUs"]["p50"], 1250);

  const auto evaluated = channel.request(
      {{"op", "evaluate"},
       {"slot", "main"},
       {"format", "folder"},
       {"timeoutMs", 5000},
       {"files", {{{"path", "a.png"}, {"size", 3}}, {{"path", "b.png"}, {"size", 2}}}}},
      "aaabb");
  EXPECT_EQ((*evaluated)["result"]["samples"], 2) << evaluated->dump();
  const auto outside = channel.request({{"op", "evaluate"},
                                        {"slot", "main"},
                                        {"format", "folder"},
                                        {"timeoutMs", 5000},
                                        {"files", {{{"path", "../a.png"}, {"size", 1}}}}},
                                       "a");
  EXPECT_EQ(code_of(*outside), "PathUnsafe");
  EXPECT_TRUE(!fs::exists(dir_ / "root/evaluate") || fs::is_empty(dir_ / "root/evaluate"));
}

TEST_F(ProtocolTest, LogsDoNotWaitForATransfer) {
  Channel channel = connected();
  ASSERT_EQ((*op_.deploy(channel, release("A")))["result"]["outcome"], "committed");
  const auto b = release("B");
  const Json planned = op_.plan(channel, b).value();
  ASSERT_TRUE(op_.transfer(channel, b, planned, 0).ok());  // begun, nothing sent
  const auto inventory = channel.request({{"op", "inventory"}}, {}, Seconds{5});
  ASSERT_TRUE(inventory.ok());
  EXPECT_EQ((*inventory)["inventory"]["arch"], "amd64");
  EXPECT_GT((*inventory)["inventory"]["memory"]["totalBytes"].get<std::uint64_t>(), 0u);
}

TEST_F(ProtocolTest, PingsAreAnsweredAndBrokenFramesCloseTheChannel) {
  Channel channel = connected();
  ASSERT_TRUE(channel.send(artifacts::FrameType::kPing, 9, "abc").ok());
  const auto pong = channel.next(Seconds{5});
  ASSERT_TRUE(pong.ok());
  EXPECT_EQ(pong->type, artifacts::FrameType::kPong);
  EXPECT_EQ(pong->payload, "abc");
  ASSERT_TRUE(channel.send_raw(std::string("\xff\xff\xff\xff\x01\x01\x00\x00\x00", 9)).ok());
  EXPECT_EQ(channel.next(Seconds{5}).error().reason, "ConnectionLost");
}

TEST_F(ProtocolTest, AChannelWithoutHelloIsClosed) {
  SessionLimits limits;
  limits.hello_within = Millis{10};
  Channel channel = raw(false, limits);
  EXPECT_EQ(channel.next(Seconds{5}).error().reason, "ConnectionLost");
}

TEST_F(ProtocolTest, ALocalChannelMayLookAndGoBackOnly) {
  Channel channel = raw(true);
  EXPECT_EQ(code_of(channel.request({{"op", "status"}}).value()), "");
  EXPECT_EQ(code_of(channel.request({{"op", "remove"}, {"slot", "main"}}).value()), "Unsupported");
  EXPECT_EQ(code_of(channel.request(op_.hello_request()).value()), "Unsupported");
}

TEST_F(ProtocolTest, ADamagedIdentityIsNeverReplaced) {
  { Channel channel = connected(); }
  disconnect_all();
  device_.reset();
  ASSERT_TRUE(write_file_atomic(dir_ / "root/identity/agent.key", "damaged").ok());
  DeviceOptions options;
  options.root = dir_ / "root";
  EXPECT_EQ(Device::open(options).error().reason, "KeyInvalid");
}

}  // namespace
}  // namespace tango::agent
