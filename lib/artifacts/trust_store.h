// Decides what to believe: holds a trusted root and turns signed bytes into Verified<T>, in the
// fixed order of docs/formats/trust.md. The agent and the signer use it. A Verified<T> cannot be
// made any other way, so code that takes one cannot be reached by unverified bytes.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/artifacts/bundle.h"
#include "lib/artifacts/chunk.h"
#include "lib/artifacts/signature.h"

namespace tango::artifacts {

template <typename T>
class Verified {
 public:
  const T& operator*() const { return value_; }
  const T* operator->() const { return &value_; }
  const std::string& bytes() const { return bytes_; }  // the exact bytes that were verified
  const Digest& digest() const { return digest_; }

 private:
  friend class TrustStore;
  Verified(T value, std::string bytes)
      : value_(std::move(value)), bytes_(std::move(bytes)), digest_(sha256(bytes_)) {}
  T value_;
  std::string bytes_;
  Digest digest_;
};

// Everything that the operator sends with a plan.
struct PlanDocuments {
  SignedDocument index;
  SignedDocument assignment;
  std::string chunk_list;
  std::string config;
};

// What a device knows about itself when a plan arrives.
struct SlotFacts {
  std::uint64_t highest_sequence = 0;
  // Of the plan accepted with highest_sequence: the same one may come again (resume).
  std::optional<Digest> bundle_at_highest;
  std::optional<Digest> config_at_highest;
};
struct DeviceFacts {
  std::string device_id;
  std::string arch;
  std::uint64_t fleet_epoch = 0;
  TimePoint highest_seen{};  // largest verified issuedAt
  std::uint64_t security_version = 0;
  std::string slot;  // the one that the plan names
  SlotFacts slot_facts;
};

struct VerifiedPlan {
  Verified<Assignment> assignment;
  Verified<BundleIndex> index;
  Verified<ChunkList> chunks;
  Verified<DeviceConfig> config;
  HealthGate gate;  // of the index, overridden by the configuration
  std::vector<ChunkPlace> places;
};

class TrustStore {
 public:
  // A root that is trusted already (installed by provisioning, or read back from own storage).
  static Result<TrustStore> from_trusted(std::string_view root_bytes);  // errors: RootInvalid
  // Trust on first installation: the root must at least be signed by its own role `root`.
  static Result<TrustStore> from_signed(const SignedDocument& root);

  const Root& root() const { return root_; }
  const std::string& root_bytes() const { return root_bytes_; }

  // Same version: same bytes are fine, others RootConflict. Version +1: signed by both sets,
  // adopted (returns true). Older: RootStale. Further: RootGap. A failure changes nothing.
  Result<bool> update_root(const SignedDocument& next);
  // Strictly sequential versions; all or nothing. Links up to the current version are skipped.
  Status update_root_chain(const std::vector<SignedDocument>& chain);

  // Errors of all: DocumentTooLarge, SignatureInvalid, ThresholdUnmet, and those of the parser.
  Result<Verified<FleetEpoch>> verify_epoch(const SignedDocument& doc) const;
  Result<Verified<AgentRelease>> verify_agent(const SignedDocument& doc,
                                              std::string_view arch) const;
  Result<Verified<BundleIndex>> verify_index(const SignedDocument& doc,
                                             const BundleLimits& limits = {}) const;
  // The whole order, steps 1-5. Errors also: AssignmentMismatch, WrongArchitecture, EpochBehind,
  // SequenceStale, AssignmentExpired, HashMismatch (configuration or chunk list), DowngradeRefused,
  // IndexInvalid, PathUnsafe, ...
  Result<VerifiedPlan> verify_plan(const PlanDocuments& plan, const DeviceFacts& facts,
                                   const BundleLimits& limits = {}) const;
  // What the device stored itself after a verified plan: hash-pinned by its journal instead of
  // signatures. Errors: HashMismatch, IndexInvalid. For restarts and rollbacks, where expiry is
  // never checked.
  static Result<Verified<BundleIndex>> reload_index(std::string bytes, const Digest& expected,
                                                    const BundleLimits& limits = {});
  static Result<Verified<DeviceConfig>> reload_config(std::string bytes, const Digest& expected);
  static Result<Verified<ChunkList>> check_chunk_list(std::string bytes, const BundleIndex& index);

 private:
  TrustStore(Root root, std::string bytes)
      : root_(std::move(root)), root_bytes_(std::move(bytes)) {}
  Status check_signatures(const SignedDocument& doc, std::string_view payload_type, Role role,
                          std::size_t max_bytes) const;
  Root root_;
  std::string root_bytes_;
};

// Verifies `doc` against `role` of `root`. Errors: DocumentTooLarge, SignatureInvalid,
// ThresholdUnmet.
Status check_envelope(const Root& root, Role role, std::string_view document,
                      std::string_view envelope, std::string_view payload_type,
                      std::size_t max_bytes);

}  // namespace tango::artifacts
