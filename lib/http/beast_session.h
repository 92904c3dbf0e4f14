// One HTTP/1.1 connection of the Beast server. Shared by the server's two .cpp files only; nobody
// else includes it (it pulls in Beast).
#pragma once

// clang-format off
#include <utility>  // Boost 1.74 with g++ 12 needs it before asio
// clang-format on

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/thread_pool.hpp>
#include <memory>
#include <mutex>
#include <set>
#include <vector>

#include "lib/base/http.h"

namespace tango::beast_http {

// A connection as the server sees it.
class Connection {
 public:
  virtual ~Connection() = default;
  virtual void start() = 0;
  virtual void abort() = 0;  // on the I/O thread
};

// What all connections share. Outlives them: each holds a shared_ptr.
struct ServerState {
  HttpServerOptions options;
  HttpHandler handler;
  boost::asio::io_context io{1};
  boost::asio::thread_pool handlers;
  std::unique_ptr<boost::asio::ssl::context> tls;
  std::atomic<bool> stopping{false};
  std::mutex mutex;
  std::vector<std::weak_ptr<Connection>> connections;  // swept when it grows
  std::atomic<int> open{0};

  ServerState(HttpServerOptions o, HttpHandler h)
      : options(std::move(o)),
        handler(std::move(h)),
        handlers(static_cast<std::size_t>(options.threads < 1 ? 1 : options.threads)) {}
};

std::shared_ptr<Connection> make_connection(std::shared_ptr<ServerState> state,
                                            boost::asio::ip::tcp::socket socket);

}  // namespace tango::beast_http
