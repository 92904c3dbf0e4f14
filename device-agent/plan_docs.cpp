#include "device-agent/plan_docs.h"

#include <algorithm>

#include "device-agent/crash_point.h"

namespace tango::agent {

fs::path plan_dir(const fs::path& slot_dir, std::uint64_t sequence) {
  return slot_dir / "plans" / std::to_string(sequence);
}

Status save_plan(const fs::path& slot_dir, const artifacts::VerifiedPlan& plan) {
  const fs::path dir = plan_dir(slot_dir, plan.assignment->sequence);
  TRY(make_dirs(dir, 0755));
  TRY(write_file_atomic(dir / "index.json", plan.index.bytes()));
  TRY(write_file_atomic(dir / "chunks.bin", plan.chunks.bytes()));
  TRY(write_file_atomic(dir / "assignment.json", plan.assignment.bytes()));
  // The configuration may carry what only this device's account should read.
  TRY(write_file_atomic(dir / "config.json", plan.config.bytes(), 0600));
  TRY(fsync_dir(dir.parent_path()));
  TRY(fsync_dir(slot_dir));
  crash_point(point::kPlanSaved);
  return ok_status();
}

Result<LoadedRelease> load_plan(const fs::path& slot_dir, const ReleaseRef& ref) {
  const fs::path dir = plan_dir(slot_dir, ref.sequence);
  TRY_ASSIGN(std::string index_bytes, read_file(dir / "index.json", 2u << 20));
  TRY_ASSIGN(auto index, artifacts::TrustStore::reload_index(std::move(index_bytes), ref.digest));
  TRY_ASSIGN(std::string config_bytes, read_file(dir / "config.json", 128u << 10));
  TRY_ASSIGN(const Digest config_digest, Digest::parse(ref.config_digest));
  TRY_ASSIGN(auto config,
             artifacts::TrustStore::reload_config(std::move(config_bytes), config_digest));
  LoadedRelease out{ref,     std::make_shared<const artifacts::BundleIndex>(*index),
                    *config, index->health_gate,
                    dir,     std::nullopt};
  if (config->health_gate) {
    TRY_ASSIGN(out.gate, artifacts::parse_health_gate(*config->health_gate, index->health_gate));
  }
  if (auto bytes = read_file(dir / "assignment.json", 128u << 10); bytes.ok()) {
    auto assignment = artifacts::parse_assignment(*bytes);
    if (assignment.ok()) out.assignment = std::move(*assignment);
  }
  return out;
}

Result<LoadedChunks> load_chunks(const LoadedRelease& release) {
  TRY_ASSIGN(std::string bytes,
             read_file(release.docs / "chunks.bin", artifacts::kMaxChunkListBytes));
  TRY_ASSIGN(auto verified,
             artifacts::TrustStore::check_chunk_list(std::move(bytes), *release.index));
  TRY_ASSIGN(auto places, artifacts::place_chunks(*verified, release.index->file_sizes()));
  return LoadedChunks{verified.bytes(), *verified, std::move(places)};
}

Status prune_plans(const fs::path& slot_dir, const std::vector<std::uint64_t>& keep) {
  std::error_code ec;
  std::vector<fs::path> old;
  for (const auto& entry : fs::directory_iterator(slot_dir / "plans", ec)) {
    const std::string name = entry.path().filename().string();
    const bool kept = std::any_of(keep.begin(), keep.end(),
                                  [&](std::uint64_t s) { return name == std::to_string(s); });
    if (!kept) old.push_back(entry.path());
  }
  for (const fs::path& path : old) TRY(tango::remove_all(path));
  return ok_status();
}

}  // namespace tango::agent
