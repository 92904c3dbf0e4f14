// One controller on one key: what it writes, what it leaves alone, and in which order, over the API
// in memory. The caches are filled by hand, so that a stale one is easy to make.
#include <gtest/gtest.h>

#include "lib/kube/controller_core.h"
#include "tests/kube/fake_api.h"
#include "tests/kube/widget.h"

namespace tango::kube {
namespace {

using test::FakeApi;

class CountingExecutor : public Executor {
 public:
  std::string_view name() const override { return "polisher"; }
  void start(const Work& work, Callbacks callbacks) override {
    started.push_back(work.key);
    running[work.key] = std::move(callbacks);
  }
  void cancel(std::string_view key) override { cancelled.emplace_back(key); }
  std::vector<std::string> started, cancelled;
  std::map<std::string, Callbacks> running;
};

class Core : public testing::Test {
 protected:
  Core() {
    auto own = std::make_unique<CountingExecutor>();
    executor = own.get();
    work.add_executor(std::move(own));
    widgets = &caches.add(erased_kind<Widget>());
    maps = &caches.add(erased_kind<ConfigMap>());
    use(test::widget_controller());
  }
  void use(ControllerSpec spec) {
    core = std::make_unique<ControllerCore>(
        std::move(spec),
        ControllerSurroundings{
            caches, api, kinds, work, clock, metrics,
            [this](const InvolvedObject&, const EventNote& note) { notes.push_back(note); }});
  }
  // The caches catch up with the server.
  void sync() {
    for (Store* store : {widgets, maps}) {
      std::vector<StoredPtr> objects;
      for (const auto& [key, object] : api.kinds[std::string(store->kind().info.plural)]) {
        auto stored = parse_stored(store->kind(), object.dump());
        ASSERT_TRUE(stored.ok());
        objects.push_back(*stored);
      }
      (void)store->replace(std::move(objects));
      store->set_version(std::to_string(api.version));
      store->set_synced();
    }
  }
  void make(std::int64_t size) {
    ASSERT_TRUE(api.create(Widget::kKind, test::widget("ns", "w", size), {}).ok());
    sync();
  }
  ControllerCore::Done run() { return core->reconcile({"ns", "w"}); }
  using Kind = ControllerCore::Done::Kind;
  std::vector<std::string> take_log() { return std::exchange(api.write_log, {}); }
  using Log = std::vector<std::string>;

