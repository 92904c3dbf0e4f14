#include "device-agent/release_log.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstdio>

namespace tango::agent {
namespace {

std::string segment_name(std::uint64_t start) {
  char name[40];
  std::snprintf(name, sizeof name, "log.%020llu", static_cast<unsigned long long>(start));
  return name;
}

}  // namespace

ReleaseLog::ReleaseLog(ReleaseLog&& other) noexcept
    : dir_(std::move(other.dir_)),
      limits_(other.limits_),
      fd_(std::move(other.fd_)),
      start_(other.start_),
      size_(other.size_) {}

Result<std::vector<ReleaseLog::Segment>> ReleaseLog::segments() const {
  std::vector<Segment> out;
  std::error_code ec;
  for (const auto& entry : fs::directory_iterator(dir_, ec)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with("log.")) continue;
    std::uint64_t start = 0;
    const auto [end, err] = std::from_chars(name.data() + 4, name.data() + name.size(), start);
    if (err != std::errc{} || end != name.data() + name.size()) continue;
    std::error_code size_ec;
    const std::uint64_t size = entry.file_size(size_ec);
    if (!size_ec) out.push_back({start, size});
  }
  if (ec) return errno_error(ec.value(), "listing " + dir_.string());
  std::sort(out.begin(), out.end(), [](const auto& a, const auto& b) { return a.start < b.start; });
  return out;
}

Result<ReleaseLog> ReleaseLog::open(const fs::path& dir, const LogLimits& limits) {
  TRY(make_dirs(dir, 0755));
  ReleaseLog log(dir, limits);
  TRY_ASSIGN(const auto all, log.segments());
  if (!all.empty()) {
    log.start_ = all.back().start;
    log.size_ = all.back().size;
  }
  return log;
}

void ReleaseLog::append(std::string_view text) {
  const std::lock_guard lock(mutex_);
  if (size_ >= limits_.segment_bytes) {
    fd_.reset();
    start_ += size_;
    size_ = 0;
    if (auto all = segments(); all.ok()) {
      for (std::size_t i = 0; i + limits_.segments <= all->size(); ++i) {
        ::unlink((dir_ / segment_name((*all)[i].start)).c_str());
      }
    }
  }
  if (!fd_.valid()) {
    fd_ = Fd(::open((dir_ / segment_name(start_)).c_str(),
                    O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0640));
  }
  if (!fd_.valid()) return;
  while (!text.empty()) {
    const ssize_t n = ::write(fd_.get(), text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;
    size_ += static_cast<std::uint64_t>(n);
    text.remove_prefix(static_cast<std::size_t>(n));
  }
}

Result<ReleaseLog::Piece> ReleaseLog::read(std::optional<std::uint64_t> since,
                                           std::size_t max) const {
  const std::lock_guard lock(mutex_);
  TRY_ASSIGN(const auto all, segments());
  Piece piece;
  if (all.empty()) {
    piece.next = since.value_or(0);
    return piece;
  }
  const std::uint64_t oldest = all.front().start;
  const std::uint64_t end = all.back().start + all.back().size;
  std::uint64_t at = since.value_or(end > max ? end - max : 0);
  if (at < oldest) {
    at = oldest;
    piece.truncated = true;
  }
  if (!since && at > oldest) piece.truncated = true;
  at = std::min(at, end);
  for (const Segment& segment : all) {
    if (segment.start + segment.size <= at || piece.text.size() >= max) continue;
    const Fd fd(
        ::open((dir_ / segment_name(segment.start)).c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    if (!fd.valid()) continue;
    const std::uint64_t offset = at - segment.start;
    std::string part(static_cast<std::size_t>(
                         std::min<std::uint64_t>(segment.size - offset, max - piece.text.size())),
                     '\0');
    const ssize_t n = ::pread(fd.get(), part.data(), part.size(), static_cast<off_t>(offset));
    if (n <= 0) continue;
    piece.text.append(part, 0, static_cast<std::size_t>(n));
    at += static_cast<std::uint64_t>(n);
  }
  piece.next = at;
  return piece;
}

}  // namespace tango::agent
