// HTTP as seen by the rest of the house: a client and a server interface without any library's
// types. Implementations are targets of their own in lib/http: tango_http_curl (client, HTTP/2),
// tango_http_beast (server with streaming), tango_http_cpprest (server, bounded request/response).
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/clock.h"
#include "lib/base/result.h"
#include "lib/base/secret.h"

namespace tango {

// Header names compare without case.
struct HeaderLess {
  using is_transparent = void;
  bool operator()(std::string_view a, std::string_view b) const;
};
using HttpHeaders = std::multimap<std::string, std::string, HeaderLess>;
std::string header(const HttpHeaders& headers, std::string_view name,
                   std::string_view fallback = {});

struct HttpRequest {
  std::string method = "GET";
  std::string url;  // client: absolute; server: path and query as sent ("/a/b?x=1")
  HttpHeaders headers;
  std::string body;

  // Client only:
  Nanos timeout = Seconds{30};  // whole request; zero: none (watches)
  Nanos connect_timeout = Seconds{10};
  std::uint64_t max_body = 256u << 20;  // of the response
  // Server only:
  std::string remote;               // peer address
  std::string client_cert_subject;  // of a verified client certificate, RFC 4514; empty: none
};

struct HttpResponse {
  int status = 0;
  HttpHeaders headers;
  std::string body;
};

// TLS and credentials of a client; PEM in memory, nothing on disk.
struct TlsOptions {
  std::string ca_pem;
  std::string cert_pem;
  Secret<std::string> key_pem;
  std::string server_name;  // overrides the name that is verified
  bool insecure = false;
};

// A request whose body arrives piece by piece (watch, log follow). Callbacks run on the client's
// own thread and must not block.
struct StreamCallbacks {
  std::function<void(int status, const HttpHeaders&)> on_head;
  std::function<void(std::string_view chunk)> on_data;
  std::function<void(Status end)> on_end;  // exactly once; ok at a regular end
};

class HttpClient {
 public:
  virtual ~HttpClient() = default;
  // Any HTTP status is a success of this call. Errors: ConnectFailed, Timeout, TlsFailed,
  // BodyTooLarge, ...
  virtual Result<HttpResponse> send(const HttpRequest& request) = 0;
  // Cancel by the returned id; on_end still comes once, with Cancelled.
  virtual std::uint64_t stream(const HttpRequest& request, StreamCallbacks callbacks) = 0;
  virtual void cancel(std::uint64_t stream_id) = 0;
};
struct HttpClientOptions {
  TlsOptions tls;
  std::string proxy;
  std::string user_agent = "tango";
};
std::unique_ptr<HttpClient> make_curl_client(const HttpClientOptions& options);  // tango_http_curl

// The open end of a streaming response. Thread-safe; bounded: when the peer does not read and more
// than `max_queued_bytes` wait, the connection is closed and send() says false from then on.
class HttpStream {
 public:
  virtual ~HttpStream() = default;
  virtual bool send(std::string data) = 0;
  virtual void close() = 0;
  virtual bool closed() const = 0;
  virtual void on_close(std::function<void()> callback) = 0;
};

struct HttpReply {
  HttpResponse response;
  // When set, the head of `response` is sent with chunked encoding, then this gets the stream.
  std::function<void(std::shared_ptr<HttpStream>)> stream;
};
using HttpHandler = std::function<HttpReply(const HttpRequest&)>;

struct HttpServerOptions {
  std::string address = "127.0.0.1";
  std::uint16_t port = 0;  // 0: any free
  int threads = 2;         // handlers run on these; they may block briefly
  std::uint64_t max_body = 16u << 20;
  Nanos header_timeout = Seconds{10};
  std::uint64_t max_queued_bytes = 8u << 20;
  // TLS when cert_pem is set; client certificates are asked for, and verified when client_ca_pem is
  // set.
  std::string cert_pem;
  Secret<std::string> key_pem;
  std::string client_ca_pem;
};
class HttpServer {
 public:
  virtual ~HttpServer() = default;
  virtual std::uint16_t port() const = 0;
  virtual void stop() = 0;
};
// Errors: ListenFailed, TlsFailed.
Result<std::unique_ptr<HttpServer>> start_beast_server(const HttpServerOptions& options,
                                                       HttpHandler handler);  // tango_http_beast
Result<std::unique_ptr<HttpServer>> start_cpprest_server(
    const HttpServerOptions& options,
    HttpHandler handler);  // tango_http_cpprest

// URL pieces. split_target("/a?b=c%20d") gives path "/a", query {b: "c d"}.
struct UrlTarget {
  std::string path;  // decoded
  std::multimap<std::string, std::string> query;
  std::string get(std::string_view key, std::string_view fallback = {}) const;
};
UrlTarget split_target(std::string_view target);
std::string url_encode(std::string_view text);
std::vector<std::string> split_path(std::string_view path);  // "/a/b" -> {"a","b"}

}  // namespace tango
