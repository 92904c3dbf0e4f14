// SSH sessions and provisioning against a real OpenSSH server on loopback.
#include <gtest/gtest.h>

#include <thread>

#include "lib/artifacts/keys.h"
#include "lib/base/random.h"
#include "lib/fleet/provision.h"
#include "tests/fleet/sshd_fixture.h"

namespace tango::fleet {
namespace {

using testing::Sshd;

class Ssh : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!Sshd::available()) GTEST_SKIP() << "/usr/sbin/sshd is not installed";
    sshd_ = std::make_unique<Sshd>(dir_ / "sshd");
    key_ = {Sshd::user(), sshd_->client_key("client", true), {}};
    sshd_->start();
  }
  std::string connect_reason(const SshTarget& target, const SshCredential& credential) {
    auto s = SshSession::connect(target, credential);
    return s.ok() ? "connected" : s.error().reason;
  }
  TempDir dir_;
  std::unique_ptr<Sshd> sshd_;
  SshCredential key_;
};

TEST_F(Ssh, ExecRunsACommandWithItsExitCodeAndStreams) {
  auto s = SshSession::connect(sshd_->target(), key_);
  ASSERT_TRUE(s.ok()) << s.error().to_string();
  EXPECT_EQ((*s)->host_fingerprint(), sshd_->fingerprint());
  auto r = (*s)->exec("echo out; echo err >&2; exit 7", "", Seconds{20});
  ASSERT_TRUE(r.ok()) << r.error().to_string();
  EXPECT_EQ(r->exit_code, 7);
  EXPECT_EQ(r->out, "out\n");
  EXPECT_NE(r->err.find("err\n"), std::string::npos);
  auto quoted =
      (*s)->exec(shell_words({"printf", "%s|", "a b", "it's", "$HOME", ";x"}), "", Seconds{20});
  EXPECT_EQ(quoted->out, "a b|it's|$HOME|;x|");
}

TEST_F(Ssh, BytesArriveUnchangedAndFast) {
  auto s = SshSession::connect(sshd_->target(), key_);
  ASSERT_TRUE(s.ok());
  CounterRandom random(5, 5);
  std::string data = random_bytes(random, 20'000'000);
  std::string file = (dir_ / "copy").string();
  Nanos start = system_clock().monotonic();
  auto r = (*s)->exec("cat > " + shell_words({file}), data, Seconds{50});
  ASSERT_TRUE(r.ok()) << r.error().to_string();
  double seconds = std::chrono::duration<double>(system_clock().monotonic() - start).count();
  RecordProperty("MBps", static_cast<int>(20 / seconds));
  std::printf("transfer: %.0f MB/s\n", 20 / seconds);
  EXPECT_EQ(r->exit_code, 0);
  EXPECT_EQ(sha256(*read_file(dir_ / "copy")), sha256(data));
}

TEST_F(Ssh, ACommandThatDoesNotEndTimesOutAndCanBeStopped) {
  auto s = SshSession::connect(sshd_->target(), key_);
  ASSERT_TRUE(s.ok());
  EXPECT_EQ((*s)->exec("sleep 30", "", Millis{300}).error().reason, "Timeout");
  auto s2 = SshSession::connect(sshd_->target(), key_);
  std::stop_source stop;
  stop.request_stop();
  EXPECT_EQ((*s2)->exec("sleep 30", "", Seconds{30}, stop.get_token()).error().reason, "Cancelled");
}

TEST_F(Ssh, AChangedHostKeyIsRefusedBeforeAnythingIsSent) {
  SshTarget pinned = sshd_->target();
  EXPECT_EQ(connect_reason(pinned, key_), "connected");
  sshd_->stop();
  sshd_->new_host_key();
  sshd_->start();
  EXPECT_EQ(connect_reason(pinned, key_), "HostKeyChanged");
  EXPECT_EQ(connect_reason(sshd_->target(), key_), "connected");
}

