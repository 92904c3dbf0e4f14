// The management API (operator/openapi.yaml): projects, runs, fleet status, and what goes through
// to a device (predict, evaluate, logs). A handler for any HttpServer; every call but /healthz and
// /openapi.yaml needs a bearer token and the matching right on the Kubernetes object.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "lib/base/http.h"
#include "lib/base/json.h"
#include "lib/kube-types/outcome.h"
#include "operator/authenticator.h"
#include "operator/run_store.h"

namespace tango::crds {
struct Device;
}

namespace tango::op {

// Calls that reach a device over its SSH session. All may block for as long as the device takes; on
// a replica that does not lead the fleet they answer Unavailable, reason NotLeader.
class DeviceGateway {
 public:
  virtual ~DeviceGateway() = default;
  // Relays one HTTP request to the release in `slot`.
  virtual Result<HttpResponse> relay(const crds::Device& device, std::string_view slot,
                                     const HttpRequest& request) = 0;
  // `tar`: an evaluation set (regular files only). Answers {accuracy, samples, latencyMs}.
  virtual Result<Json> evaluate(const crds::Device& device, std::string_view slot,
                                std::string_view format, std::string_view tar) = 0;
  // {text, next, truncated}.
  virtual Result<Json> logs(const crds::Device& device, std::string_view slot,
                            std::string_view cursor, std::size_t max_bytes) = 0;
};

struct RestApi {
  std::function<std::shared_ptr<const kube::Observed>()>
      observed;  // nullptr until caches are synced
  RunStore* runs = nullptr;
  Authenticator* auth = nullptr;
  DeviceGateway* devices = nullptr;
  // Why a device has the release that it has: {sentences: [...], ...}.
  std::function<Json(const crds::Device&, const kube::Observed&)> why;
};

// `api` is copied; what its pointers name outlives the handler.
HttpHandler make_rest_handler(RestApi api);

}  // namespace tango::op
