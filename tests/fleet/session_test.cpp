#include <gtest/gtest.h>

#include "lib/artifacts/keys.h"
#include "lib/fleet/deploy.h"
#include "tests/fleet/fake_agent.h"

namespace tango::fleet {
namespace {

using testing::FakeAgent;

class Fleet : public ::testing::Test {
 protected:
  void SetUp() override {
    keys_ = *artifacts::init_keys(dir_ / "keys");
    hello_.fleet_epoch = 1;
    hello_.epoch = sign_epoch(*keys_.key(artifacts::Role::kAssignment), 1, system_clock().now());
    hello_.root = keys_.signed_root;
    hello_.root_chain = keys_.chain;
    ASSERT_TRUE(make_dirs(dir_ / "tree/bin").ok());
    ASSERT_TRUE(write_file_atomic(dir_ / "tree/bin/run", "#!/bin/false\n", 0755).ok());
    // Incompressible, so that the bytes on the wire are what they seem.
    ASSERT_TRUE(write_file_atomic(dir_ / "tree/model", noise(6'000'000)).ok());
    artifacts::BundleSpec spec;
    spec.id = "default/demo";
    spec.entry = {{"bin/run"}, "none", ""};
    bundle_ = *artifacts::build_bundle(dir_ / "tree", spec);
    request_.bundle = &bundle_;
    request_.index_envelope = artifacts::sign_document(bundle_.index_bytes, artifacts::kIndexType,
                                                       *keys_.key(artifacts::Role::kRelease));
    request_.assignment_key = keys_.key(artifacts::Role::kAssignment);
    request_.sequence = 1;
    request_.fleet_epoch = 1;
  }
  static std::string noise(std::size_t n) {
    CounterRandom random(1, 1);
    return random_bytes(random, n);
  }
  std::string open_reason(FakeAgent& agent) {
    auto s = agent.open(hello_);
    return s.ok() ? "opened" : s.error().reason;
  }
  TempDir dir_;
  artifacts::KeySet keys_;
  HelloParams hello_;
  artifacts::Bundle bundle_;
  DeployRequest request_;
};

TEST_F(Fleet, HelloProvesTheDevice) {
  FakeAgent agent;
  auto s = agent.open(hello_);
  ASSERT_TRUE(s.ok()) << s.error().to_string();
  EXPECT_EQ((*s)->hello().device_id, agent.id());
  EXPECT_EQ((*s)->hello().slot("main")->state, "Empty");
  EXPECT_TRUE((*s)->ping().ok());
  hello_.expected_device_id = agent.id();
  EXPECT_EQ(open_reason(agent), "opened");
}

TEST_F(Fleet, AnotherIdentityIsRefused) {
  FakeAgent liar;
  liar.wrong_proof = true;
  EXPECT_EQ(open_reason(liar), "IdentityMismatch");
  FakeAgent other;
  other.wrong_id = true;
  EXPECT_EQ(open_reason(other), "IdentityMismatch");
  FakeAgent swapped;
  hello_.expected_device_id = std::string(64, 'a');
  EXPECT_EQ(open_reason(swapped), "IdentityMismatch");
}

TEST_F(Fleet, AnotherProtocolAndShellNoiseAreNamed) {
  FakeAgent newer;
  newer.protocol = 2;
  EXPECT_EQ(open_reason(newer), "ProtocolUnsupported");
  FakeAgent noisy;
  noisy.greeting = "Welcome to Ubuntu!\n";
  EXPECT_EQ(open_reason(noisy), "ProtocolError");
}

TEST_F(Fleet, RefusalsKeepTheirFailure) {
  FakeAgent agent;
  agent.reject_op = "hello";
  agent.reject_code = "EpochBehind";
  EXPECT_EQ(open_reason(agent), "EpochBehind");
  FakeAgent full;
  full.reject_op = "plan";
  auto s = full.open(hello_);
  auto report = deploy(**s, request_);
  ASSERT_FALSE(report.ok());
  EXPECT_EQ(report.error().reason, "DiskFull");
  EXPECT_EQ((*s)->last_failure()->phase, "plan");
  EXPECT_TRUE((*s)->last_failure()->retryable);
  EXPECT_TRUE((*s)->ping().ok());  // a refusal ends the call, not the session
}

TEST_F(Fleet, AGapInTheRootsIsFilledByTheChain) {
  FakeAgent agent;
  agent.root_gap = true;
  EXPECT_EQ(open_reason(agent), "opened");
  EXPECT_EQ(agent.ops, (std::vector<std::string>{"hello", "rotateRoot", "hello"}));
}

TEST_F(Fleet, DeploySendsWhatIsMissingWithinTheWindow) {
  FakeAgent agent;
  agent.window = 1u << 20;
  auto s = agent.open(hello_);
  ASSERT_TRUE(s.ok());
  std::vector<std::string> phases;
  auto report = deploy(**s, request_, [&](const Progress& p) {
    if (phases.empty() || phases.back() != p.phase) phases.push_back(p.phase);
  });
  ASSERT_TRUE(report.ok()) << report.error().to_string();
  EXPECT_EQ(report->outcome, "committed");
  EXPECT_EQ(report->measured.latency_p95_us, 200.5);
  EXPECT_EQ(report->bytes_needed, bundle_.chunks.total_bytes);
  EXPECT_EQ(phases, (std::vector<std::string>{"plan", "transfer", "selftest"}));
  EXPECT_LE(agent.max_unacknowledged, 1u << 20);
  EXPECT_EQ(agent.outbox.size(), 0u);  // acknowledged
  std::string all;
  for (const auto& [i, bytes] : agent.chunks) all += bytes;
  EXPECT_EQ(all, "#!/bin/false\n" + noise(6'000'000));
}

TEST_F(Fleet, ABrokenTransferResumesWithoutSendingAgain) {
  FakeAgent agent;
  agent.cut_after_data = 3'000'000;
  ResumeOptions options;
  options.initial_wait = Millis{1};
  auto report = deploy_resuming([&] { return agent.open(hello_); }, request_, options);
  ASSERT_TRUE(report.ok()) << report.error().to_string();
  EXPECT_EQ(report->outcome, "committed");
  EXPECT_EQ(agent.connections, 2);
  // Everything once, plus the two plans; far from twice.
  EXPECT_LT(agent.data_bytes, 6'300'000u);
  EXPECT_LT(report->chunks_needed, report->chunks_total);
}

TEST_F(Fleet, AnActivationWhoseReplyWasLostIsNotRepeated) {
  FakeAgent agent;
  agent.lose_activate_reply = true;
  ResumeOptions options;
  options.initial_wait = Millis{1};
  auto report = deploy_resuming([&] { return agent.open(hello_); }, request_, options);
  ASSERT_TRUE(report.ok()) << report.error().to_string();
  EXPECT_EQ(report->outcome, "committed");
  EXPECT_EQ(std::count(agent.ops.begin(), agent.ops.end(), "activate"), 1);
  EXPECT_EQ(agent.ops.back(), "ack");
}

TEST_F(Fleet, ARollbackIsAReportWithItsFailure) {
  FakeAgent agent;
  agent.outcome = "rolledBack";
  auto s = agent.open(hello_);
  auto report = deploy(**s, request_);
  ASSERT_TRUE(report.ok()) << report.error().to_string();
  EXPECT_EQ(report->outcome, "rolledBack");
  EXPECT_EQ(report->failure->code, "LatencyExceeded");
  FakeAgent later;
  later.outcome = "deferred";
  auto s2 = later.open(hello_);
  EXPECT_EQ(deploy(**s2, request_)->retry_after, Seconds{5});
}

TEST_F(Fleet, WrongSignatureStaleSequenceAndFlippedBitsAreRefused) {
  FakeAgent agent;
  auto s = agent.open(hello_);
  ASSERT_TRUE(s.ok());
  DeployRequest wrong = request_;
  wrong.index_envelope = artifacts::sign_document(bundle_.index_bytes, artifacts::kIndexType,
                                                  artifacts::SigningKey::generate());
  EXPECT_EQ(deploy(**s, wrong).error().reason, "ThresholdUnmet");
  artifacts::Bundle flipped = bundle_;
  flipped.index_bytes[20] = static_cast<char>(flipped.index_bytes[20] ^ 1);
  wrong = request_;
  wrong.bundle = &flipped;
  EXPECT_EQ(deploy(**s, wrong).error().reason, "SignatureInvalid");
  agent.highest_sequence = 5;
  EXPECT_EQ(deploy(**s, request_).error().reason, "SequenceStale");
}

TEST_F(Fleet, AnotherArchitectureIsRefusedBeforeAnythingIsSent) {
  FakeAgent agent;
  agent.arch = "arm64";
  auto s = agent.open(hello_);
  EXPECT_EQ(deploy(**s, request_).error().reason, "WrongArchitecture");
  EXPECT_EQ(agent.ops.size(), 1u);
}

TEST_F(Fleet, AFileThatChangedUnderTheBundleEndsTheTransfer) {
  FakeAgent agent;
  auto s = agent.open(hello_);
  ASSERT_TRUE(write_file_atomic(dir_ / "tree/model", std::string(6'000'000, 'x')).ok());
  EXPECT_EQ(deploy(**s, request_).error().reason, "HashMismatch");
  EXPECT_TRUE((*s)->ping().ok());
}

TEST_F(Fleet, BodiesTravelBothWays) {
  FakeAgent agent;
  auto s = agent.open(hello_);
  RelayRequest relay;
  relay.method = "POST";
  relay.path = "/predict";
  relay.body = noise(700'000);
  auto reply = (*s)->relay(relay);
  ASSERT_TRUE(reply.ok()) << reply.error().to_string();
  EXPECT_EQ(agent.last_body, relay.body);
  EXPECT_EQ(reply->status, 200);
  EXPECT_EQ(reply->body, std::string(300'000, 'r'));
  auto result = (*s)->evaluate("main", "idx", {{"a", "12"}, {"b", noise(300'000)}}, Seconds{5});
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(get_double(*result, "accuracy"), 0.9);
  EXPECT_EQ(agent.last_body, "12" + noise(300'000));
  EXPECT_EQ((*s)->logs("main", "", 100)->next, "5");
}

TEST_F(Fleet, AStopCancelsTheCallAndKeepsTheSession) {
  FakeAgent agent;
  agent.hang_op = "status";
  auto s = agent.open(hello_);
  std::stop_source source;
  std::thread stopper([&] {
    std::this_thread::sleep_for(Millis{100});
    source.request_stop();
  });
  CallOptions options;
  options.stop = source.get_token();
  auto reply = (*s)->call("status", Json::object(), options);
  stopper.join();
  EXPECT_EQ(reply.error().reason, "Cancelled");
  EXPECT_TRUE((*s)->ping().ok());
}

TEST_F(Fleet, ADeadlineEndsACallThatIsNeverAnswered) {
  FakeAgent agent;
  agent.hang_op = "status";
  auto s = agent.open(hello_);
  CallOptions options;
  options.deadline = Millis{100};
  EXPECT_EQ((*s)->call("status", Json::object(), options).error().reason, "Timeout");
}

std::string tar_header(std::string name, std::size_t size, char type) {
  std::string h(512, '\0');
  h.replace(0, name.size(), name);
  char text[16];
  std::snprintf(text, sizeof text, "%011zo", size);
  h.replace(124, 11, text);
  h[156] = type;
  h.replace(257, 5, "ustar");
  h.replace(148, 8, "        ");
  unsigned sum = 0;
  for (char c : h) sum += static_cast<unsigned char>(c);
  std::snprintf(text, sizeof text, "%06o", sum);
  h.replace(148, 7, std::string(text, 6) + '\0');
  return h;
}

TEST(Tar, ReadsFilesAndRefusesTheRest) {
  std::string content = "hello";
  std::string good = tar_header("./d/", 0, '5') + tar_header("./d/f", 5, '0') + content +
                     std::string(507, '\0') + std::string(1024, '\0');
  auto files = read_tar(good);
  ASSERT_TRUE(files.ok()) << files.error().to_string();
  ASSERT_EQ(files->size(), 1u);
  EXPECT_EQ(files->at(0).path, "d/f");
  EXPECT_EQ(files->at(0).content, "hello");
  EXPECT_EQ(read_tar(tar_header("../x", 0, '0')).error().reason, "PathUnsafe");
  EXPECT_EQ(read_tar(tar_header("l", 0, '2')).error().reason, "InvalidTar");
  EXPECT_EQ(read_tar(tar_header("f", 600, '0')).error().reason, "InvalidTar");
  std::string bad = tar_header("f", 0, '0');
  bad[0] = 'g';
  EXPECT_EQ(read_tar(bad).error().reason, "InvalidTar");
  CounterRandom random(3, 3);
  for (int i = 0; i < 10'000; ++i) {
    std::string mutated = good;
    mutated[random.below(mutated.size())] = static_cast<char>(random.below(256));
    mutated.resize(random.below(mutated.size() + 1));
    (void)read_tar(mutated);
  }
}

TEST(RandomReplies, NeverBreakTheClient) {
  // A device is not trusted: whatever it answers, the client ends with an error, in time.
  CounterRandom random(4, 4);
  HelloParams hello;
  for (int i = 0; i < 300; ++i) {
    int fds[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    std::string answer = artifacts::encode_frame(
        artifacts::FrameType::kReply, 1,
        R"({"ok":true,"protocol":1,"device":{"id":"00","agentKey":{"alg":"ed25519","public":"AA=="}},"slots":[{"name":"main"}]})");
    for (int k = 0; k < 3; ++k) {
      answer[random.below(answer.size())] = static_cast<char>(random.below(256));
    }
    ASSERT_TRUE(write_all(fds[1], answer).ok());
    ::shutdown(fds[1], SHUT_WR);
    Fd other(fds[1]);
    auto s = start_agent_session(std::make_unique<FdChannel>(Fd(fds[0]), Fd()), nullptr, hello);
    ASSERT_FALSE(s.ok());
  }
}

}  // namespace
}  // namespace tango::fleet
