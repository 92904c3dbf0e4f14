// Leader election under random faults, the correlation of events, and the health endpoints.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "lib/base/log.h"
#include "lib/base/random.h"
#include "lib/kube/decisions.h"
#include "lib/kube/endpoints.h"
#include "lib/kube/event_recorder.h"
#include "lib/kube/leader_elector.h"
#include "tests/kube/fake_api.h"

namespace tango::kube {
namespace {

using test::FakeApi;

// Thousands of steps with lost answers, errors and wall clocks that disagree: never two leaders,
// and the epoch grows with every change of leader.
RC_GTEST_PROP(Election, NeverTwoLeaders, (std::uint64_t seed)) {
  configure_logging(LogLevel::kError, LogFormat::kText);
  CounterRandom random(seed, 0);
  FakeApi api;
  MetricsRegistry metrics;
  api.fault = [&](std::string_view) -> std::optional<FakeApi::Fault> {
    switch (random.below(8)) {
      case 0:
        return FakeApi::Fault{make_error(Code::kUnavailable, "ConnectionLost", "x"), false};
      case 1:
        return FakeApi::Fault{make_error(Code::kUnavailable, "ConnectionLost", "x"), true};
      case 2:
        return FakeApi::Fault{test::api_error(500, "InternalError"), false};
      default:
        return std::nullopt;
    }
  };
  std::vector<FakeClock> clocks(3);
  std::vector<std::unique_ptr<LeaderElector>> electors;
  for (std::size_t i = 0; i < clocks.size(); ++i) {
    clocks[i].jump_wall(Seconds{static_cast<std::int64_t>(random.below(100'000))});
    LeaderElectionOptions options;
    options.ns = "ns";
    options.identity = "e" + std::to_string(i);
    electors.push_back(std::make_unique<LeaderElector>(api, options, clocks[i], metrics));
  }
  int last_leader = -1;
  std::int64_t last_epoch = 0;
  for (int step = 0; step < 300; ++step) {
    const auto i = random.below(electors.size());
    if (random.below(20) == 0) {
      electors[i]->release();
    } else {
      (void)electors[i]->try_once();
    }
    int leaders = 0;
    for (std::size_t e = 0; e < electors.size(); ++e) {
      if (!electors[e]->holding()) continue;
      ++leaders;
      if (static_cast<int>(e) != last_leader) {
        RC_ASSERT(electors[e]->epoch() > last_epoch);
        last_leader = static_cast<int>(e);
        last_epoch = electors[e]->epoch();
      }
    }
    RC_ASSERT(leaders <= 1);
    const Nanos pause = Millis{static_cast<std::int64_t>(random.below(6000))};
    for (FakeClock& clock : clocks) clock.advance(pause);
  }
}

TEST(Election, ALeaseThatStopsChangingIsTakenAfterItsOwnDuration) {
  FakeApi api;
  MetricsRegistry metrics;
  FakeClock clock;
  LeaderElectionOptions a, b;
  a.ns = b.ns = "ns";
  a.identity = "a";
  b.identity = "b";
  LeaderElector first(api, a, clock, metrics), second(api, b, clock, metrics);
  EXPECT_EQ(first.try_once(), LeaderElector::Try::kHeld);
  EXPECT_EQ(first.epoch(), 1);
  EXPECT_EQ(second.try_once(), LeaderElector::Try::kTaken);
  clock.advance(Seconds{10});
  EXPECT_FALSE(first.holding()) << "the renew deadline comes before the lease runs out";
  EXPECT_EQ(second.try_once(), LeaderElector::Try::kTaken);
  clock.advance(Seconds{5});
  EXPECT_EQ(second.try_once(), LeaderElector::Try::kHeld);
  EXPECT_EQ(second.epoch(), 2);
  EXPECT_EQ(first.raise_epoch(0).error().reason, "NotLeader");
  EXPECT_EQ(*second.raise_epoch(40), 41);
  EXPECT_EQ(metrics.value("leader_election_master_status", {{"name", "tango-operator"}}), 1);
}

// --- events ------------------------------------------------------------------------------------

const InvolvedObject kAbout{"v1", "Pod", "ns", "p", "uid", "5"};

TEST(Events, RepeatedOnesAreCounted) {
  EventCorrelator correlator("c", {});
  auto first = correlator.correlate(kAbout, {"Normal", "R", "m"}, TimePoint{}, Nanos{});
  ASSERT_TRUE(first && first->create);
  EXPECT_EQ(first->body["involvedObject"]["uid"], "uid");
  auto second = correlator.correlate(kAbout, {"Normal", "R", "m"}, TimePoint{}, Nanos{});
  ASSERT_TRUE(second && !second->create);
  EXPECT_EQ(second->name, first->name);
  EXPECT_EQ(second->body["count"], 2);
  correlator.forget(first->name);
  EXPECT_TRUE(correlator.correlate(kAbout, {"Normal", "R", "m"}, TimePoint{}, Nanos{})->create);
}

TEST(Events, SimilarOnesAreCombined) {
  EventCorrelator correlator("c", {});
  int created = 0;
  std::string last;
  for (int i = 0; i < 20; ++i) {
    auto write = correlator.correlate(kAbout, {"Warning", "R", "m" + std::to_string(i)},
                                      TimePoint{}, Nanos{});
    ASSERT_TRUE(write);
    created += write->create;
    last = get_string(write->body, "message");
  }
  EXPECT_EQ(created, 11) << "ten of their own, then one for all others";
  EXPECT_EQ(last, "(combined from similar events): m19");
}

TEST(Events, ATalkativeObjectIsCutOff) {
  EventCorrelator correlator("c", {});
  int written = 0;
  for (int i = 0; i < 100; ++i)
    written +=
        correlator.correlate(kAbout, {"Normal", "R" + std::to_string(i), "m"}, TimePoint{}, Nanos{})
            .has_value();
  EXPECT_EQ(written, 25);
  EXPECT_TRUE(correlator.correlate(kAbout, {"Normal", "Later", "m"}, TimePoint{}, Seconds{300}));
  InvolvedObject other = kAbout;
  other.uid = "other";
  EXPECT_TRUE(correlator.correlate(other, {"Normal", "R", "m"}, TimePoint{}, Nanos{}));
}

TEST(Events, RecorderWritesAndFlushesOnStop) {
  FakeApi api;
  EventRecorder recorder(api, "tango-operator", system_clock());
  for (int i = 0; i < 5; ++i) recorder.record(kAbout, {"Normal", "R" + std::to_string(i % 2), "m"});
  recorder.stop();
  EXPECT_EQ(api.kinds["events"].size(), 2u);
  int count = 0;
  for (const auto& [key, event] : api.kinds["events"])
    count += static_cast<int>(get_int(event, "count"));
  EXPECT_EQ(count, 5);
}

// --- decisions and endpoints ---------------------------------------------------------------------

TEST(Decisions, ManifestsAreComparedByWhatTheySay) {
  const Json live = {
      {"a", 1}, {"b", {{"c", {1, {{"d", 2}, {"defaulted", true}}}}}}, {"z", "server"}};
  EXPECT_TRUE(contains(live, {{"a", 1.0}}));
  EXPECT_TRUE(contains(live, {{"b", {{"c", {1, {{"d", 2}}}}}}}));
  EXPECT_FALSE(contains(live, {{"b", {{"c", {1}}}}})) << "lists are whole";
  EXPECT_FALSE(contains(live, {{"missing", 1}}));
  EXPECT_TRUE(contains(live, {{"missing", Json::object()}, {"null", nullptr}}));
}

TEST(Decisions, TransitionTimeMovesWithTheStatusOnly) {
  const Json before = {{"conditions",
                        {{{"type", "Ready"},
                          {"status", "True"},
                          {"reason", "A"},
                          {"message", "A"},
                          {"lastTransitionTime", "2020-01-01T00:00:00Z"}}}}};
  auto prepared = [&](const char* status, const char* reason) {
    return prepare_status(
        before,
        {{"conditions", {{{"type", "Ready"}, {"status", status}, {"reason", reason}}}},
         {"x", nullptr}},
        TimePoint{Seconds{1'700'000'000}});
  };
  EXPECT_EQ(prepared("True", "A"), before);
  EXPECT_EQ(prepared("True", "B")["conditions"][0]["lastTransitionTime"], "2020-01-01T00:00:00Z");
  EXPECT_EQ(prepared("False", "")["conditions"][0]["lastTransitionTime"], "2023-11-14T22:13:20Z");
  EXPECT_EQ(prepared("False", "")["conditions"][0]["reason"], "Unknown");
  EXPECT_EQ(prepared("False", "B")["conditions"][0]["message"], "B") << "never empty on the wire";
}

TEST(Endpoints, HealthReadinessAndMetrics) {
  MetricsRegistry metrics;
  metrics.declare_counter("x_total", "help");
  metrics.add("x_total", {}, 0);
  bool ready = false;
  auto handler =
      make_endpoints({.metrics = &metrics,
                      .health = {{"ping", [] { return ok_status(); }}},
                      .ready = {{"manager", [&]() -> Status {
                                   if (ready) return ok_status();
                                   return make_error(Code::kUnavailable, "NotLeader", "x");
                                 }}}});
  auto get = [&](std::string path, std::string method = "GET") {
    HttpRequest request;
    request.method = std::move(method);
    request.url = std::move(path);
    return handler(request).response;
  };
  EXPECT_EQ(get("/healthz").status, 200);
  EXPECT_EQ(get("/healthz/ping").status, 200);
  EXPECT_EQ(get("/healthz/other").status, 404);
  EXPECT_EQ(get("/readyz").status, 500);
  EXPECT_EQ(get("/readyz").body, "[-]manager failed: NotLeader\n");
  ready = true;
  EXPECT_EQ(get("/readyz?verbose").body, "ok");
  EXPECT_NE(get("/metrics").body.find("x_total 0"), std::string::npos);
  EXPECT_EQ(get("/metrics", "POST").status, 405);
  EXPECT_EQ(get("/").status, 404);
}

}  // namespace
}  // namespace tango::kube
