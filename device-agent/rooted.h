// Walks below a folder by descriptors: every component is opened with O_NOFOLLOW, so that a link
// planted in the tree is an error, never a way out. The store and the release log use it. Paths are
// checked by check_relative_path first; nothing here creates or follows links.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/digest.h"
#include "lib/base/file.h"
#include "lib/base/result.h"

namespace tango::agent {

Result<Fd> open_root(const fs::path& path);
// The folder `rel` ("" is `root` itself); missing parts are created when `create_mode` is not 0.
// Errors: UnsafePath (also: a component is a link or no folder), NotFound, ...
Result<Fd> open_dir_at(int root, std::string_view rel, unsigned create_mode = 0);
// `flags` as for open(2); O_NOFOLLOW and O_CLOEXEC are added. Missing folders are an error.
Result<Fd> open_file_at(int root, std::string_view rel, int flags, unsigned mode = 0);
// Names in a folder without "." and "..", sorted.
Result<std::vector<std::string>> list_dir(int dir);
// SHA-256 and size of an open regular file, read from its beginning.
struct HashedFile {
  Digest digest;
  std::uint64_t size;
};
Result<HashedFile> hash_fd(int fd);
Status fsync_fd(int fd, std::string_view what);
// Every folder of the tree, bottom up, fsynced.
Status fsync_tree(int dir);
// Removes what is in `dir` (never following links). Absent entries are success.
Status remove_tree_at(int parent, const std::string& name);

}  // namespace tango::agent
