// Files: bounded reads, atomic durable writes, owned descriptors, temporary folders.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "lib/base/result.h"

namespace tango {

namespace fs = std::filesystem;

// Owns a file descriptor; -1 is empty.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(other.release()) {}
  Fd& operator=(Fd&& other) noexcept;
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  ~Fd() { reset(); }
  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  int release() {
    int fd = fd_;
    fd_ = -1;
    return fd;
  }
  void reset();

 private:
  int fd_ = -1;
};

// Whole file. Errors: NotFound, FileTooLarge (limit), IoError, ...
Result<std::string> read_file(const fs::path& path, std::uint64_t max_bytes = 1ull << 30);
// Writes beside `path`, fsyncs, renames, fsyncs the folder: afterwards the old or the new content
// is there, whatever happens. Creates no folders.
Status write_file_atomic(const fs::path& path, std::string_view data, unsigned mode = 0644);
// Appends and optionally fdatasyncs.
Status append_file(const fs::path& path, std::string_view data, bool sync = false);
Status make_dirs(const fs::path& path, unsigned mode = 0755);
Status fsync_dir(const fs::path& path);
Status write_all(int fd, std::string_view data);
// Removes a file or tree; absent is success.
Status remove_all(const fs::path& path);
Result<std::uint64_t> free_bytes(const fs::path& path);

// A folder under TMPDIR, removed with everything in it at the end of its life.
class TempDir {
 public:
  explicit TempDir(std::string_view prefix = "tango");
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  const fs::path& path() const { return path_; }
  fs::path operator/(std::string_view name) const { return path_ / name; }

 private:
  fs::path path_;
};

// Rejects absolute paths, "..", ".", empty components, NUL, backslash, non-UTF-8 and over-long
// names: what may name a file inside a bundle or archive. Errors: UnsafePath.
Status check_relative_path(std::string_view path, std::size_t max_bytes = 512);

}  // namespace tango