TEST_F(Ssh, TrustOnFirstUseShowsTheFingerprintAndSendsNothing) {
  SshTarget target = sshd_->target();
  target.policy = HostKeyPolicy::kTrustOnFirstUse;
  target.fingerprints.clear();
  auto s = SshSession::connect(target, key_);
  ASSERT_FALSE(s.ok());
  EXPECT_EQ(s.error().reason, "HostKeyUnknown");
  EXPECT_NE(s.error().message.find(sshd_->fingerprint()), std::string::npos);
  EXPECT_EQ(*observe_host_key(target), sshd_->fingerprint());
  target.fingerprints = {sshd_->fingerprint()};
  EXPECT_EQ(connect_reason(target, key_), "connected");
}

TEST_F(Ssh, WrongKeyWrongPasswordAndUnreachableAreToldApart) {
  SshCredential other{Sshd::user(), sshd_->client_key("stranger", false), {}};
  EXPECT_EQ(connect_reason(sshd_->target(), other), "AuthFailed");
  SshCredential password{Sshd::user(), {}, Secret<std::string>("guess")};  // switched off there
  EXPECT_EQ(connect_reason(sshd_->target(), password), "AuthFailed");
  SshCredential broken{Sshd::user(), Secret<std::string>("not a key"), {}};
  EXPECT_EQ(connect_reason(sshd_->target(), broken), "KeyInvalid");
  SshTarget closed = sshd_->target();
  sshd_->stop();
  EXPECT_EQ(connect_reason(closed, key_), "Unreachable");
  EXPECT_EQ(observe_host_key(closed).error().reason, "Unreachable");
}

TEST_F(Ssh, ASilentServerIsUnreachableInTime) {
  Fd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in a{};
  a.sin_family = AF_INET;
  a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t len = sizeof a;
  ASSERT_EQ(::bind(listener.get(), reinterpret_cast<sockaddr*>(&a), sizeof a), 0);
  ASSERT_EQ(::listen(listener.get(), 1), 0);
  ASSERT_EQ(::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&a), &len), 0);
  SshTarget target = sshd_->target();
  target.port = ntohs(a.sin_port);
  target.connect_timeout = Millis{300};
  Nanos start = system_clock().monotonic();
  EXPECT_EQ(observe_host_key(target).error().reason, "Unreachable");
  EXPECT_LT(system_clock().monotonic() - start, Seconds{3});
}

TEST_F(Ssh, AGeneratedKeyLogsInAndIsReadableByOpenSsh) {
  auto pair = generate_ssh_key();
  ASSERT_TRUE(pair.ok()) << pair.error().to_string();
  ASSERT_TRUE(append_file(sshd_->authorized_keys(), pair->public_line + " generated\n").ok());
  EXPECT_EQ(connect_reason(sshd_->target(), {Sshd::user(), pair->private_key, {}}), "connected");
  ASSERT_TRUE(write_file_atomic(dir_ / "generated", pair->private_key.reveal(), 0600).ok());
  ProcessOptions options;
  options.argv = {"ssh-keygen", "-y", "-f", (dir_ / "generated").string()};
  auto r = run_process(options, Seconds{10});
  ASSERT_TRUE(r.ok());
  EXPECT_EQ(r->out.substr(0, pair->public_line.size()), pair->public_line) << r->err;
}

// Provisioning up to the hello, with stand-ins for the binaries; tango-agent itself has its own
// test.
class Provision : public Ssh {
 protected:
  void SetUp() override {
    Ssh::SetUp();
    if (IsSkipped()) return;
    ASSERT_TRUE(write_file_atomic(dir_ / "agent", "#!/bin/sh\necho agent\n", 0755).ok());
    ASSERT_TRUE(write_file_atomic(dir_ / "gate", "#!/bin/sh\necho not a frame\n", 0755).ok());
    request_.ssh = sshd_->target();
    request_.bootstrap = key_;
    request_.operator_key = {Sshd::user(), generate_ssh_key()->private_key, {}};
    request_.root = (dir_ / "device").string();
    request_.authorized_keys_file = sshd_->authorized_keys().string();
    request_.binaries = [this](std::string_view arch) -> std::optional<AgentBinaries> {
      if (arch != "amd64") return std::nullopt;
      return AgentBinaries{dir_ / "agent", dir_ / "gate"};
    };
    auto keys = artifacts::init_keys(dir_ / "keys");
    request_.hello.root = keys->signed_root;
    request_.hello.epoch =
        sign_epoch(*keys->key(artifacts::Role::kAssignment), 1, system_clock().now());
  }
  ProvisionRequest request_;
};

