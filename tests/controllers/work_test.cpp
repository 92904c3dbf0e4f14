#include "controllers/common/work.h"

#include <gtest/gtest.h>

namespace tango::controllers {
namespace {

const TimePoint kNow{Seconds{1'700'000'000}};

kube::WorkState failed(Code code, TimePoint at) {
  kube::WorkState s;
  s.phase = kube::WorkState::Phase::kFailed;
  s.error = make_error(code, "Why", "because");
  s.finished = at;
  return s;
}

TEST(Pursue, AsksOnceAndWaits) {
  kube::MapObserved world;
  kube::Outcome out;
  WorkView v = pursue(out, world, {"x", "k", {}, Seconds{1}}, kNow);
  EXPECT_EQ(v.phase, WorkView::Phase::kRunning);
  ASSERT_EQ(out.work.size(), 1u);
  EXPECT_EQ(out.work[0].key, "k");
}

TEST(Pursue, AsksAgainAfterAGrowingDelay) {
  kube::MapObserved world;
  world.put_work("k", failed(Code::kUnavailable, kNow));
  kube::Outcome out;
  WorkView v = pursue(out, world, {"x", "k", {}, Seconds{1}}, kNow + Seconds{1});
  EXPECT_EQ(v.phase, WorkView::Phase::kRetrying);
  EXPECT_EQ(v.error.reason, "Why");
  EXPECT_TRUE(out.work.empty());
  EXPECT_EQ(out.requeue_after, Nanos{Seconds{4}});
  out = {};
  v = pursue(out, world, {"x", "k", {}, Seconds{1}}, kNow + Seconds{5});
  EXPECT_EQ(v.phase, WorkView::Phase::kRunning);
  EXPECT_EQ(v.attempt, 1);
  ASSERT_EQ(out.work.size(), 1u);
  EXPECT_EQ(out.work[0].key, "k#1");
  world.put_work("k#1", failed(Code::kUnavailable, kNow + Seconds{5}));
  out = {};
  v = pursue(out, world, {"x", "k", {}, Seconds{1}}, kNow + Seconds{6});
  EXPECT_EQ(out.requeue_after, Nanos{Seconds{9}});
}

TEST(Pursue, GivesUpOnErrorsThatCannotPass) {
  kube::MapObserved world;
  world.put_work("k", failed(Code::kInvalid, kNow));
  kube::Outcome out;
  const WorkView v = pursue(out, world, {"x", "k", {}, Seconds{1}}, kNow + Seconds{100});
  EXPECT_TRUE(v.failed());
  EXPECT_TRUE(out.work.empty());
  EXPECT_FALSE(out.requeue_after);
}

TEST(Pursue, IsBounded) {
  kube::MapObserved world;
  world.put_work("k", failed(Code::kUnavailable, kNow));
  PursueOptions options;
  options.max_retries = 0;
  kube::Outcome out;
  EXPECT_TRUE(
      pursue(out, world, {"x", "k", {}, Seconds{1}}, kNow + Seconds{100}, options).failed());
}

}  // namespace
}  // namespace tango::controllers
