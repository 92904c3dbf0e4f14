#include "device-agent/device.h"

#include <algorithm>
#include <charconv>

#include "device-agent/identity.h"
#include "device-agent/inventory.h"
#include "device-agent/loopback_http.h"
#include "device-agent/sandbox.h"
#include "lib/artifacts/frame.h"
#include "lib/base/log.h"
#include "lib/base/random.h"

namespace tango::agent {
namespace {

namespace code = artifacts::code;

constexpr std::size_t kMaxLogBytes = 262'144;
constexpr std::size_t kMaxEvaluateFiles = 8'000;
constexpr std::uint64_t kMaxRelayBytes = 32u << 20;
constexpr std::size_t kMaxSlots = 16;

Error invalid(std::string message) {
  return make_error(Code::kInvalid, code::kInvalidRequest, std::move(message));
}

bool slot_name_ok(std::string_view name) {
  return !name.empty() && name.size() <= 63 && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
  });
}

std::int64_t seconds_of(TimePoint t) {
  return std::chrono::duration_cast<Seconds>(t.time_since_epoch()).count();
}

// Removes the folder at the end of its life.
struct PrivateFolder {
  fs::path path;
  ~PrivateFolder() { (void)tango::remove_all(path); }
};

}  // namespace

Device::Device(DeviceOptions options, artifacts::SigningKey key, DeviceJournal journal)
    : options_(std::move(options)),
      id_(artifacts::device_id_of(key.public_key())),
      key_(std::move(key)),
      started_(system_clock().monotonic()),
      journal_(std::move(journal)),
      highest_time_(journal_.record().highest_time) {}

Device::~Device() = default;

