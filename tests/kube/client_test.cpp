// Requests and answers of the API, over a transport that plays back a script.
#include "lib/kube/client.h"

#include <gtest/gtest.h>

#include <deque>

#include "lib/base/file.h"
#include "lib/kube/request.h"

namespace tango::kube {
namespace {

constexpr KindInfo kConfigMap{"", "v1", "ConfigMap", "configmaps", true};
constexpr KindInfo kDevice{"ml-tango.io", "v1alpha1", "Device", "devices", true};
constexpr KindInfo kNode{"", "v1", "Node", "nodes", false};

class ScriptedHttp : public HttpClient {
 public:
  Result<HttpResponse> send(const HttpRequest& request) override {
    requests.push_back(request);
    if (script.empty()) return make_error(Code::kInternal, "ScriptEnded", "no answer left");
    auto next = std::move(script.front());
    script.pop_front();
    return next;
  }
  std::uint64_t stream(const HttpRequest&, StreamCallbacks) override { return 1; }
  void cancel(std::uint64_t) override {}
  void answer(int status, std::string body, HttpHeaders headers = {}) {
    script.push_back(HttpResponse{status, std::move(headers), std::move(body)});
  }
  void fail(std::string_view reason) {
    script.push_back(make_error(Code::kUnavailable, reason, "x"));
  }

  std::deque<Result<HttpResponse>> script;
  std::vector<HttpRequest> requests;
};

class Client : public testing::Test {
 protected:
  void SetUp() override { make({.server = "https://h:1"}); }
  void make(ClientConfig config) { client = make_client(config, http, {&clock, &metrics}); }
  std::string target(std::size_t i) {
    return http->requests.at(i).url.substr(std::string("https://h:1").size());
  }

