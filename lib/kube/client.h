// Requests to a Kubernetes API server: typed errors, patch types, paging, streaming. Sans-I/O
// request building lives in request.h; this class sends over the HttpClient it is given.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/http.h"
#include "lib/base/json.h"
#include "lib/base/metrics.h"
#include "lib/base/result.h"
#include "lib/kube-types/meta.h"
#include "lib/kube/config.h"

namespace tango::kube {

struct ListOptions {
  std::string ns = {};  // "" = all namespaces
  std::string label_selector = {};
  std::string field_selector = {};
  std::string resource_version = {};
  std::string resource_version_match = {};
  std::int64_t limit = 500;  // pages are fetched until the end
};
struct ListResult {
  std::vector<Json> items = {};
  std::string resource_version = {};
};
enum class PatchType { kMerge, kJson, kStrategic, kApply };
struct WriteOptions {
  std::string field_manager = "tango";
  bool force = true;  // apply only
  bool dry_run = false;
  bool strict = true;            // fieldValidation=Strict
  std::string subresource = {};  // "status"
};
struct DeleteOptions {
  std::string uid = {};
  std::string resource_version = {};
  std::string propagation = "Background";
};

// Errors carry the server's Status.reason as `reason` (NotFound, AlreadyExists, Conflict, Invalid,
// Forbidden, Expired, TooManyRequests, ...) and a Code that says what to do; `message` is the
// server's.
class KubeClient {
 public:
  static Result<std::unique_ptr<KubeClient>> connect(const ClientConfig& config);
  virtual ~KubeClient() = default;

  virtual Result<Json> get(const KindInfo& kind, std::string_view ns, std::string_view name) = 0;
  virtual Result<ListResult> list(const KindInfo& kind, const ListOptions& options = {}) = 0;
  virtual Result<Json> create(const KindInfo& kind, const Json& object,
                              const WriteOptions& options = {}) = 0;
  // PUT; the object carries resourceVersion.
  virtual Result<Json> update(const KindInfo& kind, const Json& object,
                              const WriteOptions& options = {}) = 0;
  virtual Result<Json> patch(const KindInfo& kind, std::string_view ns, std::string_view name,
                             PatchType type, const Json& body,
                             const WriteOptions& options = {}) = 0;
  // Server-side apply of a full manifest (apiVersion, kind, metadata.name, ...).
  virtual Result<Json> apply(const KindInfo& kind, const Json& object,
                             const WriteOptions& options = {}) = 0;
  virtual Status remove(const KindInfo& kind, std::string_view ns, std::string_view name,
                        const DeleteOptions& options = {}) = 0;
  // Any path ("/version", ".../pods/x/log"); with retries for GET as for typed calls. Any status is
  // a success of this call; error_from_response() in request.h turns a failure into an Error.
  virtual Result<HttpResponse> raw(std::string_view method, std::string_view path,
                                   std::string_view body = {},
                                   std::string_view accept = "application/json") = 0;
  // Streaming GET ("...?watch=1", "...?follow=1"). Returns an id for cancel().
  virtual std::uint64_t stream(std::string_view path, StreamCallbacks callbacks) = 0;
  virtual void cancel(std::uint64_t id) = 0;

  virtual const ClientConfig& config() const = 0;
  // The same server, credentials and connections with another limit per try (leader election).
  virtual std::unique_ptr<KubeClient> with_timeout(Nanos timeout) = 0;
};

// What a client needs from its surroundings; nullptr: the process-wide one.
struct ClientSurroundings {
  Clock* clock = nullptr;
  MetricsRegistry* metrics = nullptr;
};
// Over a transport of the caller's choice (tests, shared connections).
std::unique_ptr<KubeClient> make_client(const ClientConfig& config,
                                        std::shared_ptr<HttpClient> http,
                                        ClientSurroundings surroundings = {});

// Resource path of a kind: "/apis/ml-tango.io/v1alpha1/namespaces/ns/devices/name".
std::string resource_path(const KindInfo& kind, std::string_view ns, std::string_view name = {},
                          std::string_view subresource = {});

}  // namespace tango::kube
