// The whole way: provision over a real sshd, the real static tango-agent, a bundle deployed, used,
// rolled back, and the faults in between. The release's program is a stand-in for tango-infer.
#include <gtest/gtest.h>
#include <signal.h>

#include <cstdlib>

#include "lib/artifacts/keys.h"
#include "lib/base/random.h"
#include "lib/fleet/deploy.h"
#include "lib/fleet/provision.h"
#include "tests/fleet/sshd_fixture.h"

namespace tango::fleet {
namespace {

using testing::Sshd;

constexpr std::string_view kInfer = R"(#!/usr/bin/python3
import http.server, json, os, sys
verb = sys.argv[1]
behaviour = open("model/behaviour").read().strip()
if verb == "selftest":
    ok = behaviour != "wrong answer"
    print(json.dumps({"ok": ok, "message": "" if ok else "golden sample 3 differs"}))
    sys.exit(0 if ok else 1)
if verb == "bench":
    print(json.dumps({"p50Ms": 1.5, "p95Ms": 2.5, "iterations": 20, "peakRssBytes": 1000000}))
    sys.exit(0)
if verb == "eval":
    data = sys.argv[sys.argv.index("--data") + 1]
    size = sum(os.path.getsize(os.path.join(d, f)) for d, _, fs in os.walk(data) for f in fs)
    print(json.dumps({"accuracy": 0.75, "samples": size, "latencyMs": {"p50": 1, "p95": 2}}))
    sys.exit(0)
class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_GET(self):
        self.answer(b"ready")
    def do_POST(self):
        n = int(self.headers["Content-Length"])
        self.answer(json.dumps({"class": "boot", "bytes": len(self.rfile.read(n))}).encode())
    def log_message(self, *args):
        pass
host, port = sys.argv[sys.argv.index("--listen") + 1].rsplit(":", 1)
server = http.server.HTTPServer((host, int(port)), Handler)
print(json.dumps({"ready": True}), flush=True)
print("serving since now", file=sys.stderr, flush=True)
server.serve_forever()
)";

fs::path bin_dir() {
  const char* dir = std::getenv("TANGO_BIN_DIR");
  return dir == nullptr ? "build/bin" : dir;
}

// Ends the daemon that serves this root, and nothing else.
void end_daemon(const fs::path& root) {
  std::string wanted = "daemon" + std::string(1, '\0') + "--root" + std::string(1, '\0') +
                       root.string() + std::string(1, '\0');
  std::error_code ec;
  for (const auto& e : fs::directory_iterator("/proc", ec)) {
    std::string name = e.path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    auto line = read_file(e.path() / "cmdline", 65536);
    if (line.ok() && line->find(wanted) != std::string::npos) ::kill(std::stoi(name), SIGKILL);
  }
}

class Device : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!Sshd::available()) GTEST_SKIP() << "/usr/sbin/sshd is not installed";
    if (!fs::exists(bin_dir() / "tango-agent")) GTEST_SKIP() << "tango-agent is not built";
    if (!fs::exists("/usr/bin/python3")) GTEST_SKIP() << "python3 is not installed";
    sshd_ = std::make_unique<Sshd>(dir_ / "sshd");
    bootstrap_ = {Sshd::user(), sshd_->client_key("client", true), {}};
    sshd_->start();
    keys_ = *artifacts::init_keys(dir_ / "keys");
    operator_key_ = {Sshd::user(), generate_ssh_key()->private_key, {}};
    request_.ssh = sshd_->target();
    request_.bootstrap = bootstrap_;
    request_.operator_key = operator_key_;
    request_.root = root().string();
    request_.authorized_keys_file = sshd_->authorized_keys().string();
    request_.expected_arch = "amd64";
    request_.binaries = [](std::string_view) {
      return AgentBinaries{bin_dir() / "tango-agent", bin_dir() / "tango-gate"};
    };
    request_.hello = hello();
  }
  void TearDown() override { end_daemon(root()); }

  fs::path root() const { return dir_ / "device"; }
  HelloParams hello(std::uint64_t epoch = 1) {
    HelloParams h;
    h.fleet_epoch = epoch;
    h.epoch = sign_epoch(*keys_.key(artifacts::Role::kAssignment), epoch, system_clock().now());
    h.root = keys_.signed_root;
    h.expected_device_id = id_;
    return h;
  }
  Result<std::unique_ptr<AgentSession>> open(std::uint64_t epoch = 1) {
    return open_agent({sshd_->target(), operator_key_, hello(epoch)});
  }
  void provision_device() {
    auto report = provision(request_);
    ASSERT_TRUE(report.ok()) << report.error().to_string();
    id_ = report->hello.device_id;
    EXPECT_EQ(report->arch, "amd64");
  }
  artifacts::Bundle make_bundle(const std::string& name, const std::string& behaviour,
                                std::uint64_t model_seed) {
    fs::path tree = dir_ / name;
    EXPECT_TRUE(make_dirs(tree / "bin").ok() && make_dirs(tree / "model").ok());
    EXPECT_TRUE(write_file_atomic(tree / "bin/tango-infer", kInfer, 0755).ok());
    EXPECT_TRUE(write_file_atomic(tree / "model/behaviour", behaviour).ok());
    CounterRandom random(model_seed, 1);
    EXPECT_TRUE(write_file_atomic(tree / "model/model.onnx", random_bytes(random, 3'000'000)).ok());
    CounterRandom same(77, 1);
    EXPECT_TRUE(write_file_atomic(tree / "model/library", random_bytes(same, 2'000'000)).ok());
    artifacts::BundleSpec spec;
    spec.id = "default/demo";
    spec.entry = {{"bin/tango-infer", "serve", "--bundle", "."}, "http", "/readyz"};
    auto bundle = artifacts::build_bundle(tree, spec);
    EXPECT_TRUE(bundle.ok());
    return *bundle;
  }
  DeployRequest deploy_request(const artifacts::Bundle& bundle, std::uint64_t sequence) {
    DeployRequest r;
    r.bundle = &bundle;
    r.index_envelope = artifacts::sign_document(bundle.index_bytes, artifacts::kIndexType,
                                                *keys_.key(artifacts::Role::kRelease));
    r.assignment_key = keys_.key(artifacts::Role::kAssignment);
    r.sequence = sequence;
    r.release = sha256(bundle.index_bytes).to_string();
    r.deployment_uid = "uid-1";
    r.fleet_epoch = 1;
    return r;
  }
  TempDir dir_;
  std::unique_ptr<Sshd> sshd_;
  SshCredential bootstrap_, operator_key_;
  artifacts::KeySet keys_;
  ProvisionRequest request_;
  std::string id_;
};

