#include "lib/kube/client.h"

#include <atomic>
#include <mutex>
#include <set>

#include "lib/base/clock.h"
#include "lib/base/digest.h"
#include "lib/base/file.h"
#include "lib/base/log.h"
#include "lib/kube/request.h"

namespace tango::kube {
namespace {

constexpr int kMaxTries = 10;  // as client-go
constexpr Nanos kTransportRetryDelay = Millis{100};
constexpr int kTransportTries = 3;
constexpr Nanos kTokenMaxAge = Seconds{60};
constexpr std::uint64_t kMaxTokenBytes = 1u << 20;
constexpr std::uint64_t kMaxAnswerBytes = 512u << 20;
constexpr std::size_t kMaxRememberedWarnings = 1024;

// The bearer token: a fixed one, or a file that is read again at least once a minute. The last good
// one is kept while the file cannot be read, and dropped when the server refuses it.
class TokenSource {
 public:
  TokenSource(const ClientConfig& config, Clock& clock)
      : fixed_(config.token), file_(config.token_file), clock_(clock) {}

  std::string get() {
    if (file_.empty()) return fixed_.reveal();
    std::lock_guard lock(mutex_);
    if (!cached_.empty() && clock_.monotonic() - read_at_ < kTokenMaxAge) return cached_;
    auto text = read_file(file_, kMaxTokenBytes);
    if (text.ok()) {
      while (!text->empty() && (text->back() == '\n' || text->back() == '\r')) text->pop_back();
      cached_ = std::move(*text);
      read_at_ = clock_.monotonic();
    } else {
      log_warn("Token file could not be read", {{"path", file_}, text.error()});
    }
    return cached_;
  }
  // After a 401. True when reading again may give another token.
  bool drop() {
    if (file_.empty()) return false;
    std::lock_guard lock(mutex_);
    cached_.clear();
    return true;
  }

 private:
  const Secret<std::string> fixed_;
  const std::string file_;
  Clock& clock_;
  std::mutex mutex_;
  std::string cached_;
  Nanos read_at_{};
};

std::string host_of(const std::string& server) {
  const auto scheme = server.find("://");
  return scheme == std::string::npos ? server : server.substr(scheme + 3);
}

// What the callbacks of a stream need. They run on the transport's thread and may be its last word,
// so they must not own the transport: it would be destroyed on its own thread.
struct Accounts {
  Accounts(const ClientConfig& config, Clock& clock, MetricsRegistry& m)
      : metrics(m), host(host_of(config.server)), token(config, clock) {
    metrics.declare_counter(
        "rest_client_requests_total",
        "Number of HTTP requests, partitioned by status code, method, and host.");
  }
  void count(std::string_view method, std::string code) {
    metrics.add("rest_client_requests_total",
                {{"code", std::move(code)}, {"method", std::string(method)}, {"host", host}});
  }
  MetricsRegistry& metrics;
  const std::string host;
  TokenSource token;
};

// What all clients of one server share.
struct Shared {
  Shared(const ClientConfig& c, std::shared_ptr<HttpClient> h, ClientSurroundings s)
      : config(c),
        http(std::move(h)),
        clock(s.clock ? *s.clock : system_clock()),
        accounts(std::make_shared<Accounts>(config, clock,
                                            s.metrics ? *s.metrics : default_metrics())) {}
  const ClientConfig config;
  const std::shared_ptr<HttpClient> http;
  Clock& clock;
  const std::shared_ptr<Accounts> accounts;
  std::mutex mutex;
  std::set<std::string> seen_warnings;
};

std::string what(std::string_view verb, const KindInfo& kind, std::string_view ns,
                 std::string_view name) {
  std::string out(verb);
  out += ' ';
  out += kind.kind;
  if (!name.empty() || !ns.empty()) {
    out += ' ';
    if (!ns.empty()) out += std::string(ns) + "/";
    out += name;
  }
  return out;
}

class Client final : public KubeClient {
 public:
  Client(std::shared_ptr<Shared> shared, Nanos timeout)
      : shared_(std::move(shared)), timeout_(timeout) {}

