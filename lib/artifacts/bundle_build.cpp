#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "lib/artifacts/bundle_store.h"

namespace tango::artifacts {
namespace {

Error unsafe(const fs::path& path, std::string why) {
  return make_error(Code::kDenied, "PathUnsafe", path.string() + " " + std::move(why));
}

struct Found {
  std::string path;
  fs::path source;
  std::string link;  // empty: a file
  std::uint32_t mode = kPlainMode;
};

Status collect(const fs::path& dir, const std::string& prefix, const BundleLimits& limits,
               std::size_t depth, std::vector<Found>& out) {
  if (depth > limits.max_depth) return unsafe(dir, "is nested too deep");
  std::error_code ec;
  for (auto it = fs::directory_iterator(dir, ec); !ec && it != fs::directory_iterator();
       it.increment(ec)) {
    Found f;
    f.source = it->path();
    f.path = prefix + it->path().filename().string();
    struct stat st {};
    if (::lstat(f.source.c_str(), &st) != 0) {
      return errno_error(errno, "looking at " + f.source.string());
    }
    if (S_ISDIR(st.st_mode)) {
      TRY(collect(f.source, f.path + "/", limits, depth + 1, out));
      continue;
    }
    if (S_ISLNK(st.st_mode)) {
      f.link = fs::read_symlink(f.source, ec).string();
      if (ec) return errno_error(ec.value(), "reading the link " + f.source.string());
    } else if (S_ISREG(st.st_mode)) {
      f.mode = (st.st_mode & 0100) != 0 ? kExecutableMode : kPlainMode;
    } else {
      return unsafe(f.source, "is neither a file, a folder nor a link");
    }
    out.push_back(std::move(f));
    if (out.size() > limits.max_files + limits.max_links) {
      return make_error(Code::kExhausted, "IndexInvalid",
                        "the bundle has more than " + std::to_string(limits.max_files) + " files");
    }
  }
  if (ec) return errno_error(ec.value(), "listing " + dir.string());
  return ok_status();
}

Result<std::string> read_range(const fs::path& path, std::uint64_t offset, std::size_t length) {
  Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return errno_error(errno, "opening " + path.string());
  std::string out(length, '\0');
  std::size_t got = 0;
  while (got < length) {
    ssize_t n = ::pread(fd.get(), out.data() + got, length - got, static_cast<off_t>(offset + got));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_error(errno, "reading " + path.string());
    if (n == 0) break;
    got += static_cast<std::size_t>(n);
  }
  out.resize(got);
  return out;
}

}  // namespace

Result<Bundle> build_bundle(const fs::path& dir, const BundleSpec& spec,
                            const BundleLimits& limits) {
  std::vector<Found> found;
  TRY(collect(dir, "", limits, 1, found));
  // Byte order, whatever order the file system lists in.
  std::sort(found.begin(), found.end(),
            [](const Found& a, const Found& b) { return a.path < b.path; });
  Bundle bundle;
  static_cast<BundleSpec&>(bundle.index) = spec;
  for (Found& f : found) {
    if (!f.link.empty()) {
      bundle.index.links.push_back(BundleLink{f.path, f.link});
      continue;
    }
    TRY_ASSIGN(FileChunks file, chunk_file(f.source));
    bundle.index.files.push_back(BundleFile{f.path, f.mode, file.size, file.sha256});
    bundle.sources.push_back(std::move(f.source));
    bundle.chunks.total_bytes += file.size;
    bundle.chunks.chunks.insert(bundle.chunks.chunks.end(), file.chunks.begin(), file.chunks.end());
  }
  bundle.chunk_list_bytes = encode_chunk_list(bundle.chunks);
  if (bundle.chunk_list_bytes.size() > kMaxChunkListBytes) {
    return make_error(Code::kExhausted, "IndexInvalid", "the bundle has too many chunks");
  }
  bundle.index.chunk_list = sha256(bundle.chunk_list_bytes);
  bundle.index.chunk_count = bundle.chunks.chunks.size();
  bundle.index.total_bytes = bundle.chunks.total_bytes;
  TRY_ASSIGN(bundle.index_bytes, encode_index(bundle.index, limits));
  TRY_ASSIGN(bundle.places, place_chunks(bundle.chunks, bundle.index.file_sizes()));
  return bundle;
}

Result<std::string> Bundle::read_chunk(std::size_t i) const {
  const Chunk& chunk = chunks.chunks.at(i);
  const ChunkPlace& place = places.at(i);
  TRY_ASSIGN(std::string bytes, read_range(sources.at(place.file), place.offset, chunk.length));
  if (bytes.size() != chunk.length || sha256(bytes) != chunk.hash) {
    return make_error(Code::kDenied, "HashMismatch",
                      sources[place.file].string() + " changed since the bundle was made");
  }
  return bytes;
}

Status unpack_bundle(const Bundle& bundle, const fs::path& dir) {
  std::error_code ec;
  if (fs::exists(dir) && !fs::is_empty(dir, ec)) {
    return make_error(Code::kExists, "FolderNotEmpty", dir.string() + " is not empty");
  }
  TRY(make_dirs(dir));
  for (std::size_t i = 0; i < bundle.index.files.size(); ++i) {
    const BundleFile& f = bundle.index.files[i];
    TRY_ASSIGN(std::string bytes, read_file(bundle.sources.at(i), BundleLimits{}.max_file_bytes));
    if (bytes.size() != f.size || sha256(bytes) != f.sha256) {
      return make_error(Code::kDenied, "HashMismatch",
                        bundle.sources[i].string() + " is not the file that the index names");
    }
    TRY(make_dirs((dir / f.path).parent_path()));
    TRY(write_file_atomic(dir / f.path, bytes, f.mode));
  }
  for (const BundleLink& l : bundle.index.links) {
    TRY(make_dirs((dir / l.path).parent_path()));
    fs::create_symlink(l.target, dir / l.path, ec);
    if (ec) return errno_error(ec.value(), "linking " + (dir / l.path).string());
  }
  return ok_status();
}

}  // namespace tango::artifacts
