// The programs themselves: size and memory of the static agent, gate, serve, daemon start, kill -9
// in the middle of a transfer, local verbs.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>

#include "device-agent/daemon.h"
#include "lib/base/random.h"
#include "tests/device-agent/agent_fixture.h"

namespace tango::agent {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

using test::Channel;
using test::code_of;

// A program with its stdin and stdout as a channel.
struct Piped {
  std::optional<ChildProcess> child;
  Fd to, from;
  Channel channel;

  Piped(std::vector<std::string> argv) {  // NOLINT
    int in[2], out[2];
    if (::pipe2(in, O_CLOEXEC) != 0 || ::pipe2(out, O_CLOEXEC) != 0) return;
    ProcessOptions options;
    options.argv = std::move(argv);
    options.stdin_fd = in[0];
    options.stdout_fd = out[1];
    auto started = spawn(options);
    ::close(in[0]);
    ::close(out[1]);
    to = Fd(in[1]);
    from = Fd(out[0]);
    if (started.ok()) child = std::move(*started);
    channel = Channel(from.get(), to.get());
  }
  ~Piped() {
    to.reset();
    if (child) child->kill_and_wait(Seconds{2});
  }
};

std::optional<pid_t> daemon_pid(const fs::path& root) {
  auto peer = connect_daemon(root, true);
  if (!peer.ok()) return std::nullopt;
  ucred credentials{};
  socklen_t size = sizeof credentials;
  ::getsockopt(peer->get(), SOL_SOCKET, SO_PEERCRED, &credentials, &size);
  return credentials.pid;
}

// Stops a daemon that the gate started.
struct DaemonGuard {
  fs::path root;
  ~DaemonGuard() {
    if (const auto pid = daemon_pid(root)) {
      ::kill(*pid, SIGKILL);
      test::eventually([&] { return ::kill(*pid, 0) != 0; }, Seconds{3});
    }
  }
};

fs::path gate_program() { return test::agent_program().parent_path() / "tango-gate"; }

void install(const fs::path& root) {
  ASSERT_TRUE(make_dirs(root / "bin").ok());
  fs::copy_file(test::agent_program(), root / "bin/tango-agent");
  fs::copy_file(gate_program(), root / "bin/tango-gate");
}

// Whether an ELF64 program has a PT_INTERP header.
bool has_interpreter(const std::string& elf) {
  std::uint64_t table = 0;
  std::uint16_t size = 0, count = 0;
  std::memcpy(&table, elf.data() + 32, 8);
  std::memcpy(&size, elf.data() + 54, 2);
  std::memcpy(&count, elf.data() + 56, 2);
  for (std::uint16_t i = 0; i < count; ++i) {
    std::uint32_t type = 0;
    std::memcpy(&type, elf.data() + table + static_cast<std::size_t>(i) * size, 4);
    if (type == 3) return true;
  }
  return false;
}

TEST(AgentProgram, IsStaticStrippedAndSmall) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer build is another program";
  for (const fs::path& program : {test::agent_program(), gate_program()}) {
    EXPECT_LE(fs::file_size(program), 3u << 20) << program;
    const std::string bytes = read_file(program).value();
    ASSERT_TRUE(has_interpreter(read_file("/proc/self/exe").value())) << "the check can fail";
    EXPECT_FALSE(has_interpreter(bytes)) << program << " needs a dynamic loader";
    EXPECT_EQ(bytes.find(".symtab"), std::string::npos) << program << " is not stripped";
  }
}

TEST(AgentProgram, TheIdleDaemonIsSmall) {
  if (kSanitized) GTEST_SKIP() << "a sanitizer build is another program";
  const TempDir dir;
  test::DaemonProcess daemon(test::agent_program(), dir / "root");
  ASSERT_TRUE(daemon.connect().ok());
  const auto text = read_file("/proc/" + std::to_string(daemon.pid()) + "/smaps_rollup");
  if (!text.ok()) GTEST_SKIP() << "no smaps_rollup here";
  const std::size_t at = text->find("Pss:");
  ASSERT_NE(at, std::string::npos);
  const long kib = std::strtol(text->c_str() + at + 4, nullptr, 10);
  RecordProperty("pss_kib", static_cast<int>(kib));
  std::printf("idle PSS: %ld KiB\n", kib);
  EXPECT_LE(kib, 8 * 1024);
}

