// The Beast backend of the HTTP server interface, driven over raw sockets so that every byte on the
// wire is the test's own.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "lib/base/file.h"
#include "lib/base/http.h"

namespace tango {
namespace {

class RawClient {
 public:
  explicit RawClient(std::uint16_t port, int receive_buffer = 0)
      : fd_(::socket(AF_INET, SOCK_STREAM, 0)) {
    if (receive_buffer > 0) {
      ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    }
    sockaddr_in a{};
    a.sin_family = AF_INET;
    a.sin_port = htons(port);
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(fd_.get(), reinterpret_cast<sockaddr*>(&a), sizeof a), 0);
  }
  void send(std::string_view data) { EXPECT_TRUE(write_all(fd_.get(), data).ok()); }
  // Reads until `text` holds `want`, the peer closes, or the time is over.
  bool read_until(std::string_view want, int ms = 5000) {
    auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(ms);
    while (text.find(want) == std::string::npos) {
      auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
                      end - std::chrono::steady_clock::now())
                      .count();
      if (left <= 0 || !read_some(static_cast<int>(left))) return false;
    }
    return true;
  }
  bool closed_within(int ms) {
    auto end = std::chrono::steady_clock::now() + std::chrono::milliseconds(ms);
    while (std::chrono::steady_clock::now() < end) {
      if (!read_some(50) && eof) return true;
    }
    return false;
  }
  void reset() { fd_.reset(); }
  std::string text;
  bool eof = false;

 private:
  bool read_some(int ms) {
    pollfd p{fd_.get(), POLLIN, 0};
    if (::poll(&p, 1, ms) <= 0) return false;
    char b[65536];
    ssize_t n = ::recv(fd_.get(), b, sizeof b, 0);
    if (n <= 0) {
      eof = true;
      return false;
    }
    text.append(b, static_cast<std::size_t>(n));
    return true;
  }
  Fd fd_;
};

