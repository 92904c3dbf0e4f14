// Content-defined chunking (FastCDC, 16/64/256 KiB) and the binary chunk list
// (docs/formats/bundle.md). The builder cuts with it, the fleet reads chunks by it, the agent
// verifies by it. It never touches a network and keeps no file in memory.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/digest.h"
#include "lib/base/file.h"
#include "lib/base/result.h"

namespace tango::artifacts {

inline constexpr std::size_t kMinChunk = 16u << 10;
inline constexpr std::size_t kNormalChunk = 64u << 10;
inline constexpr std::size_t kMaxChunk = 256u << 10;
inline constexpr std::size_t kMaxChunkListBytes = 8u << 20;

const std::array<std::uint64_t, 256>& gear_table();

// Length of the first chunk of `data`, of which more may follow unless `last`: 0 when more bytes
// are needed to tell (never with kMaxChunk bytes or more).
std::size_t cut_chunk(std::string_view data, bool last);

struct Chunk {
  std::uint32_t length = 0;
  Digest hash;
  bool operator==(const Chunk&) const = default;
};

struct ChunkList {
  std::vector<Chunk> chunks;
  std::uint64_t total_bytes = 0;
};
std::string encode_chunk_list(const ChunkList& list);
// Errors: ChunkListInvalid.
Result<ChunkList> parse_chunk_list(std::string_view bytes);

struct FileChunks {
  std::vector<Chunk> chunks;
  std::uint64_t size = 0;
  Digest sha256;
};
// Reads the file once, in constant memory.
Result<FileChunks> chunk_file(const fs::path& path);
FileChunks chunk_bytes(std::string_view data);

// Where a chunk of the list lies: file `file` of the index, at `offset`; `position` counts over the
// concatenation of all files (the layout of the agent's staging file).
struct ChunkPlace {
  std::uint32_t file = 0;
  std::uint64_t offset = 0;
  std::uint64_t position = 0;
};
// Errors: ChunkListInvalid when file borders do not fall on chunk borders or the sums differ.
Result<std::vector<ChunkPlace>> place_chunks(const ChunkList& list,
                                             std::span<const std::uint64_t> file_sizes);

// Bit i is bit (i % 8) of byte (i / 8), as the protocol sends it.
class ChunkBitmap {
 public:
  ChunkBitmap() = default;
  explicit ChunkBitmap(std::size_t bits) : bits_(bits), bytes_((bits + 7) / 8, '\0') {}
  // Errors: InvalidBitmap (wrong size, or bits set beyond the end).
  static Result<ChunkBitmap> parse(std::string_view bytes, std::size_t bits);
  bool get(std::size_t i) const { return i < bits_ && ((bytes_[i / 8] >> (i % 8)) & 1) != 0; }
  void set(std::size_t i, bool value = true);
  std::size_t size() const { return bits_; }
  std::size_t count() const;
  const std::string& bytes() const { return bytes_; }

 private:
  std::size_t bits_ = 0;
  std::string bytes_;
};

}  // namespace tango::artifacts
