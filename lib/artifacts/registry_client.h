// OCI distribution client (distribution-spec 1.1) over the HttpClient interface: blobs, manifests,
// tags and referrers. Everything pulled is verified against its digest before it is returned.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/digest.h"
#include "lib/base/http.h"
#include "lib/base/json.h"
#include "lib/base/result.h"
#include "lib/base/secret.h"

namespace tango::artifacts {

struct Descriptor {
  std::string media_type;
  Digest digest;
  std::uint64_t size = 0;
  std::string artifact_type;
  std::map<std::string, std::string> annotations;  // org.opencontainers.image.title names a file
};

struct Manifest {
  std::string media_type;
  std::string artifact_type;
  std::optional<Descriptor> config;
  std::vector<Descriptor> layers;
  std::optional<Descriptor> subject;
  std::map<std::string, std::string> annotations;
  const Descriptor* layer_titled(std::string_view title) const;
  // First layer of this media type, or nullptr.
  const Descriptor* layer_of_type(std::string_view media_type) const;
};
Result<Manifest> parse_manifest(std::string_view bytes);
std::string encode_manifest(const Manifest& manifest);  // canonical JSON: same input, same digest

struct RegistryOptions {
  std::string url;            // "http://127.0.0.1:5000" or https
  std::string repository;     // "<root>/<namespace>/<project>"
  Secret<std::string> token;  // bearer; or
  std::string username;
  Secret<std::string> password;  // basic
  Nanos timeout = Seconds{60};
  int max_attempts = 4;                  // of idempotent requests on 429/5xx/connection errors
  std::uint64_t max_blob = 4ull << 30;   // of a pull; BlobTooLarge above
  std::uint64_t piece_bytes = 8u << 20;  // uploads are cut into these, large downloads too
  Nanos max_retry_wait = Seconds{20};    // of one wait, Retry-After included
  Clock* clock = nullptr;                // null: system_clock()
};

class RegistryClient {
 public:
  // `http` outlives the client.
  RegistryClient(HttpClient& http, RegistryOptions options);

  // Errors of all calls: RegistryUnavailable, RegistryDenied, NotFound, DigestMismatch,
  // BlobTooLarge.
  Result<bool> has_blob(const Digest& digest);
  // Uploads unless present. Chunked and resumed above 8 MiB.
  Result<Descriptor> push_blob(std::string_view data, std::string_view media_type);
  Result<Descriptor> push_file(const std::filesystem::path& path, std::string_view media_type);
  Result<std::string> pull_blob(const Descriptor& descriptor);
  Status pull_blob_to(const Descriptor& descriptor, const std::filesystem::path& path);

  // `reference` is a tag, or a digest as text.
  Result<Manifest> get_manifest(std::string_view reference);
  Result<std::string> get_manifest_bytes(std::string_view reference);
  Result<Digest> resolve(std::string_view tag);  // errors: NotFound
  Result<Digest> put_manifest(std::string_view bytes, std::string_view media_type,
                              std::string_view tag = {});
  // Builds, pushes and optionally tags an artifact manifest of these (already pushed) layers.
  Result<Digest> push_artifact(std::string_view artifact_type, std::vector<Descriptor> layers,
                               const std::map<std::string, std::string>& annotations = {},
                               std::string_view tag = {},
                               const std::optional<Descriptor>& subject = std::nullopt);
  // Manifests that name `subject`; by the API, or by the fallback tag sha256-<hex>.
  Result<std::vector<Descriptor>> referrers(const Digest& subject,
                                            std::string_view artifact_type = {});
  Status remove_manifest(const Digest& digest);

  const RegistryOptions& options() const { return options_; }

 private:
  std::string url(std::string_view rest) const;
  std::string absolute(std::string_view location) const;
  // One request with credentials; repeated when `idempotent`. Statuses of failures become errors,
  // 404 NotFound.
  Result<HttpResponse> send(HttpRequest request, bool idempotent, std::string_view what);
  Result<HttpResponse> send_once(HttpRequest& request, std::string_view what);
  Status push_pieces(const Digest& digest, std::uint64_t size,
                     const std::function<Result<std::string>(std::uint64_t, std::size_t)>& read);
  Result<std::uint64_t> uploaded_so_far(const std::string& location);
  Status update_referrers_tag(const Digest& subject, const Descriptor& added);
  Result<Json> referrers_index(const Digest& subject, std::string_view artifact_type);
  HttpClient& http_;
  RegistryOptions options_;
};

// Artifact types and media types of wire.md section 1.
inline constexpr std::string_view kModelArtifact = "application/vnd.ml-tango.model.v1+json";
inline constexpr std::string_view kBundleArtifact = "application/vnd.ml-tango.bundle.v1";
inline constexpr std::string_view kDatasetArtifact = "application/vnd.ml-tango.dataset.v1";
inline constexpr std::string_view kRunArtifact = "application/vnd.ml-tango.run.v1";
inline constexpr std::string_view kAgentArtifact = "application/vnd.ml-tango.agent.v1";
inline constexpr std::string_view kOciManifestType = "application/vnd.oci.image.manifest.v1+json";
inline constexpr std::string_view kOciIndexType = "application/vnd.oci.image.index.v1+json";
inline constexpr std::string_view kEmptyConfigType = "application/vnd.oci.empty.v1+json";
inline constexpr std::size_t kMaxManifestBytes = 4u << 20;
inline constexpr std::string_view kSignatureArtifact = "application/vnd.ml-tango.signature.v1+json";

}  // namespace tango::artifacts
