// Bundles on disk and in a registry: building one from a folder, pushing and pulling it with its
// signatures. The builder, the signer and the fleet use it; the agent does not link the registry
// half.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "lib/artifacts/bundle.h"
#include "lib/artifacts/chunk.h"
#include "lib/artifacts/signature.h"
#include "lib/base/file.h"

namespace tango::artifacts {

class RegistryClient;

struct Bundle {
  BundleIndex index;
  std::string index_bytes;
  ChunkList chunks;
  std::string chunk_list_bytes;
  std::vector<fs::path> sources;  // parallel to index.files: where the bytes lie
  std::vector<ChunkPlace> places;
  Digest digest() const { return sha256(index_bytes); }
  // Reads and verifies one chunk. Errors: HashMismatch (the file changed), IoError.
  Result<std::string> read_chunk(std::size_t i) const;
};

// Deterministic: the same tree and spec give the same bytes. Symbolic links inside the tree become
// links; devices, sockets, links that leave the tree are refused. Modes become 0644 or 0755 (owner
// may execute). Errors: PathUnsafe, IndexInvalid, IoError. (tango_artifacts)
Result<Bundle> build_bundle(const fs::path& dir, const BundleSpec& spec,
                            const BundleLimits& limits = {});

// Writes the tree of `bundle` below `dir` (which must be empty or absent), verifying every file;
// for installation by hand and for tests. (tango_artifacts)
Status unpack_bundle(const Bundle& bundle, const fs::path& dir);

// --- target tango_registry ---
// Pushes what the registry lacks; returns the manifest digest. Unsigned.
Result<Digest> push_bundle(RegistryClient& registry, const Bundle& bundle,
                           std::string_view tag = {});
// The index alone (what the signer reads). `reference`: digest text or tag.
Result<std::string> pull_bundle_index(RegistryClient& registry, std::string_view reference);
// Everything, into the content cache `cache`/<hex>, skipping what lies there (and is whole).
// Errors: NotFound, DigestMismatch, IndexInvalid, RegistryUnavailable, ...
Result<Bundle> pull_bundle(RegistryClient& registry, std::string_view reference,
                           const fs::path& cache, const BundleLimits& limits = {});
// Signature referrers of a bundle manifest.
Result<Digest> push_bundle_signature(RegistryClient& registry, const Digest& manifest,
                                     const Envelope& envelope);
// All signatures over these index bytes, merged into one envelope. Errors: NotFound (unsigned).
Result<Envelope> pull_bundle_signature(RegistryClient& registry, const Digest& manifest,
                                       std::string_view index_bytes);

}  // namespace tango::artifacts