Result<std::unique_ptr<Device>> Device::open(DeviceOptions options) {
  if (options.arch.empty()) options.arch = machine_arch();
  TRY(make_dirs(options.root / "trust", 0755));
  TRY_ASSIGN(auto store, Store::open(options.root));
  TRY_ASSIGN(auto key, load_or_create_identity(options.root / "identity" / "agent.key"));
  TRY_ASSIGN(auto journal, DeviceJournal::open(options.root / "device.journal"));
  // What an evaluation left behind when the agent was killed.
  (void)tango::remove_all(options.root / "evaluate");
  std::unique_ptr<Device> device(
      new Device(std::move(options), std::move(key), std::move(journal)));
  device->store_ = std::move(store);
  const fs::path root_file = device->options_.root / "trust" / "root.json";
  if (auto bytes = read_file(root_file, artifacts::kMaxDocumentBytes); bytes.ok()) {
    TRY_ASSIGN(auto trust, artifacts::TrustStore::from_trusted(*bytes));
    if (trust.root().version < device->journal_.record().root_version) {
      return make_error(
          Code::kDenied, code::kRootStale,
          root_file.string() + " is older than the version this device has trusted before");
    }
    device->trust_ = std::move(trust);
  } else if (bytes.error().reason != "NotFound") {
    return std::move(bytes).error();
  }
  device->options_.slot.highest_seen = [d = device.get()] {
    return TimePoint{Seconds{d->highest_time_.load()}};
  };
  std::vector<std::string> names;
  std::error_code ec;
  for (const auto& entry : fs::directory_iterator(device->options_.root / "slots", ec)) {
    const std::string name = entry.path().filename().string();
    if (slot_name_ok(name)) names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  for (const std::string& name : names) {
    auto opened = device->open_slot(name);
    if (!opened.ok()) {
      // One damaged slot must not take the others down; it is reported as missing.
      log_error("A slot could not be opened", {{"slot", name}, opened.error()});
    }
  }
  return device;
}

Result<Slot*> Device::open_slot(const std::string& name) {
  {
    const std::lock_guard lock(mutex_);
    if (const auto it = slots_.find(name); it != slots_.end()) return it->second.get();
    if (slots_.size() >= kMaxSlots) return invalid("this device has too many slots already");
  }
  TRY_ASSIGN(auto slot, Slot::open(name, *store_, options_.slot));
  const std::lock_guard lock(mutex_);
  return slots_.emplace(name, std::move(slot)).first->second.get();
}

Result<Slot*> Device::slot(const Json& request) const {
  TRY_ASSIGN(const std::string name, require_string(request, "slot", "request"));
  const std::lock_guard lock(mutex_);
  const auto it = slots_.find(name);
  if (it == slots_.end()) return invalid("this device has no slot '" + name.substr(0, 63) + "'");
  return it->second.get();
}

Status Device::write_journal(const DeviceRecord& record) {
  TRY(journal_.write(record));
  highest_time_ = record.highest_time;
  return ok_status();
}

Status Device::save_root() {
  TRY(write_file_atomic(options_.root / "trust" / "root.json", trust_->root_bytes(), 0644));
  DeviceRecord record = journal_.record();
  record.root_version = trust_->root().version;
  return write_journal(record);
}

Status Device::accept_root(const Json& request) {
  const Json& given = get(request, "root");
  if (given.is_null()) {
    if (trust_) return ok_status();
    return make_error(Code::kDenied, code::kRootMissing,
                      "this device has no root.json yet and the request brings none");
  }
  TRY_ASSIGN(const auto document, artifacts::parse_signed_document(given));
  if (!trust_) {
    // First contact: the channel itself proved that the operator may drive this device.
    TRY_ASSIGN(trust_, artifacts::TrustStore::from_signed(document));
    return save_root();
  }
  TRY_ASSIGN(const bool adopted, trust_->update_root(document));
  if (adopted || journal_.record().root_version != trust_->root().version) return save_root();
  return ok_status();
}

Status Device::accept_epoch(const Json& request) {
  TRY_ASSIGN(const std::int64_t claimed, require_int(request, "fleetEpoch", "request"));
  TRY_ASSIGN(const auto document, artifacts::parse_signed_document(get(request, "epoch")));
  TRY_ASSIGN(const auto epoch, trust_->verify_epoch(document));
  if (claimed < 0 || epoch->epoch != static_cast<std::uint64_t>(claimed)) {
    return invalid("fleetEpoch is not the signed one");
  }
  DeviceRecord record = journal_.record();
  if (epoch->epoch < record.fleet_epoch) {
    return make_error(Code::kConflict, code::kEpochBehind,
                      "fleet epoch " + std::to_string(epoch->epoch) + " is behind " +
                          std::to_string(record.fleet_epoch) + ", which this device has seen");
  }
  const DeviceRecord before = record;
  record.fleet_epoch = epoch->epoch;
  record.highest_time = std::max(record.highest_time, seconds_of(epoch->issued_at));
  if (record == before) return ok_status();
  return write_journal(record);
}

Result<Json> Device::hello(const Json& request) {
  if (get_int(request, "protocol", -1) != artifacts::kProtocolVersion) {
    return make_error(Code::kUnsupported, code::kProtocolUnsupported,
                      "this agent speaks protocol " + std::to_string(artifacts::kProtocolVersion));
  }
  const auto nonce = from_base64(get_string(request, "nonce"));
  if (!nonce.ok() || nonce->size() != 32) return invalid("nonce must be 32 bytes in base64");
  Json reply;
  {
    const std::lock_guard lock(mutex_);
    TRY(accept_root(request));
    TRY(accept_epoch(request));
    const auto signature = key_.sign(artifacts::hello_proof_message(*nonce, id_));
    const auto& key = key_.public_key();
    const auto text = [](const auto& bytes) {
      return to_base64(std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
    };
    reply = {{"protocol", artifacts::kProtocolVersion},
             {"device", {{"id", id_}, {"agentKey", {{"alg", "ed25519"}, {"public", text(key)}}}}},
             {"proof", text(signature)},
             {"agentVersion", kAgentVersion},
             {"arch", options_.arch},
             {"os", "linux"},
             {"bootId", boot_id()},
             {"rescue", false},
             {"features",
              {"inventory", "plan", "transfer", "activate", "status", "logs", "bench", "evaluate",
               "relay", "remove", "rollback", "rotateRoot"}},
             {"limits",
              {{"window", artifacts::kDefaultWindow}, {"maxBodyBytes", artifacts::kMaxBodyBytes}}},
             {"fleetEpoch", journal_.record().fleet_epoch},
             {"rootVersion", trust_->root().version},
             {"sandbox", to_json(sandbox_capabilities())}};
  }
  reply["slots"] = slots_json();
  reply["outbox"] = outbox_json();
  return reply;
}

Result<Json> Device::rotate_root(const Json& request) {
  const Json& chain = get(request, "chain");
  if (!chain.is_array() || chain.empty() || chain.size() > 64)
    return invalid("chain must list 1 to 64 documents");
  std::vector<artifacts::SignedDocument> documents;
  for (const Json& entry : chain) {
    TRY_ASSIGN(auto document, artifacts::parse_signed_document(entry));
    documents.push_back(std::move(document));
  }
  const std::lock_guard lock(mutex_);
  if (!trust_)
    return make_error(Code::kDenied, code::kRootMissing, "this device has no root.json yet");
  TRY(trust_->update_root_chain(documents));
  TRY(save_root());
  return Json{{"rootVersion", trust_->root().version}};
}

Json Device::inventory() const { return Json{{"inventory", read_inventory(options_.root)}}; }

Result<Json> Device::plan(const Json& request, std::string_view body) {
  TRY_ASSIGN(const std::string slot_name, require_string(request, "slot", "request"));
  if (!slot_name_ok(slot_name)) return invalid("slot must be 1-63 of a-z 0-9 -");
  TRY_ASSIGN(const std::int64_t sequence, require_int(request, "sequence", "request"));
  TRY_ASSIGN(const Json parts, require_object(request, "parts", "request"));
  artifacts::PlanDocuments documents;
  std::string_view rest = body;
  const auto take = [&](std::string_view name, std::size_t cap, std::string& into) -> Status {
    const std::int64_t size = get_int(parts, name, -1);
    if (size < 0 || static_cast<std::uint64_t>(size) > rest.size()) {
      return invalid("parts." + std::string(name) + " is missing or does not fit the body");
    }
    if (static_cast<std::uint64_t>(size) > cap) {
      return make_error(Code::kInvalid, code::kDocumentTooLarge,
                        std::string(name) + " is larger than " + std::to_string(cap) + " bytes");
    }
    into = rest.substr(0, static_cast<std::size_t>(size));
    rest.remove_prefix(into.size());
    return ok_status();
  };
  TRY(take("index", 1u << 20, documents.index.document));
  TRY(take("indexEnvelope", artifacts::kMaxDocumentBytes, documents.index.envelope));
  TRY(take("assignment", artifacts::kMaxDocumentBytes, documents.assignment.document));
  TRY(take("assignmentEnvelope", artifacts::kMaxDocumentBytes, documents.assignment.envelope));
  TRY(take("chunkList", artifacts::kMaxChunkListBytes, documents.chunk_list));
  TRY(take("config", artifacts::kMaxDocumentBytes, documents.config));
  if (!rest.empty()) return invalid("the body is longer than its parts");

  const std::lock_guard plan_lock(plan_mutex_);
  artifacts::DeviceFacts facts;
  facts.device_id = id_;
  facts.arch = options_.arch;
  facts.slot = slot_name;
  Slot* known = nullptr;
  std::optional<artifacts::TrustStore> trust;
  {
    const std::lock_guard lock(mutex_);
    facts.fleet_epoch = journal_.record().fleet_epoch;
    facts.highest_seen = TimePoint{Seconds{journal_.record().highest_time}};
    trust = trust_;
    if (const auto it = slots_.find(slot_name); it != slots_.end()) known = it->second.get();
  }
  if (!trust)
    return make_error(Code::kDenied, code::kRootMissing, "this device has no root.json yet");
  if (known != nullptr) {
    facts.slot_facts = known->facts();
    facts.security_version = known->security_version();
  }
  TRY_ASSIGN(const auto verified, trust->verify_plan(documents, facts));
  if (sequence < 0 || verified.assignment->sequence != static_cast<std::uint64_t>(sequence)) {
    return make_error(Code::kDenied, code::kAssignmentMismatch,
                      "the assignment has another sequence");
  }
  {
    const std::lock_guard lock(mutex_);
    DeviceRecord record = journal_.record();
    record.highest_time = std::max(record.highest_time, seconds_of(verified.assignment->issued_at));
    if (!(record == journal_.record())) TRY(write_journal(record));
  }
  // Only a verified plan makes a slot.
  TRY_ASSIGN(Slot * slot, open_slot(slot_name));
  return slot->plan(verified);
}

Json Device::slots_json() const {
  std::vector<Slot*> slots;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [name, slot] : slots_) slots.push_back(slot.get());
  }
  Json out = Json::array();
  for (const Slot* slot : slots) out.push_back(slot->status());
  return out;
}

