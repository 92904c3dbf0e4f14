#include "autonn/artifact_store.h"

#include "lib/artifacts/registry_client.h"
#include "lib/base/file.h"
#include "lib/base/json.h"

namespace tango::autonn {
namespace {

constexpr std::string_view kTitle = "org.opencontainers.image.title";

class FolderStore : public ArtifactStore {
 public:
  explicit FolderStore(fs::path folder) : folder_(std::move(folder)) {}

  Result<Digest> push(const Artifact& artifact, std::string_view tag) override {
    Json layers = Json::array();
    for (const ArtifactFile& f : artifact.files) {
      TRY(check_relative_path(f.title));
      layers.push_back({{"title", f.title},
                        {"mediaType", f.media_type},
                        {"size", f.bytes.size()},
                        {"digest", sha256(f.bytes).to_string()}});
    }
    TRY_ASSIGN(const std::string manifest, canonical_json({{"artifactType", artifact.type},
                                                           {"annotations", artifact.annotations},
                                                           {"layers", layers}}));
    const Digest digest = sha256(manifest);
    const fs::path dir = folder_ / "artifacts" / digest.hex();
    TRY(make_dirs(dir));
    for (const ArtifactFile& f : artifact.files) TRY(write_file_atomic(dir / f.title, f.bytes));
    TRY(write_file_atomic(dir / "manifest.json", manifest));
    if (!tag.empty()) {
      TRY(make_dirs(folder_ / "tags"));
      TRY(write_file_atomic(folder_ / "tags" / tag, digest.to_string()));
    }
    return digest;
  }

  Result<Artifact> pull(std::string_view reference) override {
    std::string text(reference);
    if (!text.starts_with("sha256:")) {
      TRY(check_relative_path(text));
      TRY_ASSIGN(text, read_file(folder_ / "tags" / text, 1024));
    }
    TRY_ASSIGN(const Digest digest, Digest::parse(text));
    const fs::path dir = folder_ / "artifacts" / digest.hex();
    TRY_ASSIGN(const std::string manifest, read_file(dir / "manifest.json"));
    if (sha256(manifest) != digest) return mismatch(dir / "manifest.json");
    TRY_ASSIGN(const Json json, parse_json(manifest));
    Artifact out;
    out.type = get_string(json, "artifactType");
    for (const auto& [key, value] : get(json, "annotations").items()) {
      out.annotations[key] = value.get<std::string>();
    }
    for (const Json& layer : get(json, "layers")) {
      ArtifactFile f{get_string(layer, "title"), get_string(layer, "mediaType"), {}};
      TRY(check_relative_path(f.title));
      TRY_ASSIGN(f.bytes, read_file(dir / f.title));
      if (sha256(f.bytes).to_string() != get_string(layer, "digest"))
        return mismatch(dir / f.title);
      out.files.push_back(std::move(f));
    }
    return out;
  }

 private:
  static Error mismatch(const fs::path& path) {
    return make_error(Code::kInvalid, "DigestMismatch",
                      path.string() + " does not have the content of its digest");
  }
  fs::path folder_;
};

class RegistryStore : public ArtifactStore {
 public:
  RegistryStore(HttpClient& http, const run::RegistryTarget& target, Secret<std::string> token)
      : client_(http, options(target, std::move(token))) {}

  Result<Digest> push(const Artifact& artifact, std::string_view tag) override {
    std::vector<artifacts::Descriptor> layers;
    for (const ArtifactFile& f : artifact.files) {
      TRY_ASSIGN(artifacts::Descriptor d, client_.push_blob(f.bytes, f.media_type));
      d.annotations[std::string(kTitle)] = f.title;
      layers.push_back(std::move(d));
    }
    return client_.push_artifact(artifact.type, std::move(layers), artifact.annotations, tag);
  }

  Result<Artifact> pull(std::string_view reference) override {
    TRY_ASSIGN(const artifacts::Manifest manifest, client_.get_manifest(reference));
    Artifact out;
    out.type = manifest.artifact_type;
    out.annotations = manifest.annotations;
    for (const artifacts::Descriptor& d : manifest.layers) {
      auto title = d.annotations.find(std::string(kTitle));
      if (title == d.annotations.end()) continue;
      TRY_ASSIGN(std::string bytes, client_.pull_blob(d));
      out.files.push_back({title->second, d.media_type, std::move(bytes)});
    }
    return out;
  }

 private:
  static artifacts::RegistryOptions options(const run::RegistryTarget& target,
                                            Secret<std::string> token) {
    artifacts::RegistryOptions o;
    o.url = target.url;
    o.repository = target.repository;
    o.token = std::move(token);
    return o;
  }
  artifacts::RegistryClient client_;
};

}  // namespace

Result<const ArtifactFile*> Artifact::file(std::string_view title) const {
  for (const ArtifactFile& f : files) {
    if (f.title == title) return &f;
  }
  return make_error(Code::kInvalid, "MissingLayer",
                    "the artifact (" + type + ") has no layer titled " + std::string(title));
}

std::unique_ptr<ArtifactStore> make_folder_store(std::filesystem::path folder) {
  return std::make_unique<FolderStore>(std::move(folder));
}

std::unique_ptr<ArtifactStore> make_registry_store(HttpClient& http,
                                                   const run::RegistryTarget& target,
                                                   Secret<std::string> token) {
  return std::make_unique<RegistryStore>(http, target, std::move(token));
}

}  // namespace tango::autonn