  FakeClock clock;
  MetricsRegistry metrics;
  FakeApi api;
  Caches caches;
  KindRegistry kinds{caches, api};
  WorkTable work{clock, [this](const WorkOwner& owner) { woken.push_back(owner.key); }};
  CountingExecutor* executor = nullptr;
  Store* widgets = nullptr;
  Store* maps = nullptr;
  std::vector<EventNote> notes;
  std::vector<ObjectKey> woken;
  std::unique_ptr<ControllerCore> core;
};

TEST_F(Core, FinalizerFirstThenChildrenThenStatusAndWorkOnlyAfterTheCacheShowsIt) {
  make(1);
  take_log();
  EXPECT_EQ(run().kind, Kind::kSuccess);
  EXPECT_EQ(take_log(), (Log{"patch widgets w", "create configmaps w-once", "patch configmaps w-0",
                             "update widgets w"}));
  EXPECT_TRUE(executor->started.empty()) << "the finalizer is not in the cache yet";
  EXPECT_EQ(run().kind, Kind::kStale) << "the cache has not reached our own writes";
  EXPECT_TRUE(take_log().empty());
  sync();
  EXPECT_EQ(run().kind, Kind::kSuccess);
  EXPECT_EQ(executor->started.size(), 1u);
  EXPECT_EQ(take_log(), Log{"update widgets w"});
  sync();
  executor->running.begin()->second.done(Json::object());
  EXPECT_EQ(woken, (std::vector<ObjectKey>{{"ns", "w"}}));
  run();
  sync();
  take_log();
  for (int i = 0; i < 3; ++i) EXPECT_EQ(run().kind, Kind::kSuccess);
  EXPECT_EQ(take_log(), Log{}) << "at rest nothing is written";
  EXPECT_EQ(executor->started.size(), 1u) << "the same key is never started twice";
}

TEST_F(Core, RemovalCarriesPreconditions) {
  make(2);
  run();
  sync();
  run();
  sync();
  ASSERT_TRUE(
      api.patch(Widget::kKind, "ns", "w", PatchType::kMerge, {{"spec", {{"size", 1}}}}, {}).ok());
  sync();
  // Somebody touches the child between our cache and our request.
  ASSERT_TRUE(
      api.patch(ConfigMap::kKind, "ns", "w-1", PatchType::kMerge, {{"data", {{"x", "y"}}}}, {})
          .ok());
  EXPECT_EQ(run().kind, Kind::kConflict);
  EXPECT_TRUE(api.find(ConfigMap::kKind, {"ns", "w-1"})) << "what we have not seen is not removed";
  sync();
  EXPECT_EQ(run().kind, Kind::kSuccess);
  EXPECT_FALSE(api.find(ConfigMap::kKind, {"ns", "w-1"}));
}

TEST_F(Core, CreateOnceAcceptsItsOwnAndRefusesAStranger) {
  ASSERT_TRUE(api.create(ConfigMap::kKind,
                         {{"apiVersion", "v1"},
                          {"kind", "ConfigMap"},
                          {"metadata", {{"name", "w-once"}, {"namespace", "ns"}}}},
                         {})
                  .ok());
  make(0);
  const auto done = run();
  EXPECT_EQ(done.kind, Kind::kError);
  EXPECT_EQ(done.error->reason, "NameTaken");
  ASSERT_FALSE(notes.empty());
  EXPECT_EQ(notes.back().type, "Warning");
  EXPECT_EQ(notes.back().reason, "NameTaken");
  ASSERT_TRUE(api.remove(ConfigMap::kKind, "ns", "w-once", {}).ok());
  sync();
  // The answer to our creation gets lost: the second try finds our own object.
  bool lose = true;
  api.fault = [&](std::string_view verb) -> std::optional<FakeApi::Fault> {
    if (verb != "create" || !std::exchange(lose, false)) return std::nullopt;
    return FakeApi::Fault{make_error(Code::kUnavailable, "ConnectionLost", "x"), true};
  };
  EXPECT_EQ(run().kind, Kind::kError);
  EXPECT_EQ(run().kind, Kind::kSuccess);
}

TEST_F(Core, DriftIsAppliedAgainButForeignStatusIsNot) {
  make(1);
  run();
  sync();
  run();
  sync();
  take_log();
  ASSERT_TRUE(api.patch(ConfigMap::kKind, "ns", "w-0", PatchType::kMerge,
                        {{"status", {{"seen", true}}}}, {})
                  .ok());
  sync();
  take_log();
  run();
  EXPECT_EQ(take_log(), Log{}) << "the same generation and metadata: not our business";
  ASSERT_TRUE(api.patch(ConfigMap::kKind, "ns", "w-0", PatchType::kMerge,
                        {{"data", {{"value", "drift"}}}}, {})
                  .ok());
  sync();
  take_log();
  run();
  EXPECT_EQ(take_log(), Log{"patch configmaps w-0"});
  EXPECT_EQ((*api.find(ConfigMap::kKind, {"ns", "w-0"}))["data"]["value"], "size 1");
}

TEST_F(Core, StatusOfAnOlderObjectIsAConflictAndNotForced) {
  make(0);
  run();
  sync();
  // Another leader wrote a status that our cache has not seen.
  ASSERT_TRUE(
      api.patch(Widget::kKind, "ns", "w", PatchType::kMerge, {{"status", {{"by", "other"}}}}, {})
          .ok());
  executor->started.clear();
  use(controller<Widget>("widget", [](const Widget&, const Observed&, TimePoint) {
        Outcome out;
        out.status = Json{{"by", "us"}};
        return out;
      }).build());
  EXPECT_EQ(run().kind, Kind::kConflict);
  EXPECT_EQ((*api.find(Widget::kKind, {"ns", "w"}))["status"]["by"], "other");
}

TEST_F(Core, FinalizerIsReleasedAtTheEndOnly) {
  make(0);
  run();
  sync();
  run();
  sync();
  ASSERT_TRUE(api.remove(Widget::kKind, "ns", "w", {}).ok());
  sync();
  ASSERT_TRUE(api.find(Widget::kKind, {"ns", "w"})) << "held by the finalizer";
  ASSERT_EQ(executor->started.size(), 1u);
  EXPECT_EQ(run().kind, Kind::kSuccess);
  EXPECT_FALSE(api.find(Widget::kKind, {"ns", "w"}));
  EXPECT_EQ(executor->cancelled, executor->started) << "work of an object that is gone ends";
  sync();
  EXPECT_EQ(run().kind, Kind::kSuccess);
}

TEST_F(Core, FinalizerIsKeptWhileAnythingFails) {
  use(controller<Widget>("widget",
                         [](const Widget& self, const Observed&, TimePoint) {
                           Outcome out;
                           out.finalizer = Finalizer::kRelease;
                           if (self.metadata.deleting())
                             out.create_once.push_back(test::child(self, "last-words", "x"));
                           return out;
                         })
          .finalizer(test::kFinalizer)
          .build());
  make(0);
  run();
  sync();
  ASSERT_TRUE(api.remove(Widget::kKind, "ns", "w", {}).ok());
  sync();
  api.fault = [](std::string_view verb) -> std::optional<FakeApi::Fault> {
    if (verb != "create") return std::nullopt;
    return FakeApi::Fault{test::api_error(500, "InternalError"), false};
  };
  EXPECT_EQ(run().kind, Kind::kError);
  EXPECT_TRUE(api.find(Widget::kKind, {"ns", "w"}));
  api.fault = nullptr;
  EXPECT_EQ(run().kind, Kind::kSuccess);
  EXPECT_FALSE(api.find(Widget::kKind, {"ns", "w"}));
}

TEST_F(Core, ThrowingReconcileIsContainedAndCounted) {
  use(controller<Widget>("widget", [](const Widget&, const Observed&, TimePoint) -> Outcome {
        throw std::runtime_error("boom");
      }).build());
  make(0);
  const auto done = run();
  EXPECT_EQ(done.kind, Kind::kError);
  EXPECT_EQ(done.error->reason, "ReconcileThrew");
  EXPECT_EQ(metrics.value("controller_runtime_reconcile_panics_total", {{"controller", "widget"}}),
            1);
}

TEST_F(Core, EventsComeFromConditionsThatChangedAndNotesThatAreNew) {
  std::string condition = "False";
  std::string note = "A";
  use(controller<Widget>("widget", [&](const Widget&, const Observed&, TimePoint) {
        Outcome out;
        out.status = Json{
            {"conditions", {{{"type", "Ready"}, {"status", condition}, {"reason", "Because"}}}}};
        out.events = {{"Normal", note, "text"}};
        return out;
      }).build());
  make(0);
  auto names = [&] {
    std::vector<std::string> out;
    for (const EventNote& n : std::exchange(notes, {})) out.push_back(n.type + " " + n.reason);
    return out;
  };
  run();
  EXPECT_EQ(names(), (Log{"Normal Because", "Normal A"}));
  sync();
  clock.advance(Seconds{10});
  const std::string since =
      (*api.find(Widget::kKind, {"ns", "w"}))["status"]["conditions"][0]["lastTransitionTime"];
  run();
  EXPECT_EQ(names(), Log{});
  condition = "True";
  run();
  EXPECT_EQ(names(), Log{"Normal Because"});
  EXPECT_NE(
      (*api.find(Widget::kKind, {"ns", "w"}))["status"]["conditions"][0]["lastTransitionTime"],
      since);
  sync();
  condition = "False";
  note = "B";
  run();
  EXPECT_EQ(names(), (Log{"Warning Because", "Normal B"})) << "what was good and fell is a warning";
}

TEST_F(Core, PatchesOfOthersAreWrittenOnlyWhenTheyChangeSomething) {
  use(controller<Widget>("widget", [](const Widget&, const Observed&, TimePoint) {
        Outcome out;
        out.patch = {{ConfigMap::kKind,
                      "ns",
                      "other",
                      {{"metadata", {{"annotations", {{"approved", "yes"}}}}}}}};
        return out;
      }).build());
  ASSERT_TRUE(api.create(ConfigMap::kKind,
                         {{"apiVersion", "v1"},
                          {"kind", "ConfigMap"},
                          {"metadata", {{"name", "other"}, {"namespace", "ns"}}}},
                         {})
                  .ok());
  make(0);
  take_log();
  run();
  EXPECT_EQ(take_log(), Log{"patch configmaps other"});
  sync();
  run();
  EXPECT_EQ(take_log(), Log{});
}

// --- work ----------------------------------------------------------------------------------------

TEST_F(Core, WorkHasADeadlineAndStatesStayKnownWhileSomebodyLooks) {
  const WorkOwner owner{"widget", {"ns", "w"}}, other{"widget", {"ns", "v"}};
  const Work job{"polisher", "k", Json::object(), Seconds{30}};
  work.request(job, owner);
  work.request(job, other);
  EXPECT_EQ(executor->started.size(), 1u);
  EXPECT_EQ(work.state("k")->phase, WorkState::Phase::kRunning);
  clock.advance(Seconds{31});
  work.tick();
  EXPECT_EQ(work.state("k")->phase, WorkState::Phase::kFailed);
  EXPECT_EQ(work.state("k")->error.reason, "DeadlineExceeded");
  EXPECT_EQ(executor->cancelled, std::vector<std::string>{"k"});
  EXPECT_EQ(woken.size(), 2u) << "everybody who asked";
  executor->running["k"].done(Json::object());
  EXPECT_EQ(work.state("k")->phase, WorkState::Phase::kFailed)
      << "what comes after cancel is ignored";
  for (int i = 0; i < 100; ++i) {
    clock.advance(Seconds{100});
    work.set_interest(owner, {"k"});
    work.tick();
    work.request(job, owner);
  }
  EXPECT_EQ(executor->started.size(), 1u) << "its state is known";
  work.set_interest(other, {});
  work.set_interest(owner, {"k#1"});
  clock.advance(Seconds{59});
  work.tick();
  EXPECT_TRUE(work.state("k"));
  clock.advance(Seconds{1});
  work.tick();
  EXPECT_EQ(work.state("k"), nullptr) << "nobody asked or looked";
}

TEST_F(Core, WorkOfAGoneObjectIsCancelledUnlessAnotherWaitsForIt) {
  const WorkOwner owner{"widget", {"ns", "w"}}, other{"widget", {"ns", "v"}};
  work.request({"polisher", "mine", Json::object(), Seconds{30}}, owner);
  work.request({"polisher", "shared", Json::object(), Seconds{30}}, owner);
  work.request({"polisher", "shared", Json::object(), Seconds{30}}, other);
  work.drop(owner);
  EXPECT_EQ(executor->cancelled, std::vector<std::string>{"mine"});
  EXPECT_EQ(work.state("mine"), nullptr);
  EXPECT_TRUE(work.state("shared"));
}

TEST_F(Core, UnknownExecutorIsAClearFailure) {
  work.request({"nobody", "k", Json::object(), Seconds{1}}, {"widget", {"ns", "w"}});
  ASSERT_TRUE(work.state("k"));
  EXPECT_EQ(work.state("k")->error.reason, "UnknownExecutor");
}

TEST_F(Core, ProgressWakesNotTooOften) {
  work.request({"polisher", "k", Json::object(), Seconds{60}}, {"widget", {"ns", "w"}});
  for (int i = 0; i < 100; ++i) executor->running["k"].progress(Json(i));
  EXPECT_EQ(woken.size(), 1u);
  EXPECT_EQ(work.state("k")->output, Json(99));
  clock.advance(Seconds{1});
  work.tick();
  EXPECT_EQ(woken.size(), 2u) << "the last progress is not lost";
}

}  // namespace
}  // namespace tango::kube
