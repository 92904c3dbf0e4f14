#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <atomic>
#include <thread>

#include "lib/base/file.h"
#include "lib/base/http.h"

namespace tango {
namespace {

template <typename F>
HttpServerOptions options_with(F set) {
  HttpServerOptions options;
  set(options);
  return options;
}

long resident_kib() {
  const std::string text = read_file("/proc/self/status").value();
  return std::stol(text.substr(text.find("VmRSS:") + 6));
}

class CpprestServer : public ::testing::Test {
 protected:
  void start(HttpHandler handler, HttpServerOptions options = {}) {
    auto server = start_cpprest_server(options, std::move(handler));
    ASSERT_TRUE(server.ok()) << server.error().to_string();
    server_ = std::move(*server);
    ASSERT_NE(server_->port(), 0);
  }
  Result<HttpResponse> send(std::string method, const std::string& target, std::string body = {}) {
    HttpRequest r;
    r.method = std::move(method);
    r.url = "http://127.0.0.1:" + std::to_string(server_->port()) + target;
    r.body = std::move(body);
    return client_->send(r);
  }
  std::unique_ptr<HttpServer> server_;
  std::unique_ptr<HttpClient> client_ = make_curl_client({});
};

TEST_F(CpprestServer, GivesTheHandlerTheRequestAsSent) {
  start([](const HttpRequest& r) {
    return HttpReply{{200, {{"X-Seen", r.method + " " + r.url}}, r.body}, {}};
  });
  const std::string binary("a\0b\xff", 4);
  auto r = send("POST", "/a/b%20c?x=1&y=%2F", binary);
  ASSERT_TRUE(r.ok()) << r.error().to_string();
  EXPECT_EQ(r->status, 200);
  EXPECT_EQ(r->body, binary);
  EXPECT_EQ(header(r->headers, "x-seen"), "POST /a/b%20c?x=1&y=%2F");
}

TEST_F(CpprestServer, RefusesLargeBodiesWithoutReadingThem) {
  std::atomic<int> calls{0};
  start(
      [&](const HttpRequest&) {
        ++calls;
        return HttpReply{{200, {}, "ok"}, {}};
      },
      options_with([](HttpServerOptions& o) { o.max_body = 1000; }));
  Fd fd(::socket(AF_INET, SOCK_STREAM, 0));
  sockaddr_in sa{};
  sa.sin_family = AF_INET;
  sa.sin_port = htons(server_->port());
  inet_pton(AF_INET, "127.0.0.1", &sa.sin_addr);
  ASSERT_EQ(::connect(fd.get(), reinterpret_cast<sockaddr*>(&sa), sizeof sa), 0);
  timeval limit{5, 0};
  ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  const std::string piece(1 << 20, 'x');
  const long before = resident_kib();
  ASSERT_TRUE(
      write_all(fd.get(), "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 268435456\r\n\r\n").ok());
  // The server answers after the body or closes early; it must not keep the body.
  for (int i = 0; i < 256; ++i) {
    if (::send(fd.get(), piece.data(), piece.size(), MSG_NOSIGNAL) < 0) break;
  }
  EXPECT_LT(resident_kib() - before, 64 << 10);
  std::string got(4096, '\0');
  const ssize_t n = ::recv(fd.get(), got.data(), got.size(), 0);
  if (n > 0) {
    EXPECT_NE(got.find(" 413 "), std::string::npos) << got.substr(0, static_cast<std::size_t>(n));
  }
  EXPECT_EQ(calls, 0);
  auto small = send("POST", "/", std::string(1000, 'x'));
  ASSERT_TRUE(small.ok());
  EXPECT_EQ(small->status, 200);
}

TEST_F(CpprestServer, AnswersOthersWhileAHandlerIsSlow) {
  std::atomic<bool> release{false};
  start(
      [&](const HttpRequest& r) {
        while (r.url == "/slow" && !release) std::this_thread::sleep_for(Millis{5});
        return HttpReply{{200, {}, r.url}, {}};
      },
      options_with([](HttpServerOptions& o) { o.threads = 2; }));
  std::thread slow([&] { EXPECT_TRUE(send("GET", "/slow").ok()); });
  auto quick = make_curl_client({});
  HttpRequest r;
  r.url = "http://127.0.0.1:" + std::to_string(server_->port()) + "/quick";
  r.timeout = Seconds{5};
  auto answer = quick->send(r);
  release = true;
  slow.join();
  ASSERT_TRUE(answer.ok()) << answer.error().to_string();
  EXPECT_EQ(answer->body, "/quick");
}

TEST_F(CpprestServer, SaysWhyItCannotListen) {
  start([](const HttpRequest&) { return HttpReply{{200, {}, ""}, {}}; });
  auto second =
      start_cpprest_server(options_with([&](HttpServerOptions& o) { o.port = server_->port(); }),
                           [](const HttpRequest&) { return HttpReply{}; });
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().reason, "ListenFailed");
}

}  // namespace
}  // namespace tango
