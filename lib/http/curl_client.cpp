// The HttpClient on libcurl: one CURLM on one thread, so that every request and every watch of a
// process shares connections (and, with HTTP/2, one connection per host). Other threads hand over
// commands and wake the loop; they never touch a curl handle.
#include <curl/curl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <future>
#include <mutex>
#include <thread>
#include <unordered_map>

#include "lib/base/http.h"
#include "lib/base/log.h"

namespace tango {
namespace {

struct CurlLimits {
  static constexpr long kMaxRedirects = 5;
  static constexpr long kBufferBytes = 256 * 1024;
  static constexpr long kKeepIdleSeconds = 30;  // first TCP probe of a silent connection
  static constexpr long kKeepIntervalSeconds = 10;
  static constexpr int kUserTimeoutMs = 60'000;  // unacknowledged bytes: the peer is gone
  static constexpr long kHttp2HostConnections = 2;
  static constexpr long kHttp2Streams = 250;  // what Go's server allows
  static constexpr int kPollMs = 30'000;
  static constexpr std::size_t kMaxHeaderBytes = 256 * 1024;
  static constexpr std::size_t kIdleHandles = 8;
};

void init_curl_once() {
  static const CURLcode code = curl_global_init(CURL_GLOBAL_DEFAULT);
  (void)code;
}

std::string without_secrets(std::string_view url) {
  url = url.substr(0, url.find('?'));
  const auto scheme = url.find("://");
  if (scheme == std::string_view::npos) return std::string(url);
  const auto host = scheme + 3;
  const auto end = url.find('/', host);
  const auto at = url.substr(0, end).rfind('@');
  if (at == std::string_view::npos || at < host) return std::string(url);
  return std::string(url.substr(0, host)) + std::string(url.substr(at + 1));
}

struct UrlParts {
  std::string scheme, host, port, origin;  // host as in the URL (IPv6 in brackets)
};
Result<UrlParts> parse_url(const std::string& url) {
  std::unique_ptr<CURLU, decltype(&curl_url_cleanup)> handle(curl_url(), curl_url_cleanup);
  auto part = [&](CURLUPart what, unsigned flags) {
    char* text = nullptr;
    std::string out;
    if (curl_url_get(handle.get(), what, &text, flags) == CURLUE_OK && text) out = text;
    curl_free(text);
    return out;
  };
  if (!handle || curl_url_set(handle.get(), CURLUPART_URL, url.c_str(), 0) != CURLUE_OK) {
    return make_error(Code::kInvalid, "InvalidUrl",
                      "cannot read the URL \"" + without_secrets(url) +
                          "\"; expected http(s)://host[:port]/path");
  }
  UrlParts out{part(CURLUPART_SCHEME, 0),
               part(CURLUPART_HOST, 0),
               part(CURLUPART_PORT, CURLU_DEFAULT_PORT),
               {}};
  if (out.scheme != "http" && out.scheme != "https") {
    return make_error(Code::kInvalid, "InvalidUrl",
                      "the URL scheme \"" + out.scheme + "\" is not http or https");
  }
  out.origin = out.scheme + "://" + out.host + ":" + out.port;
  return out;
}

bool is_loopback(std::string_view host) {
  return host == "localhost" || host == "[::1]" || host.starts_with("127.");
}

Error to_error(CURLcode code, const char* detail, const std::string& url) {
  std::string message = "request to " + without_secrets(url) + " failed: ";
  message += detail && *detail ? detail : curl_easy_strerror(code);
  switch (code) {
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
      return make_error(Code::kInvalid, "InvalidUrl", std::move(message));
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
    case CURLE_PROXY:
      return make_error(Code::kUnavailable, "ConnectFailed", std::move(message));
    case CURLE_OPERATION_TIMEDOUT:
      return make_error(Code::kTimeout, "Timeout", std::move(message));
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
      return make_error(Code::kDenied, "TlsFailed", std::move(message));
    case CURLE_SSL_CONNECT_ERROR:
      return make_error(Code::kUnavailable, "TlsFailed", std::move(message));
    case CURLE_TOO_MANY_REDIRECTS:
      return make_error(Code::kInvalid, "TooManyRedirects", std::move(message));
    case CURLE_OUT_OF_MEMORY:
      return make_error(Code::kExhausted, "OutOfMemory", std::move(message));
    default:
      return make_error(Code::kUnavailable, "ConnectionLost", std::move(message));
  }
}

// One request on its way. Owned by the client; touched by its thread alone once handed over.
struct Transfer {
  std::uint64_t id = 0;
  HttpRequest request;
  UrlParts parts;
  std::vector<std::pair<std::string, bool>>* learned = nullptr;  // origin speaks HTTP/2
  bool streaming = false;
  StreamCallbacks callbacks;                 // streaming
  std::promise<Result<HttpResponse>> reply;  // otherwise

