// A plain ustar stream of regular files, deterministic: what `device evaluate` sends.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/base/file.h"
#include "lib/base/result.h"

namespace tango::ctl {

inline constexpr std::uint64_t kMaxTarBytes = 256u << 20;

// `files`: name inside the archive (relative, at most 100 bytes) and where it lies. Errors:
// UnsafePath, NameTooLong, ArchiveTooLarge, as read_file.
Result<std::string> make_tar(const std::vector<std::pair<std::string, fs::path>>& files);

}  // namespace tango::ctl
