#include "lib/base/file.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>

#include "lib/base/random.h"

namespace tango {

Fd& Fd::operator=(Fd&& other) noexcept {
  if (this != &other) {
    reset();
    fd_ = other.release();
  }
  return *this;
}
void Fd::reset() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

Result<std::string> read_file(const fs::path& path, std::uint64_t max_bytes) {
  Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return errno_error(errno, "cannot open " + path.string());
  struct stat st {};
  if (::fstat(fd.get(), &st) != 0) return errno_error(errno, "cannot read " + path.string());
  if (S_ISDIR(st.st_mode)) return errno_error(EISDIR, "cannot read " + path.string());
  std::string out;
  if (S_ISREG(st.st_mode)) out.reserve(static_cast<std::size_t>(st.st_size) + 1);
  char buffer[64 * 1024];
  while (true) {
    ssize_t n = ::read(fd.get(), buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_error(errno, "cannot read " + path.string());
    if (n == 0) return out;
    out.append(buffer, static_cast<std::size_t>(n));
    if (out.size() > max_bytes) {
      return make_error(Code::kExhausted, "FileTooLarge",
                        path.string() + " is larger than " + std::to_string(max_bytes) + " bytes");
    }
  }
}

Status write_all(int fd, std::string_view data) {
  while (!data.empty()) {
    ssize_t n = ::write(fd, data.data(), data.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_error(errno, "cannot write");
    data.remove_prefix(static_cast<std::size_t>(n));
  }
  return Ok{};
}

Status fsync_dir(const fs::path& path) {
  Fd fd(::open(path.empty() ? "." : path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) return errno_error(errno, "cannot open folder " + path.string());
  if (::fsync(fd.get()) != 0) return errno_error(errno, "cannot sync folder " + path.string());
  return Ok{};
}

Status write_file_atomic(const fs::path& path, std::string_view data, unsigned mode) {
  std::string temporary = path.string() + ".tmp-" + random_suffix(system_random(), 8);
  Fd fd(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!fd.valid()) return errno_error(errno, "cannot create " + temporary);
  auto fail = [&](int err) -> Error {
    ::unlink(temporary.c_str());
    return errno_error(err, "cannot write " + path.string());
  };
  if (auto written = write_all(fd.get(), data); !written.ok()) {
    ::unlink(temporary.c_str());
    return std::move(written).error().with_context("writing " + path.string());
  }
  if (::fchmod(fd.get(), mode) != 0) return fail(errno);
  if (::fsync(fd.get()) != 0) return fail(errno);
  fd.reset();
  if (::rename(temporary.c_str(), path.c_str()) != 0) return fail(errno);
  return fsync_dir(path.parent_path());
}

Status append_file(const fs::path& path, std::string_view data, bool sync) {
  Fd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
  if (!fd.valid()) return errno_error(errno, "cannot open " + path.string());
  TRY(write_all(fd.get(), data));
  if (sync && ::fdatasync(fd.get()) != 0) return errno_error(errno, "cannot sync " + path.string());
  return Ok{};
}

Status make_dirs(const fs::path& path, unsigned mode) {
  if (path.empty()) return Ok{};
  std::error_code ec;
  if (fs::is_directory(path, ec)) return Ok{};
  TRY(make_dirs(path.parent_path(), mode));
  if (::mkdir(path.c_str(), mode) != 0 && errno != EEXIST)
    return errno_error(errno, "cannot create folder " + path.string());
  if (!fs::is_directory(path, ec))
    return errno_error(ENOTDIR, "cannot create folder " + path.string());
  return Ok{};
}

Status remove_all(const fs::path& path) {
  std::error_code ec;
  fs::remove_all(path, ec);
  if (ec && ec != std::errc::no_such_file_or_directory)
    return errno_error(ec.value(), "cannot remove " + path.string());
  return Ok{};
}

Result<std::uint64_t> free_bytes(const fs::path& path) {
  struct statvfs st {};
  if (::statvfs(path.c_str(), &st) != 0)
    return errno_error(errno, "cannot read the free space of " + path.string());
  return static_cast<std::uint64_t>(st.f_bavail) * st.f_frsize;
}

TempDir::TempDir(std::string_view prefix) {
  std::error_code ec;
  fs::path base = fs::temp_directory_path(ec);
  if (ec) base = "/tmp";
  std::string pattern = (base / (std::string(prefix) + "-XXXXXX")).string();
  path_ = ::mkdtemp(pattern.data()) ? fs::path(pattern) : base / "tango-unusable";
}
TempDir::~TempDir() {
  std::error_code ec;
  fs::remove_all(path_, ec);
}

Status check_relative_path(std::string_view path, std::size_t max_bytes) {
  auto bad = [&](std::string_view why) {
    return make_error(Code::kInvalid, "UnsafePath",
                      "the path \"" + std::string(path.substr(0, 128)) + "\" " + std::string(why));
  };
  if (path.empty()) return bad("is empty");
  if (path.size() > max_bytes) return bad("is longer than " + std::to_string(max_bytes) + " bytes");
  if (path.front() == '/') return bad("is absolute");
  // Well-formed UTF-8 (no overlong forms, no surrogates), no control characters, no backslash.
  for (std::size_t i = 0; i < path.size();) {
    auto c = static_cast<unsigned char>(path[i]);
    if (c < 0x20 || c == 0x7f) return bad("holds a control character");
    if (c == '\\') return bad("holds a backslash");
    std::size_t n = c < 0x80 ? 1 : (c >> 5) == 6 ? 2 : (c >> 4) == 14 ? 3 : (c >> 3) == 30 ? 4 : 0;
    if (n == 0 || i + n > path.size()) return bad("is not UTF-8");
    std::uint32_t code = n == 1 ? c : c & (0xFFu >> (n + 1));
    for (std::size_t k = 1; k < n; ++k) {
      auto d = static_cast<unsigned char>(path[i + k]);
      if ((d >> 6) != 2) return bad("is not UTF-8");
      code = (code << 6) | (d & 0x3Fu);
    }
    static constexpr std::uint32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
    if (code < kLeast[n] || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000))
      return bad("is not UTF-8");
    i += n;
  }
  std::size_t at = 0;
  while (at <= path.size()) {
    std::size_t end = std::min(path.find('/', at), path.size());
    std::string_view part = path.substr(at, end - at);
    if (part.empty()) return bad("has an empty component");
    if (part == "." || part == "..") return bad("has a \"" + std::string(part) + "\" component");
    if (part.size() > 255) return bad("has a component longer than 255 bytes");
    at = end + 1;
  }
  return Ok{};
}

}  // namespace tango