TEST(AgentProgram, UnknownFlagsAndRolesAreRefused) {
  for (const std::vector<std::string>& args : std::vector<std::vector<std::string>>{
           {}, {"fly"}, {"daemon", "--rot", "x"}, {"daemon", "--root"}, {"run", "x"}}) {
    ProcessOptions options;
    options.argv = {test::agent_program().string()};
    options.argv.insert(options.argv.end(), args.begin(), args.end());
    const auto out = run_process(options, Seconds{5});
    ASSERT_TRUE(out.ok());
    EXPECT_EQ(out->status.code, 2);
  }
}

TEST(Gate, StartsTheDaemonAndProxiesToIt) {
  const TempDir dir(
      "tango-agent-with-a-root-whose-path-is-much-longer-than-a-unix-socket-address-may-ever-be-in-"
      "linux");
  const fs::path root = dir / "root";
  install(root);
  const DaemonGuard guard{root};
  test::Operator op;
  {
    Piped gate({(root / "bin/tango-gate").string()});  // finds its root by itself
    const auto hello = op.hello(gate.channel);
    ASSERT_TRUE(hello.ok()) << hello.error().to_string();
    EXPECT_EQ(code_of(*hello), "");
    const auto a = test::make_release(dir / "tree", "A", {}, {}, 2'000'000);
    const auto result = op.deploy(gate.channel, a);
    ASSERT_TRUE(result.ok()) << result.error().to_string();
    EXPECT_EQ((*result)["result"]["outcome"], "committed") << result->dump();
  }
  const auto first = daemon_pid(root);
  ASSERT_TRUE(first) << "the daemon outlives the channel";
  {
    Piped gate({gate_program().string(), "--root", root.string()});
    const auto hello = op.hello(gate.channel);
    ASSERT_TRUE(hello.ok());
    EXPECT_EQ((*hello)["slots"][0]["state"], "Committed");
    EXPECT_EQ((*hello)["outbox"].size(), 1u);
  }
  EXPECT_EQ(daemon_pid(root), first) << "and there is only one";
  // The verbs of a person on the device.
  for (const std::string verb : {"status", "logs"}) {
    ProcessOptions options;
    options.argv = {(root / "bin/tango-agent").string(), verb, "--root", root.string()};
    const auto out = run_process(options, Seconds{5});
    ASSERT_TRUE(out.ok());
    EXPECT_TRUE(out->status.ok()) << out->err;
    EXPECT_NE(out->out.find(verb == "logs" ? "serving version A" : "Committed"), std::string::npos)
        << out->out;
  }
  ProcessOptions options;
  options.argv = {(root / "bin/tango-agent").string(), "rollback", "--root", root.string()};
  const auto out = run_process(options, Seconds{5});
  EXPECT_EQ(out->status.code, 1);
  EXPECT_NE(out->err.find("NoPrevious"), std::string::npos) << out->err;
}

TEST(Gate, FallsBackToThePreviousAgentAndThenToRescue) {
  const TempDir dir;
  const fs::path root = dir / "root";
  install(root);
  const DaemonGuard guard{root};
  test::Operator op;
  fs::rename(root / "bin/tango-agent", root / "bin/tango-agent.previous");
  {
    Piped gate({(root / "bin/tango-gate").string()});
    const auto hello = op.hello(gate.channel);
    ASSERT_TRUE(hello.ok()) << hello.error().to_string();
    EXPECT_FALSE((*hello)["rescue"].get<bool>());
  }
  const std::string id = op.device_id;
  fs::remove(root / "bin/tango-agent.previous");
  Piped gate({(root / "bin/tango-gate").string()});
  const auto hello = op.hello(gate.channel);
  ASSERT_TRUE(hello.ok()) << hello.error().to_string();
  EXPECT_TRUE((*hello)["rescue"].get<bool>());
  EXPECT_EQ(op.device_id, id) << "the identity stays";
  EXPECT_EQ((*hello)["fleetEpoch"], 1);
  EXPECT_EQ(code_of(gate.channel.request({{"op", "status"}}).value()), "");
  EXPECT_EQ(code_of(gate.channel.request({{"op", "plan"}}).value()), "Unsupported");
  EXPECT_EQ(code_of(gate.channel.request({{"op", "upgradeAgent"}}).value()), "Unsupported");
}

