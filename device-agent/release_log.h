// What a release wrote to stdout and stderr: segments named by the absolute offset of their first
// byte, the oldest dropped. Cursors are absolute offsets, so they survive rotation and restarts. A
// full disk loses log lines and nothing else. Thread-safe.
#pragma once

#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/file.h"
#include "lib/base/result.h"

namespace tango::agent {

struct LogLimits {
  std::uint64_t segment_bytes = 256u << 10;
  std::size_t segments = 4;
};

class ReleaseLog {
 public:
  static Result<ReleaseLog> open(const fs::path& dir, const LogLimits& limits = {});
  ReleaseLog(ReleaseLog&& other) noexcept;

  void append(std::string_view text);  // never fails for the caller

  struct Piece {
    std::string text;  // invalid UTF-8 replaced by the JSON writer, not here
    std::uint64_t next = 0;
    bool truncated = false;  // bytes before it were dropped or left out
  };
  // From `since`, or the newest `max` bytes.
  Result<Piece> read(std::optional<std::uint64_t> since, std::size_t max) const;

 private:
  ReleaseLog(fs::path dir, const LogLimits& limits) : dir_(std::move(dir)), limits_(limits) {}
  struct Segment {
    std::uint64_t start, size;
  };
  Result<std::vector<Segment>> segments() const;

  fs::path dir_;
  LogLimits limits_;
  mutable std::mutex mutex_;
  Fd fd_;
  std::uint64_t start_ = 0, size_ = 0;  // of the segment being written
};

}  // namespace tango::agent