  CURL* easy = nullptr;
  curl_slist* headers = nullptr;
  curl_slist* connect_to = nullptr;
  HttpResponse response;
  std::size_t header_bytes = 0;
  bool follow = false;
  bool head_delivered = false;
  bool too_large = false;
  bool callback_failed = false;
  char detail[CURL_ERROR_SIZE] = {};

  ~Transfer() {
    curl_slist_free_all(headers);
    curl_slist_free_all(connect_to);
  }

  void deliver_head() {
    if (head_delivered) return;
    head_delivered = true;
    if (streaming && callbacks.on_head) callbacks.on_head(response.status, response.headers);
  }
  void finish(Result<HttpResponse> result) {
    if (!streaming) {
      reply.set_value(std::move(result));
      return;
    }
    if (!callbacks.on_end) return;
    if (result.ok()) {
      callbacks.on_end(ok_status());
    } else {
      callbacks.on_end(std::move(result).error());
    }
  }
};

class CurlClient final : public HttpClient {
 public:
  explicit CurlClient(const HttpClientOptions& options) : options_(options) {
    init_curl_once();
    multi_ = curl_multi_init();
    curl_multi_setopt(multi_, CURLMOPT_PIPELINING, CURLPIPE_MULTIPLEX);
    curl_multi_setopt(multi_, CURLMOPT_MAX_CONCURRENT_STREAMS, CurlLimits::kHttp2Streams);
    thread_ = std::thread([this] { loop(); });
  }

  ~CurlClient() override {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    curl_multi_wakeup(multi_);
    thread_.join();
    for (CURL* easy : idle_) curl_easy_cleanup(easy);
    curl_multi_cleanup(multi_);
  }

  Result<HttpResponse> send(const HttpRequest& request) override {
    if (std::this_thread::get_id() == thread_.get_id()) {
      return make_error(
          Code::kInternal, "WouldDeadlock",
          "send() was called from a callback of the same client; hand the work to another thread");
    }
    TRY_ASSIGN(auto parts, parse_url(request.url));
    auto transfer = std::make_unique<Transfer>();
    transfer->request = request;
    transfer->parts = std::move(parts);
    auto reply = transfer->reply.get_future();
    hand_over(std::move(transfer));
    return reply.get();
  }

  std::uint64_t stream(const HttpRequest& request, StreamCallbacks callbacks) override {
    auto parts = parse_url(request.url);
    auto transfer = std::make_unique<Transfer>();
    transfer->request = request;
    transfer->streaming = true;
    transfer->callbacks = std::move(callbacks);
    // A URL that cannot be read ends on the client's thread too, so that callers see one order.
    if (parts.ok()) transfer->parts = std::move(parts).value();
    return hand_over(std::move(transfer));
  }

  void cancel(std::uint64_t stream_id) override {
    {
      std::lock_guard lock(mutex_);
      cancels_.push_back(stream_id);
    }
    curl_multi_wakeup(multi_);
  }

 private:
  std::uint64_t hand_over(std::unique_ptr<Transfer> transfer) {
    std::uint64_t id = 0;
    {
      std::lock_guard lock(mutex_);
      id = transfer->id = ++last_id_;
      incoming_.push_back(std::move(transfer));
    }
    curl_multi_wakeup(multi_);
    return id;
  }

  void loop() {
    for (;;) {
      std::deque<std::unique_ptr<Transfer>> incoming;
      std::vector<std::uint64_t> cancels;
      bool stopping = false;
      {
        std::lock_guard lock(mutex_);
        incoming.swap(incoming_);
        cancels.swap(cancels_);
        stopping = stopping_;
      }
      for (auto& transfer : incoming) begin(std::move(transfer));
      for (const auto id : cancels) abandon(id);
      if (stopping) break;
      int running = 0;
      curl_multi_perform(multi_, &running);
      // libcurl refuses options while it is inside a callback, so heads only leave a note.
      for (const auto& [origin, http2] : std::exchange(learned_, {})) note_host(origin, http2);
      collect();
      curl_multi_poll(multi_, nullptr, 0, CurlLimits::kPollMs, nullptr);
    }
    while (!active_.empty()) abandon(active_.begin()->first);
    std::deque<std::unique_ptr<Transfer>> incoming;
    {
      std::lock_guard lock(mutex_);
      incoming.swap(incoming_);
    }
    for (auto& transfer : incoming) transfer->finish(cancelled());
  }