TEST(Gate, ATrialAgentGetsThreeStarts) {
  const TempDir dir;
  const fs::path root = dir / "root";
  install(root);
  const DaemonGuard guard{root};
  fs::copy_file("/bin/true", root / "bin/tango-agent.trial");
  test::Operator op;
  for (int i = 0; i < 3; ++i) {
    Piped gate({(root / "bin/tango-gate").string()});
    EXPECT_FALSE(op.hello(gate.channel).ok()) << "the trial agent says nothing";
  }
  Piped gate({(root / "bin/tango-gate").string()});
  const auto hello = op.hello(gate.channel);
  ASSERT_TRUE(hello.ok()) << hello.error().to_string();
  EXPECT_EQ(code_of(*hello), "");
}

TEST(Daemon, ASecondOneLeavesTheFirstAlone) {
  const TempDir dir;
  test::DaemonProcess first(test::agent_program(), dir / "root");
  ASSERT_TRUE(first.connect().ok());
  ProcessOptions options;
  options.argv = {test::agent_program().string(), "daemon", "--root", (dir / "root").string()};
  const auto second = run_process(options, Seconds{5});
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(second->status.code, 0);
  EXPECT_TRUE(first.alive());
  EXPECT_TRUE(first.connect().ok());
}

TEST(Daemon, KillNineInTheMiddleOfATransferResumesByTheBitmap) {
  const TempDir dir;
  const auto a = test::make_release(dir / "tree", "A", {}, {}, 6'000'000);
  test::Operator op;
  auto daemon = std::make_unique<test::DaemonProcess>(test::agent_program(), dir / "root");
  Channel channel = daemon->connect().value();
  ASSERT_TRUE(op.hello(channel).ok());
  const Json planned = op.plan(channel, a).value();
  ASSERT_TRUE(op.transfer(channel, a, planned, 30).ok());
  while (channel.credit.durable == 0) {
    const auto frame = channel.next(Seconds{5});
    ASSERT_TRUE(frame.ok());
    if (frame->type == artifacts::FrameType::kCredit)
      channel.credit = artifacts::parse_credit(frame->payload).value();
  }
  daemon->kill_now();
  daemon = std::make_unique<test::DaemonProcess>(test::agent_program(), dir / "root");
  channel = daemon->connect().value();
  ASSERT_TRUE(op.hello(channel).ok());
  test::PlanOptions same;
  same.sequence = 1;
  const Json again = op.plan(channel, a, same).value();
  EXPECT_LT(again["needed"]["chunks"].get<int>(), planned["needed"]["chunks"].get<int>());
  ASSERT_EQ(code_of(op.transfer(channel, a, again).value()), "");
  EXPECT_EQ((*op.activate(channel, "main", 1))["result"]["outcome"], "committed");
  for (std::size_t i = 1; i < channel.credits.size(); ++i) {
    EXPECT_GE(channel.credits[i].durable, channel.credits[i - 1].durable);
    EXPECT_LE(channel.credits[i].durable, channel.credits[i].received);
  }
}

TEST(Daemon, TheReleaseDiesWithTheDaemonAndRunsAgainAfterIt) {
  const TempDir dir;
  const auto a = test::make_release(dir / "tree", "A");
  test::Operator op;
  auto daemon = std::make_unique<test::DaemonProcess>(test::agent_program(), dir / "root");
  Channel channel = daemon->connect().value();
  ASSERT_TRUE(op.hello(channel).ok());
  ASSERT_EQ((*op.deploy(channel, a))["result"]["outcome"], "committed");
  const std::string listen =
      channel.request({{"op", "status"}}).value()["slots"][0]["listen"].get<std::string>();
  EXPECT_EQ(test::http_get(listen, "/version"), "A");
  daemon->kill_now();
  EXPECT_TRUE(
      test::eventually([&] { return test::http_get(listen, "/version").empty(); }, Seconds{5}));
  daemon = std::make_unique<test::DaemonProcess>(test::agent_program(), dir / "root");
  channel = daemon->connect().value();
  EXPECT_TRUE(test::eventually([&] {
    const auto hello = op.hello(channel);
    return hello.ok() &&
           test::http_get(get_string((*hello)["slots"][0], "listen"), "/version") == "A";
  }));
}

}  // namespace
}  // namespace tango::agent