TEST_F(Device, IsProvisionedDeployedToUsedAndRolledBack) {
  provision_device();
  // Again, now without the bootstrap credential: it was used once and is not needed any more.
  request_.bootstrap = {Sshd::user(), {}, {}};
  auto again = provision(request_);
  ASSERT_TRUE(again.ok()) << again.error().to_string();
  EXPECT_FALSE(again->bootstrap_used);
  EXPECT_EQ(again->hello.device_id, id_);

  auto agent = open();
  ASSERT_TRUE(agent.ok()) << agent.error().to_string();
  auto facts = (*agent)->inventory();
  ASSERT_TRUE(facts.ok()) << facts.error().to_string();
  EXPECT_EQ(get_string(*facts, "arch"), "amd64");

  artifacts::Bundle first = make_bundle("first", "good", 1);
  auto report = deploy(**agent, deploy_request(first, 1));
  ASSERT_TRUE(report.ok()) << report.error().to_string();
  ASSERT_EQ(report->outcome, "committed") << (report->failure ? report->failure->message : "");
  EXPECT_EQ(report->measured.latency_p95_us, 2500);
  EXPECT_EQ(deploy(**agent, deploy_request(first, 1))->outcome, "current");

  auto status = (*agent)->status();
  ASSERT_TRUE(status.ok());
  ASSERT_EQ(status->slots.size(), 1u);
  EXPECT_EQ(status->slots[0].state, "Committed");
  EXPECT_EQ(status->slots[0].release, first.digest().to_string());
  EXPECT_TRUE(status->slots[0].ready);
  EXPECT_TRUE(status->outbox.empty());

  RelayRequest relay;
  relay.method = "POST";
  relay.path = "/predict";
  relay.headers["content-type"] = "image/png";
  relay.body = std::string(600'000, 'p');
  auto answer = (*agent)->relay(relay);
  ASSERT_TRUE(answer.ok()) << answer.error().to_string();
  EXPECT_EQ(answer->status, 200);
  EXPECT_EQ(get_int(*parse_json(answer->body), "bytes"), 600'000);
  auto result = (*agent)->evaluate("main", "idx", {{"a/x", std::string(400'000, 'x')}, {"b", "yy"}},
                                   Seconds{20});
  ASSERT_TRUE(result.ok()) << result.error().to_string();
  EXPECT_EQ(get_int(*result, "samples"), 400'002);
  EXPECT_NE((*agent)->logs("main", "", 10'000)->text.find("serving since now"), std::string::npos);

  // A second release that shares most of its bytes, but answers wrongly.
  artifacts::Bundle second = make_bundle("second", "wrong answer", 2);
  auto bad = deploy(**agent, deploy_request(second, 2));
  ASSERT_TRUE(bad.ok()) << bad.error().to_string();
  EXPECT_EQ(bad->outcome, "rolledBack");
  EXPECT_EQ(bad->failure->code, "KnownAnswerFailed");
  EXPECT_LT(bad->bytes_needed, 3'200'000u);  // the library was there already
  // And one that is good, but not fast enough for its deployment.
  artifacts::Bundle third = make_bundle("third", "good", 3);
  DeployRequest slow = deploy_request(third, 3);
  slow.config.health_gate = Json{{"latencyUs", 1}};
  auto late = deploy(**agent, slow);
  ASSERT_TRUE(late.ok()) << late.error().to_string();
  EXPECT_EQ(late->outcome, "rolledBack");
  EXPECT_EQ(late->failure->code, "LatencyExceeded");
  EXPECT_EQ((*agent)->status()->slots[0].release, first.digest().to_string());
  EXPECT_TRUE((*agent)->relay(relay).ok());

  EXPECT_TRUE((*agent)->remove("main", "uid-1").ok());
  EXPECT_EQ((*agent)->relay(relay).error().reason, "ReleaseNotReady");
}

TEST_F(Device, RefusesWhatIsNotSignedForIt) {
  provision_device();
  auto agent = open();
  ASSERT_TRUE(agent.ok()) << agent.error().to_string();
  artifacts::Bundle bundle = make_bundle("first", "good", 1);
  DeployRequest good = deploy_request(bundle, 5);
  DeployRequest unsigned_one = good;
  unsigned_one.index_envelope = artifacts::sign_document(bundle.index_bytes, artifacts::kIndexType,
                                                         artifacts::SigningKey::generate());
  EXPECT_EQ(deploy(**agent, unsigned_one).error().reason, "ThresholdUnmet");
  artifacts::Bundle flipped = bundle;
  flipped.index_bytes[100] = static_cast<char>(flipped.index_bytes[100] ^ 1);
  DeployRequest wrong = good;
  wrong.bundle = &flipped;
  EXPECT_EQ(deploy(**agent, wrong).error().reason, "SignatureInvalid");
  auto deployed = deploy(**agent, good);
  ASSERT_TRUE(deployed.ok()) << deployed.error().to_string();
  ASSERT_EQ(deployed->outcome, "committed");
  artifacts::Bundle second = make_bundle("second", "good", 2);
  EXPECT_EQ(deploy(**agent, deploy_request(second, 4)).error().reason, "SequenceStale");
  // A control plane of the past is refused as a whole.
  ASSERT_TRUE(open(7).ok());
  EXPECT_EQ(open(6).error().reason, "EpochBehind");
  // Another machine under the same address.
  id_ = std::string(64, '0');
  EXPECT_EQ(open(7).error().reason, "IdentityMismatch");
}

TEST_F(Device, AnAgentThatDoesNotStartIsNamedAndRepaired) {
  // Not a program at all: the gate answers in its place.
  ASSERT_TRUE(write_file_atomic(dir_ / "broken", "not a program", 0755).ok());
  auto binaries = request_.binaries;
  request_.binaries = [this](std::string_view) {
    return AgentBinaries{dir_ / "broken", bin_dir() / "tango-gate"};
  };
  auto broken = provision(request_);
  ASSERT_FALSE(broken.ok());
  EXPECT_EQ(broken.error().reason, "InstallFailed") << broken.error().to_string();
  request_.binaries = binaries;
  auto repaired = provision(request_);
  ASSERT_TRUE(repaired.ok()) << repaired.error().to_string();
  EXPECT_TRUE(repaired->bootstrap_used);
  EXPECT_FALSE(repaired->key_appended);  // it was there already
}

TEST_F(Device, AKilledDaemonResumesTheTransfer) {
  provision_device();
  artifacts::Bundle bundle = make_bundle("first", "good", 1);
  int connections = 0;
  bool killed = false;
  ResumeOptions options;
  options.initial_wait = Millis{50};
  auto report = deploy_resuming(
      [&] {
        ++connections;
        return open();
      },
      deploy_request(bundle, 1), options,
      [&](const Progress& p) {
        if (!killed && p.phase == "transfer" && p.done > p.total / 2) {
          killed = true;
          end_daemon(root());
        }
      });
  ASSERT_TRUE(report.ok()) << report.error().to_string();
  EXPECT_EQ(report->outcome, "committed") << (report->failure ? report->failure->message : "");
  EXPECT_GE(connections, 2);
}

}  // namespace
}  // namespace tango::fleet
