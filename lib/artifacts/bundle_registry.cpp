#include <set>

#include "lib/artifacts/bundle_store.h"
#include "lib/artifacts/registry_client.h"
#include "lib/artifacts/trust_store.h"

namespace tango::artifacts {
namespace {

constexpr std::string_view kTitle = "org.opencontainers.image.title";

Error not_a_bundle(std::string_view reference, std::string why) {
  return make_error(Code::kInvalid, "NotABundle",
                    "the artifact " + std::string(reference) + " " + std::move(why));
}

Result<Manifest> bundle_manifest(RegistryClient& registry, std::string_view reference) {
  TRY_ASSIGN(Manifest m, registry.get_manifest(reference));
  if (m.artifact_type != kBundleArtifact) {
    return not_a_bundle(reference, "is of type \"" + m.artifact_type + "\"");
  }
  return m;
}

Result<std::string> pull_index_of(RegistryClient& registry, const Manifest& m,
                                  std::string_view reference) {
  const Descriptor* layer = m.layer_of_type(kIndexType);
  if (layer == nullptr) return not_a_bundle(reference, "has no index");
  if (layer->size > BundleLimits{}.max_index_bytes) {
    return make_error(Code::kExhausted, "DocumentTooLarge", "the bundle index is above 1 MiB");
  }
  return registry.pull_blob(*layer);
}

bool whole(const fs::path& path, const BundleFile& file) {
  std::error_code ec;
  if (fs::file_size(path, ec) != file.size || ec) return false;
  auto measured = chunk_file(path);
  return measured.ok() && measured->sha256 == file.sha256;
}

}  // namespace

Result<Digest> push_bundle(RegistryClient& registry, const Bundle& bundle, std::string_view tag) {
  std::vector<Descriptor> layers;
  TRY_ASSIGN(Descriptor index, registry.push_blob(bundle.index_bytes, kIndexType));
  index.annotations[std::string(kTitle)] = "index.json";
  layers.push_back(std::move(index));
  TRY_ASSIGN(Descriptor chunks, registry.push_blob(bundle.chunk_list_bytes, kChunkListType));
  chunks.annotations[std::string(kTitle)] = "chunks.bin";
  layers.push_back(std::move(chunks));
  std::set<Digest> done;
  for (std::size_t i = 0; i < bundle.index.files.size(); ++i) {
    const BundleFile& file = bundle.index.files[i];
    if (file.size == 0 || !done.insert(file.sha256).second) continue;
    TRY_ASSIGN(Descriptor layer, registry.push_file(bundle.sources.at(i), kBundleFileType));
    if (layer.digest != file.sha256) {
      return make_error(Code::kDenied, "HashMismatch",
                        bundle.sources[i].string() + " changed since the bundle was made");
    }
    layer.annotations[std::string(kTitle)] = file.path;
    layers.push_back(std::move(layer));
  }
  return registry.push_artifact(kBundleArtifact, std::move(layers), {}, tag);
}

Result<std::string> pull_bundle_index(RegistryClient& registry, std::string_view reference) {
  TRY_ASSIGN(Manifest m, bundle_manifest(registry, reference));
  return pull_index_of(registry, m, reference);
}

Result<Bundle> pull_bundle(RegistryClient& registry, std::string_view reference,
                           const fs::path& cache, const BundleLimits& limits) {
  TRY_ASSIGN(Manifest m, bundle_manifest(registry, reference));
  Bundle bundle;
  TRY_ASSIGN(bundle.index_bytes, pull_index_of(registry, m, reference));
  TRY_ASSIGN(bundle.index, parse_index(bundle.index_bytes, limits));
  const Descriptor* list = m.layer_of_type(kChunkListType);
  if (list == nullptr || list->size > kMaxChunkListBytes) {
    return not_a_bundle(reference, "has no chunk list of bearable size");
  }
  TRY_ASSIGN(bundle.chunk_list_bytes, registry.pull_blob(*list));
  TRY_ASSIGN(auto checked, TrustStore::check_chunk_list(bundle.chunk_list_bytes, bundle.index));
  bundle.chunks = *checked;
  TRY_ASSIGN(bundle.places, place_chunks(bundle.chunks, bundle.index.file_sizes()));
  TRY(make_dirs(cache));
  for (const BundleFile& file : bundle.index.files) {
    fs::path path = cache / file.sha256.hex();
    bundle.sources.push_back(path);
    if (whole(path, file)) continue;
    if (file.size == 0) {
      TRY(write_file_atomic(path, ""));
      continue;
    }
    TRY(registry.pull_blob_to(
        Descriptor{std::string(kBundleFileType), file.sha256, file.size, {}, {}}, path));
  }
  return bundle;
}

Result<Digest> push_bundle_signature(RegistryClient& registry, const Digest& manifest,
                                     const Envelope& envelope) {
  TRY_ASSIGN(std::string bytes, registry.get_manifest_bytes(manifest.to_string()));
  TRY_ASSIGN(Descriptor layer, registry.push_blob(encode_envelope(envelope), kEnvelopeMediaType));
  layer.annotations[std::string(kTitle)] = "envelope.json";
  Descriptor subject{std::string(kOciManifestType), manifest, bytes.size(), {}, {}};
  return registry.push_artifact(kSignatureArtifact, {std::move(layer)}, {}, {}, subject);
}

Result<Envelope> pull_bundle_signature(RegistryClient& registry, const Digest& manifest,
                                       std::string_view index_bytes) {
  TRY_ASSIGN(auto referrers, registry.referrers(manifest, kSignatureArtifact));
  std::optional<Envelope> merged;
  for (const Descriptor& d : referrers) {
    TRY_ASSIGN(Manifest m, registry.get_manifest(d.digest.to_string()));
    const Descriptor* layer = m.layer_of_type(kEnvelopeMediaType);
    if (layer == nullptr || layer->size > kMaxDocumentBytes) continue;
    TRY_ASSIGN(std::string bytes, registry.pull_blob(*layer));
    auto envelope = parse_envelope(bytes);
    // Anyone who can push can add a referrer; one of other bytes is nobody's signature.
    if (!envelope.ok() || envelope->digest != sha256(index_bytes)) continue;
    if (!merged) {
      merged = std::move(*envelope);
      continue;
    }
    for (auto& s : envelope->signatures) {
      bool known = false;
      for (const auto& have : merged->signatures) known = known || have.keyid == s.keyid;
      if (!known && merged->signatures.size() < kMaxSignatures) {
        merged->signatures.push_back(std::move(s));
      }
    }
  }
  if (!merged) {
    return make_error(Code::kNotFound, "NotFound",
                      "the bundle " + manifest.to_string() + " is not signed yet");
  }
  return std::move(*merged);
}

}  // namespace tango::artifacts
