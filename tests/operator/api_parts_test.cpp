#include <gtest/gtest.h>

#include <thread>

#include "lib/kube-types/core.h"
#include "operator/authenticator.h"
#include "operator/log_follower.h"
#include "tests/operator/fake_reviews.h"

namespace tango::op {
namespace {

TEST(Authenticator, ChecksTokensOnceAndKeepsTheAnswerForAMinute) {
  FakeReviews api;
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
  FakeReviews api;
  FakeClock clock;
  Authenticator auth(api, clock);
  EXPECT_EQ(auth.authenticate({}).error().reason, "Unauthenticated");
  EXPECT_EQ(auth.authenticate({{"Authorization", "Basic x"}}).error().reason, "Unauthenticated");
  EXPECT_EQ(auth.authenticate({{"Authorization", "Bearer bad"}}).error().reason, "Unauthenticated");
  EXPECT_EQ(auth.authenticate({{"Authorization", "Bearer bad"}}).error().reason, "Unauthenticated");
  EXPECT_EQ(api.reviews, 1) << "a wrong token is remembered for a short time, too";
}

TEST(Authenticator, AsksForEveryRightAndSaysWhatIsForbidden) {
  FakeReviews api;
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
  FakeReviews api;
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
