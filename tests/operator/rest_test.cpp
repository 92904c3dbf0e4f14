#include <gtest/gtest.h>

#include "crds/device.h"
#include "operator/fleet_query.h"
#include "operator/rest_api.h"
#include "tests/operator/fake_reviews.h"

namespace tango::op {
namespace {

crds::Device device(const std::string& name, const std::string& site, const std::string& state,
                    const std::string& release) {
  crds::Device d;
  d.metadata.ns = "lab";
  d.metadata.name = name;
  d.metadata.uid = "uid-" + name;
  d.metadata.labels = {{"site", site}};
  d.status.conditions.push_back({"Ready", state == "Online" ? "True" : "False", state, "", 1, {}});
  if (!release.empty()) {
    crds::DeviceStatusSlot slot;
    slot.name = "main";
    slot.current = release;
    d.status.slots.push_back(slot);
  }
  return d;
}

class FakeGateway : public DeviceGateway {
 public:
  Result<HttpResponse> relay(const crds::Device& d, std::string_view slot,
                             const HttpRequest& request) override {
    if (d.metadata.name == "far")
      return make_error(Code::kUnavailable, "Unreachable", "far cannot be reached");
    return HttpResponse{
        200, {{"Content-Type", "application/json"}}, std::string(slot) + ":" + request.body};
  }
  Result<Json> evaluate(const crds::Device&, std::string_view, std::string_view format,
                        std::string_view tar) override {
    return Json{{"accuracy", 0.5}, {"samples", tar.size()}, {"format", std::string(format)}};
  }
  Result<Json> logs(const crds::Device&, std::string_view, std::string_view cursor,
                    std::size_t) override {
    return Json{{"text", "x"}, {"next", std::string(cursor) + "1"}, {"truncated", false}};
  }
};

class Rest : public testing::Test {
 protected:
  void SetUp() override {
    auto world = std::make_shared<kube::MapObserved>();
    const std::string a = sha256("a").to_string(), b = sha256("b").to_string();
    for (int i = 0; i < 10; ++i) {
      world->put(device("d" + std::to_string(i), i % 2 ? "seoul" : "busan",
                        i < 7 ? "Online" : "Offline", i < 5 ? a : b));
    }
    auto refused = device("far", "seoul", "Degraded", a);
    crds::DeviceStatusRejectedItem item;
    item.digest = b;
    item.reason = "LatencyExceeded";
    refused.status.rejected.push_back(item);
    world->put(refused);
    world_ = world;
    store_ = std::move(RunStore::open(dir_ / "runs.db")).value();
    api_.allow_all = true;
    RestApi rest;
    rest.observed = [this] { return world_; };
    rest.runs = store_.get();
    rest.auth = &auth_;
    rest.devices = &gateway_;
    rest.why = [](const crds::Device& d, const kube::Observed&) {
      return Json{{"device", d.metadata.name}};
    };
    handler_ = make_rest_handler(rest);
  }

  std::pair<int, Json> call(std::string method, std::string url, std::string body = {},
                            std::string token = "good") {
    HttpRequest request;
    request.method = std::move(method);
    request.url = std::move(url);
    request.body = std::move(body);
    if (!token.empty()) request.headers.emplace("Authorization", "Bearer " + token);
    HttpReply reply = handler_(request);
    auto json = parse_json(reply.response.body);
    return {reply.response.status, json.ok() ? *json : Json(reply.response.body)};
  }