  std::shared_ptr<ScriptedHttp> http = std::make_shared<ScriptedHttp>();
  FakeClock clock;
  MetricsRegistry metrics;
  std::unique_ptr<KubeClient> client;
};

std::string status(int code, std::string_view reason, std::string_view message = "m") {
  return dump_json({{"kind", "Status"},
                    {"status", "Failure"},
                    {"code", code},
                    {"reason", reason},
                    {"message", message}});
}

TEST(Request, Paths) {
  EXPECT_EQ(resource_path(kConfigMap, "ns", "a"), "/api/v1/namespaces/ns/configmaps/a");
  EXPECT_EQ(resource_path(kConfigMap, "", ""), "/api/v1/configmaps");
  EXPECT_EQ(resource_path(kNode, "ignored", "n"), "/api/v1/nodes/n");
  EXPECT_EQ(resource_path(kDevice, "ns", "d", "status"),
            "/apis/ml-tango.io/v1alpha1/namespaces/ns/devices/d/status");
  EXPECT_EQ(list_target(kDevice, {.ns = "n", .label_selector = "a=b,c"}, "", 500),
            "/apis/ml-tango.io/v1alpha1/namespaces/n/devices?labelSelector=a%3Db%2Cc&limit=500");
  EXPECT_EQ(list_target(kNode, {.resource_version = "0"}, "tok", 10),
            "/api/v1/nodes?limit=10&continue=tok");
  EXPECT_EQ(watch_target(kNode, {}, "7", 300),
            "/api/v1/nodes?watch=1&allowWatchBookmarks=true&resourceVersion=7&timeoutSeconds=300");
}

TEST(Request, ErrorsAreToldApartByReason) {
  auto exists = error_from_response(409, status(409, "AlreadyExists"), "");
  EXPECT_EQ(exists.code, Code::kExists);
  auto conflict = error_from_response(409, status(409, "Conflict"), "");
  EXPECT_EQ(conflict.code, Code::kConflict);
  EXPECT_EQ(conflict.reason, "Conflict");
  EXPECT_EQ(error_from_response(410, status(410, "Gone"), "").reason, "Expired");
  EXPECT_EQ(error_from_response(410, "", "").reason, "Expired");
  EXPECT_EQ(error_from_response(401, "nope", "").code, Code::kDenied);
  EXPECT_EQ(error_from_response(403, status(403, "Forbidden"), "").reason, "Forbidden");
  EXPECT_EQ(error_from_response(422, status(422, "Invalid", "spec.x: bad"), "").message,
            "spec.x: bad");
  EXPECT_EQ(error_from_response(422, status(422, "Invalid"), "").code, Code::kInvalid);
  EXPECT_EQ(error_from_response(502, "<html>bad gateway", "creating X").code, Code::kUnavailable);
  const Json too_large = {{"kind", "Status"},
                          {"code", 504},
                          {"reason", "Timeout"},
                          {"message", "m"},
                          {"details", {{"causes", {{{"reason", "ResourceVersionTooLarge"}}}}}}};
  EXPECT_EQ(error_from_response(504, too_large.dump(), "").reason, "ResourceVersionTooLarge");
}

TEST(Request, RetryAfterAndWarnings) {
  EXPECT_EQ(should_retry(429, {{"Retry-After", "2"}}), Nanos(Seconds{2}));
  EXPECT_EQ(should_retry(503, {{"retry-after", "1"}}), Nanos(Seconds{1}));
  EXPECT_EQ(should_retry(503, {}), std::nullopt);
  EXPECT_EQ(should_retry(409, {{"Retry-After", "1"}}), std::nullopt);
  EXPECT_EQ(should_retry(503, {{"Retry-After", "Wed, 21 Oct 2026 07:28:00 GMT"}}), std::nullopt);
  EXPECT_EQ(should_retry(503, {{"Retry-After", "86400"}}), Nanos(Seconds{60})) << "bounded";
  EXPECT_EQ(warnings({{"Warning", "299 - \"a \\\"b\\\"\""}, {"Warning", "110 - \"stale\""}}),
            std::vector<std::string>{"a \"b\""});
}

TEST_F(Client, WritesCarryManagerForceAndStrictness) {
  http->answer(200, "{}");
  ASSERT_TRUE(client
                  ->apply(kDevice, {{"metadata", {{"name", "d"}, {"namespace", "n"}}}},
                          {.field_manager = "tango-x"})
                  .ok());
  EXPECT_EQ(http->requests[0].method, "PATCH");
  EXPECT_EQ(target(0),
            "/apis/ml-tango.io/v1alpha1/namespaces/n/devices/"
            "d?fieldManager=tango-x&force=true&fieldValidation=Strict");
  EXPECT_EQ(header(http->requests[0].headers, "content-type"), "application/apply-patch+yaml");
  http->answer(200, status(200, "", ""));
  ASSERT_TRUE(client->remove(kDevice, "n", "d", {.uid = "u", .resource_version = "5"}).ok());
  auto body = parse_json(http->requests[1].body);
  ASSERT_TRUE(body.ok());
  EXPECT_EQ((*body)["preconditions"], (Json{{"uid", "u"}, {"resourceVersion", "5"}}));
  EXPECT_EQ((*body)["propagationPolicy"], "Background");
}

TEST_F(Client, WaitsAsLongAsTheServerAsks) {
  http->answer(429, "", {{"Retry-After", "3"}});
  http->answer(503, "", {{"Retry-After", "1"}});
  http->answer(201, R"({"metadata":{"name":"a"}})");
  const auto before = clock.monotonic();
  ASSERT_TRUE(client->create(kConfigMap, {{"metadata", {{"name", "a"}, {"namespace", "n"}}}}).ok());
  EXPECT_EQ(clock.monotonic() - before, Nanos(Seconds{4}));
  EXPECT_EQ(metrics.value("rest_client_requests_total",
                          {{"code", "429"}, {"method", "POST"}, {"host", "h:1"}}),
            1);
}

TEST_F(Client, RetriesAreBounded) {
  for (int i = 0; i < 20; ++i)
    http->answer(429, status(429, "TooManyRequests"), {{"Retry-After", "1"}});
  EXPECT_EQ(client->get(kConfigMap, "n", "a").error().reason, "TooManyRequests");
  EXPECT_EQ(http->requests.size(), 10u);
}

TEST_F(Client, LostAnswersAreRetriedForReadsOnly) {
  http->fail("ConnectionLost");
  http->answer(200, "{}");
  EXPECT_TRUE(client->get(kConfigMap, "n", "a").ok());
  http->fail("ConnectionLost");
  http->answer(201, "{}");
  auto created = client->create(kConfigMap, {{"metadata", {{"name", "a"}}}});
  ASSERT_FALSE(created.ok());
  EXPECT_EQ(created.error().reason, "ConnectionLost");
  EXPECT_EQ(http->script.size(), 1u) << "the write must not be sent twice";
}

TEST_F(Client, ListFollowsPagesAndSurvivesAnExpiredToken) {
  http->answer(
      200,
      R"({"metadata":{"resourceVersion":"5","continue":"t1"},"items":[{"metadata":{"name":"a"}}]})");
  http->answer(200, R"({"metadata":{"resourceVersion":"5"},"items":[{"metadata":{"name":"b"}}]})");
  auto all = client->list(kConfigMap, {.ns = "n", .limit = 1});
  ASSERT_TRUE(all.ok());
  EXPECT_EQ(all->items.size(), 2u);
  EXPECT_EQ(all->items[0]["kind"], "ConfigMap");
  EXPECT_EQ(all->items[0]["apiVersion"], "v1");
  EXPECT_EQ(target(1), "/api/v1/namespaces/n/configmaps?limit=1&continue=t1");

  http->answer(
      200,
      R"({"metadata":{"resourceVersion":"5","continue":"t1"},"items":[{"metadata":{"name":"a"}}]})");
  http->answer(410, status(410, "Expired"));
  http->answer(
      200,
      R"({"metadata":{"resourceVersion":"9"},"items":[{"metadata":{"name":"a"}},{"metadata":{"name":"c"}}]})");
  auto again = client->list(kConfigMap, {.ns = "n", .limit = 1});
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->items.size(), 2u);
  EXPECT_EQ(again->resource_version, "9");
  EXPECT_EQ(target(4), "/api/v1/namespaces/n/configmaps");
}

TEST_F(Client, TokenFileIsReadAgain) {
  TempDir dir;
  ASSERT_TRUE(write_file_atomic(dir / "token", "one\n").ok());
  make({.server = "https://h:1", .token_file = (dir / "token").string()});
  auto sent = [&] {
    http->answer(200, "{}");
    (void)client->get(kConfigMap, "n", "a");
    return header(http->requests.back().headers, "authorization");
  };
  EXPECT_EQ(sent(), "Bearer one");
  ASSERT_TRUE(write_file_atomic(dir / "token", "two").ok());
  EXPECT_EQ(sent(), "Bearer one");
  clock.advance(Seconds{61});
  EXPECT_EQ(sent(), "Bearer two");
  ASSERT_TRUE(tango::remove_all(dir / "token").ok());
  clock.advance(Seconds{61});
  EXPECT_EQ(sent(), "Bearer two") << "the last good one stays";
  ASSERT_TRUE(write_file_atomic(dir / "token", "three").ok());
  http->answer(401, "");
  EXPECT_EQ(sent(), "Bearer three") << "a refused token is dropped at once";
}

TEST_F(Client, BasicAuthAndImpersonation) {
  ClientConfig config{.server = "https://h:1", .username = "u"};
  config.password = Secret<std::string>("p");
  config.impersonate.emplace("Impersonate-User", "carol");
  make(config);
  http->answer(200, "{}");
  ASSERT_TRUE(client->get(kConfigMap, "n", "a").ok());
  EXPECT_EQ(header(http->requests[0].headers, "authorization"), "Basic dTpw");
  EXPECT_EQ(header(http->requests[0].headers, "impersonate-user"), "carol");
}

}  // namespace
}  // namespace tango::kube
