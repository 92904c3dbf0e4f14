// The work queue's rules and the cache's indexes, without threads.
#include <gtest/gtest.h>

#include "lib/kube-types/core.h"
#include "lib/kube/queue.h"
#include "lib/kube/reflector.h"
#include "lib/kube/store.h"

namespace tango::kube {
namespace {

const ObjectKey kA{"ns", "a"}, kB{"ns", "b"};

TEST(KeyQueue, EachKeyOnceAndInOrder) {
  KeyQueue q;
  q.add(kA);
  q.add(kB);
  q.add(kA);
  EXPECT_EQ(q.depth(), 2u);
  EXPECT_EQ(q.take(Nanos{}), kA);
  EXPECT_EQ(q.take(Nanos{}), kB);
  EXPECT_EQ(q.take(Nanos{}), std::nullopt);
}

TEST(KeyQueue, NeverInTwoHands) {
  KeyQueue q;
  q.add(kA);
  ASSERT_EQ(q.take(Nanos{}), kA);
  q.add(kA);
  q.add(kA);
  EXPECT_EQ(q.take(Nanos{}), std::nullopt) << "somebody works on it";
  q.done(kA);
  EXPECT_EQ(q.take(Nanos{}), kA) << "what changed meanwhile is not lost";
  q.done(kA);
  EXPECT_EQ(q.take(Nanos{}), std::nullopt);
  EXPECT_TRUE(q.idle());
}

TEST(KeyQueue, ShortestDelayCountsAndTakingForgetsIt) {
  KeyQueue q;
  q.add_after(kA, Seconds{10}, Seconds{0});
  q.add_after(kA, Seconds{5}, Seconds{0});
  q.add_after(kA, Seconds{20}, Seconds{0});
  EXPECT_EQ(q.next_due(), Nanos(Seconds{5}));
  EXPECT_EQ(q.take(Seconds{4}), std::nullopt);
  EXPECT_EQ(q.take(Seconds{5}), kA);
  q.done(kA);
  EXPECT_EQ(q.next_due(), std::nullopt);
  q.add_after(kA, Seconds{10}, Seconds{5});
  q.add(kA);
  EXPECT_EQ(q.take(Seconds{5}), kA);
  EXPECT_EQ(q.next_due(), std::nullopt) << "it decides anew";
}

TEST(KeyQueue, FailuresWaitLongerAndLonger) {
  KeyQueue q;
  Nanos now{};
  std::vector<std::int64_t> delays;
  for (int i = 0; i < 20; ++i) delays.push_back(q.add_failed(kA, now).count() / 1'000'000);
  EXPECT_EQ(delays[0], 5);
  EXPECT_EQ(delays[1], 10);
  EXPECT_EQ(delays[10], 5 * 1024);
  EXPECT_EQ(delays[19], 1'000'000) << "at most 1000 s";
  for (int i = 0; i < 100; ++i) EXPECT_EQ(q.add_failed(kA, now), Nanos(Seconds{1000}));
  EXPECT_EQ(q.add_failed(kB, now), Nanos(Millis{5})) << "per key";
  q.forget_failures(kA);
  EXPECT_EQ(q.failures(kA), 0);
  EXPECT_EQ(q.add_failed(kA, now), Nanos(Millis{5}));
}

TEST(WorkQueue, MetricsStartAtZeroAndCount) {
  FakeClock clock;
  MetricsRegistry metrics;
  WorkQueue q("device", clock, metrics);
  EXPECT_NE(metrics.text().find("workqueue_adds_total{controller=\"device\",name=\"device\"} 0"),
            std::string::npos)
      << metrics.text();
  q.add(kA);
  EXPECT_EQ(metrics.value("workqueue_depth", {{"name", "device"}, {"controller", "device"}}), 1);
  ASSERT_EQ(q.take(), kA);
  q.done(kA);
  q.add_failed(kA);
  clock.advance(Millis{5});
  ASSERT_EQ(q.take(), kA);
  EXPECT_EQ(
      metrics.value("workqueue_retries_total", {{"name", "device"}, {"controller", "device"}}), 1);
  q.shut_down();
  EXPECT_EQ(q.take(), std::nullopt);
}

StoredPtr object(const std::string& ns, const std::string& name, const std::string& uid,
                 const std::string& version, const std::string& owner = "",
                 const std::string& label = "") {
  Json meta = {{"namespace", ns}, {"name", name}, {"uid", uid}, {"resourceVersion", version}};
  if (!owner.empty()) {
    meta["ownerReferences"] = {
        {{"apiVersion", "v1"}, {"kind", "X"}, {"name", "o"}, {"uid", owner}, {"controller", true}}};
  }
  if (!label.empty()) meta["labels"] = {{"app", label}};
  auto stored = parse_stored(erased_kind<ConfigMap>(),
                             dump_json({{"metadata", meta}, {"data", {{"k", version}}}}));
  EXPECT_TRUE(stored.ok());
  return *stored;
}

std::vector<std::string> names(const std::vector<StoredPtr>& objects) {
  std::vector<std::string> out;
  for (const auto& o : objects) out.push_back(o->meta.ns + "/" + o->meta.name);
  return out;
}
std::string describe(const std::vector<Change>& changes) {
  std::string out;
  for (const Change& c : changes) {
    out += c.type == Change::Type::kAdded ? '+' : c.type == Change::Type::kDeleted ? '-' : '~';
    out += (c.after ? c.after : c.before)->meta.name;
  }
  return out;
}
using Names = std::vector<std::string>;

TEST(Store, ReplaceComputesWhatChanged) {
  Store store(erased_kind<ConfigMap>());
  EXPECT_EQ(describe(store.replace({object("n", "a", "1", "1"), object("n", "b", "2", "2")})),
            "+a+b");
  EXPECT_EQ(describe(store.replace({object("n", "a", "1", "1"), object("n", "b", "2", "5"),
                                    object("n", "c", "3", "6")})),
            "~b+c");
  const auto changes = store.replace({object("n", "a", "9", "7"), object("n", "c", "3", "6")});
  EXPECT_EQ(describe(changes), "-a-b+a") << "another uid is another object";
  EXPECT_EQ(changes[1].before->meta.resource_version, "5") << "the last known state";
  EXPECT_EQ(static_cast<const ConfigMap*>(store.get({"n", "c"})->object.get())->data.at("k"), "6");
}

TEST(Store, IndexesFollowEveryChange) {
  Store store(erased_kind<ConfigMap>());
  (void)store.replace({object("m", "z", "1", "1", "owner", "x"),
                       object("n", "a", "2", "2", "owner", "y"),
                       object("n", "b", "3", "3", "", "x")});
  EXPECT_EQ(names(store.list("")), (Names{"m/z", "n/a", "n/b"}));
  EXPECT_EQ(names(store.list("n")), (Names{"n/a", "n/b"}));
  EXPECT_EQ(names(store.owned("owner")), (Names{"m/z", "n/a"}));
  EXPECT_EQ(names(store.labelled("app", "x")), (Names{"m/z", "n/b"}));
  EXPECT_EQ(describe(store.put(object("n", "a", "2", "4", "", "x"))), "~a");
  EXPECT_EQ(names(store.owned("owner")), (Names{"m/z"}));
  EXPECT_EQ(names(store.labelled("app", "x")), (Names{"m/z", "n/a", "n/b"}));
  EXPECT_TRUE(store.labelled("app", "y").empty());
  EXPECT_EQ(describe(store.erase({"m", "z"})), "-z");
  EXPECT_EQ(describe(store.erase({"m", "z"})), "");
  EXPECT_TRUE(store.owned("owner").empty());
  (void)store.replace({});
  EXPECT_TRUE(store.labelled("app", "x").empty());
  EXPECT_EQ(store.size(), 0u);
}

// A port that only remembers what it was asked for.
struct RecordingPort : ReflectorPort {
  void list(std::string target) override { calls.push_back("list " + target); }
  void open_watch(std::string target, Nanos) override { calls.push_back("watch " + target); }
  void cancel_watch() override { calls.emplace_back("cancel"); }
  void wait(Nanos) override { calls.emplace_back("wait"); }
  std::vector<std::string> take() { return std::exchange(calls, {}); }
  std::vector<std::string> calls;
};

TEST(Reflector, DroppedBytesLeadToANewListInEveryState) {
  for (const bool answered : {false, true}) {
    Store store(erased_kind<ConfigMap>());
    RecordingPort port;
    CounterRandom random(1, 1);
    MetricsRegistry metrics;
    ReflectorOptions options;
    options.metrics = &metrics;
    ReflectorCore core(store, port, options, random, [](const Change&) {});
    core.start(Nanos{});
    core.on_list(HttpResponse{200, {}, R"({"metadata":{"resourceVersion":"5"},"items":[]})"},
                 Nanos{});
    if (answered) core.on_watch_head(200, {}, Nanos{});
    (void)port.take();
    core.on_watch_overflow(Nanos{});
    EXPECT_EQ(port.take(), (std::vector<std::string>{"cancel", "wait"}));
    core.on_timer(Nanos{});
    EXPECT_EQ(port.take(), (std::vector<std::string>{"list /api/v1/configmaps?limit=500"}));
  }
}

TEST(Reflector, UnreadableObjectsKeepTheirLastReadableState) {
  Store store(erased_kind<ConfigMap>());
  RecordingPort port;
  CounterRandom random(1, 1);
  MetricsRegistry metrics;
  ReflectorOptions options;
  options.metrics = &metrics;
  std::string seen;
  ReflectorCore core(store, port, options, random, [&](const Change& c) { seen += describe({c}); });
  core.start(Nanos{});
  core.on_list(
      HttpResponse{
          200,
          {},
          R"({"metadata":{"resourceVersion":"5"},"items":[{"metadata":{"name":"a","namespace":"n","uid":"1","resourceVersion":"4"}}]})"},
      Nanos{});
  core.on_watch_head(200, {}, Nanos{});
  core.on_watch_data(
      R"({"type":"MODIFIED","object":{"metadata":{"name":"a","namespace":"n","uid":"1","resourceVersion":"6"},"data":7}})"
      "\n",
      Nanos{});
  EXPECT_EQ(seen, "+a");
  EXPECT_EQ(store.get({"n", "a"})->meta.resource_version, "4");
  EXPECT_EQ(store.version(), "6") << "the watch goes on behind it";
  EXPECT_EQ(metrics.value("tango_reflector_failures_total",
                          {{"kind", "ConfigMap"}, {"reason", "UnreadableObject"}}),
            1);
  core.on_watch_data(
      R"({"type":"DELETED","object":{"metadata":{"name":"a","namespace":"n","uid":"1","resourceVersion":"7"}}})"
      "\n",
      Nanos{});
  EXPECT_EQ(seen, "+a-a");
}

TEST(Store, VersionsCompareAsNumbers) {
  EXPECT_TRUE(version_reached("100", "99"));
  EXPECT_TRUE(version_reached("100", "100"));
  EXPECT_FALSE(version_reached("99", "100"));
  EXPECT_TRUE(version_reached("anything", ""));
  EXPECT_TRUE(version_reached("abc", "abc"));
  EXPECT_FALSE(version_reached("abd", "abc")) << "not a number: not later";
  EXPECT_FALSE(version_reached("", "1"));
}

}  // namespace
}  // namespace tango::kube
