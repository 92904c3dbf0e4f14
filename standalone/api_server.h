// The embedded, kubectl-compatible API server: authentication, routing, discovery, reading and
// watching, over Operations. One HttpHandler; `up` serves it by the Beast backend, in-process
// callers (job controller, pod runner) use Operations and the store directly. Never runs workloads
// itself.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "lib/base/http.h"
#include "standalone/auth.h"
#include "standalone/operations.h"
#include "standalone/store.h"

namespace tango::standalone {

class WatchHub;

// Where the log of a container is. Provided by the pod runner.
struct LogSource {
  fs::path file;                  // lines "<RFC 3339 nano> stdout|stderr F|P <text>"
  std::function<bool()> running;  // more may come
};
using LogFinder =
    std::function<Result<LogSource>(const Json& pod, const std::string& container, bool previous)>;

struct ApiServerOptions {
  fs::path database;
  Secret<std::string> token_key;
  std::string issuer = "https://kubernetes.default.svc";
  StoreOptions store;
  Nanos bookmark_interval = Seconds{60};
  AdmissionHook admission;
  Clock* clock = nullptr;  // nullptr: system
};

class ApiServer {
 public:
  // Errors: as Store::open.
  static Result<std::unique_ptr<ApiServer>> open(ApiServerOptions options);
  ~ApiServer();

  HttpReply handle(const HttpRequest& request);
  // Creates the namespaces every cluster has. Idempotent.
  Status bootstrap();
  void set_log_finder(LogFinder finder) { log_finder_ = std::move(finder); }
  void set_ready(bool ready) { ready_ = ready; }
  // Ends all watches and log streams; before the HTTP server stops.
  void stop();

  Store& store() { return *store_; }
  ResourceRegistry& registry() { return registry_; }
  Operations& operations() { return *operations_; }
  const TokenIssuer& tokens() const { return tokens_; }
  std::string admin_token() const;
  Clock& clock() { return clock_; }

 private:
  struct Call;  // one request, taken apart
  explicit ApiServer(ApiServerOptions options);

  std::optional<Identity> authenticate(const HttpRequest& request) const;
  HttpReply route(Call& call);
  HttpReply resource_call(Call& call);
  HttpReply list(Call& call);
  HttpReply watch(Call& call);
  HttpReply write(Call& call);
  HttpReply remove(Call& call);
  HttpReply remove_collection(Call& call);
  HttpReply review(Call& call);
  HttpReply token_request(Call& call);
  HttpReply pod_log(Call& call);
  HttpReply openapi(Call& call);
  HttpReply discovery(Call& call);
  HttpReply objects(Call& call, int status, const Json& object);

  ApiServerOptions options_;
  Clock& clock_;
  TokenIssuer tokens_;
  std::unique_ptr<Store> store_;
  ResourceRegistry registry_;
  std::unique_ptr<Operations> operations_;
  std::unique_ptr<WatchHub> watches_;
  LogFinder log_finder_;
  std::atomic<bool> ready_{false};
  std::mutex openapi_mutex_;
  std::uint64_t openapi_generation_ = 0;
  std::string openapi_json_, openapi_proto_;
};

}  // namespace tango::standalone