Json Device::outbox_json() const {
  const std::lock_guard lock(mutex_);
  Json out = Json::array();
  for (const auto& [name, slot] : slots_) {
    for (const Json& report : slot->outbox()) out.push_back(report);
  }
  return out;
}

Json Device::status() const {
  const auto free = free_bytes(options_.root);
  return Json{{"device", id_},
              {"agentVersion", kAgentVersion},
              {"slots", slots_json()},
              {"outbox", outbox_json()},
              {"uptimeMs", (system_clock().monotonic() - started_) / Millis{1}},
              {"freeBytes", free.ok() ? *free : 0}};
}

Status Device::acknowledge(const Json& request) {
  const Json& ids = get(request, "ids");
  if (!ids.is_array()) return invalid("ids must be a list");
  const std::lock_guard lock(mutex_);
  for (const Json& id : ids) {
    if (!id.is_string()) return invalid("ids must be texts");
    const std::string text = id.get<std::string>();
    for (const auto& [name, slot] : slots_) {
      if (text.starts_with(name + "-")) TRY(slot->acknowledge(text));
    }
  }
  return ok_status();
}

Result<Json> Device::logs(const Json& request) const {
  TRY_ASSIGN(const Slot* slot, this->slot(request));
  const std::int64_t max = get_int(request, "maxBytes", kMaxLogBytes);
  if (max < 1 || max > static_cast<std::int64_t>(kMaxLogBytes))
    return invalid("maxBytes must be 1 to 262144");
  std::optional<std::uint64_t> since;
  const std::string cursor = get_string(request, "since");
  if (!cursor.empty()) {
    std::uint64_t value = 0;
    const auto [end, err] = std::from_chars(cursor.data(), cursor.data() + cursor.size(), value);
    if (err != std::errc{} || end != cursor.data() + cursor.size())
      return invalid("since is no cursor of this agent");
    since = value;
  }
  TRY_ASSIGN(const auto piece, slot->logs(since, static_cast<std::size_t>(max)));
  return Json{
      {"text", piece.text}, {"next", std::to_string(piece.next)}, {"truncated", piece.truncated}};
}

