// The incoming release of a slot: one preallocated file for the chunks that the device lacks, and a
// map of which of them are there. Survives a kill of the agent and a reboot: a bit is set only
// after its bytes are durable. Exact bytes of the map: docs/formats/staging.md. It verifies every
// chunk's hash before it keeps it, and never looks at files or paths.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "lib/artifacts/chunk.h"
#include "lib/base/file.h"
#include "lib/base/result.h"

namespace tango::agent {

class Staging {
 public:
  // Continues `<name>.map` in `dir` when it is of this chunk list, else begins anew: `wanted` are
  // the chunks to hold (of equal chunks the first one). Errors: DiskFull, IoError.
  static Result<Staging> open(const fs::path& dir, const std::string& name,
                              std::string_view chunk_list_bytes, const artifacts::ChunkList& list,
                              const artifacts::ChunkBitmap& wanted);
  // Removes both files; absent is success.
  static Status remove(const fs::path& dir, const std::string& name);

  // Keeps chunk `i`; a repeat of one that is there is success. Errors: HashMismatch (length, hash
  // or a chunk that is not wanted), DiskFull, IoError.
  Status put(std::size_t i, std::string_view bytes);
  // Makes everything put so far durable: data first, then the map.
  Status sync();
  // A chunk by its hash, whether it was put under this number or that of an equal one.
  // Errors: NotFound, IoError, HashMismatch (the file rotted).
  Result<std::string> read(const Digest& hash) const;

  // Errors: HashMismatch when there is no such chunk.
  Result<std::uint32_t> chunk_length(std::size_t i) const;
  bool wants(std::size_t i) const { return wanted_.get(i); }
  bool has(std::size_t i) const { return have_.get(i); }
  bool complete() const { return missing_chunks() == 0; }
  std::size_t missing_chunks() const;
  std::uint64_t missing_bytes() const;
  artifacts::ChunkBitmap missing() const;
  std::uint64_t file_bytes() const { return file_bytes_; }

 private:
  Staging(const artifacts::ChunkList& list, artifacts::ChunkBitmap wanted);
  std::vector<artifacts::Chunk> chunks_;
  artifacts::ChunkBitmap wanted_, have_, durable_;
  std::vector<std::uint64_t> offsets_;  // in the data file, of wanted chunks
  std::unordered_map<Digest, std::size_t> by_hash_;
  std::uint64_t file_bytes_ = 0;
  std::size_t map_bits_at_ = 0;  // where `have` begins in the map file
  Fd data_, map_;
};

}  // namespace tango::agent
