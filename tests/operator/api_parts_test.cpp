#include <gtest/gtest.h>

#include <thread>

#include "lib/kube-types/core.h"
#include "operator/authenticator.h"
#include "operator/log_follower.h"

namespace tango::op {
namespace {

// An API server that knows one token and one right, and serves one pod's log.
class FakeApi : public kube::KubeClient {
 public:
  int reviews = 0;
  std::string log;
  std::atomic<int> log_requests{0};

  Result<Json> create(const kube::KindInfo& kind, const Json& object,
                      const kube::WriteOptions&) override {
    ++reviews;
    Json out = object;
    if (kind.kind == "TokenReview") {
      bool good = object["spec"]["token"] == "good";
      out["status"] = {{"authenticated", good},
                       {"user", {{"username", good ? "ann" : ""}, {"groups", {"staff"}}}}};
    } else {
      const Json& a = object["spec"]["resourceAttributes"];
      out["status"] = {{"allowed", a["verb"] == "list" && object["spec"]["user"] == "ann"},
                       {"reason", "no rule"}};
    }
    return out;
  }
  std::uint64_t stream(std::string_view path, StreamCallbacks callbacks) override {
    ++log_requests;
    EXPECT_EQ(path, "/api/v1/namespaces/default/pods/p/log");
    callbacks.on_head(200, {});
    callbacks.on_data(std::string_view(log).substr(0, 40));
    callbacks.on_data(std::string_view(log).substr(40));
    callbacks.on_end(Ok{});
    return 1;
  }
  Result<Json> get(const kube::KindInfo&, std::string_view, std::string_view) override {
    return Json();
  }
  Result<kube::ListResult> list(const kube::KindInfo&, const kube::ListOptions&) override {
    return kube::ListResult{};
  }
  Result<Json> update(const kube::KindInfo&, const Json&, const kube::WriteOptions&) override {
    return Json();
  }
  Result<Json> patch(const kube::KindInfo&, std::string_view, std::string_view, kube::PatchType,
                     const Json&, const kube::WriteOptions&) override {
    return Json();
  }
  Result<Json> apply(const kube::KindInfo&, const Json&, const kube::WriteOptions&) override {
    return Json();
  }
  Status remove(const kube::KindInfo&, std::string_view, std::string_view,
                const kube::DeleteOptions&) override {
    return Ok{};
  }
  Result<HttpResponse> raw(std::string_view, std::string_view, std::string_view,
                           std::string_view) override {
    return HttpResponse{};
  }
  void cancel(std::uint64_t) override {}
  std::unique_ptr<kube::KubeClient> with_timeout(Nanos) override { return nullptr; }
  const kube::ClientConfig& config() const override { return config_; }

 private:
  kube::ClientConfig config_;
};

TEST(Authenticator, ChecksTokensOnceAndKeepsTheAnswerForAMinute) {
  FakeApi api;
  FakeClock clock;
  Authenticator auth(api, clock);
  HttpHeaders good = {{"Authorization", "Bearer good"}};
  EXPECT_EQ(auth.authenticate(good)->name, "ann");
  EXPECT_EQ(auth.authenticate(good)->groups, std::vector<std::string>{"staff"});
  EXPECT_EQ(api.reviews, 1);
  clock.advance(Seconds{61});
  EXPECT_TRUE(auth.authenticate(good).ok());
  EXPECT_EQ(api.reviews, 2);
}

TEST(Authenticator, RefusesMissingAndWrongTokens) {
  FakeApi api;
  FakeClock clock;
  Authenticator auth(api, clock);
  EXPECT_EQ(auth.authenticate({}).error().reason, "Unauthenticated");
  EXPECT_EQ(auth.authenticate({{"Authorization", "Basic x"}}).error().reason, "Unauthenticated");
  EXPECT_EQ(auth.authenticate({{"Authorization", "Bearer bad"}}).error().reason, "Unauthenticated");
  EXPECT_EQ(auth.authenticate({{"Authorization", "Bearer bad"}}).error().reason, "Unauthenticated");
  EXPECT_EQ(api.reviews, 1) << "a wrong token is remembered for a short time, too";
}

TEST(Authenticator, AsksForEveryRightAndSaysWhatIsForbidden) {
  FakeApi api;
  FakeClock clock;
  Authenticator auth(api, clock);
  User ann{"ann", "", {}};
  EXPECT_TRUE(auth.authorize(ann, {"list", "devices", "", "", ""}).ok());
  auto refused = auth.authorize(ann, {"create", "devices", "predict", "lab", "d1"});
  EXPECT_EQ(refused.error().message,
            "ann may not create devices/predict in namespace lab: no rule");
  EXPECT_FALSE(auth.authorize({"bob", "", {}}, {"list", "devices", "", "", ""}).ok());
}

std::string line(std::int64_t seq, std::string type) {
  return run::encode_line(
             {seq, "2026-11-21T12:00:00Z", "default/r", 1, std::move(type), Json::object()}) +
         "\n";
}

TEST(LogFollower, SplitsAnywhereAndSkipsOtherOutput) {
  std::string text = "starting...\n" + line(0, "phase") + "{not json}\n" + std::string(5000, 'x') +
                     "\n" + line(1, "epoch");
  for (std::size_t cut = 0; cut <= text.size(); cut += 7) {
    EventSplitter splitter(2000);
    auto a = splitter.feed(text.substr(0, cut));
    auto b = splitter.feed(text.substr(cut));
    EXPECT_EQ(a.size() + b.size(), 2u) << cut;
  }
}

TEST(LogFollower, FillsTheStoreFromAFinishedPodOnce) {
  FakeApi api;
  api.log = line(0, "phase") + line(1, "done");
  TempDir dir;
  auto store = RunStore::open(dir / "runs.db");
  ASSERT_TRUE(store.ok());
  auto world = std::make_shared<kube::MapObserved>();
  kube::Pod pod;
  pod.metadata.ns = "default";
  pod.metadata.name = "p";
  pod.metadata.uid = "u";
  pod.metadata.annotations["ml-tango.io/run-id"] = "default/r";
  pod.status.phase = "Succeeded";
  world->put(pod);
  auto follower = LogFollower::start(api, [&] { return world; }, **store, {.interval = Millis{5}});
  for (int i = 0; i < 400; ++i) {
    auto progress = (*store)->progress("default/r");
    if (progress.ok() && progress->has_value() && (*progress)->done) break;
    std::this_thread::sleep_for(Millis{5});
  }
  std::this_thread::sleep_for(Millis{50});
  EXPECT_TRUE((*store)->progress("default/r")->value().done);
  EXPECT_EQ(api.log_requests, 1) << "a log that was read to its end is not read again";
}

}  // namespace
}  // namespace tango::op