Result<Json> Device::evaluate(const Json& request, std::string_view body) {
  TRY_ASSIGN(const Slot* slot, this->slot(request));
  const std::string format = get_string(request, "format");
  if (format != "idx" && format != "folder") return invalid("format must be idx or folder");
  const std::int64_t timeout_ms = get_int(request, "timeoutMs", 300'000);
  if (timeout_ms < 1 || timeout_ms > 3'600'000) return invalid("timeoutMs must be 1 to 3600000");
  const Json& files = get(request, "files");
  if (!files.is_array() || files.empty() || files.size() > kMaxEvaluateFiles) {
    return invalid("files must list 1 to " + std::to_string(kMaxEvaluateFiles) + " files");
  }
  std::vector<std::string> paths;
  for (const Json& file : files) paths.push_back(get_string(file, "path"));
  TRY(artifacts::check_paths(paths));
  TRY_ASSIGN(const LaunchSpec spec, slot->current_launch());

  const PrivateFolder folder{options_.root / "evaluate" / random_suffix(system_random(), 12)};
  TRY(make_dirs(folder.path, 0700));
  for (const Json& file : files) {
    const std::int64_t size = get_int(file, "size", -1);
    if (size < 0 || static_cast<std::uint64_t>(size) > body.size())
      return invalid("file sizes do not fit the body");
    const fs::path path = folder.path / get_string(file, "path");
    TRY(make_dirs(path.parent_path(), 0700));
    TRY(append_file(path, body.substr(0, static_cast<std::size_t>(size))));
    body.remove_prefix(static_cast<std::size_t>(size));
  }
  if (!body.empty()) return invalid("the body is longer than its files");
  TRY_ASSIGN(const Json result,
             run_verb(slot->supervisor_options(), spec, "eval",
                      {"--data", fs::absolute(folder.path).string(), "--format", format},
                      Millis{timeout_ms}, code::kInvalidRequest));
  return Json{{"result", result}};
}

Result<Device::Relayed> Device::relay(const Json& request, std::string_view body) const {
  TRY_ASSIGN(const Slot* slot, this->slot(request));
  TRY_ASSIGN(const std::uint16_t port, slot->relay_port());
  HttpHeaders headers;
  for (const auto& [name, value] : get(request, "headers").items()) {
    if (!value.is_string()) return invalid("header values must be texts");
    headers.emplace(name, value.get<std::string>());
  }
  LoopbackLimits limits;
  limits.max_body = kMaxRelayBytes;
  TRY_ASSIGN(auto response, loopback_request(port, get_string(request, "method", "GET"),
                                             get_string(request, "path"), headers, body, limits));
  Json reply_headers = Json::object();
  for (const auto& [name, value] : response.headers) reply_headers[name] = value;
  return Relayed{Json{{"status", response.status},
                      {"headers", reply_headers},
                      {"bodyBytes", response.body.size()}},
                 std::move(response.body)};
}

}  // namespace tango::agent