  Result<Json> get(const KindInfo& kind, std::string_view ns, std::string_view name) override {
    return object(send("GET", resource_path(kind, ns, name), {}, {}),
                  what("getting", kind, ns, name));
  }

  Result<ListResult> list(const KindInfo& kind, const ListOptions& options) override {
    const std::string doing = what("listing", kind, options.ns, "");
    ListResult result;
    std::string token;
    std::int64_t limit = options.limit;
    for (;;) {
      auto page = object(send("GET", list_target(kind, options, token, limit), {}, {}), doing);
      if (!page.ok()) {
        if (page.error().reason == "Expired" && !token.empty()) {
          // The version that the pages come from was compacted away: everything at once instead.
          result.items.clear();
          token.clear();
          limit = 0;
          continue;
        }
        return std::move(page).error();
      }
      for (Json& item : (*page)["items"]) {
        if (!item.contains("kind")) item["kind"] = kind.kind;
        if (!item.contains("apiVersion")) item["apiVersion"] = kind.api_version();
        result.items.push_back(std::move(item));
      }
      const Json& meta = tango::get(*page, "metadata");
      result.resource_version = get_string(meta, "resourceVersion");
      token = get_string(meta, "continue");
      if (token.empty()) return result;
    }
  }

  Result<Json> create(const KindInfo& kind, const Json& body,
                      const WriteOptions& options) override {
    const auto [ns, name] = identity(body);
    return object(send("POST", resource_path(kind, ns) + write_query(options, false),
                       dump_json(body), "application/json"),
                  what("creating", kind, ns, name));
  }

  Result<Json> update(const KindInfo& kind, const Json& body,
                      const WriteOptions& options) override {
    const auto [ns, name] = identity(body);
    const std::string path = resource_path(kind, ns, name, options.subresource);
    return object(
        send("PUT", path + write_query(options, false), dump_json(body), "application/json"),
        what("updating", kind, ns, name));
  }

  Result<Json> patch(const KindInfo& kind, std::string_view ns, std::string_view name,
                     PatchType type, const Json& body, const WriteOptions& options) override {
    const std::string path = resource_path(kind, ns, name, options.subresource);
    return object(send("PATCH", path + write_query(options, type == PatchType::kApply),
                       dump_json(body), content_type(type)),
                  what("patching", kind, ns, name));
  }

  Result<Json> apply(const KindInfo& kind, const Json& body, const WriteOptions& options) override {
    const auto [ns, name] = identity(body);
    return patch(kind, ns, name, PatchType::kApply, body, options);
  }

  Status remove(const KindInfo& kind, std::string_view ns, std::string_view name,
                const DeleteOptions& options) override {
    // The answer is the object or a Status; either way the deletion was accepted.
    auto response = send("DELETE", resource_path(kind, ns, name), dump_json(delete_body(options)),
                         "application/json");
    if (!response.ok()) return std::move(response).error();
    if (response->status < 400) return ok_status();
    return error_from_response(response->status, response->body, what("deleting", kind, ns, name));
  }

  Result<HttpResponse> raw(std::string_view method, std::string_view path, std::string_view body,
                           std::string_view accept) override {
    return send(method, std::string(path), std::string(body),
                body.empty() ? "" : "application/json", accept);
  }

  std::uint64_t stream(std::string_view path, StreamCallbacks callbacks) override {
    HttpRequest request = prepare("GET", std::string(path), "application/json");
    request.timeout = Nanos::zero();
    auto inner = std::move(callbacks.on_head);
    callbacks.on_head = [accounts = shared_->accounts, inner = std::move(inner)](
                            int status, const HttpHeaders& headers) {
      accounts->count("GET", std::to_string(status));
      if (status == 401) accounts->token.drop();
      if (inner) inner(status, headers);
    };
    return shared_->http->stream(request, std::move(callbacks));
  }
  void cancel(std::uint64_t id) override { shared_->http->cancel(id); }
  const ClientConfig& config() const override { return shared_->config; }
  std::unique_ptr<KubeClient> with_timeout(Nanos timeout) override {
    return std::make_unique<Client>(shared_, timeout);
  }