TEST_F(Provision, InstallsAndAppendsTheKeyWithoutTouchingOtherLines) {
  // No newline at its end, as people leave such files.
  std::string before = *read_file(sshd_->authorized_keys()) + "# last line";
  ASSERT_TRUE(write_file_atomic(sshd_->authorized_keys(), before, 0600).ok());
  std::vector<std::string> phases;
  auto report = provision(request_, [&](const Progress& p) {
    if (phases.empty() || phases.back() != p.phase) phases.push_back(p.phase);
  });
  // The stand-in gate does not speak the protocol: that is where this one ends.
  ASSERT_FALSE(report.ok());
  EXPECT_EQ(report.error().reason, "ProtocolError") << report.error().to_string();
  EXPECT_EQ(phases, (std::vector<std::string>{"auth", "probe", "install", "key", "hello"}));
  std::string after = *read_file(sshd_->authorized_keys());
  EXPECT_EQ(after.substr(0, before.size()), before);
  std::string added = after.substr(before.size());
  EXPECT_EQ(added, "\nrestrict,command=\"" + request_.root + "/bin/tango-gate --root " +
                       request_.root + "\" " + *ssh_public_line(request_.operator_key.private_key) +
                       " tango-operator\n");
  EXPECT_EQ(*read_file(dir_ / "device/bin/tango-agent"), "#!/bin/sh\necho agent\n");
  EXPECT_EQ(*read_file(dir_ / "device/trust/root.json"), request_.hello.root.document);
  // Again: nothing is added twice, an installed root is never replaced.
  auto other = artifacts::init_keys(dir_ / "other");
  request_.hello.root = other->signed_root;
  EXPECT_FALSE(provision(request_).ok());
  EXPECT_EQ(*read_file(sshd_->authorized_keys()), after);
  EXPECT_NE(*read_file(dir_ / "device/trust/root.json"), other->signed_root.document);
}

TEST_F(Provision, WrongArchitectureIsAClearError) {
  request_.expected_arch = "arm64";
  auto wrong = provision(request_);
  EXPECT_EQ(wrong.error().reason, "WrongArchitecture");
  EXPECT_NE(wrong.error().message.find("amd64"), std::string::npos);
  EXPECT_FALSE(fs::exists(dir_ / "device"));
  request_.expected_arch.clear();
  request_.binaries = [](std::string_view) { return std::nullopt; };
  EXPECT_EQ(provision(request_).error().reason, "WrongArchitecture");
}

TEST_F(Provision, WithoutACredentialNothingIsTried) {
  request_.bootstrap = {Sshd::user(), {}, {}};
  EXPECT_EQ(provision(request_).error().reason, "AuthFailed");
  request_.ssh.fingerprints.clear();
  EXPECT_EQ(provision(request_).error().reason, "HostKeyUnknown");
}

TEST_F(Provision, UnsafePathsAreRefused) {
  for (const char* root : {"relative", "/a b", "/a\"b", "/a/../b", "/", "/a;rm"}) {
    request_.root = root;
    EXPECT_EQ(provision(request_).error().reason, "PathUnsafe") << root;
  }
}

TEST_F(Provision, AnUnwritableRootIsNamed) {
  ASSERT_TRUE(write_file_atomic(dir_ / "file", "x").ok());
  request_.root = (dir_ / "file/below").string();
  auto r = provision(request_);
  ASSERT_FALSE(r.ok());
  EXPECT_EQ(r.error().reason, "InstallFailed") << r.error().to_string();
  EXPECT_NE(r.error().message.find("ot a directory"), std::string::npos);
}

TEST(Machine, NamesBecomeArchitectures) {
  EXPECT_EQ(arch_of_machine("x86_64"), "amd64");
  EXPECT_EQ(arch_of_machine("aarch64"), "arm64");
  EXPECT_EQ(arch_of_machine("armv7l"), "armv7");
  EXPECT_EQ(arch_of_machine("riscv64"), "");
}

}  // namespace
}  // namespace tango::fleet
