#include "lib/artifacts/chunk.h"

#include <fcntl.h>
#include <unistd.h>

#include <bit>
#include <cerrno>

#include "lib/artifacts/bytes.h"

namespace tango::artifacts {
namespace {

constexpr std::uint64_t kMaskSmall = 0xFFFFC00000000000ull;  // 18 bits: rare below the normal size
constexpr std::uint64_t kMaskLarge = 0xFFFC000000000000ull;  // 14 bits: soon above it
constexpr std::string_view kMagic = "TNGCHNK1";
constexpr std::size_t kListHeader = 24;
constexpr std::size_t kListEntry = 36;

Error bad_list(std::string why) {
  return make_error(Code::kInvalid, "ChunkListInvalid", "the chunk list " + std::move(why));
}

std::array<std::uint64_t, 256> make_gear() {
  std::array<std::uint64_t, 256> table{};
  for (std::size_t b = 0; b < table.size(); ++b) {
    std::string seed = "tango-gear-v1";
    seed.push_back(static_cast<char>(b));
    Digest d = sha256(seed);
    std::string_view bytes(reinterpret_cast<const char*>(d.bytes().data()), 8);
    table[b] = get_u64(bytes);
  }
  return table;
}

}  // namespace

const std::array<std::uint64_t, 256>& gear_table() {
  static const std::array<std::uint64_t, 256> table = make_gear();
  return table;
}

std::size_t cut_chunk(std::string_view data, bool last) {
  const auto& gear = gear_table();
  if (data.size() <= kMinChunk) return last ? data.size() : 0;
  std::size_t end = std::min(data.size(), kMaxChunk);
  std::uint64_t fp = 0;
  std::size_t i = kMinChunk;
  for (std::size_t normal = std::min(end, kNormalChunk); i < normal; ++i) {
    fp = (fp << 1) + gear[static_cast<unsigned char>(data[i])];
    if ((fp & kMaskSmall) == 0) return i + 1;
  }
  for (; i < end; ++i) {
    fp = (fp << 1) + gear[static_cast<unsigned char>(data[i])];
    if ((fp & kMaskLarge) == 0) return i + 1;
  }
  if (end == kMaxChunk) return kMaxChunk;
  return last ? end : 0;
}

std::string encode_chunk_list(const ChunkList& list) {
  std::string out(kMagic);
  out.reserve(kListHeader + kListEntry * list.chunks.size());
  put_u32(out, static_cast<std::uint32_t>(list.chunks.size()));
  put_u32(out, 0);
  put_u64(out, list.total_bytes);
  for (const Chunk& c : list.chunks) {
    put_u32(out, c.length);
    out.append(reinterpret_cast<const char*>(c.hash.bytes().data()), c.hash.bytes().size());
  }
  return out;
}

Result<ChunkList> parse_chunk_list(std::string_view bytes) {
  if (bytes.size() > kMaxChunkListBytes) return bad_list("is larger than 8 MiB");
  if (bytes.size() < kListHeader) return bad_list("is shorter than its header");
  if (bytes.substr(0, kMagic.size()) != kMagic) return bad_list("does not begin with TNGCHNK1");
  std::size_t count = get_u32(bytes.substr(8));
  if (get_u32(bytes.substr(12)) != 0) return bad_list("has a reserved field that is not zero");
  if (bytes.size() != kListHeader + kListEntry * count) {
    return bad_list("has " + std::to_string(bytes.size()) + " bytes, which do not fit its " +
                    std::to_string(count) + " entries");
  }
  ChunkList list;
  list.total_bytes = get_u64(bytes.substr(16));
  list.chunks.reserve(count);
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < count; ++i) {
    std::string_view entry = bytes.substr(kListHeader + i * kListEntry, kListEntry);
    std::uint32_t length = get_u32(entry);
    if (length == 0 || length > kMaxChunk) {
      return bad_list("gives chunk " + std::to_string(i) + " the length " + std::to_string(length));
    }
    Digest::Bytes hash;
    for (std::size_t k = 0; k < hash.size(); ++k) {
      hash[k] = static_cast<std::uint8_t>(entry[4 + k]);
    }
    list.chunks.push_back(Chunk{length, Digest(hash)});
    sum += length;
  }
  if (sum != list.total_bytes) return bad_list("adds up to another total than it says");
  return list;
}

