// The documents of an accepted plan, kept beside the slot: what start-up, rollback and resume need
// to know about a release without asking anybody. Bytes are pinned by the digests in the journal,
// so a changed file is an error, never another release.
//
//   slots/<slot>/plans/<sequence>/{index.json,chunks.bin,assignment.json,config.json}
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "device-agent/journal.h"
#include "lib/artifacts/trust_store.h"
#include "lib/base/file.h"

namespace tango::agent {

// A release with everything needed to run it.
struct LoadedRelease {
  ReleaseRef ref;
  std::shared_ptr<const artifacts::BundleIndex> index;
  artifacts::DeviceConfig config;
  artifacts::HealthGate gate;
  fs::path docs;
  // Labels, retry token and expiry only: it is not pinned by the journal. Absent when unreadable.
  std::optional<artifacts::Assignment> assignment;
};

fs::path plan_dir(const fs::path& slot_dir, std::uint64_t sequence);
// Durable when it returns. Errors: DiskFull, IoError.
Status save_plan(const fs::path& slot_dir, const artifacts::VerifiedPlan& plan);
// Errors: NotFound, HashMismatch, IndexInvalid.
Result<LoadedRelease> load_plan(const fs::path& slot_dir, const ReleaseRef& ref);
struct LoadedChunks {
  std::string bytes;
  artifacts::ChunkList list;
  std::vector<artifacts::ChunkPlace> places;
};
Result<LoadedChunks> load_chunks(const LoadedRelease& release);
// Removes the folders of all sequences but `keep`.
Status prune_plans(const fs::path& slot_dir, const std::vector<std::uint64_t>& keep);

}  // namespace tango::agent
