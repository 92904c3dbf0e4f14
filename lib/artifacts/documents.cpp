// The signed documents besides root.json: assignment, fleet epoch, agent release.
#include <algorithm>

#include "lib/artifacts/signature.h"
#include "lib/artifacts/strict.h"

namespace tango::artifacts {
namespace {

TimePoint time_of(StrictObject& doc, std::string_view key) {
  std::string text = doc.text(key, 20, 20);
  auto t = parse_time(text);
  if (!t.ok() || format_time(*t) != text) {
    doc.fail(key, "must be a time in UTC like 2026-11-21T12:00:00Z");
    return {};
  }
  return *t;
}

TimePoint whole_seconds(TimePoint t) { return std::chrono::floor<Seconds>(t); }

bool is_slot(std::string_view text) {
  return !text.empty() && text.size() <= 63 && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
  });
}

}  // namespace

Result<std::string> encode_assignment(const Assignment& a) {
  TRY_ASSIGN(std::string bytes,
             canonical_json(Json{{"type", kAssignmentType},
                                 {"deviceId", a.device_id},
                                 {"slot", a.slot},
                                 {"arch", a.arch},
                                 {"bundle", a.bundle.to_string()},
                                 {"release", a.release},
                                 {"sequence", a.sequence},
                                 {"issuedAt", format_time(whole_seconds(a.issued_at))},
                                 {"expires", format_time(whole_seconds(a.expires))},
                                 {"fleetEpoch", a.fleet_epoch},
                                 {"deploymentUid", a.deployment_uid},
                                 {"generation", a.generation},
                                 {"configDigest", a.config_digest.to_string()},
                                 {"retryToken", a.retry_token}}));
  TRY(parse_assignment(bytes));
  return bytes;
}

Result<Assignment> parse_assignment(std::string_view bytes) {
  constexpr std::string_view reason = "AssignmentInvalid";
  TRY_ASSIGN(Json json, parse_canonical(bytes, kMaxDocumentBytes, reason, "assignment"));
  StrictObject doc(json, "", reason);
  doc.expect("type", kAssignmentType);
  Assignment a;
  a.device_id = doc.digest_hex("deviceId").hex();
  a.slot = doc.text("slot", 1, 63);
  if (!is_slot(a.slot)) doc.fail("slot", "must be 1-63 of a-z 0-9 -");
  a.arch = doc.text("arch", 1, 16);
  a.bundle = doc.digest("bundle");
  a.release = doc.text("release", 0, 71);
  if (!a.release.empty() && !Digest::parse(a.release).ok()) doc.fail("release", "must be a digest");
  a.sequence = doc.number("sequence");
  if (a.sequence == 0) doc.fail("sequence", "must be at least 1");
  a.issued_at = time_of(doc, "issuedAt");
  a.expires = time_of(doc, "expires");
  if (a.expires <= a.issued_at) doc.fail("expires", "must be after issuedAt");
  a.fleet_epoch = doc.number("fleetEpoch");
  a.deployment_uid = doc.text("deploymentUid", 0, 64);
  a.generation = doc.number("generation");
  a.config_digest = doc.digest("configDigest");
  a.retry_token = doc.text("retryToken", 0, 128);
  TRY(doc.finish());
  return a;
}

std::string encode_epoch(const FleetEpoch& e) {
  auto bytes = canonical_json(Json{{"type", kFleetEpochType},
                                   {"epoch", e.epoch},
                                   {"issuedAt", format_time(whole_seconds(e.issued_at))}});
  return bytes.ok() ? std::move(*bytes) : std::string();
}

Result<FleetEpoch> parse_epoch(std::string_view bytes) {
  constexpr std::string_view reason = "SignatureInvalid";
  TRY_ASSIGN(Json json, parse_canonical(bytes, kMaxDocumentBytes, reason, "fleet epoch"));
  StrictObject doc(json, "", reason);
  doc.expect("type", kFleetEpochType);
  FleetEpoch e{doc.number("epoch"), time_of(doc, "issuedAt")};
  TRY(doc.finish());
  return e;
}

std::string encode_agent_release(const AgentRelease& r) {
  auto bytes = canonical_json(Json{{"type", kAgentType},
                                   {"arch", r.arch},
                                   {"version", r.version},
                                   {"sha256", r.sha256.hex()},
                                   {"size", r.size}});
  return bytes.ok() ? std::move(*bytes) : std::string();
}

Result<AgentRelease> parse_agent_release(std::string_view bytes) {
  constexpr std::string_view reason = "SignatureInvalid";
  TRY_ASSIGN(Json json, parse_canonical(bytes, kMaxDocumentBytes, reason, "agent release"));
  StrictObject doc(json, "", reason);
  doc.expect("type", kAgentType);
  AgentRelease r;
  r.arch = doc.text("arch", 1, 16);
  r.version = doc.text("version", 1, 64);
  r.sha256 = doc.digest_hex("sha256");
  r.size = doc.number("size", 256u << 20);
  TRY(doc.finish());
  return r;
}

}  // namespace tango::artifacts
