#include "inference/http_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "lib/base/random.h"
#include "tests/inference/raw_http.h"

namespace tango::inference {
namespace {

using test::RawClient;

class HttpServerTest : public testing::Test {
 protected:
  void start(const ServerLimits& limits = {}) {
    auto server = SmallHttpServer::start({"", "127.0.0.1", 0}, limits, [](const HttpRequest& r) {
      if (r.url == "/throw") throw std::runtime_error("boom");
      HttpResponse response;
      response.status = 200;
      response.body = r.method + " " + r.url + " " + std::to_string(r.body.size());
      return response;
    });
    ASSERT_TRUE(server.ok()) << server.error().to_string();
    server_ = std::move(*server);
  }
  int status_of(const std::string& bytes) {
    RawClient client(server_->port());
    client.send(bytes);
    return client.read().status;
  }
  std::unique_ptr<SmallHttpServer> server_;
};

TEST_F(HttpServerTest, KeepsConnectionsAliveAndTakesPipelines) {
  start();
  RawClient client(server_->port());
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(client.request("POST", "/a", std::string(5000, 'x')).body, "POST /a 5000");
  }
  client.send("GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n");
  EXPECT_EQ(client.read().body, "GET /1 0");
  EXPECT_EQ(client.read().body, "GET /2 0");
  const auto last = client.request("GET", "/3", {}, "Connection: close\r\n");
  EXPECT_EQ(last.status, 200);
  EXPECT_TRUE(client.closed());
}

TEST_F(HttpServerTest, BadRequestsAreRefused) {
  start();
  EXPECT_EQ(status_of("nonsense\r\n\r\n"), 400);
  EXPECT_EQ(status_of("GET  / HTTP/1.1\r\n\r\n"), 400);
  EXPECT_EQ(status_of("GET http://x/ HTTP/1.1\r\n\r\n"), 400);
  EXPECT_EQ(status_of("GET / HTTP/9.9\r\n\r\n"), 505);
  EXPECT_EQ(status_of("GET / HTTP/1.1\r\nBad Header: x\r\n\r\n"), 400);
  EXPECT_EQ(status_of("GET / HTTP/1.1\r\nA : x\r\n\r\n"), 400);
  EXPECT_EQ(status_of("GET / HTTP/1.1\r\n folded\r\n\r\n"), 400);
  EXPECT_EQ(status_of("POST / HTTP/1.1\r\nContent-Length: 1x\r\n\r\n"), 400);
  EXPECT_EQ(status_of("POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n"), 400);
  EXPECT_EQ(status_of("POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"), 400);
  EXPECT_EQ(status_of("POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"),
            411);
  EXPECT_EQ(status_of("POST / HTTP/1.1\r\n\r\n"), 411);
  EXPECT_EQ(status_of("POST / HTTP/1.1\r\nExpect: magic\r\nContent-Length: 0\r\n\r\n"), 417);
  EXPECT_EQ(status_of("GET /throw HTTP/1.1\r\n\r\n"), 500);
  EXPECT_EQ(status_of("GET /fine HTTP/1.1\r\n\r\n"), 200);
}

TEST_F(HttpServerTest, OversizedRequestsAreRefusedWithoutReadingThem) {
  ServerLimits limits;
  limits.max_body_bytes = 1000;
  start(limits);
  EXPECT_EQ(status_of("POST / HTTP/1.1\r\nContent-Length: 1001\r\n\r\n"), 413);
  EXPECT_EQ(status_of("POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n"), 400);
  EXPECT_EQ(status_of("GET /" + std::string(limits.max_header_bytes + 10, 'a')), 431);
  std::string many = "GET / HTTP/1.1\r\n";
  for (int i = 0; i < 100; ++i) many += "A: b\r\n";
  EXPECT_EQ(status_of(many + "\r\n"), 431);
}

TEST_F(HttpServerTest, ExpectContinueIsAnswered) {
  start();
  RawClient client(server_->port());
  client.send("POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
  EXPECT_EQ(client.read().status, 100);
  client.send("abcd");
  EXPECT_EQ(client.read().body, "POST / 4");
}

TEST_F(HttpServerTest, SlowPeersAreCutOff) {
  ServerLimits limits;
  limits.header_timeout = Millis{300};
  limits.body_timeout = Millis{300};
  limits.idle_timeout = Millis{300};
  start(limits);
  const auto begin = std::chrono::steady_clock::now();
  RawClient trickle(server_->port());
  trickle.send("GET / HT");
  std::jthread drip([&](const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      std::this_thread::sleep_for(Millis{50});
      trickle.send("x");  // one byte now and then does not buy more time
    }
  });
  EXPECT_EQ(trickle.read().status, 408);
  drip.request_stop();
  RawClient half(server_->port());
  half.send("POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc");
  EXPECT_EQ(half.read().status, 408);
  RawClient silent(server_->port());
  EXPECT_TRUE(silent.closed());
  EXPECT_LT(std::chrono::steady_clock::now() - begin, Seconds{8});
}

TEST_F(HttpServerTest, ConnectionsAreCounted) {
  ServerLimits limits;
  limits.max_connections = 2;
  start(limits);
  RawClient a(server_->port());
  RawClient b(server_->port());
  EXPECT_EQ(a.request("GET", "/").status, 200);
  EXPECT_EQ(b.request("GET", "/").status, 200);
  RawClient c(server_->port());
  EXPECT_EQ(c.read().status, 503);
  EXPECT_EQ(a.request("GET", "/").status, 200);
}

TEST_F(HttpServerTest, RandomBytesNeverBreakIt) {
  ServerLimits limits;
  limits.header_timeout = Millis{100};
  start(limits);
  CounterRandom random(5, 5);
  const std::string alphabet = "GET POST / HTTP/1.1\r\n\r\n: Content-Length 0123456789 \0\xff";
  for (int i = 0; i < 100; ++i) {
    std::string bytes;
    const auto n = random.below(200);
    for (std::uint64_t k = 0; k < n; ++k) bytes += alphabet[random.below(alphabet.size())];
    RawClient client(server_->port());
    client.send(bytes);
  }
  EXPECT_EQ(status_of("GET /alive HTTP/1.1\r\n\r\n"), 200);
}

TEST_F(HttpServerTest, StopEndsIdleConnectionsAtOnce) {
  start();
  RawClient idle(server_->port());
  EXPECT_EQ(idle.request("GET", "/").status, 200);
  RawClient half(server_->port());
  half.send("POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc");
  const auto begin = std::chrono::steady_clock::now();
  server_->stop();
  EXPECT_LT(std::chrono::steady_clock::now() - begin, Seconds{3});
  EXPECT_TRUE(idle.closed());
}

TEST(UnixSocket, StaleFilesAreReplacedLiveOnesAreNot) {
  TempDir dir;
  const std::string path = (dir / "s").string();
  const auto handler = [](const HttpRequest&) {
    HttpResponse response;
    response.status = 200;
    return response;
  };
  {
    // What a killed server leaves behind: a bound socket file that nobody listens on.
    const Fd fd(::socket(AF_UNIX, SOCK_STREAM, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
    ASSERT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  }
  auto first = SmallHttpServer::start({path, "", 0}, {}, handler);
  ASSERT_TRUE(first.ok()) << first.error().to_string();
  EXPECT_EQ((*first)->address(), "unix:" + path);
  EXPECT_EQ(RawClient(path).request("GET", "/").status, 200);
  const auto second = SmallHttpServer::start({path, "", 0}, {}, handler);
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().reason, "ListenFailed");
  EXPECT_EQ(RawClient(path).request("GET", "/").status, 200);
}

TEST(ListenAddress, IsParsedStrictly) {
  EXPECT_EQ(parse_listen("127.0.0.1:0")->port, 0);
  EXPECT_EQ(parse_listen("unix:/run/x")->unix_path, "/run/x");
  for (const char* bad : {"", "127.0.0.1", "127.0.0.1:", "127.0.0.1:70000", "host:80",
                          "unix:", "127.0.0.1:8x", ":80"}) {
    EXPECT_EQ(parse_listen(bad).error().reason, "InvalidAddress") << bad;
  }
}

}  // namespace
}  // namespace tango::inference
