// The content store: files keyed by (sha256, mode), releases as trees of hard links to them, and
// the slots' `current` links. Everything below one folder that the daemon owns, walked by
// descriptors. It gets verified indexes only and puts nothing at a final path before its file hash
// is checked; it knows no journal and runs nothing.
//
//   files/<2 hex>/<sha256 hex>-<mode octal>     no write bits
//   releases/<index digest hex>/...             hard links (copies where links fail)
//   staging/<slot>.data, .map                   incoming release
//   slots/<slot>/current -> ../../releases/<hex>
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "device-agent/staging.h"
#include "lib/artifacts/bundle.h"
#include "lib/base/digest.h"
#include "lib/base/file.h"
#include "lib/base/result.h"

namespace tango::agent {

// A release that must stay: current, previous, or the incoming one of a slot.
struct Lease {
  Digest digest;  // of the index
  std::shared_ptr<const artifacts::BundleIndex> index;
};

class Store {
 public:
  // Creates the folders. Errors: IoError, DiskFull, PermissionDenied.
  static Result<std::unique_ptr<Store>> open(const fs::path& root);

  const fs::path& root() const { return root_; }
  fs::path staging_dir() const { return root_ / "staging"; }
  fs::path release_dir(const Digest& digest) const { return root_ / "releases" / digest.hex(); }
  fs::path slot_dir(const std::string& slot) const { return root_ / "slots" / slot; }

  // What collect() must not take for this slot; set before a file is relied on.
  void set_leases(const std::string& slot, std::vector<Lease> leases);

  bool has_file(const artifacts::BundleFile& file) const;  // by name and size; hashed at build()
  // Bytes that build() will add for files that are not there yet.
  std::uint64_t missing_file_bytes(const artifacts::BundleIndex& index) const;

  using ReadChunk = std::function<Result<std::string>(const Digest& hash)>;
  // Makes files and tree from chunks; what is there already is kept, hashed and used. Ends with a
  // verified release at its final path. A held file that does not match its hash is removed and the
  // error is HashMismatch (retryable: the next plan asks for it again).
  Status build(const Digest& digest, const artifacts::BundleIndex& index,
               const artifacts::ChunkList& chunks, const std::vector<artifacts::ChunkPlace>& places,
               const ReadChunk& read_chunk);
  // Hashes every file of the tree, compares modes and links, and refuses anything extra.
  // Errors: HashMismatch, NotFound, UnsafePath.
  Status verify(const Digest& digest, const artifacts::BundleIndex& index) const;
  // Bytes of a chunk at `offset` of a held release's file.
  Result<std::string> read_range(const Digest& release, const std::string& path,
                                 std::uint64_t offset, std::size_t size) const;

  // Points slots/<slot>/current at the release, by rename. Not needed to run anything.
  Status set_current(const std::string& slot, const Digest& digest);
  Status clear_current(const std::string& slot);

  // Removes releases and files that no lease names. Returns the number of entries removed.
  Result<std::size_t> collect();

 private:
  explicit Store(fs::path root) : root_(std::move(root)) {}
  Status add_file(const artifacts::BundleFile& file, std::size_t number,
                  const artifacts::ChunkList& chunks,
                  const std::vector<artifacts::ChunkPlace>& places, const ReadChunk& read_chunk);
  Status build_tree(const Digest& digest, const artifacts::BundleIndex& index);
  Status drop_bad_files(const artifacts::BundleIndex& index);

  fs::path root_;
  Fd root_fd_;
  mutable std::mutex
      mutex_;  // leases; held during collect() and build(), which must not interleave
  std::map<std::string, std::vector<Lease>> leases_;
};

}  // namespace tango::agent
