#include "device-agent/staging.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "device-agent/byte_codec.h"
#include "device-agent/crash_point.h"

namespace tango::agent {
namespace {

using artifacts::ChunkBitmap;
constexpr std::string_view kMagic = "TNGSTG01";
constexpr std::size_t kHeaderBytes = 8 + 4 + 4 + 32;

Status pwrite_all(int fd, std::string_view data, std::uint64_t offset) {
  while (!data.empty()) {
    const ssize_t n = ::pwrite(fd, data.data(), data.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_error(errno, "writing staging");
    data.remove_prefix(static_cast<std::size_t>(n));
    offset += static_cast<std::uint64_t>(n);
  }
  return ok_status();
}

Result<std::string> pread_exact(int fd, std::size_t size, std::uint64_t offset) {
  std::string out(size, '\0');
  std::size_t have = 0;
  while (have < size) {
    const ssize_t n =
        ::pread(fd, out.data() + have, size - have, static_cast<off_t>(offset + have));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_error(errno, "reading staging");
    if (n == 0) return make_error(Code::kIo, "IoError", "the staging file is cut");
    have += static_cast<std::size_t>(n);
  }
  return out;
}

std::string map_header(std::size_t count, std::string_view chunk_list_bytes) {
  ByteWriter w;
  w.out().append(kMagic);
  w.u32(static_cast<std::uint32_t>(count));
  w.u32(0);
  w.digest(sha256(chunk_list_bytes));
  return w.out();
}

}  // namespace

Staging::Staging(const artifacts::ChunkList& list, ChunkBitmap wanted)
    : chunks_(list.chunks),
      wanted_(std::move(wanted)),
      have_(list.chunks.size()),
      durable_(list.chunks.size()),
      offsets_(list.chunks.size(), 0) {
  for (std::size_t i = 0; i < chunks_.size(); ++i) {
    if (!wanted_.get(i)) continue;
    offsets_[i] = file_bytes_;
    file_bytes_ += chunks_[i].length;
    by_hash_.emplace(chunks_[i].hash, i);
  }
}

Result<Staging> Staging::open(const fs::path& dir, const std::string& name,
                              std::string_view chunk_list_bytes, const artifacts::ChunkList& list,
                              const ChunkBitmap& wanted) {
  const fs::path data_path = dir / (name + ".data");
  const fs::path map_path = dir / (name + ".map");
  const std::string header = map_header(list.chunks.size(), chunk_list_bytes);
  const std::size_t bitmap = (list.chunks.size() + 7) / 8;

  auto stored = read_file(map_path, kHeaderBytes + 2 * bitmap + 1);
  if (stored.ok() && stored->size() == kHeaderBytes + 2 * bitmap && stored->starts_with(header)) {
    auto want = ChunkBitmap::parse(std::string_view(*stored).substr(kHeaderBytes, bitmap),
                                   list.chunks.size());
    auto have = ChunkBitmap::parse(std::string_view(*stored).substr(kHeaderBytes + bitmap, bitmap),
                                   list.chunks.size());
    bool enough = want.ok() && have.ok();
    for (std::size_t i = 0; enough && i < list.chunks.size(); ++i) {
      enough = !wanted.get(i) || want->get(i);
    }
    if (enough) {
      Staging s(list, std::move(*want));
      s.have_ = *have;
      s.durable_ = *have;
      s.map_bits_at_ = kHeaderBytes + bitmap;
      s.data_ = Fd(::open(data_path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
      s.map_ = Fd(::open(map_path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
      struct stat st {};
      if (s.data_.valid() && s.map_.valid() && ::fstat(s.data_.get(), &st) == 0 &&
          static_cast<std::uint64_t>(st.st_size) == s.file_bytes_) {
        return s;
      }
    }
  }

  TRY(remove(dir, name));
  Staging s(list, wanted);
  s.map_bits_at_ = kHeaderBytes + bitmap;
  s.data_ = Fd(::open(data_path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!s.data_.valid()) return errno_error(errno, "creating " + data_path.string());
  if (s.file_bytes_ > 0) {
    // Reserved in full now, so that the transfer cannot run into a full disk half-way.
    const int err = ::posix_fallocate(s.data_.get(), 0, static_cast<off_t>(s.file_bytes_));
    if (err != 0) {
      (void)remove(dir, name);
      return errno_error(
          err, "reserving " + std::to_string(s.file_bytes_) + " bytes for the incoming release");
    }
  }
  if (::fsync(s.data_.get()) != 0) return errno_error(errno, "syncing " + data_path.string());
  // The map appears whole or not at all: without it the data file is worthless and is begun anew.
  if (auto made = write_file_atomic(map_path, header + s.wanted_.bytes() + s.have_.bytes(), 0600);
      !made.ok()) {
    (void)remove(dir, name);
    return std::move(made).error();
  }
  s.map_ = Fd(::open(map_path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
  if (!s.map_.valid()) return errno_error(errno, "opening " + map_path.string());
  crash_point(point::kStagingAllocated);
  return s;
}

Status Staging::remove(const fs::path& dir, const std::string& name) {
  for (const char* suffix : {".map", ".data"}) {
    const fs::path path = dir / (name + suffix);
    if (::unlink(path.c_str()) != 0 && errno != ENOENT) {
      return errno_error(errno, "removing " + path.string());
    }
  }
  return ok_status();
}

Status Staging::put(std::size_t i, std::string_view bytes) {
  if (i >= chunks_.size() || !wanted_.get(i)) {
    return make_error(Code::kInvalid, "HashMismatch",
                      "chunk " + std::to_string(i) + " is not wanted");
  }
  if (bytes.size() != chunks_[i].length || sha256(bytes) != chunks_[i].hash) {
    return make_error(Code::kInvalid, "HashMismatch",
                      "chunk " + std::to_string(i) + " does not match its length or hash");
  }
  if (have_.get(i)) return ok_status();
  TRY(pwrite_all(data_.get(), bytes, offsets_[i]));
  have_.set(i);
  return ok_status();
}

Status Staging::sync() {
  if (have_.bytes() == durable_.bytes()) return ok_status();
  if (::fdatasync(data_.get()) != 0) return errno_error(errno, "syncing the staging file");
  TRY(pwrite_all(map_.get(), have_.bytes(), map_bits_at_));
  if (::fdatasync(map_.get()) != 0) return errno_error(errno, "syncing the staging map");
  durable_ = have_;
  crash_point(point::kBitmapDurable);
  return ok_status();
}

Result<std::string> Staging::read(const Digest& hash) const {
  const auto it = by_hash_.find(hash);
  if (it == by_hash_.end() || !have_.get(it->second)) {
    return make_error(Code::kNotFound, "NotFound",
                      "chunk " + hash.short_hex() + " is not in staging");
  }
  const artifacts::Chunk& chunk = chunks_[it->second];
  TRY_ASSIGN(std::string bytes, pread_exact(data_.get(), chunk.length, offsets_[it->second]));
  if (sha256(bytes) != chunk.hash) {
    return make_error(Code::kIo, "HashMismatch",
                      "chunk " + hash.short_hex() + " rotted in staging");
  }
  return bytes;
}

Result<std::uint32_t> Staging::chunk_length(std::size_t i) const {
  if (i >= chunks_.size()) {
    return make_error(Code::kInvalid, "HashMismatch", "there is no chunk " + std::to_string(i));
  }
  return chunks_[i].length;
}

std::size_t Staging::missing_chunks() const {
  std::size_t n = 0;
  for (std::size_t i = 0; i < chunks_.size(); ++i) n += wanted_.get(i) && !have_.get(i) ? 1 : 0;
  return n;
}

std::uint64_t Staging::missing_bytes() const {
  std::uint64_t n = 0;
  for (std::size_t i = 0; i < chunks_.size(); ++i) {
    if (wanted_.get(i) && !have_.get(i)) n += chunks_[i].length;
  }
  return n;
}

ChunkBitmap Staging::missing() const {
  ChunkBitmap out(chunks_.size());
  for (std::size_t i = 0; i < chunks_.size(); ++i) {
    if (wanted_.get(i) && !have_.get(i)) out.set(i);
  }
  return out;
}

}  // namespace tango::agent
