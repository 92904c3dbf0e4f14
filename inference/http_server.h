// A small HTTP/1.1 server on a TCP or Unix socket, made for untrusted peers on small devices: every
// wait has a deadline, every size a limit, connections are counted. Used by `tango-infer serve`; it
// links nothing but libc, so that bundles stay small.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "lib/base/clock.h"
#include "lib/base/http.h"
#include "lib/base/result.h"

namespace tango::inference {

struct ServerLimits {
  int max_connections = 16;  // the next one gets 503
  std::size_t max_header_bytes = 16u << 10;
  std::size_t max_headers = 64;
  std::uint64_t max_body_bytes = 16u << 20;
  Nanos idle_timeout = Seconds{60};    // between requests of a connection
  Nanos header_timeout = Seconds{10};  // from the first byte to the end of the head
  Nanos body_timeout = Seconds{30};
  Nanos write_timeout = Seconds{30};
};

// "unix:PATH" or "IPv4:PORT" (port 0: any free). Errors: InvalidAddress.
struct ListenAddress {
  std::string unix_path;  // set: a Unix socket
  std::string host;
  std::uint16_t port = 0;
};
Result<ListenAddress> parse_listen(std::string_view text);

class SmallHttpServer {
 public:
  using Handler = std::function<HttpResponse(const HttpRequest&)>;  // called from many threads

  // Binds and starts. A stale Unix socket file of a dead server is replaced, a live one is not.
  // Errors: InvalidAddress, ListenFailed.
  static Result<std::unique_ptr<SmallHttpServer>> start(const ListenAddress& address,
                                                        const ServerLimits& limits,
                                                        Handler handler);
  ~SmallHttpServer();  // stop()
  SmallHttpServer(const SmallHttpServer&) = delete;
  SmallHttpServer& operator=(const SmallHttpServer&) = delete;

  // "127.0.0.1:41234" or "unix:/path".
  std::string address() const;
  std::uint16_t port() const;  // 0 for Unix sockets
  // Stops accepting, lets requests that arrived whole finish, closes all other connections, joins.
  void stop();

 private:
  struct Impl;
  explicit SmallHttpServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace tango::inference