 private:
  static std::pair<std::string, std::string> identity(const Json& body) {
    const Json& meta = tango::get(body, "metadata");
    return {get_string(meta, "namespace"), get_string(meta, "name")};
  }

  HttpRequest prepare(std::string_view method, const std::string& path, std::string_view accept) {
    HttpRequest request;
    request.method = method;
    request.url = shared_->config.server + path;
    request.timeout = timeout_;
    request.max_body = kMaxAnswerBytes;
    request.headers.emplace("Accept", std::string(accept));
    for (const auto& [name, value] : shared_->config.impersonate)
      request.headers.emplace(name, value);
    if (const std::string token = shared_->accounts->token.get(); !token.empty()) {
      request.headers.emplace("Authorization", "Bearer " + token);
    } else if (!shared_->config.username.empty()) {
      request.headers.emplace(
          "Authorization",
          "Basic " + to_base64(shared_->config.username + ":" + shared_->config.password.reveal()));
    }
    return request;
  }

  Result<HttpResponse> send(std::string_view method, const std::string& path, std::string body,
                            std::string_view type, std::string_view accept = "application/json") {
    bool refreshed = false;
    int transport_failures = 0;
    for (int attempt = 1;; ++attempt) {
      HttpRequest request = prepare(method, path, accept);
      request.body = body;
      if (!type.empty()) request.headers.emplace("Content-Type", std::string(type));
      auto response = shared_->http->send(request);
      shared_->accounts->count(method,
                               response.ok() ? std::to_string(response->status) : "<error>");
      if (!response.ok()) {
        // A write whose answer was lost may have happened, so only reads are sent again.
        const bool again = method == "GET" && response.error().code == Code::kUnavailable &&
                           ++transport_failures < kTransportTries;
        if (!again) return response;
        shared_->clock.sleep_for(kTransportRetryDelay * transport_failures);
        continue;
      }
      note_warnings(response->headers);
      if (response->status == 401 && !refreshed && shared_->accounts->token.drop()) {
        refreshed = true;
        continue;
      }
      const auto wait = should_retry(response->status, response->headers);
      if (!wait || attempt >= kMaxTries) return response;
      shared_->clock.sleep_for(*wait);
    }
  }

  void note_warnings(const HttpHeaders& headers) {
    for (const std::string& text : warnings(headers)) {
      {
        std::lock_guard lock(shared_->mutex);
        if (shared_->seen_warnings.size() >= kMaxRememberedWarnings) shared_->seen_warnings.clear();
        if (!shared_->seen_warnings.insert(text).second) continue;
      }
      log_warn("API server warned", {{"warning", text}});
    }
  }

  static Result<Json> object(Result<HttpResponse> response, std::string doing) {
    if (!response.ok()) return std::move(response).error().with_context(std::move(doing));
    if (response->status >= 300)
      return error_from_response(response->status, response->body, doing);
    auto parsed = parse_json(response->body, {.max_bytes = kMaxAnswerBytes});
    if (!parsed.ok()) return std::move(parsed).error().with_context(std::move(doing));
    return parsed;
  }

  const std::shared_ptr<Shared> shared_;
  const Nanos timeout_;
};

}  // namespace

std::unique_ptr<KubeClient> make_client(const ClientConfig& config,
                                        std::shared_ptr<HttpClient> http,
                                        ClientSurroundings surroundings) {
  return std::make_unique<Client>(std::make_shared<Shared>(config, std::move(http), surroundings),
                                  config.request_timeout);
}

Result<std::unique_ptr<KubeClient>> KubeClient::connect(const ClientConfig& config) {
  if (config.server.empty()) {
    return make_error(Code::kInvalid, "InvalidKubeconfig",
                      "the client configuration names no server");
  }
  HttpClientOptions options;
  options.tls = config.tls;
  options.proxy = config.proxy_url;
  options.user_agent = config.user_agent;
  return make_client(config, std::shared_ptr<HttpClient>(make_curl_client(options)));
}

}  // namespace tango::kube