std::size_t count(const std::string& text, std::string_view what) {
  std::size_t n = 0;
  for (auto at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++n;
  return n;
}

HttpReply text_reply(int status, std::string body) {
  return {HttpResponse{status, {{"Content-Type", "text/plain"}}, std::move(body)}, {}};
}

std::unique_ptr<HttpServer> serve(HttpHandler handler, HttpServerOptions options = {}) {
  auto server = start_beast_server(options, std::move(handler));
  EXPECT_TRUE(server.ok());
  return std::move(server).value();
}

TEST(BeastServer, PipelinedRequestsAreAnsweredInOrder) {
  auto server = serve(
      [](const HttpRequest& r) { return text_reply(200, "<" + r.method + r.url + r.body + ">"); });
  RawClient client(server->port());
  std::string five;
  for (int i = 0; i < 5; ++i) {
    five += "POST /" + std::to_string(i) + " HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc";
  }
  client.send(five);
  ASSERT_TRUE(client.read_until("<POST/4abc>"));
  EXPECT_EQ(count(client.text, "HTTP/1.1 200 OK"), 5u);
  EXPECT_LT(client.text.find("<POST/0abc>"), client.text.find("<POST/1abc>"));
  EXPECT_LT(client.text.find("<POST/3abc>"), client.text.find("<POST/4abc>"));
}

TEST(BeastServer, KeepAliveServesALaterRequestAndCloseIsHonoured) {
  auto server = serve([](const HttpRequest&) { return text_reply(200, "ok"); });
  RawClient client(server->port());
  client.send("GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
  ASSERT_TRUE(client.read_until("ok"));
  client.text.clear();
  client.send("GET /b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  ASSERT_TRUE(client.read_until("ok"));
  EXPECT_NE(client.text.find("Connection: close"), std::string::npos);
  EXPECT_TRUE(client.closed_within(3000));
}

TEST(BeastServer, HalfSentHeaderIsClosedAfterTheHeaderTimeout) {
  HttpServerOptions options;
  options.header_timeout = Millis{300};
  auto server = serve([](const HttpRequest&) { return text_reply(200, "ok"); }, options);
  RawClient client(server->port());
  client.send("GET / HTTP/1.1\r\nHos");
  EXPECT_TRUE(client.closed_within(3000));
  EXPECT_TRUE(client.text.empty());
}

TEST(BeastServer, BodyOverTheLimitIs413) {
  HttpServerOptions options;
  options.max_body = 1000;
  std::atomic<int> calls{0};
  auto server = serve(
      [&](const HttpRequest&) {
        ++calls;
        return text_reply(200, "ok");
      },
      options);
  RawClient client(server->port());
  client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n");
  ASSERT_TRUE(client.read_until("413"));
  EXPECT_EQ(calls, 0);
}

TEST(BeastServer, ThrowingHandlerIs500AndTheServerLives) {
  auto server = serve([](const HttpRequest& r) -> HttpReply {
    if (r.url == "/bad") throw std::runtime_error("boom");
    return text_reply(200, "fine");
  });
  RawClient client(server->port());
  client.send("GET /bad HTTP/1.1\r\nHost: x\r\n\r\nGET /good HTTP/1.1\r\nHost: x\r\n\r\n");
  ASSERT_TRUE(client.read_until("fine"));
  EXPECT_EQ(count(client.text, "HTTP/1.1 500"), 1u);
}

TEST(BeastServer, HandlerCannotInjectAHeader) {
  auto server = serve([](const HttpRequest&) {
    return HttpReply{HttpResponse{200, {{"X-A", "v\r\nX-Evil: 1"}}, "ok"}, {}};
  });
  RawClient client(server->port());
  client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  ASSERT_TRUE(client.read_until("ok"));
  EXPECT_EQ(client.text.find("X-Evil"), std::string::npos);
}

TEST(BeastServer, StreamsChunksAndGoesOnWithTheConnection) {
  auto server = serve([](const HttpRequest& r) -> HttpReply {
    if (r.url != "/stream") return text_reply(200, "after");
    HttpReply reply = text_reply(200, "");
    reply.stream = [](std::shared_ptr<HttpStream> out) {
      out->send("one");
      out->send("three3");
      out->close();
      EXPECT_FALSE(out->send("late"));
    };
    return reply;
  });
  RawClient client(server->port());
  client.send("GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
  ASSERT_TRUE(client.read_until("0\r\n\r\n"));
  EXPECT_NE(client.text.find("Transfer-Encoding: chunked"), std::string::npos);
  EXPECT_NE(client.text.find("3\r\none\r\n6\r\nthree3\r\n0\r\n\r\n"), std::string::npos);
  client.send("GET /next HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_TRUE(client.read_until("after"));
}

TEST(BeastServer, PeerThatLeavesIsNoticedWhileTheStreamIsSilent) {
  std::atomic<bool> gone{false};
  std::shared_ptr<HttpStream> kept;
  std::mutex mutex;
  auto server = serve([&](const HttpRequest&) {
    HttpReply reply = text_reply(200, "");
    reply.stream = [&](std::shared_ptr<HttpStream> out) {
      out->on_close([&] { gone = true; });
      std::lock_guard lock(mutex);
      kept = out;
    };
    return reply;
  });
  RawClient client(server->port());
  client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  ASSERT_TRUE(client.read_until("\r\n\r\n"));
  client.reset();
  for (int i = 0; i < 100 && !gone; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_TRUE(gone);
  std::lock_guard lock(mutex);
  ASSERT_TRUE(kept);
  EXPECT_TRUE(kept->closed());
  EXPECT_FALSE(kept->send("x"));
}

TEST(BeastServer, ReaderThatStopsReadingIsCutAtTheQueueLimit) {
  HttpServerOptions options;
  options.max_queued_bytes = 1u << 20;
  std::atomic<std::size_t> accepted{0};
  std::atomic<bool> refused{false};
  auto server = serve(
      [&](const HttpRequest&) {
        HttpReply reply = text_reply(200, "");
        reply.stream = [&](std::shared_ptr<HttpStream> out) {
          std::string piece(64 * 1024, 'x');
          while (accepted < (256u << 20)) {
            if (!out->send(piece)) {
              refused = true;
              return;
            }
            accepted += piece.size();
          }
        };
        return reply;
      },
      options);
  RawClient client(server->port(), 16 * 1024);
  client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  for (int i = 0; i < 250 && !refused; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_TRUE(refused);
  EXPECT_LT(accepted.load(), 64u << 20);
  EXPECT_TRUE(client.closed_within(5000));
}

TEST(BeastServer, StopEndsOpenStreamsAndIsIdempotent) {
  std::atomic<bool> gone{false};
  auto server = serve([&](const HttpRequest&) {
    HttpReply reply = text_reply(200, "");
    reply.stream = [&](std::shared_ptr<HttpStream> out) { out->on_close([&] { gone = true; }); };
    return reply;
  });
  RawClient client(server->port());
  client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  ASSERT_TRUE(client.read_until("\r\n\r\n"));
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  server->stop();
  server->stop();
  EXPECT_TRUE(gone);
  EXPECT_TRUE(client.closed_within(2000));
}

TEST(BeastServer, BusyPortIsAnError) {
  auto first = serve([](const HttpRequest&) { return text_reply(200, ""); });
  HttpServerOptions options;
  options.port = first->port();
  auto second = start_beast_server(options, [](const HttpRequest&) { return text_reply(200, ""); });
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().reason, "ListenFailed");
}

TEST(BeastServer, BadCertificateIsAnError) {
  HttpServerOptions options;
  options.cert_pem = "not a certificate";
  auto server = start_beast_server(options, [](const HttpRequest&) { return text_reply(200, ""); });
  ASSERT_FALSE(server.ok());
  EXPECT_EQ(server.error().reason, "TlsFailed");
}

}  // namespace
}  // namespace tango
