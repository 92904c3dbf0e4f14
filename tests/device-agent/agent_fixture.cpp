#include "tests/device-agent/agent_fixture.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>

#include "device-agent/daemon.h"
#include "device-agent/loopback_http.h"
#include "lib/base/random.h"

namespace tango::agent::test {

using artifacts::Frame;
using artifacts::FrameType;

fs::path agent_program() { return fs::path(std::getenv("TANGO_BIN_DIR")) / "tango-agent"; }
fs::path test_program(const std::string& name) {
  return fs::path(std::getenv("TANGO_BIN_DIR")).parent_path() / "tests" / name;
}

artifacts::Bundle make_release(const fs::path& dir, const std::string& version, Behaviour behaviour,
                               const std::function<void(artifacts::BundleSpec&)>& edit,
                               std::size_t weight_bytes) {
  (void)make_dirs(dir / "bin");
  (void)make_dirs(dir / "model");
  fs::copy_file(test_program("tango_fake_infer"), dir / "bin" / "tango-infer");
  behaviour["version"] = version;
  std::string text;
  for (const auto& [key, value] : behaviour) text += key + "=" + value + "\n";
  (void)write_file_atomic(dir / "behaviour", text);
  CounterRandom random(7, sha256(version).bytes()[0]);
  std::string weights;
  while (weights.size() < weight_bytes) weights += random_bytes(random, 4096);
  (void)write_file_atomic(dir / "model" / "weights.bin", weights);
  (void)write_file_atomic(dir / "model" / "empty", "");
  artifacts::BundleSpec spec;
  spec.id = "default/test";
  spec.display_version = version;
  spec.entry = {{"bin/tango-infer", "serve", "--bundle", "."}, "http", "/readyz"};
  if (edit) edit(spec);
  auto bundle = artifacts::build_bundle(dir, spec);
  if (!bundle.ok()) {
    std::fprintf(stderr, "build_bundle: %s\n", bundle.error().to_string().c_str());
    std::abort();
  }
  return std::move(bundle).value();
}

Status Channel::write_bytes(std::string_view bytes) {
  while (!bytes.empty()) {
    ssize_t n = ::send(out_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (n < 0 && errno == ENOTSOCK) n = ::write(out_, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return make_error(Code::kUnavailable, "ConnectionLost", "cannot send");
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  return ok_status();
}

Status Channel::send_raw(std::string_view bytes) { return write_bytes(bytes); }
Status Channel::send(FrameType type, std::uint32_t id, std::string_view payload) {
  return write_bytes(artifacts::encode_frame(type, id, payload));
}

Result<Frame> Channel::next(Nanos timeout) {
  const Nanos end = system_clock().monotonic() + timeout;
  while (true) {
    TRY_ASSIGN(auto frame, decoder_.next());
    if (frame) return *frame;
    const auto left = (end - system_clock().monotonic()) / Millis{1};
    if (left <= 0) return make_error(Code::kTimeout, "Timeout", "no frame came");
    pollfd p{in_, POLLIN, 0};
    if (::poll(&p, 1, static_cast<int>(left)) <= 0) continue;
    char buffer[65536];
    const ssize_t n = ::read(in_, buffer, sizeof buffer);
    if (n <= 0) return make_error(Code::kUnavailable, "ConnectionLost", "the agent closed");
    decoder_.feed(std::string_view(buffer, static_cast<std::size_t>(n)));
  }
}

Result<std::uint32_t> Channel::begin(const Json& request) {
  events.clear();
  body.clear();
  credits.clear();
  credit = {};
  const std::uint32_t id = next_id_++;
  TRY(send(FrameType::kRequest, id, dump_json(request)));
  return id;
}

Result<Json> Channel::request(Json request, std::string_view data, Nanos timeout) {
  if (!data.empty()) request["bodyBytes"] = data.size();
  TRY_ASSIGN(const std::uint32_t id, begin(request));
  std::uint32_t index = 0;
  while (!data.empty()) {
    const auto part = data.substr(0, 200'000);
    data.remove_prefix(part.size());
    TRY(send(FrameType::kData, id, artifacts::encode_data_best(index++, part)));
  }
  std::uint64_t received = 0;
  while (true) {
    TRY_ASSIGN(const Frame frame, next(timeout));
    if (frame.id != id) continue;
    if (frame.type == FrameType::kReply) return parse_json(frame.payload);
    if (frame.type == FrameType::kEvent) {
      TRY_ASSIGN(Json event, parse_json(frame.payload));
      events.push_back(std::move(event));
    } else if (frame.type == FrameType::kData) {
      TRY_ASSIGN(const auto view, artifacts::parse_data(frame.payload));
      TRY_ASSIGN(const std::string bytes, artifacts::decode_data(view));
      body += bytes;
      received += frame.payload.size();
      TRY(send(FrameType::kCredit, id, artifacts::encode_credit({received, received})));
    } else if (frame.type == FrameType::kCredit) {
      TRY_ASSIGN(credit, artifacts::parse_credit(frame.payload));
      credits.push_back(credit);
    }
  }
}

Operator::Operator()
    : key_dir(std::make_shared<TempDir>("tango-agent-keys")),
      keys(artifacts::init_keys(*key_dir / "keys").value()) {}

artifacts::TrustStore Operator::trust() {
  return artifacts::TrustStore::from_signed(keys.signed_root).value();
}

namespace {
artifacts::SignedDocument sign(const std::string& document, std::string_view type,
                               const artifacts::SigningKey& key) {
  return {document, artifacts::encode_envelope(artifacts::sign_document(document, type, key))};
}
}  // namespace

Json Operator::hello_request() const {
  const auto signed_epoch =
      sign(artifacts::encode_epoch({epoch, system_clock().now()}), artifacts::kFleetEpochType,
           *keys.key(artifacts::Role::kAssignment));
  return Json{{"op", "hello"},
              {"protocol", 1},
              {"operator", "test"},
              {"fleetEpoch", epoch},
              {"epoch", artifacts::encode(signed_epoch)},
              {"nonce", to_base64(std::string(32, 'n'))},
              {"root", artifacts::encode(keys.signed_root)}};
}

Result<Json> Operator::hello(Channel& channel) {
  TRY_ASSIGN(Json reply, channel.request(hello_request()));
  if (!get_bool(reply, "ok")) return reply;
  device_id = reply["device"]["id"].get<std::string>();
  const std::string raw =
      from_base64(reply["device"]["agentKey"]["public"].get<std::string>()).value();
  const std::string proof = from_base64(reply["proof"].get<std::string>()).value();
  artifacts::PublicKeyBytes key{};
  artifacts::SignatureBytes signature{};
  std::copy(raw.begin(), raw.end(), key.begin());
  std::copy(proof.begin(), proof.end(), signature.begin());
  if (artifacts::device_id_of(key) != device_id ||
      !artifacts::verify_bytes(key, artifacts::hello_proof_message(std::string(32, 'n'), device_id),
                               signature)) {
    return make_error(Code::kDenied, "IdentityMismatch", "the proof is wrong");
  }
  return reply;
}

artifacts::PlanDocuments Operator::documents(const artifacts::Bundle& bundle, std::uint64_t number,
                                             const PlanOptions& options) const {
  artifacts::Assignment a;
  a.device_id = device_id;
  a.slot = options.slot;
  a.arch = bundle.index.target.arch;
  a.bundle = bundle.digest();
  a.release = bundle.digest().to_string();
  a.sequence = number;
  a.issued_at = system_clock().now();
  a.expires = a.issued_at + std::chrono::hours{24};
  a.fleet_epoch = epoch;
  a.deployment_uid = options.deployment_uid;
  a.generation = 1;
  a.config_digest = sha256(options.config);
  a.retry_token = options.retry_token;
  if (options.edit) options.edit(a);
  artifacts::PlanDocuments out;
  out.index = sign(bundle.index_bytes, artifacts::kIndexType, *keys.key(artifacts::Role::kRelease));
  out.assignment = sign(artifacts::encode_assignment(a).value(), artifacts::kAssignmentType,
                        *keys.key(artifacts::Role::kAssignment));
  out.chunk_list = bundle.chunk_list_bytes;
  out.config = options.config;
  if (options.tamper) options.tamper(out);
  return out;
}

Result<Json> Operator::plan(Channel& channel, const artifacts::Bundle& bundle,
                            const PlanOptions& options) {
  const std::uint64_t number = options.sequence ? *options.sequence : ++sequence[options.slot];
  const auto docs = documents(bundle, number, options);
  const std::string body = docs.index.document + docs.index.envelope + docs.assignment.document +
                           docs.assignment.envelope + docs.chunk_list + docs.config;
  return channel.request({{"op", "plan"},
                          {"slot", options.slot},
                          {"sequence", number},
                          {"parts",
                           {{"index", docs.index.document.size()},
                            {"indexEnvelope", docs.index.envelope.size()},
                            {"assignment", docs.assignment.document.size()},
                            {"assignmentEnvelope", docs.assignment.envelope.size()},
                            {"chunkList", docs.chunk_list.size()},
                            {"config", docs.config.size()}}}},
                         body);
}

Result<Json> Operator::transfer(Channel& channel, const artifacts::Bundle& bundle,
                                const Json& plan_reply, std::optional<std::size_t> stop_after,
                                const std::function<void(std::size_t, std::string&)>& corrupt) {
  const std::size_t count = bundle.chunks.chunks.size();
  TRY_ASSIGN(const auto needed,
             artifacts::ChunkBitmap::parse(
                 from_base64(plan_reply["needed"]["bitmap"].get<std::string>()).value(), count));
  TRY_ASSIGN(const std::uint32_t id, channel.begin({{"op", "transfer"},
                                                    {"slot", plan_reply["slot"]},
                                                    {"sequence", plan_reply["sequence"]}}));
  std::size_t sent = 0;
  std::uint64_t bytes_sent = 0;
  std::optional<Json> reply;
  const auto take = [&](Nanos timeout) -> Status {
    TRY_ASSIGN(const Frame frame, channel.next(timeout));
    if (frame.id != id) return ok_status();
    if (frame.type == FrameType::kReply) {
      TRY_ASSIGN(reply, parse_json(frame.payload));
    }
    if (frame.type == FrameType::kCredit) {
      TRY_ASSIGN(channel.credit, artifacts::parse_credit(frame.payload));
      channel.credits.push_back(channel.credit);
    }
    return ok_status();
  };
  for (std::size_t i = 0; i < count && !reply; ++i) {
    if (!needed.get(i)) continue;
    if (stop_after && sent >= *stop_after) return Json{{"ok", true}, {"stopped", true}};
    TRY_ASSIGN(std::string bytes, bundle.read_chunk(i));
    if (corrupt) corrupt(i, bytes);
    const std::string payload = artifacts::encode_data_best(static_cast<std::uint32_t>(i), bytes);
    while (bytes_sent + payload.size() > channel.credit.received + artifacts::kDefaultWindow &&
           !reply) {
      TRY(take(Seconds{20}));
    }
    bytes_sent += payload.size();
    TRY(channel.send(FrameType::kData, id, payload));
    ++sent;
  }
  if (stop_after) return Json{{"ok", true}, {"stopped", true}};
  while (!reply) TRY(take(Seconds{20}));
  return *reply;
}

Result<Json> Operator::activate(Channel& channel, const std::string& slot, std::uint64_t number) {
  return channel.request({{"op", "activate"}, {"slot", slot}, {"sequence", number}}, {},
                         Seconds{40});
}

Result<Json> Operator::deploy(Channel& channel, const artifacts::Bundle& bundle,
                              const PlanOptions& options) {
  TRY_ASSIGN(const Json planned, plan(channel, bundle, options));
  if (!get_bool(planned, "ok")) return planned;
  if (get_string(planned, "state") == "Needed") {
    TRY_ASSIGN(const Json moved, transfer(channel, bundle, planned));
    if (!get_bool(moved, "ok")) return moved;
  }
  return activate(channel, options.slot, planned["sequence"].get<std::uint64_t>());
}

DaemonProcess::DaemonProcess(fs::path program, fs::path root,
                             std::map<std::string, std::string> env)
    : root_(std::move(root)) {
  (void)make_dirs(root_);
  ProcessOptions options;
  options.argv = {program.string(), "daemon", "--root", root_.string()};
  options.env = std::move(env);
  options.env["PATH"] = "/usr/bin:/bin";
  options.clear_env = true;
  options.die_with_parent = true;
  const Fd log(
      ::open((root_ / "daemon-test.log").c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
  options.stdout_fd = log.get();
  options.stderr_fd = log.get();
  auto child = spawn(options);
  if (child.ok()) child_ = std::move(*child);
}

DaemonProcess::~DaemonProcess() { kill_now(); }

void DaemonProcess::kill_now() {
  if (!child_) return;
  child_->signal(SIGKILL);
  child_->wait();
  child_.reset();
}

bool DaemonProcess::alive() { return child_ && !child_->poll(); }

Result<Channel> DaemonProcess::connect(Nanos timeout) {
  const Nanos end = system_clock().monotonic() + timeout;
  while (true) {
    auto fd = connect_daemon(root_, false);
    if (fd.ok()) return Channel(std::move(*fd));
    if (system_clock().monotonic() > end || !alive()) return std::move(fd).error();
    system_clock().sleep_for(Millis{5});
  }
}

std::string http_get(const std::string& listen, const std::string& path) {
  const auto port =
      static_cast<std::uint16_t>(std::atoi(listen.substr(listen.rfind(':') + 1).c_str()));
  LoopbackLimits limits;
  limits.timeout = Seconds{2};
  const auto answer = loopback_request(port, "GET", path, {}, {}, limits);
  return answer.ok() ? answer->body : std::string{};
}

bool eventually(const std::function<bool()>& done, Nanos within) {
  const Nanos end = system_clock().monotonic() + within;
  while (!done()) {
    if (system_clock().monotonic() > end) return false;
    system_clock().sleep_for(Millis{10});
  }
  return true;
}

std::string code_of(const Json& reply) { return get_string(get(reply, "failure"), "code"); }

}  // namespace tango::agent::test