  TempDir dir_;
  FakeReviews api_;
  FakeClock clock_;
  Authenticator auth_{api_, clock_};
  FakeGateway gateway_;
  std::shared_ptr<const kube::Observed> world_;
  std::unique_ptr<RunStore> store_;
  HttpHandler handler_;
};

TEST_F(Rest, FleetCountsFiltersAndPages) {
  auto [status, all] = call("GET", "/api/v1/fleet");
  ASSERT_EQ(status, 200) << all;
  EXPECT_EQ(all["counts"]["total"], 11);
  EXPECT_EQ(all["counts"]["byState"], (Json{{"Online", 7}, {"Offline", 3}, {"Degraded", 1}}));
  EXPECT_EQ(call("GET", "/api/v1/fleet?label=site%3Dseoul").second["counts"]["total"], 6);
  EXPECT_EQ(call("GET", "/api/v1/fleet?state=Offline").second["items"].size(), 3u);
  EXPECT_EQ(call("GET", "/api/v1/fleet?release=" + sha256("b").hex().substr(0, 8))
                .second["counts"]["total"],
            5);
  EXPECT_EQ(call("GET", "/api/v1/fleet?reason=LatencyExceeded").second["items"][0]["name"], "far");
  std::vector<std::string> names;
  std::string next;
  for (int page = 0; page < 10; ++page) {
    Json body =
        call("GET", "/api/v1/fleet?limit=4" + (next.empty() ? "" : "&continue=" + next)).second;
    for (const Json& item : body["items"]) names.push_back(item["name"]);
    next = get_string(body, "continue");
    if (next.empty()) break;
  }
  EXPECT_EQ(names.size(), 11u);
  EXPECT_TRUE(std::is_sorted(names.begin(), names.end()));
}

TEST_F(Rest, BadQueriesNameTheParameter) {
  for (const char* bad :
       {"limit=0", "limit=x", "limit=999999", "continue=%21", "colour=red", "label=%3D%3D"}) {
    auto [status, body] = call("GET", std::string("/api/v1/fleet?") + bad);
    EXPECT_EQ(status, 400) << bad;
    EXPECT_EQ(body["reason"], "InvalidQuery") << bad;
  }
}

TEST_F(Rest, EveryCallNeedsATokenAndARight) {
  for (const char* url : {"/api/v1/projects", "/api/v1/fleet", "/api/v1/runs/lab/r/metrics",
                          "/api/v1/namespaces/lab/devices/d1/why"}) {
    EXPECT_EQ(call("GET", url, "", "").first, 401) << url;
    EXPECT_EQ(call("GET", url, "", "bad").first, 401) << url;
  }
  api_.deny_all = true;
  clock_.advance(Seconds{120});
  for (const char* url :
       {"/api/v1/projects", "/api/v1/fleet", "/api/v1/runs/lab/r/metrics",
        "/api/v1/namespaces/lab/devices/d1/why", "/api/v1/namespaces/lab/devices/none/logs"}) {
    EXPECT_EQ(call("GET", url).first, 403) << url;
  }
  EXPECT_EQ(call("POST", "/api/v1/namespaces/lab/devices/d1/predict", "x").first, 403);
  EXPECT_EQ(call("GET", "/healthz", "", "").first, 200);
}

TEST_F(Rest, DevicesAreReachedThroughTheGateway) {
  auto [status, body] = call("POST", "/api/v1/namespaces/lab/devices/d1/predict?slot=b", "image");
  EXPECT_EQ(status, 200);
  EXPECT_EQ(body, "b:image");
  auto far = call("POST", "/api/v1/namespaces/lab/devices/far/predict", "image");
  EXPECT_EQ(far.first, 503);
  EXPECT_EQ(far.second["reason"], "Unreachable");
  EXPECT_EQ(call("POST", "/api/v1/namespaces/lab/devices/none/predict", "image").first, 404);
  EXPECT_EQ(call("POST", "/api/v1/namespaces/lab/devices/d1/predict").first, 400);
  EXPECT_EQ(call("POST", "/api/v1/namespaces/lab/devices/d1/evaluate?format=idx", "tar")
                .second["samples"],
            3);
  EXPECT_EQ(call("POST", "/api/v1/namespaces/lab/devices/d1/evaluate?format=zip", "tar").first,
            400);
  EXPECT_EQ(call("GET", "/api/v1/namespaces/lab/devices/d1/logs?since=7").second["next"], "71");
  EXPECT_EQ(call("GET", "/api/v1/namespaces/lab/devices/d1/why").second["device"], "d1");
}

TEST_F(Rest, RunEventsComeBackAsMetrics) {
  EXPECT_EQ(call("GET", "/api/v1/runs/lab/r/metrics").first, 404);
  std::string lines;
  for (int i = 0; i < 5; ++i) {
    lines += run::encode_line({i,
                               "2026-11-21T12:00:00Z",
                               "lab/r",
                               1,
                               "epoch",
                               {{"epoch", i + 1}, {"epochs", 5}, {"loss", 0.5}}}) +
             "\n";
  }
  EXPECT_EQ(call("POST", "/api/v1/runs/lab%2Fr/events", lines).second["stored"], 5);
  EXPECT_EQ(call("POST", "/api/v1/runs/lab/r/events", lines).first, 200)
      << "sent twice is stored once";
  auto [status, body] = call("GET", "/api/v1/runs/lab/r/metrics?type=epoch&limit=2");
  ASSERT_EQ(status, 200) << body;
  EXPECT_EQ(body["progress"]["epoch"], 5);
  EXPECT_FALSE(body["progress"].contains("top1")) << "what was never said is absent, not zero";
  EXPECT_EQ(body["events"].size(), 2u);
  EXPECT_EQ(
      call("GET", "/api/v1/runs/lab/r/metrics?limit=2&continue=" + get_string(body, "continue"))
          .second["events"][0]["epoch"],
      3);
  auto other = call("POST", "/api/v1/runs/lab/other/events", lines);
  EXPECT_EQ(other.first, 400) << "a run cannot write another run's events";
}

TEST_F(Rest, UnknownPathsAndUnsyncedCachesAreSaid) {
  EXPECT_EQ(call("GET", "/api/v2/fleet").first, 404);
  EXPECT_EQ(call("DELETE", "/api/v1/fleet").first, 404);
  EXPECT_NE(call("GET", "/openapi.yaml").second.get<std::string>().find("openapi: 3.0.3"),
            std::string::npos);
  world_ = nullptr;
  auto [status, body] = call("GET", "/api/v1/fleet");
  EXPECT_EQ(status, 503);
  EXPECT_EQ(body["reason"], "CachesNotSynced");
}

}  // namespace
}  // namespace tango::op
