// The JSON of replies as the types of agent_session.h. Members that are not there keep their
// default: an older or newer agent is understood as far as it goes.
#include <algorithm>

#include "lib/base/digest.h"
#include "lib/fleet/agent_session.h"

namespace tango::fleet {
namespace {

Error wrong(std::string what) {
  return make_error(Code::kInternal, "ProtocolError", "the agent's reply " + std::move(what));
}

std::optional<double> optional_double(const Json& object, std::string_view key) {
  const Json& v = get(object, key);
  if (!v.is_number()) return std::nullopt;
  return v.get<double>();
}

std::uint64_t unsigned_of(const Json& object, std::string_view key) {
  return static_cast<std::uint64_t>(std::max<std::int64_t>(0, get_int(object, key)));
}

Measured parse_measured(const Json& value) {
  Measured m;
  const Json& latency = get(value, "latencyUs");
  m.latency_p50_us = optional_double(latency, "p50");
  m.latency_p95_us = optional_double(latency, "p95");
  if (get(value, "memoryBytes").is_number()) m.memory_bytes = unsigned_of(value, "memoryBytes");
  return m;
}

Result<std::optional<artifacts::Failure>> optional_failure(const Json& object) {
  const Json& v = get(object, "failure");
  if (v.is_null()) return std::optional<artifacts::Failure>();
  TRY_ASSIGN(artifacts::Failure f, artifacts::parse_failure(v));
  return std::optional(std::move(f));
}

}  // namespace

Result<SlotState> parse_slot(const Json& value) {
  if (!value.is_object() || get_string(value, "name").empty())
    return wrong("has a slot without name");
  SlotState s;
  s.name = get_string(value, "name");
  s.state = get_string(value, "state", "Empty");
  s.sequence = unsigned_of(value, "sequence");
  s.digest = get_string(value, "digest");
  s.release = get_string(value, "release");
  s.deployment_uid = get_string(value, "deploymentUid");
  s.generation = unsigned_of(value, "generation");
  s.config_digest = get_string(value, "configDigest");
  s.previous_digest = get_string(get(value, "previous"), "digest");
  s.previous_release = get_string(get(value, "previous"), "release");
  s.running = get_bool(value, "running");
  s.ready = get_bool(value, "ready");
  s.listen = get_string(value, "listen");
  TRY_ASSIGN(s.failure, optional_failure(value));
  s.measured = parse_measured(get(value, "measured"));
  for (const Json& r : get(value, "rejected")) {
    s.rejected.push_back(
        {get_string(r, "digest"), get_string(r, "reason"), unsigned_of(r, "sequence")});
  }
  return s;
}

Result<ActivationResult> parse_activation(const Json& value) {
  if (!value.is_object()) return wrong("has no activation result");
  ActivationResult r;
  r.id = get_string(value, "id");
  r.slot = get_string(value, "slot");
  r.sequence = unsigned_of(value, "sequence");
  r.digest = get_string(value, "digest");
  r.outcome = get_string(value, "outcome");
  if (r.outcome != "committed" && r.outcome != "rolledBack" && r.outcome != "deferred") {
    return wrong("has the unknown outcome \"" + r.outcome.substr(0, 32) + "\"");
  }
  TRY_ASSIGN(r.failure, optional_failure(value));
  r.reason = get_string(value, "reason");
  r.retry_after = Millis{get_int(value, "retryAfterMs")};
  r.measured = parse_measured(get(value, "measured"));
  if (get(value, "downtimeMs").is_number()) r.downtime = Millis{get_int(value, "downtimeMs")};
  return r;
}

Result<HelloReply> parse_hello(const Json& value, std::string_view nonce) {
  HelloReply h;
  h.protocol = static_cast<int>(get_int(value, "protocol"));
  if (h.protocol != artifacts::kProtocolVersion) {
    return make_error(Code::kUnsupported, "ProtocolUnsupported",
                      "the agent speaks protocol " + std::to_string(h.protocol) +
                          ", this operator " + std::to_string(artifacts::kProtocolVersion));
  }
  auto unproved = [](std::string why) {
    return make_error(Code::kDenied, "IdentityMismatch", "the device " + std::move(why));
  };
  const Json& device = get(value, "device");
  const Json& agent_key = get(device, "agentKey");
  auto raw = from_base64(get_string(agent_key, "public"));
  if (get_string(agent_key, "alg") != "ed25519" || !raw.ok() || raw->size() != 32) {
    return unproved("shows no ed25519 identity");
  }
  artifacts::PublicKeyBytes key;
  std::copy(raw->begin(), raw->end(), key.begin());
  h.device_id = artifacts::device_id_of(key);
  if (get_string(device, "id") != h.device_id)
    return unproved("claims an id that is not its key's");
  auto proof = from_base64(get_string(value, "proof"));
  artifacts::SignatureBytes signature;
  if (!proof.ok() || proof->size() != signature.size()) return unproved("sent no proof of its key");
  std::copy(proof->begin(), proof->end(), signature.begin());
  if (!artifacts::verify_bytes(key, artifacts::hello_proof_message(nonce, h.device_id),
                               signature)) {
    return unproved("could not prove that it holds the key of its identity");
  }
  h.agent_version = get_string(value, "agentVersion");
  h.arch = get_string(value, "arch");
  h.os = get_string(value, "os");
  h.boot_id = get_string(value, "bootId");
  h.rescue = get_bool(value, "rescue");
  for (const Json& f : get(value, "features")) {
    if (f.is_string()) h.features.push_back(f.get<std::string>());
  }
  std::uint64_t window = unsigned_of(get(value, "limits"), "window");
  // One full Data frame must fit, or nothing would ever be sent.
  h.window = std::clamp<std::uint64_t>(window == 0 ? artifacts::kDefaultWindow : window,
                                       artifacts::kMaxDataBytes * 2, 64u << 20);
  h.fleet_epoch = unsigned_of(value, "fleetEpoch");
  h.root_version = unsigned_of(value, "rootVersion");
  for (const Json& s : get(value, "slots")) {
    TRY_ASSIGN(SlotState slot, parse_slot(s));
    h.slots.push_back(std::move(slot));
  }
  for (const Json& r : get(value, "outbox")) {
    TRY_ASSIGN(ActivationResult result, parse_activation(r));
    h.outbox.push_back(std::move(result));
  }
  h.sandbox = get(value, "sandbox");
  return h;
}

const SlotState* HelloReply::slot(std::string_view name) const {
  auto it =
      std::find_if(slots.begin(), slots.end(), [&](const SlotState& s) { return s.name == name; });
  return it == slots.end() ? nullptr : &*it;
}

// --- typed calls --------------------------------------------------------------------------------

Result<Json> AgentSession::inventory() {
  TRY_ASSIGN(CallReply r, call("inventory", Json::object()));
  return require_object(r.json, "inventory", "inventory reply");
}

Result<AgentSession::StatusReply> AgentSession::status() {
  TRY_ASSIGN(CallReply r, call("status", Json::object()));
  StatusReply out;
  for (const Json& s : get(r.json, "slots")) {
    TRY_ASSIGN(SlotState slot, parse_slot(s));
    out.slots.push_back(std::move(slot));
  }
  for (const Json& a : get(r.json, "outbox")) {
    TRY_ASSIGN(ActivationResult result, parse_activation(a));
    out.outbox.push_back(std::move(result));
  }
  out.free_bytes = unsigned_of(r.json, "freeBytes");
  return out;
}

Result<LogPage> AgentSession::logs(std::string_view slot, std::string_view since,
                                   std::size_t max_bytes) {
  Json params{{"slot", slot}, {"maxBytes", std::min<std::size_t>(max_bytes, 262'144)}};
  if (!since.empty()) params["since"] = since;
  TRY_ASSIGN(CallReply r, call("logs", std::move(params)));
  return LogPage{get_string(r.json, "text"), get_string(r.json, "next"),
                 get_bool(r.json, "truncated")};
}

Result<Measured> AgentSession::bench(std::string_view slot) {
  CallOptions options;
  options.deadline = Seconds{300};
  TRY_ASSIGN(CallReply r, call("bench", Json{{"slot", slot}}, std::move(options)));
  return parse_measured(get(r.json, "measured"));
}

Result<Json> AgentSession::evaluate(std::string_view slot, std::string_view format,
                                    const std::vector<EvaluationFile>& files, Nanos timeout,
                                    std::stop_token stop) {
  std::string body;
  Json list = Json::array();
  for (const EvaluationFile& f : files) {
    list.push_back(Json{{"path", f.path}, {"size", f.content.size()}});
    body += f.content;
  }
  if (body.size() > artifacts::kMaxBodyBytes) {
    return make_error(Code::kExhausted, "BodyTooLarge",
                      "an evaluation set may have 64 MiB; this has " + std::to_string(body.size()) +
                          " bytes: send fewer samples");
  }
  Json params{{"slot", slot},
              {"format", format},
              {"files", std::move(list)},
              {"timeoutMs", std::chrono::duration_cast<Millis>(timeout).count()}};
  CallOptions options;
  options.deadline = timeout + Seconds{30};
  options.stop = std::move(stop);
  options.body_size = body.size();
  options.body = [&](std::uint64_t at, std::size_t n) -> Result<std::string> {
    return body.substr(static_cast<std::size_t>(at), n);
  };
  TRY_ASSIGN(CallReply r, call("evaluate", std::move(params), std::move(options)));
  return require_object(r.json, "result", "evaluate reply");
}

Result<RelayReply> AgentSession::relay(const RelayRequest& request, std::stop_token stop) {
  CallOptions options;
  options.deadline = Seconds{120};
  options.stop = std::move(stop);
  options.body_size = request.body.size();
  options.body = [&](std::uint64_t at, std::size_t n) -> Result<std::string> {
    return request.body.substr(static_cast<std::size_t>(at), n);
  };
  TRY_ASSIGN(CallReply r, call("relay",
                               Json{{"slot", request.slot},
                                    {"method", request.method},
                                    {"path", request.path},
                                    {"headers", request.headers}},
                               std::move(options)));
  RelayReply reply;
  reply.status = static_cast<int>(get_int(r.json, "status"));
  const Json& headers = get(r.json, "headers");
  if (headers.is_object()) {
    for (const auto& [name, value] : headers.items()) {
      if (value.is_string()) reply.headers[name] = value.get<std::string>();
    }
  }
  reply.body = std::move(r.body);
  return reply;
}

Status AgentSession::remove(std::string_view slot, std::string_view deployment_uid) {
  Json params{{"slot", slot}};
  if (!deployment_uid.empty()) params["deploymentUid"] = deployment_uid;
  TRY(call("remove", std::move(params)));
  return ok_status();
}

Result<ActivationResult> AgentSession::rollback(std::string_view slot) {
  TRY_ASSIGN(CallReply r, call("rollback", Json{{"slot", slot}}));
  return parse_activation(get(r.json, "result"));
}

Status AgentSession::acknowledge(const std::vector<std::string>& result_ids) {
  TRY(call("ack", Json{{"ids", result_ids}}));
  return ok_status();
}

Status AgentSession::rotate_root(const std::vector<artifacts::SignedDocument>& chain) {
  Json list = Json::array();
  for (const auto& doc : chain) list.push_back(artifacts::encode(doc));
  TRY(call("rotateRoot", Json{{"chain", std::move(list)}}));
  return ok_status();
}

}  // namespace tango::fleet
