#include "lib/artifacts/trust_store.h"

#include <algorithm>

#include "lib/artifacts/frame.h"

namespace tango::artifacts {
namespace {

Error too_large(std::string_view what, std::size_t size, std::size_t limit) {
  return make_error(Code::kExhausted, "DocumentTooLarge",
                    "the " + std::string(what) + " has " + std::to_string(size) +
                        " bytes; the limit is " + std::to_string(limit));
}

Error denied(std::string_view reason, std::string message) {
  return make_error(Code::kDenied, reason, std::move(message));
}

// Step 1 of a plan: nothing is parsed or hashed before every part has a bearable size.
Status check_sizes(const PlanDocuments& p, const BundleLimits& limits) {
  auto cap = [](std::string_view what, const std::string& bytes, std::size_t limit) -> Status {
    if (bytes.size() > limit) return too_large(what, bytes.size(), limit);
    return ok_status();
  };
  TRY(cap("bundle index", p.index.document, limits.max_index_bytes));
  TRY(cap("index envelope", p.index.envelope, kMaxDocumentBytes));
  TRY(cap("assignment", p.assignment.document, kMaxDocumentBytes));
  TRY(cap("assignment envelope", p.assignment.envelope, kMaxDocumentBytes));
  TRY(cap("chunk list", p.chunk_list, kMaxChunkListBytes));
  TRY(cap("configuration", p.config, limits.max_config_bytes));
  return ok_status();
}

// Step 3.
Status check_assignment(const Assignment& a, const PlanDocuments& p, const DeviceFacts& facts) {
  if (a.device_id != facts.device_id) {
    return denied("AssignmentMismatch", "the assignment names device " + a.device_id.substr(0, 12) +
                                            ", this is " + facts.device_id.substr(0, 12));
  }
  if (a.slot != facts.slot) {
    return denied("AssignmentMismatch",
                  "the assignment names slot " + a.slot + ", the plan is for " + facts.slot);
  }
  if (a.arch != facts.arch) {
    return make_error(Code::kInvalid, "WrongArchitecture",
                      "the assignment is for " + a.arch + ", this device is " + facts.arch);
  }
  if (a.fleet_epoch < facts.fleet_epoch) {
    return make_error(Code::kConflict, "EpochBehind",
                      "the assignment is of fleet epoch " + std::to_string(a.fleet_epoch) +
                          ", this device has seen " + std::to_string(facts.fleet_epoch));
  }
  const SlotFacts& slot = facts.slot_facts;
  bool again = a.sequence == slot.highest_sequence && slot.bundle_at_highest == a.bundle &&
               slot.config_at_highest == a.config_digest;
  if (a.sequence <= slot.highest_sequence && !again) {
    return make_error(Code::kConflict, "SequenceStale",
                      "the assignment has sequence " + std::to_string(a.sequence) + " for slot " +
                          a.slot + ", this device has accepted " +
                          std::to_string(slot.highest_sequence));
  }
  if (std::max(facts.highest_seen, a.issued_at) >= a.expires) {
    return denied("AssignmentExpired", "the assignment expired at " + format_time(a.expires) +
                                           "; this device has seen " +
                                           format_time(facts.highest_seen));
  }
  if (sha256(p.index.document) != a.bundle) {
    return denied("AssignmentMismatch", "the assignment names another bundle index");
  }
  if (sha256(p.config) != a.config_digest) {
    return denied("AssignmentMismatch", "the assignment names another configuration");
  }
  return ok_status();
}

}  // namespace

Status check_envelope(const Root& root, Role role, std::string_view document,
                      std::string_view envelope, std::string_view payload_type,
                      std::size_t max_bytes) {
  if (document.size() > max_bytes) return too_large("document", document.size(), max_bytes);
  if (envelope.size() > kMaxDocumentBytes) {
    return too_large("signature envelope", envelope.size(), kMaxDocumentBytes);
  }
  TRY_ASSIGN(Envelope e, parse_envelope(envelope));
  if (e.payload_type != payload_type) {
    return denied("SignatureInvalid", "the envelope is of type \"" + e.payload_type + "\", \"" +
                                          std::string(payload_type) + "\" is needed");
  }
  if (e.size != document.size() || e.digest != sha256(document)) {
    return denied("SignatureInvalid", "the envelope belongs to other bytes: the document has " +
                                          sha256(document).to_string());
  }
  auto rule = root.roles.find(role);
  if (rule == root.roles.end()) return denied("ThresholdUnmet", "the root has no such role");
  std::set<std::string> good;
  for (const EnvelopeSignature& s : e.signatures) {
    const auto& ids = rule->second.keyids;
    auto key = root.keys.find(s.keyid);
    if (std::find(ids.begin(), ids.end(), s.keyid) == ids.end() || key == root.keys.end()) continue;
    if (!verify_bytes(key->second, document, s.sig)) {
      return denied("SignatureInvalid",
                    "the signature by key " + s.keyid.substr(0, 12) + " does not fit the bytes");
    }
    good.insert(s.keyid);
  }
  if (good.size() < rule->second.threshold) {
    return denied("ThresholdUnmet",
                  std::to_string(good.size()) + " of " + std::to_string(rule->second.threshold) +
                      " needed keys of role " + std::string(to_string(role)) + " signed this");
  }
  return ok_status();
}

Result<TrustStore> TrustStore::from_trusted(std::string_view root_bytes) {
  TRY_ASSIGN(Root root, parse_root(root_bytes));
  return TrustStore(std::move(root), std::string(root_bytes));
}

Result<TrustStore> TrustStore::from_signed(const SignedDocument& doc) {
  TRY_ASSIGN(TrustStore store, from_trusted(doc.document));
  TRY(store.check_signatures(doc, kRootType, Role::kRoot, kMaxDocumentBytes));
  return store;
}

Status TrustStore::check_signatures(const SignedDocument& doc, std::string_view payload_type,
                                    Role role, std::size_t max_bytes) const {
  return check_envelope(root_, role, doc.document, doc.envelope, payload_type, max_bytes);
}

Result<bool> TrustStore::update_root(const SignedDocument& next) {
  TRY_ASSIGN(Root root, parse_root(next.document));
  if (root.version == root_.version) {
    if (next.document == root_bytes_) return false;
    return denied("RootConflict",
                  "another root of version " + std::to_string(root.version) + " is trusted here");
  }
  if (root.version < root_.version) {
    return make_error(Code::kConflict, "RootStale",
                      "root version " + std::to_string(root.version) + " is older than " +
                          std::to_string(root_.version));
  }
  if (root.version != root_.version + 1) {
    return make_error(Code::kConflict, "RootGap",
                      "root version " + std::to_string(root.version) + " does not follow " +
                          std::to_string(root_.version));
  }
  for (const Root* by : {&root_, &root}) {
    TRY(check_envelope(*by, Role::kRoot, next.document, next.envelope, kRootType,
                       kMaxDocumentBytes));
  }
  root_ = std::move(root);
  root_bytes_ = next.document;
  return true;
}

Status TrustStore::update_root_chain(const std::vector<SignedDocument>& chain) {
  TrustStore copy = *this;
  for (const SignedDocument& doc : chain) {
    TRY_ASSIGN(Root root, parse_root(doc.document));
    if (root.version < copy.root_.version) continue;
    TRY(copy.update_root(doc));
  }
  *this = std::move(copy);
  return ok_status();
}

Result<Verified<FleetEpoch>> TrustStore::verify_epoch(const SignedDocument& doc) const {
  TRY(check_signatures(doc, kFleetEpochType, Role::kAssignment, kMaxDocumentBytes));
  TRY_ASSIGN(FleetEpoch epoch, parse_epoch(doc.document));
  return Verified<FleetEpoch>(epoch, doc.document);
}

Result<Verified<AgentRelease>> TrustStore::verify_agent(const SignedDocument& doc,
                                                        std::string_view arch) const {
  TRY(check_signatures(doc, kAgentType, Role::kAgent, kMaxDocumentBytes));
  TRY_ASSIGN(AgentRelease release, parse_agent_release(doc.document));
  if (release.arch != arch) {
    return make_error(Code::kInvalid, "WrongArchitecture",
                      "the agent is built for " + release.arch + ", this is " + std::string(arch));
  }
  return Verified<AgentRelease>(std::move(release), doc.document);
}

Result<Verified<BundleIndex>> TrustStore::verify_index(const SignedDocument& doc,
                                                       const BundleLimits& limits) const {
  TRY(check_signatures(doc, kIndexType, Role::kRelease, limits.max_index_bytes));
  TRY_ASSIGN(BundleIndex index, parse_index(doc.document, limits));
  return Verified<BundleIndex>(std::move(index), doc.document);
}

Result<VerifiedPlan> TrustStore::verify_plan(const PlanDocuments& plan, const DeviceFacts& facts,
                                             const BundleLimits& limits) const {
  // 1. sizes, 2. signatures
  TRY(check_sizes(plan, limits));
  TRY(check_signatures(plan.index, kIndexType, Role::kRelease, limits.max_index_bytes));
  TRY(check_signatures(plan.assignment, kAssignmentType, Role::kAssignment, kMaxDocumentBytes));
  // 3. the assignment
  TRY_ASSIGN(Assignment assignment, parse_assignment(plan.assignment.document));
  TRY(check_assignment(assignment, plan, facts));
  // 4. the index
  TRY_ASSIGN(BundleIndex index, parse_index(plan.index.document, limits));
  if (index.target.arch != facts.arch) {
    return make_error(
        Code::kInvalid, "WrongArchitecture",
        "the bundle is built for " + index.target.arch + ", this device is " + facts.arch);
  }
  if (index.security_version < facts.security_version) {
    return denied("DowngradeRefused",
                  "the bundle has security version " + std::to_string(index.security_version) +
                      ", this device has committed " + std::to_string(facts.security_version));
  }
  TRY_ASSIGN(DeviceConfig config, parse_config(plan.config, limits));
  HealthGate gate = index.health_gate;
  if (config.health_gate) {
    TRY_ASSIGN(gate, parse_health_gate(*config.health_gate, gate));
  }
  // 5. the chunk list
  TRY_ASSIGN(Verified<ChunkList> chunks, check_chunk_list(plan.chunk_list, index));
  TRY_ASSIGN(std::vector<ChunkPlace> places, place_chunks(*chunks, index.file_sizes()));
  return VerifiedPlan{Verified<Assignment>(std::move(assignment), plan.assignment.document),
                      Verified<BundleIndex>(std::move(index), plan.index.document),
                      std::move(chunks),
                      Verified<DeviceConfig>(std::move(config), plan.config),
                      gate,
                      std::move(places)};
}

Result<Verified<ChunkList>> TrustStore::check_chunk_list(std::string bytes,
                                                         const BundleIndex& index) {
  if (sha256(bytes) != index.chunk_list) {
    return denied("HashMismatch", "the chunk list is not the one that the index names");
  }
  TRY_ASSIGN(ChunkList list, parse_chunk_list(bytes));
  if (list.chunks.size() != index.chunk_count || list.total_bytes != index.total_bytes) {
    return make_error(Code::kInvalid, "ChunkListInvalid",
                      "the chunk list has other totals than the index");
  }
  return Verified<ChunkList>(std::move(list), std::move(bytes));
}

Result<Verified<BundleIndex>> TrustStore::reload_index(std::string bytes, const Digest& expected,
                                                       const BundleLimits& limits) {
  if (sha256(bytes) != expected) {
    return denied("HashMismatch", "the stored index is not " + expected.to_string());
  }
  TRY_ASSIGN(BundleIndex index, parse_index(bytes, limits));
  return Verified<BundleIndex>(std::move(index), std::move(bytes));
}

Result<Verified<DeviceConfig>> TrustStore::reload_config(std::string bytes,
                                                         const Digest& expected) {
  if (sha256(bytes) != expected) {
    return denied("HashMismatch", "the stored configuration is not " + expected.to_string());
  }
  TRY_ASSIGN(DeviceConfig config, parse_config(bytes));
  return Verified<DeviceConfig>(std::move(config), std::move(bytes));
}

}  // namespace tango::artifacts