namespace {

// Cuts what is fed; keeps at most one chunk plus one piece.
class Chunker {
 public:
  void feed(std::string_view data) {
    whole_.update(data);
    out_.size += data.size();
    buffer_.append(data);
    take(false);
  }
  FileChunks finish() {
    take(true);
    out_.sha256 = whole_.finish();
    return std::move(out_);
  }

 private:
  void take(bool last) {
    std::size_t at = 0;
    while (at < buffer_.size()) {
      std::string_view rest = std::string_view(buffer_).substr(at);
      // Cutting again from the start of an unfinished chunk is work done twice, so wait for a full
      // one.
      if (!last && rest.size() < kMaxChunk) break;
      std::size_t n = cut_chunk(rest, last);
      if (n == 0) break;
      out_.chunks.push_back(Chunk{static_cast<std::uint32_t>(n), sha256(rest.substr(0, n))});
      at += n;
    }
    buffer_.erase(0, at);
  }
  Sha256 whole_;
  std::string buffer_;
  FileChunks out_{{}, 0, Digest(Digest::Bytes{})};
};

}  // namespace

FileChunks chunk_bytes(std::string_view data) {
  Chunker chunker;
  chunker.feed(data);
  return chunker.finish();
}

Result<FileChunks> chunk_file(const fs::path& path) {
  Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return errno_error(errno, "opening " + path.string());
  Chunker chunker;
  std::string piece(1u << 20, '\0');
  for (;;) {
    ssize_t n = ::read(fd.get(), piece.data(), piece.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_error(errno, "reading " + path.string());
    if (n == 0) break;
    chunker.feed(std::string_view(piece.data(), static_cast<std::size_t>(n)));
  }
  return chunker.finish();
}

Result<std::vector<ChunkPlace>> place_chunks(const ChunkList& list,
                                             std::span<const std::uint64_t> file_sizes) {
  std::vector<ChunkPlace> places;
  places.reserve(list.chunks.size());
  std::size_t file = 0;
  std::uint64_t offset = 0;
  std::uint64_t position = 0;
  auto skip_finished = [&] {
    while (file < file_sizes.size() && offset == file_sizes[file]) {
      ++file;
      offset = 0;
    }
  };
  for (std::size_t i = 0; i < list.chunks.size(); ++i) {
    skip_finished();
    std::uint64_t length = list.chunks[i].length;
    if (file == file_sizes.size() || length > file_sizes[file] - offset) {
      return bad_list("has chunk " + std::to_string(i) + " across the end of a file");
    }
    places.push_back(ChunkPlace{static_cast<std::uint32_t>(file), offset, position});
    offset += length;
    position += length;
  }
  skip_finished();
  if (file != file_sizes.size()) return bad_list("ends before the files of the index do");
  return places;
}

Result<ChunkBitmap> ChunkBitmap::parse(std::string_view bytes, std::size_t bits) {
  ChunkBitmap map(bits);
  if (bytes.size() != map.bytes_.size()) {
    return make_error(Code::kInvalid, "InvalidBitmap",
                      "a bitmap of " + std::to_string(bytes.size()) + " bytes came for " +
                          std::to_string(bits) + " chunks");
  }
  map.bytes_ = bytes;
  for (std::size_t i = bits; i < bytes.size() * 8; ++i) {
    if (((bytes[i / 8] >> (i % 8)) & 1) != 0) {
      return make_error(Code::kInvalid, "InvalidBitmap", "a bitmap has bits beyond its end");
    }
  }
  return map;
}

void ChunkBitmap::set(std::size_t i, bool value) {
  assert(i < bits_);
  auto byte = static_cast<unsigned char>(bytes_[i / 8]);
  auto bit = static_cast<unsigned char>(1u << (i % 8));
  byte = static_cast<unsigned char>(value ? (byte | bit) : (byte & ~bit));
  bytes_[i / 8] = static_cast<char>(byte);
}

std::size_t ChunkBitmap::count() const {
  std::size_t n = 0;
  for (char c : bytes_) {
    n += static_cast<std::size_t>(std::popcount(static_cast<unsigned char>(c)));
  }
  return n;
}

}  // namespace tango::artifacts