  static Error cancelled() {
    return make_error(Code::kCancelled, "Cancelled", "the request was cancelled");
  }

  void begin(std::unique_ptr<Transfer> transfer) {
    if (transfer->parts.host.empty()) {
      auto parts = parse_url(transfer->request.url);
      transfer->finish(parts.ok() ? make_error(Code::kInvalid, "InvalidUrl", "the URL has no host")
                                  : std::move(parts).error());
      return;
    }
    if (idle_.empty()) {
      transfer->easy = curl_easy_init();
    } else {
      transfer->easy = idle_.back();
      idle_.pop_back();
    }
    if (!transfer->easy) {
      transfer->finish(
          make_error(Code::kExhausted, "OutOfMemory", "no memory for another request"));
      return;
    }
    transfer->learned = &learned_;
    configure(*transfer);
    note_host(transfer->parts.origin, std::nullopt);
    CURL* easy = transfer->easy;
    const std::uint64_t id = transfer->id;
    active_.emplace(id, std::move(transfer));
    if (curl_multi_add_handle(multi_, easy) != CURLM_OK) {
      end(id, make_error(Code::kInternal, "CurlError", "libcurl refused the request"));
    }
  }

  void configure(Transfer& t) {
    CURL* e = t.easy;
    const HttpRequest& r = t.request;
    const bool https = t.parts.scheme == "https";
    curl_easy_setopt(e, CURLOPT_PRIVATE, &t);
    curl_easy_setopt(e, CURLOPT_ERRORBUFFER, t.detail);
    curl_easy_setopt(e, CURLOPT_URL, r.url.c_str());
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(e, CURLOPT_BUFFERSIZE, CurlLimits::kBufferBytes);
    curl_easy_setopt(e, CURLOPT_USERAGENT, options_.user_agent.c_str());
    curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, millis(r.timeout));
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, millis(r.connect_timeout));
    curl_easy_setopt(e, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(e, CURLOPT_TCP_KEEPIDLE, CurlLimits::kKeepIdleSeconds);
    curl_easy_setopt(e, CURLOPT_TCP_KEEPINTVL, CurlLimits::kKeepIntervalSeconds);
    curl_easy_setopt(e, CURLOPT_SOCKOPTFUNCTION, &CurlClient::on_socket);
    curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, &CurlClient::on_header);
    curl_easy_setopt(e, CURLOPT_HEADERDATA, &t);
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, &CurlClient::on_body);
    curl_easy_setopt(e, CURLOPT_WRITEDATA, &t);
    set_tls(t, https);
    set_method(t);
    set_headers(t);
    if (!options_.proxy.empty()) {
      curl_easy_setopt(e, CURLOPT_PROXY, options_.proxy.c_str());
    } else if (is_loopback(t.parts.host)) {
      curl_easy_setopt(e, CURLOPT_PROXY,
                       "");  // as Go does: *_PROXY never applies to the machine itself
    }
  }

  void set_tls(Transfer& t, bool https) {
    CURL* e = t.easy;
    if (!https) {
      curl_easy_setopt(e, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1);
      return;
    }
    curl_easy_setopt(e, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_2TLS);
    // Wait for the handshake to learn whether streams can share the connection.
    curl_easy_setopt(e, CURLOPT_PIPEWAIT, 1L);
    curl_easy_setopt(e, CURLOPT_SSLVERSION, CURL_SSLVERSION_TLSv1_2);
    const TlsOptions& tls = options_.tls;
    set_blob(e, CURLOPT_CAINFO_BLOB, tls.ca_pem);
    if (!tls.cert_pem.empty()) {
      set_blob(e, CURLOPT_SSLCERT_BLOB, tls.cert_pem);
      curl_easy_setopt(e, CURLOPT_SSLCERTTYPE, "PEM");
      set_blob(e, CURLOPT_SSLKEY_BLOB, tls.key_pem.reveal());
      curl_easy_setopt(e, CURLOPT_SSLKEYTYPE, "PEM");
    }
    if (tls.insecure) {
      curl_easy_setopt(e, CURLOPT_SSL_VERIFYPEER, 0L);
      curl_easy_setopt(e, CURLOPT_SSL_VERIFYHOST, 0L);
    }
    if (!tls.server_name.empty() && tls.server_name != t.parts.host) {
      // libcurl verifies the name in the URL: put the wanted one there and connect to the real
      // host.
      const std::string target =
          tls.server_name + ":" + t.parts.port + ":" + t.parts.host + ":" + t.parts.port;
      t.connect_to = curl_slist_append(nullptr, target.c_str());
      curl_easy_setopt(e, CURLOPT_CONNECT_TO, t.connect_to);
      CURLU* url = curl_url();
      curl_url_set(url, CURLUPART_URL, t.request.url.c_str(), 0);
      curl_url_set(url, CURLUPART_HOST, tls.server_name.c_str(), 0);
      char* text = nullptr;
      if (curl_url_get(url, CURLUPART_URL, &text, 0) == CURLUE_OK)
        curl_easy_setopt(e, CURLOPT_URL, text);
      curl_free(text);
      curl_url_cleanup(url);
    }
  }

  // The options outlive every handle, so nothing is copied.
  static void set_blob(CURL* e, CURLoption option, const std::string& pem) {
    if (pem.empty()) return;
    curl_blob blob{const_cast<char*>(pem.data()), pem.size(), CURL_BLOB_NOCOPY};
    curl_easy_setopt(e, option, &blob);
  }

  static void set_method(Transfer& t) {
    CURL* e = t.easy;
    const HttpRequest& r = t.request;
    if (r.method == "HEAD") {
      curl_easy_setopt(e, CURLOPT_NOBODY, 1L);
    } else if (r.method == "GET" && r.body.empty()) {
      curl_easy_setopt(e, CURLOPT_HTTPGET, 1L);
    } else if (r.method == "DELETE" && r.body.empty()) {
      curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, "DELETE");
    } else {
      curl_easy_setopt(e, CURLOPT_POST, 1L);
      curl_easy_setopt(e, CURLOPT_POSTFIELDS, r.body.data());
      curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(r.body.size()));
      curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, r.method.c_str());
    }
    // Only what can be repeated without harm follows a redirect, and never from TLS to clear text.
    t.follow = r.method == "GET" || r.method == "HEAD";
    if (t.follow) {
      curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 1L);
      curl_easy_setopt(e, CURLOPT_MAXREDIRS, CurlLimits::kMaxRedirects);
      curl_easy_setopt(e, CURLOPT_REDIR_PROTOCOLS_STR,
                       t.parts.scheme == "https" ? "https" : "http,https");
    }
  }

  static void set_headers(Transfer& t) {
    bool content_type = false;
    for (const auto& [name, value] : t.request.headers) {
      if (name.find_first_of("\r\n:") != std::string::npos ||
          value.find_first_of("\r\n") != std::string::npos) {
        continue;  // would be a header injection
      }
      HeaderLess less;
      auto is = [&](std::string_view known) { return !less(name, known) && !less(known, name); };
      if (is("accept-encoding")) {
        curl_easy_setopt(t.easy, CURLOPT_ACCEPT_ENCODING,
                         value.c_str());  // and decode what comes back
        continue;
      }
      content_type |= is("content-type");
      t.headers =
          curl_slist_append(t.headers, (value.empty() ? name + ";" : name + ": " + value).c_str());
    }
    if (!content_type) t.headers = curl_slist_append(t.headers, "Content-Type:");
    t.headers = curl_slist_append(t.headers, "Expect:");
    curl_easy_setopt(t.easy, CURLOPT_HTTPHEADER, t.headers);
  }

  static long millis(Nanos d) {
    if (d <= Nanos::zero()) return 0;
    return static_cast<long>(
        std::max<std::int64_t>(1, std::chrono::duration_cast<Millis>(d).count()));
  }

  static int on_socket(void*, curl_socket_t fd, curlsocktype) {
    const int timeout = CurlLimits::kUserTimeoutMs;
    ::setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout, sizeof timeout);
    return CURL_SOCKOPT_OK;
  }

  static std::size_t on_header(char* data, std::size_t, std::size_t size, void* user) {
    auto& t = *static_cast<Transfer*>(user);
    std::string_view line(data, size);
    t.header_bytes += size;
    if (t.header_bytes > CurlLimits::kMaxHeaderBytes) {
      t.too_large = true;
      return 0;
    }
    while (!line.empty() && (line.back() == '\r' || line.back() == '\n')) line.remove_suffix(1);
    if (line.starts_with("HTTP/")) {  // also of each interim answer and redirect
      t.response.headers.clear();
      if (t.learned) t.learned->emplace_back(t.parts.origin, line.starts_with("HTTP/2"));
      const auto space = line.find(' ');
      t.response.status = space == std::string_view::npos
                              ? 0
                              : std::atoi(std::string(line.substr(space + 1, 3)).c_str());
      return size;
    }
    if (!line.empty()) {
      if (const auto colon = line.find(':'); colon != std::string_view::npos) {
        std::string_view value = line.substr(colon + 1);
        while (!value.empty() && (value.front() == ' ' || value.front() == '\t'))
          value.remove_prefix(1);
        t.response.headers.emplace(std::string(line.substr(0, colon)), std::string(value));
      }
      return size;
    }
    const int status = t.response.status;
    const bool redirected =
        t.follow && status >= 300 && status < 400 && t.response.headers.count("location") > 0;
    if (status < 200 || redirected || t.head_delivered) return size;
    return guarded(t, size, [&] { t.deliver_head(); });
  }

  static std::size_t on_body(char* data, std::size_t, std::size_t size, void* user) {
    auto& t = *static_cast<Transfer*>(user);
    if (t.streaming) {
      return guarded(t, size, [&] {
        t.deliver_head();
        if (t.callbacks.on_data) t.callbacks.on_data({data, size});
      });
    }
    if (t.response.body.size() + size > t.request.max_body) {
      t.too_large = true;
      return 0;
    }
    return guarded(t, size, [&] { t.response.body.append(data, size); });
  }

  // An exception must not cross libcurl's C frames.
  template <typename F>
  static std::size_t guarded(Transfer& t, std::size_t size, F&& f) {
    try {
      f();
      return size;
    } catch (const std::exception& e) {
      log_error("A callback of an HTTP stream threw", {{"what", e.what()}});
    } catch (...) {
      log_error("A callback of an HTTP stream threw");
    }
    t.callback_failed = true;
    return 0;
  }

  void collect() {
    int left = 0;
    while (CURLMsg* message = curl_multi_info_read(multi_, &left)) {
      if (message->msg != CURLMSG_DONE) continue;
      const CURLcode code = message->data.result;
      Transfer* t = nullptr;
      curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &t);
      if (code == CURLE_OK) {
        guarded(*t, 1, [&] { t->deliver_head(); });
        end(t->id, std::move(t->response));
      } else if (t->too_large) {
        end(t->id,
            make_error(Code::kExhausted, "BodyTooLarge",
                       "the answer of " + without_secrets(t->request.url) + " is larger than " +
                           std::to_string(t->request.max_body) + " bytes"));
      } else if (t->callback_failed) {
        end(t->id, make_error(Code::kInternal, "CallbackFailed", "a callback of the stream threw"));
      } else {
        end(t->id, to_error(code, t->detail, t->request.url));
      }
    }
  }

  void abandon(std::uint64_t id) {
    if (active_.contains(id)) end(id, cancelled());
  }

  void end(std::uint64_t id, Result<HttpResponse> result) {
    auto node = active_.extract(id);
    auto transfer = std::move(node.mapped());
    curl_multi_remove_handle(multi_, transfer->easy);
    if (idle_.size() < CurlLimits::kIdleHandles) {
      curl_easy_reset(transfer->easy);
      idle_.push_back(transfer->easy);
    } else {
      curl_easy_cleanup(transfer->easy);
    }
    guarded(*transfer, 1, [&] { transfer->finish(std::move(result)); });
  }

  // Without a limit, libcurl opens a second HTTP/2 connection while the first one is busy with its
  // handshake. With a limit, an HTTP/1.1 peer would starve: each watch needs a connection there.
  // So the limit holds only while every host in use is known to speak HTTP/2.
  void note_host(const std::string& origin, std::optional<bool> http2) {
    auto [it, fresh] = hosts_.try_emplace(origin, false);
    if (http2) it->second = *http2;
    if (!fresh && !http2) return;
    const bool all =
        std::all_of(hosts_.begin(), hosts_.end(), [](const auto& h) { return h.second; });
    if (all == limited_) return;
    limited_ = all;
    curl_multi_setopt(multi_, CURLMOPT_MAX_HOST_CONNECTIONS,
                      all ? CurlLimits::kHttp2HostConnections : 0L);
  }

  const HttpClientOptions options_;
  CURLM* multi_ = nullptr;
  std::thread thread_;

  std::mutex mutex_;
  std::deque<std::unique_ptr<Transfer>> incoming_;
  std::vector<std::uint64_t> cancels_;
  bool stopping_ = false;
  std::uint64_t last_id_ = 0;

  // Of the client's thread:
  std::unordered_map<std::uint64_t, std::unique_ptr<Transfer>> active_;
  std::unordered_map<std::string, bool> hosts_;  // origin -> speaks HTTP/2
  std::vector<std::pair<std::string, bool>> learned_;
  bool limited_ = false;
  std::vector<CURL*> idle_;
};

}  // namespace

std::unique_ptr<HttpClient> make_curl_client(const HttpClientOptions& options) {
  return std::make_unique<CurlClient>(options);
}

}  // namespace tango
