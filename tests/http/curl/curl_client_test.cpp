// The libcurl client against servers that answer, stall, lie and hang up.
#include <gtest/gtest.h>
#include <signal.h>

#include <condition_variable>
#include <future>

#include "lib/base/file.h"
#include "lib/base/http.h"
#include "lib/base/subprocess.h"
#include "tests/http/curl/raw_server.h"

namespace tango {
namespace {

using test::RawConnection;
using test::RawRequest;
using test::RawServer;

// What a stream's callbacks saw, with waiting.
struct Recorder {
  std::mutex mutex;
  std::condition_variable changed;
  int status = 0;
  std::string data;
  int ends = 0;
  std::string end_reason;  // "" is a regular end

  StreamCallbacks callbacks() {
    return {[this](int s, const HttpHeaders&) { update([&] { status = s; }); },
            [this](std::string_view chunk) { update([&] { data += chunk; }); },
            [this](Status end) {
              update([&] {
                ++ends;
                end_reason = end.ok() ? "" : end.error().reason;
              });
            }};
  }
  template <typename F>
  void update(F f) {
    std::lock_guard lock(mutex);
    f();
    changed.notify_all();
  }
  template <typename P>
  bool wait(P done, Nanos limit = Seconds{10}) {
    std::unique_lock lock(mutex);
    return changed.wait_for(lock, limit, done);
  }
};

void echo(RawConnection& c) {
  RawRequest r;
  while (c.read(r)) c.reply(200, r.head + "|" + r.body, "X-Answer: Yes\r\n");
}

HttpRequest get(std::string url) {
  HttpRequest r;
  r.url = std::move(url);
  return r;
}

TEST(CurlClient, AnyStatusIsAnAnswer) {
  RawServer server([](RawConnection& c) {
    RawRequest r;
    while (c.read(r)) c.reply(404, "gone", "X-Why: because\r\n");
  });
  auto client = make_curl_client({});
  auto response = client->send(get(server.url("/a")));
  ASSERT_TRUE(response.ok()) << response.error().to_string();
  EXPECT_EQ(response->status, 404);
  EXPECT_EQ(response->body, "gone");
  EXPECT_EQ(header(response->headers, "x-why"), "because");
}

TEST(CurlClient, MethodsBodiesAndHeadersArrive) {
  RawServer server(echo);
  auto client = make_curl_client({});
  for (const char* method : {"POST", "PUT", "PATCH", "DELETE"}) {
    HttpRequest r = get(server.url("/x?y=1"));
    r.method = method;
    r.body = "payload";
    r.headers.emplace("Content-Type", "application/merge-patch+json");
    r.headers.emplace("X-Bad", "a\r\nX-Injected: 1");
    auto response = client->send(r);
    ASSERT_TRUE(response.ok());
    EXPECT_TRUE(response->body.starts_with(std::string(method) + " /x?y=1 HTTP/1.1\r\n"))
        << response->body;
    EXPECT_NE(response->body.find("Content-Type: application/merge-patch+json\r\n"),
              std::string::npos);
    EXPECT_EQ(response->body.find("X-Injected"), std::string::npos);
    EXPECT_TRUE(response->body.ends_with("|payload"));
  }
  HttpRequest empty = get(server.url());
  empty.method = "DELETE";
  auto response = client->send(empty);
  ASSERT_TRUE(response.ok());
  EXPECT_TRUE(response->body.starts_with("DELETE / "));
}

TEST(CurlClient, OneConnectionServesManyRequests) {
  RawServer server(echo);
  auto client = make_curl_client({});
  for (int i = 0; i < 30; ++i) ASSERT_TRUE(client->send(get(server.url())).ok());
  EXPECT_EQ(server.connections, 1);
}

TEST(CurlClient, FailuresHaveReasons) {
  auto client = make_curl_client({});
  std::string dead;
  {
    RawServer gone(echo);
    dead = gone.url();
  }
  EXPECT_EQ(client->send(get(dead)).error().reason, "ConnectFailed");
  EXPECT_EQ(client->send(get("ftp://127.0.0.1/x")).error().reason, "InvalidUrl");
  EXPECT_EQ(client->send(get("nonsense")).error().reason, "InvalidUrl");

  RawServer silent([](RawConnection& c) {
    RawRequest r;
    while (c.read(r)) c.wait_closed(10'000);
  });
  HttpRequest slow = get(silent.url("/slow?token=hush"));
  slow.timeout = Millis{100};
  const auto timeout = client->send(slow);
  EXPECT_EQ(timeout.error().reason, "Timeout");
  EXPECT_EQ(timeout.error().message.find("hush"), std::string::npos) << "queries may hold secrets";

  RawServer rude([](RawConnection& c) {
    RawRequest r;
    if (c.read(r)) c.write("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
  });
  EXPECT_EQ(client->send(get(rude.url())).error().reason, "ConnectionLost");
}

TEST(CurlClient, BodyLimitHolds) {
  RawServer server([](RawConnection& c) {
    RawRequest r;
    while (c.read(r)) c.reply(200, std::string(100'000, 'x'));
  });
  auto client = make_curl_client({});
  HttpRequest r = get(server.url());
  r.max_body = 99'999;
  EXPECT_EQ(client->send(r).error().reason, "BodyTooLarge");
  r.max_body = 100'000;
  auto whole = client->send(r);
  ASSERT_TRUE(whole.ok());
  EXPECT_EQ(whole->body.size(), 100'000u);
}

TEST(CurlClient, RedirectsAreFollowedForReadsOnly) {
  RawServer server([](RawConnection& c) {
    RawRequest r;
    while (c.read(r)) {
      if (r.head.find(" /old ") != std::string::npos) {
        c.reply(307, "moved", "Location: /new\r\n");
      } else {
        c.reply(200, "here");
      }
    }
  });
  auto client = make_curl_client({});
  auto read = client->send(get(server.url("/old")));
  ASSERT_TRUE(read.ok());
  EXPECT_EQ(read->status, 200);
  EXPECT_EQ(read->body, "here");
  EXPECT_EQ(read->headers.count("location"), 0u);
  HttpRequest write = get(server.url("/old"));
  write.method = "POST";
  write.body = "{}";
  auto written = client->send(write);
  ASSERT_TRUE(written.ok());
  EXPECT_EQ(written->status, 307);
}

TEST(CurlClient, StreamDeliversHeadBeforeDataAndEndsOnce) {
  std::promise<void> go;
  auto may_go = go.get_future().share();
  RawServer server([may_go](RawConnection& c) {
    RawRequest r;
    if (!c.read(r)) return;
    c.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    may_go.wait();
    c.write("5\r\nhello\r\n");
    c.write("6\r\n world\r\n0\r\n\r\n");
    c.wait_closed(1000);
  });
  auto client = make_curl_client({});
  Recorder seen;
  HttpRequest r = get(server.url());
  r.timeout = Nanos::zero();
  client->stream(r, seen.callbacks());
  ASSERT_TRUE(seen.wait([&] { return seen.status == 200; })) << "the head must not wait for data";
  EXPECT_EQ(seen.data, "");
  go.set_value();
  ASSERT_TRUE(seen.wait([&] { return seen.ends == 1; }));
  EXPECT_EQ(seen.data, "hello world");
  EXPECT_EQ(seen.end_reason, "");
}

TEST(CurlClient, CutStreamIsAnError) {
  RawServer server([](RawConnection& c) {
    RawRequest r;
    if (c.read(r)) c.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel");
  });
  auto client = make_curl_client({});
  Recorder seen;
  client->stream(get(server.url()), seen.callbacks());
  ASSERT_TRUE(seen.wait([&] { return seen.ends == 1; }));
  EXPECT_EQ(seen.data, "hel");
  EXPECT_EQ(seen.end_reason, "ConnectionLost");
}

void endless(RawConnection& c) {
  RawRequest r;
  while (c.read(r)) {
    if (r.head.find("watch") == std::string::npos) {
      c.reply(200, "ok");
    } else {
      c.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n.\r\n");
      c.wait_closed(20'000);
      return;
    }
  }
}

TEST(CurlClient, CancelEndsAStream) {
  RawServer server(endless);
  auto client = make_curl_client({});
  Recorder seen;
  HttpRequest r = get(server.url("/?watch=1"));
  r.timeout = Nanos::zero();
  const auto id = client->stream(r, seen.callbacks());
  ASSERT_TRUE(seen.wait([&] { return seen.data == "."; }));
  client->cancel(id);
  client->cancel(id);
  client->cancel(id + 1000);  // unknown: nothing happens
  ASSERT_TRUE(seen.wait([&] { return seen.ends == 1; }));
  EXPECT_EQ(seen.end_reason, "Cancelled");
}

TEST(CurlClient, WatchesOnHttp11DoNotStarveRequests) {
  RawServer server(endless);
  auto client = make_curl_client({});
  std::vector<std::unique_ptr<Recorder>> watches;
  for (int i = 0; i < 12; ++i) {
    watches.push_back(std::make_unique<Recorder>());
    HttpRequest r = get(server.url("/?watch=1"));
    r.timeout = Nanos::zero();
    client->stream(r, watches.back()->callbacks());
  }
  for (auto& watch : watches) ASSERT_TRUE(watch->wait([&] { return watch->data == "."; }));
  auto response = client->send(get(server.url("/plain")));
  ASSERT_TRUE(response.ok());
  EXPECT_EQ(response->body, "ok");
  client.reset();  // with all of them open
  for (auto& watch : watches) {
    EXPECT_EQ(watch->ends, 1);
    EXPECT_EQ(watch->end_reason, "Cancelled");
  }
}

TEST(CurlClient, ThrowingCallbackEndsItsStreamAlone) {
  RawServer server(endless);
  auto client = make_curl_client({});
  Recorder seen;
  auto callbacks = seen.callbacks();
  callbacks.on_data = [](std::string_view) { throw std::runtime_error("boom"); };
  client->stream(get(server.url("/?watch=1")), std::move(callbacks));
  ASSERT_TRUE(seen.wait([&] { return seen.ends == 1; }));
  EXPECT_EQ(seen.end_reason, "CallbackFailed");
  EXPECT_TRUE(client->send(get(server.url())).ok());
}

TEST(CurlClient, SendFromACallbackIsRefused) {
  RawServer server(endless);
  auto client = make_curl_client({});
  std::promise<std::string> reason;
  StreamCallbacks callbacks;
  callbacks.on_head = [&](int, const HttpHeaders&) {
    reason.set_value(client->send(get(server.url())).error().reason);
  };
  const auto id = client->stream(get(server.url("/?watch=1")), std::move(callbacks));
  EXPECT_EQ(reason.get_future().get(), "WouldDeadlock");
  client->cancel(id);
}

constexpr const char* kTlsServer = R"py(
import http.server, ssl, sys
class H(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        cert = self.connection.getpeercert() or {}
        name = [v for r in cert.get("subject", ()) for k, v in r if k == "commonName"]
        body = (",".join(name) + " " + self.headers["Host"].split(":")[0]).encode()
        self.send_response(200); self.send_header("Content-Length", str(len(body))); self.end_headers(); self.wfile.write(body)
    def log_message(self, *a): pass
d = sys.argv[1]
s = http.server.ThreadingHTTPServer(("127.0.0.1", 0), H)
c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
c.load_cert_chain(d + "/server.crt", d + "/server.key")
c.load_verify_locations(d + "/ca.crt"); c.verify_mode = ssl.CERT_OPTIONAL
s.socket = c.wrap_socket(s.socket, server_side=True)
open(d + "/port.new", "w").write(str(s.server_port))
import os; os.rename(d + "/port.new", d + "/port")
s.serve_forever()
)py";

Result<ProcessOutput> run(std::vector<std::string> argv) {
  ProcessOptions options;
  options.argv = std::move(argv);
  return run_process(options, Seconds{30});
}

class TlsClient : public testing::Test {
 protected:
  void SetUp() override {
    auto python = run({"python3", "-c", "import ssl"});
    auto openssl = run({"openssl", "version"});
    if (!python.ok() || !python->status.ok() || !openssl.ok())
      GTEST_SKIP() << "needs python3 and openssl";
    ASSERT_TRUE(write_file_atomic(dir_ / "server.py", kTlsServer).ok());
    openssl_run({"req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                 "-nodes", "-days", "2", "-subj", "/CN=ca", "-addext",
                 "keyUsage=critical,keyCertSign", "-keyout", file("ca.key"), "-out",
                 file("ca.crt")});
    issue("server", "subjectAltName=DNS:api.internal,IP:127.0.0.1\nextendedKeyUsage=serverAuth\n");
    issue("client", "extendedKeyUsage=clientAuth\n");
    ProcessOptions options;
    options.argv = {"python3", file("server.py"), dir_.path().string()};
    options.die_with_parent = true;
    auto child = spawn(options);
    ASSERT_TRUE(child.ok());
    server_.emplace(std::move(child).value());
    for (int i = 0; i < 200 && port_.empty(); ++i) {
      if (auto text = read_file(dir_ / "port"); text.ok()) port_ = *text;
      std::this_thread::sleep_for(Millis{50});
    }
    ASSERT_FALSE(port_.empty());
  }
  void TearDown() override {
    if (server_) server_->kill_and_wait(Seconds{2});
  }
  std::string file(std::string_view name) { return (dir_ / name).string(); }
  std::string pem(std::string_view name) { return read_file(dir_ / name).value_or(""); }
  void openssl_run(std::vector<std::string> args) {
    args.insert(args.begin(), "openssl");
    auto done = run(args);
    ASSERT_TRUE(done.ok() && done->status.ok())
        << (done.ok() ? done->err : done.error().to_string());
  }
  void issue(const std::string& name, std::string_view extensions) {
    ASSERT_TRUE(write_file_atomic(dir_ / (name + ".ext"), extensions).ok());
    openssl_run({"req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
                 "-nodes", "-subj", "/CN=" + name, "-keyout", file(name + ".key"), "-out",
                 file(name + ".csr")});
    openssl_run({"x509", "-req", "-in", file(name + ".csr"), "-CA", file("ca.crt"), "-CAkey",
                 file("ca.key"), "-CAcreateserial", "-days", "2", "-extfile", file(name + ".ext"),
                 "-out", file(name + ".crt")});
  }

  TempDir dir_;
  std::optional<ChildProcess> server_;
  std::string port_;
};

TEST_F(TlsClient, CertificatesComeFromMemory) {
  HttpClientOptions options;
  options.tls.ca_pem = pem("ca.crt");
  options.tls.cert_pem = pem("client.crt");
  options.tls.key_pem = Secret<std::string>(pem("client.key"));
  const std::string url = "https://127.0.0.1:" + port_ + "/";
  auto known = make_curl_client(options)->send(get(url));
  ASSERT_TRUE(known.ok()) << known.error().to_string();
  EXPECT_EQ(known->body, "client 127.0.0.1");

  HttpClientOptions named = options;
  named.tls.server_name = "api.internal";
  auto other_name = make_curl_client(named)->send(get(url));
  ASSERT_TRUE(other_name.ok()) << other_name.error().to_string();
  EXPECT_EQ(other_name->body, "client api.internal");

  HttpClientOptions wrong_name = options;
  wrong_name.tls.server_name = "else.where";
  EXPECT_EQ(make_curl_client(wrong_name)->send(get(url)).error().reason, "TlsFailed");

  HttpClientOptions stranger;  // the machine's own roots do not know this CA
  EXPECT_EQ(make_curl_client(stranger)->send(get(url)).error().reason, "TlsFailed");
  stranger.tls.insecure = true;
  auto insecure = make_curl_client(stranger)->send(get(url));
  ASSERT_TRUE(insecure.ok());
  EXPECT_EQ(insecure->body, " 127.0.0.1");
}

}  // namespace
}  // namespace tango
