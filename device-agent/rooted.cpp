#include "device-agent/rooted.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <memory>

namespace tango::agent {
namespace {

constexpr int kDirFlags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

Error path_error(int err, std::string_view rel) {
  if (err == ELOOP || err == ENOTDIR) {
    return make_error(Code::kInvalid, "UnsafePath",
                      "path '" + std::string(rel) + "' leads through a link or a file");
  }
  return errno_error(err, "opening " + std::string(rel));
}

struct Split {
  std::string_view folder, name;
};
Split split_last(std::string_view rel) {
  const std::size_t slash = rel.rfind('/');
  if (slash == std::string_view::npos) return {{}, rel};
  return {rel.substr(0, slash), rel.substr(slash + 1)};
}

}  // namespace

Result<Fd> open_root(const fs::path& path) {
  Fd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) return errno_error(errno, "opening " + path.string());
  return fd;
}

Result<Fd> open_dir_at(int root, std::string_view rel, unsigned create_mode) {
  Fd at(::openat(root, ".", kDirFlags));
  if (!at.valid()) return errno_error(errno, "opening a folder");
  if (rel.empty()) return at;
  TRY(check_relative_path(rel));
  std::string_view rest = rel;
  while (!rest.empty()) {
    const std::size_t slash = rest.find('/');
    const std::string name(rest.substr(0, slash));
    rest = slash == std::string_view::npos ? std::string_view{} : rest.substr(slash + 1);
    Fd next(::openat(at.get(), name.c_str(), kDirFlags));
    if (!next.valid() && errno == ENOENT && create_mode != 0) {
      if (::mkdirat(at.get(), name.c_str(), create_mode) != 0 && errno != EEXIST) {
        return path_error(errno, rel);
      }
      next = Fd(::openat(at.get(), name.c_str(), kDirFlags));
    }
    if (!next.valid()) return path_error(errno, rel);
    at = std::move(next);
  }
  return at;
}

Result<Fd> open_file_at(int root, std::string_view rel, int flags, unsigned mode) {
  TRY(check_relative_path(rel));
  const Split split = split_last(rel);
  TRY_ASSIGN(const Fd dir, open_dir_at(root, split.folder));
  const std::string name(split.name);
  Fd fd(::openat(dir.get(), name.c_str(), flags | O_NOFOLLOW | O_CLOEXEC, mode));
  if (!fd.valid()) return path_error(errno, rel);
  return fd;
}

Result<std::vector<std::string>> list_dir(int dir) {
  const int copy = ::openat(dir, ".", kDirFlags);
  if (copy < 0) return errno_error(errno, "listing a folder");
  const auto close_dir = [](DIR* d) { ::closedir(d); };
  const std::unique_ptr<DIR, decltype(close_dir)> handle(::fdopendir(copy), close_dir);
  if (!handle) {
    ::close(copy);
    return errno_error(errno, "listing a folder");
  }
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(handle.get())) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

Result<HashedFile> hash_fd(int fd) {
  struct stat st {};
  if (::fstat(fd, &st) != 0) return errno_error(errno, "examining a file");
  if (!S_ISREG(st.st_mode)) {
    return make_error(Code::kInvalid, "UnsafePath", "not a regular file");
  }
  Sha256 hash;
  std::uint64_t size = 0;
  std::string buffer(128u << 10, '\0');
  while (true) {
    const ssize_t n = ::pread(fd, buffer.data(), buffer.size(), static_cast<off_t>(size));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_error(errno, "reading a file");
    if (n == 0) break;
    hash.update(std::string_view(buffer).substr(0, static_cast<std::size_t>(n)));
    size += static_cast<std::uint64_t>(n);
  }
  return HashedFile{hash.finish(), size};
}

Status fsync_fd(int fd, std::string_view what) {
  if (::fsync(fd) != 0) return errno_error(errno, "syncing " + std::string(what));
  return ok_status();
}

Status fsync_tree(int dir) {
  TRY_ASSIGN(const auto names, list_dir(dir));
  for (const std::string& name : names) {
    const Fd child(::openat(dir, name.c_str(), kDirFlags));
    if (child.valid()) TRY(fsync_tree(child.get()));
  }
  return fsync_fd(dir, "a folder");
}

Status remove_tree_at(int parent, const std::string& name) {
  if (::unlinkat(parent, name.c_str(), 0) == 0 || errno == ENOENT) return ok_status();
  if (errno != EISDIR && errno != EPERM) return errno_error(errno, "removing " + name);
  {
    const Fd dir(::openat(parent, name.c_str(), kDirFlags));
    if (!dir.valid()) return path_error(errno, name);
    ::fchmod(dir.get(), 0755);  // a folder without write bits could not be emptied
    TRY_ASSIGN(const auto names, list_dir(dir.get()));
    for (const std::string& child : names) TRY(remove_tree_at(dir.get(), child));
  }
  if (::unlinkat(parent, name.c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT) {
    return errno_error(errno, "removing " + name);
  }
  return ok_status();
}

}  // namespace tango::agent
