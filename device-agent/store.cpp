#include "device-agent/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <set>

#include "device-agent/crash_point.h"
#include "device-agent/rooted.h"
#include "lib/base/log.h"

namespace tango::agent {
namespace {

using artifacts::BundleFile;
using artifacts::BundleIndex;

unsigned stored_mode(std::uint32_t mode) { return mode & 0555u; }

std::string file_name(const BundleFile& file) {
  char mode[8];
  std::snprintf(mode, sizeof mode, "%04o", static_cast<unsigned>(file.mode));
  return file.sha256.hex() + "-" + mode;
}
std::string file_path(const BundleFile& file) {
  return "files/" + file.sha256.hex().substr(0, 2) + "/" + file_name(file);
}

Error mismatch(const std::string& path, std::string why) {
  return make_error(Code::kIo, "HashMismatch", path + " " + std::move(why));
}

std::pair<std::string, std::string> split(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos) return {"", path};
  return {path.substr(0, slash), path.substr(slash + 1)};
}

// All entries below `dir` that are not folders, as relative paths.
Status list_tree(int dir, const std::string& prefix, std::set<std::string>& out) {
  TRY_ASSIGN(const auto names, list_dir(dir));
  for (const std::string& name : names) {
    struct stat st {};
    if (::fstatat(dir, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) {
      return errno_error(errno, "examining " + prefix + name);
    }
    if (S_ISDIR(st.st_mode)) {
      TRY_ASSIGN(const Fd child, open_dir_at(dir, name));
      TRY(list_tree(child.get(), prefix + name + "/", out));
    } else {
      out.insert(prefix + name);
    }
  }
  return ok_status();
}

Status lock_folders(int dir) {
  TRY_ASSIGN(const auto names, list_dir(dir));
  for (const std::string& name : names) {
    struct stat st {};
    if (::fstatat(dir, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode)) {
      TRY_ASSIGN(const Fd child, open_dir_at(dir, name));
      TRY(lock_folders(child.get()));
    }
  }
  if (::fchmod(dir, 0555) != 0) return errno_error(errno, "protecting a folder");
  return ok_status();
}

Status copy_file(int from, int to) {
  std::string buffer(128u << 10, '\0');
  off_t offset = 0;
  while (true) {
    const ssize_t n = ::pread(from, buffer.data(), buffer.size(), offset);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_error(errno, "copying a file");
    if (n == 0) return fsync_fd(to, "a copied file");
    TRY(write_all(to, std::string_view(buffer).substr(0, static_cast<std::size_t>(n))));
    offset += n;
  }
}

}  // namespace

Result<std::unique_ptr<Store>> Store::open(const fs::path& root) {
  for (const char* name : {"files", "releases", "staging", "slots"}) {
    TRY(make_dirs(root / name, 0755));
  }
  std::unique_ptr<Store> store(new Store(root));
  TRY_ASSIGN(store->root_fd_, open_root(root));
  return store;
}

void Store::set_leases(const std::string& slot, std::vector<Lease> leases) {
  const std::lock_guard lock(mutex_);
  leases_[slot] = std::move(leases);
}

bool Store::has_file(const BundleFile& file) const {
  auto fd = open_file_at(root_fd_.get(), file_path(file), O_RDONLY);
  struct stat st {};
  return fd.ok() && ::fstat(fd->get(), &st) == 0 && S_ISREG(st.st_mode) &&
         static_cast<std::uint64_t>(st.st_size) == file.size;
}

std::uint64_t Store::missing_file_bytes(const BundleIndex& index) const {
  std::uint64_t bytes = 0;
  std::set<std::string> seen;
  for (const BundleFile& file : index.files) {
    if (seen.insert(file_name(file)).second && !has_file(file)) bytes += file.size;
  }
  return bytes;
}

Status Store::add_file(const BundleFile& file, std::size_t number,
                       const artifacts::ChunkList& chunks,
                       const std::vector<artifacts::ChunkPlace>& places,
                       const ReadChunk& read_chunk) {
  const std::string folder = "files/" + file.sha256.hex().substr(0, 2);
  TRY_ASSIGN(const Fd dir, open_dir_at(root_fd_.get(), folder, 0755));
  const std::string temporary = ".new-" + file_name(file);
  ::unlinkat(dir.get(), temporary.c_str(), 0);
  const Fd fd(::openat(dir.get(), temporary.c_str(),
                       O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd.valid()) return errno_error(errno, "creating " + temporary);
  Sha256 hash;
  std::uint64_t size = 0;
  auto written = [&]() -> Status {
    const auto first = std::partition_point(places.begin(), places.end(),
                                            [&](const auto& p) { return p.file < number; });
    for (auto p = first; p != places.end() && p->file == number; ++p) {
      const auto& chunk = chunks.chunks[static_cast<std::size_t>(p - places.begin())];
      TRY_ASSIGN(const std::string bytes, read_chunk(chunk.hash));
      hash.update(bytes);
      size += bytes.size();
      TRY(write_all(fd.get(), bytes));
    }
    if (size != file.size || hash.finish() != file.sha256) {
      return mismatch(file.path, "does not match the hash in the index");
    }
    if (::fchmod(fd.get(), stored_mode(file.mode)) != 0)
      return errno_error(errno, "protecting " + file.path);
    return fsync_fd(fd.get(), file.path);
  }();
  if (!written.ok()) {
    ::unlinkat(dir.get(), temporary.c_str(), 0);
    return written;
  }
  if (::renameat(dir.get(), temporary.c_str(), dir.get(), file_name(file).c_str()) != 0) {
    return errno_error(errno, "placing " + file.path);
  }
  TRY(fsync_fd(dir.get(), folder));
  crash_point(point::kFileLinked);
  return ok_status();
}

Status Store::build_tree(const Digest& digest, const BundleIndex& index) {
  TRY_ASSIGN(const Fd releases, open_dir_at(root_fd_.get(), "releases"));
  const std::string temporary = ".new-" + digest.hex();
  TRY(remove_tree_at(releases.get(), temporary));
  TRY_ASSIGN(const Fd tree, open_dir_at(releases.get(), temporary, 0755));
  for (const BundleFile& file : index.files) {
    const auto [folder, name] = split(file.path);
    TRY_ASSIGN(const Fd to, open_dir_at(tree.get(), folder, 0755));
    const std::string source = file_path(file);
    if (::linkat(root_fd_.get(), source.c_str(), to.get(), name.c_str(), 0) == 0) continue;
    if (errno != EMLINK && errno != EPERM && errno != EXDEV && errno != EOPNOTSUPP &&
        errno != EACCES) {
      return errno_error(errno, "linking " + file.path);
    }
    TRY_ASSIGN(const Fd from, open_file_at(root_fd_.get(), source, O_RDONLY));
    const Fd copy(::openat(to.get(), name.c_str(),
                           O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!copy.valid()) return errno_error(errno, "copying " + file.path);
    TRY(copy_file(from.get(), copy.get()));
    if (::fchmod(copy.get(), stored_mode(file.mode)) != 0)
      return errno_error(errno, "protecting " + file.path);
  }
  for (const artifacts::BundleLink& link : index.links) {
    const auto [folder, name] = split(link.path);
    TRY_ASSIGN(const Fd to, open_dir_at(tree.get(), folder, 0755));
    if (::symlinkat(link.target.c_str(), to.get(), name.c_str()) != 0) {
      return errno_error(errno, "linking " + link.path);
    }
  }
  TRY(fsync_tree(tree.get()));
  TRY(lock_folders(tree.get()));
  crash_point(point::kReleaseBuilt);
  const std::string name = digest.hex();
  if (::renameat(releases.get(), temporary.c_str(), releases.get(), name.c_str()) != 0) {
    return errno_error(errno, "placing release " + digest.short_hex());
  }
  TRY(fsync_fd(releases.get(), "releases"));
  crash_point(point::kReleaseRenamed);
  return ok_status();
}

Status Store::drop_bad_files(const BundleIndex& index) {
  for (const BundleFile& file : index.files) {
    const std::string path = file_path(file);
    auto fd = open_file_at(root_fd_.get(), path, O_RDONLY);
    if (!fd.ok()) continue;
    auto hashed = hash_fd(fd->get());
    if (hashed.ok() && hashed->digest == file.sha256) continue;
    log_warn("Removed a file that did not match its hash", {{"file", file.path}});
    if (::unlinkat(root_fd_.get(), path.c_str(), 0) != 0 && errno != ENOENT) {
      return errno_error(errno, "removing " + path);
    }
  }
  return ok_status();
}

Status Store::build(const Digest& digest, const BundleIndex& index,
                    const artifacts::ChunkList& chunks,
                    const std::vector<artifacts::ChunkPlace>& places, const ReadChunk& read_chunk) {
  const std::lock_guard lock(mutex_);
  struct stat st {};
  const std::string final_path = "releases/" + digest.hex();
  if (::fstatat(root_fd_.get(), final_path.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0) {
    if (verify(digest, index).ok()) return ok_status();
    // A release that rotted is taken away whole; its good files stay in files/.
    TRY_ASSIGN(const Fd releases, open_dir_at(root_fd_.get(), "releases"));
    TRY(remove_tree_at(releases.get(), digest.hex()));
    TRY(drop_bad_files(index));
  }
  for (std::size_t i = 0; i < index.files.size(); ++i) {
    if (!has_file(index.files[i])) TRY(add_file(index.files[i], i, chunks, places, read_chunk));
  }
  TRY(build_tree(digest, index));
  if (auto good = verify(digest, index); !good.ok()) {
    TRY_ASSIGN(const Fd releases, open_dir_at(root_fd_.get(), "releases"));
    TRY(remove_tree_at(releases.get(), digest.hex()));
    TRY(drop_bad_files(index));
    return good;
  }
  return ok_status();
}

Status Store::verify(const Digest& digest, const BundleIndex& index) const {
  TRY_ASSIGN(const Fd tree, open_dir_at(root_fd_.get(), "releases/" + digest.hex()));
  std::set<std::string> there;
  TRY(list_tree(tree.get(), "", there));
  for (const BundleFile& file : index.files) {
    TRY_ASSIGN(const Fd fd, open_file_at(tree.get(), file.path, O_RDONLY));
    struct stat st {};
    if (::fstat(fd.get(), &st) != 0) return errno_error(errno, "examining " + file.path);
    if ((st.st_mode & 07777u) != stored_mode(file.mode))
      return mismatch(file.path, "has another mode");
    TRY_ASSIGN(const HashedFile hashed, hash_fd(fd.get()));
    if (hashed.size != file.size || hashed.digest != file.sha256) {
      return mismatch(file.path, "does not match the hash in the index");
    }
    there.erase(file.path);
  }
  for (const artifacts::BundleLink& link : index.links) {
    const auto [folder, name] = split(link.path);
    TRY_ASSIGN(const Fd dir, open_dir_at(tree.get(), folder));
    std::string target(link.target.size() + 1, '\0');
    const ssize_t n = ::readlinkat(dir.get(), name.c_str(), target.data(), target.size());
    if (n < 0 || std::string_view(target).substr(0, static_cast<std::size_t>(n)) != link.target) {
      return mismatch(link.path, "is not the link of the index");
    }
    there.erase(link.path);
  }
  if (!there.empty()) return mismatch(*there.begin(), "is not part of the release");
  return ok_status();
}

Result<std::string> Store::read_range(const Digest& release, const std::string& path,
                                      std::uint64_t offset, std::size_t size) const {
  TRY_ASSIGN(const Fd fd,
             open_file_at(root_fd_.get(), "releases/" + release.hex() + "/" + path, O_RDONLY));
  std::string out(size, '\0');
  const ssize_t n = ::pread(fd.get(), out.data(), size, static_cast<off_t>(offset));
  if (n != static_cast<ssize_t>(size)) return make_error(Code::kIo, "IoError", path + " is cut");
  return out;
}

Status Store::set_current(const std::string& slot, const Digest& digest) {
  TRY_ASSIGN(const Fd dir, open_dir_at(root_fd_.get(), "slots/" + slot, 0755));
  const std::string target = "../../releases/" + digest.hex();
  std::string now(target.size() + 1, '\0');
  const ssize_t n = ::readlinkat(dir.get(), "current", now.data(), now.size());
  if (n > 0 && std::string_view(now).substr(0, static_cast<std::size_t>(n)) == target)
    return ok_status();
  ::unlinkat(dir.get(), ".current", 0);
  if (::symlinkat(target.c_str(), dir.get(), ".current") != 0) {
    return errno_error(errno, "linking the current release");
  }
  if (::renameat(dir.get(), ".current", dir.get(), "current") != 0) {
    return errno_error(errno, "replacing the link to the current release");
  }
  TRY(fsync_fd(dir.get(), "slots/" + slot));
  crash_point(point::kCurrentReplaced);
  return ok_status();
}

Status Store::clear_current(const std::string& slot) {
  TRY_ASSIGN(const Fd dir, open_dir_at(root_fd_.get(), "slots/" + slot, 0755));
  if (::unlinkat(dir.get(), "current", 0) != 0 && errno != ENOENT) {
    return errno_error(errno, "removing the link to the current release");
  }
  return ok_status();
}

Result<std::size_t> Store::collect() {
  const std::lock_guard lock(mutex_);
  std::set<std::string> releases, files;
  for (const auto& [slot, leases] : leases_) {
    for (const Lease& lease : leases) {
      releases.insert(lease.digest.hex());
      for (const BundleFile& file : lease.index->files) files.insert(file_name(file));
    }
  }
  std::size_t removed = 0;
  TRY_ASSIGN(const Fd release_dir_fd, open_dir_at(root_fd_.get(), "releases"));
  TRY_ASSIGN(const auto release_names, list_dir(release_dir_fd.get()));
  for (const std::string& name : release_names) {
    if (releases.contains(name)) continue;
    TRY(remove_tree_at(release_dir_fd.get(), name));
    ++removed;
  }
  TRY_ASSIGN(const Fd files_dir, open_dir_at(root_fd_.get(), "files"));
  TRY_ASSIGN(const auto folders, list_dir(files_dir.get()));
  for (const std::string& folder : folders) {
    TRY_ASSIGN(const Fd dir, open_dir_at(files_dir.get(), folder));
    TRY_ASSIGN(const auto names, list_dir(dir.get()));
    for (const std::string& name : names) {
      if (files.contains(name)) continue;
      TRY(remove_tree_at(dir.get(), name));
      ++removed;
    }
  }
  if (removed > 0) crash_point(point::kCollected);
  return removed;
}

}  // namespace tango::agent
