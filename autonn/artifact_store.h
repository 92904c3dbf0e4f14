// Where stages take their inputs from and leave their results: a registry (pods), or a folder (by
// hand and in tests). Small artifacts of titled files; no torch.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/digest.h"
#include "lib/base/http.h"
#include "lib/base/result.h"
#include "lib/base/secret.h"
#include "lib/run/stage.h"

namespace tango::autonn {

struct ArtifactFile {
  std::string title;
  std::string media_type;
  std::string bytes;
};

struct Artifact {
  std::string type;
  std::vector<ArtifactFile> files;
  std::map<std::string, std::string> annotations;
  // Errors: MissingLayer.
  Result<const ArtifactFile*> file(std::string_view title) const;
};

// Wire names that only this room writes (the others: lib/artifacts/registry_client.h).
inline constexpr std::string_view kTrainerStateArtifact =
    "application/vnd.ml-tango.trainer-state.v1";
inline constexpr std::string_view kJsonType = "application/json";
inline constexpr std::string_view kSafetensorsType = "application/vnd.safetensors";
inline constexpr std::string_view kOnnxType = "application/onnx";
inline constexpr std::string_view kPngType = "image/png";
inline constexpr std::string_view kJsonLinesType = "application/x-ndjson";

class ArtifactStore {
 public:
  virtual ~ArtifactStore() = default;
  // Errors: RegistryUnavailable, RegistryDenied, IoError, ...
  virtual Result<Digest> push(const Artifact& artifact, std::string_view tag = {}) = 0;
  // By tag or "sha256:..." digest; every file is verified. Errors: NotFound, DigestMismatch, as
  // above.
  virtual Result<Artifact> pull(std::string_view reference) = 0;
};

// artifacts/<hex>/<title> with manifest.json beside them, and tags/<tag>.
std::unique_ptr<ArtifactStore> make_folder_store(std::filesystem::path folder);
// `http` outlives the store.
std::unique_ptr<ArtifactStore> make_registry_store(HttpClient& http,
                                                   const run::RegistryTarget& target,
                                                   Secret<std::string> token);

}  // namespace tango::autonn
