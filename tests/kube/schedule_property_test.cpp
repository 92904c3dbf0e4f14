// Random schedules: reflectors, cache, queue and controller core run single-threaded over an API in
// memory, while the network loses answers, watches are cut, versions expire, and people create,
// change and delete objects. Whatever the order, the end is the same, and then nothing is written.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "lib/base/log.h"
#include "lib/kube/caches.h"
#include "lib/kube/controller_core.h"
#include "lib/kube/queue.h"
#include "lib/kube/reflector.h"
#include "tests/kube/fake_api.h"
#include "tests/kube/widget.h"

namespace tango::kube {
namespace {

using test::FakeApi;

class ManualExecutor : public Executor {
 public:
  std::string_view name() const override { return "polisher"; }
  void start(const Work& work, Callbacks callbacks) override {
    ++starts[work.key];
    running.emplace(work.key, std::move(callbacks));
  }
  void cancel(std::string_view key) override { running.erase(std::string(key)); }
  std::map<std::string, Callbacks> running;
  std::map<std::string, int> starts;
};

// A reflector whose network is the schedule: nothing happens until the schedule lets it.
class ScheduledReflector : public ReflectorPort {
 public:
  ScheduledReflector(FakeApi& api, Store& store, FakeClock& clock, Random& random,
                     ReflectorCore::ChangeHandler on_change)
      : api_(api),
        clock_(clock),
        random_(random),
        kind_(store.kind().info.plural),
        core_(store, *this, options(), random, std::move(on_change)) {
    core_.start(now());
  }
  static ReflectorOptions options() {
    ReflectorOptions o;
    o.watch.page_size = 3;
    static MetricsRegistry metrics;
    o.metrics = &metrics;
    return o;
  }
  void list(std::string target) override { list_ = std::move(target); }
  void open_watch(std::string target, Nanos) override {
    open_ = true;
    headed_ = false;
    stream_.clear();
    sent_ = std::atoll(split_target(target).get("resourceVersion").c_str());
  }
  void cancel_watch() override { open_ = false; }
  void wait(Nanos delay) override { due_ = now() + delay; }

  // One step of the network; `calm`: without faults. False when there is nothing to do.
  bool step(bool calm) {
    const std::uint64_t dice = calm ? 50 : random_.below(100);
    if (due_) {
      if (now() < *due_) {
        if (!calm) return false;
        clock_.advance(*due_ - now());
      }
      due_.reset();
      core_.on_timer(now());
      return true;
    }
    if (list_) {
      const std::string target = *std::exchange(list_, std::nullopt);
      if (dice < 8) {
        core_.on_list(make_error(Code::kUnavailable, "ConnectionLost", "x"), now());
      } else if (dice < 14) {
        core_.on_list(HttpResponse{503, {{"Retry-After", "1"}}, ""}, now());
      } else if (dice < 20 && target.find("continue=") != std::string::npos) {
        core_.on_list(HttpResponse{410, {}, R"({"kind":"Status","code":410,"reason":"Expired"})"},
                      now());
      } else {
        core_.on_list(api_.raw("GET", target, {}, ""), now());
      }
      return true;
    }
    if (!open_) return false;
    if (!headed_) return head(dice);
    return body(dice, calm);
  }
  bool behind() {
    return list_ || due_ || !open_ || !headed_ || !api_.events_since(kind_, sent_)->empty();
  }

 private:
  Nanos now() const { return clock_.monotonic(); }
  void end() {
    open_ = false;
    core_.on_watch_end(ok_status(), now());
  }
  bool head(std::uint64_t dice) {
    headed_ = true;
    if (dice < 5) {
      open_ = false;
      core_.on_watch_end(make_error(Code::kUnavailable, "ConnectFailed", "x"), now());
    } else if (dice < 10) {
      core_.on_watch_head(429, {{"Retry-After", "2"}}, now());
      end();
    } else if (dice < 13 || sent_ < api_.compacted[kind_]) {
      core_.on_watch_head(410, {}, now());
      core_.on_watch_data(R"({"kind":"Status","code":410,"reason":"Gone"})", now());
      end();
    } else {
      core_.on_watch_head(200, {}, now());
    }
    return true;
  }
  bool body(std::uint64_t dice, bool calm) {
    if (!calm && dice < 6) {  // cut, perhaps in the middle of a frame
      if (!stream_.empty())
        core_.on_watch_data(std::string_view(stream_).substr(0, stream_.size() / 2), now());
      clock_.advance(Millis{static_cast<std::int64_t>(random_.below(3000))});
      end();
      return true;
    }
    if (!calm && dice < 10 && stream_.empty()) {
      feed(R"({"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired"}})"
           "\n");
      return true;
    }
    if (!calm && dice < 20 && stream_.empty()) {
      feed(R"({"type":"BOOKMARK","object":{"metadata":{"resourceVersion":")" +
           std::to_string(sent_) + "\"}}}\n");
      return true;
    }
    if (stream_.empty()) {
      const auto events = api_.events_since(kind_, sent_);
      if (!events) {
        feed(R"({"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired"}})"
             "\n");
        return true;
      }
      if (events->empty()) return false;
      const auto& next = events->front();
      stream_ = Json{{"type", next.type}, {"object", next.object}}.dump() + "\n";
      if (!calm && random_.below(10) == 0) stream_ += stream_;  // the same event twice
      version_ = next.version;
    }
    const std::size_t n = calm ? stream_.size() : 1 + random_.below(stream_.size());
    const std::string chunk = stream_.substr(0, n);
    stream_.erase(0, n);
    if (stream_.empty()) sent_ = version_;
    feed(chunk);
    return true;
  }
  void feed(const std::string& bytes) { core_.on_watch_data(bytes, now()); }

  FakeApi& api_;
  FakeClock& clock_;
  Random& random_;
  const std::string kind_;
  std::optional<std::string> list_;
  std::optional<Nanos> due_;
  bool open_ = false, headed_ = false;
  std::int64_t sent_ = 0, version_ = 0;
  std::string stream_;
  ReflectorCore core_;
};

struct World {
  explicit World(std::uint64_t seed) : random(seed, 0) {
    configure_logging(LogLevel::kError, LogFormat::kText);
    auto own = std::make_unique<ManualExecutor>();
    executor = own.get();
    work.add_executor(std::move(own));
    caches.add(erased_kind<Widget>());
    caches.add(erased_kind<ConfigMap>());
    core = std::make_unique<ControllerCore>(
        test::widget_controller(),
        ControllerSurroundings{caches, api, kinds, work, clock, metrics, {}});
    for (Store* store : caches.all()) {
      reflectors.push_back(std::make_unique<ScheduledReflector>(
          api, *store, clock, random,
          [this, store](const Change& change) { changed(*store, change); }));
    }
    api.fault = [this](std::string_view) -> std::optional<FakeApi::Fault> {
      if (calm) return std::nullopt;
      switch (random.below(30)) {
        case 0:
          return FakeApi::Fault{test::api_error(409, "Conflict"), false};
        case 1:
          return FakeApi::Fault{test::api_error(500, "InternalError"), false};
        case 2:
          return FakeApi::Fault{make_error(Code::kUnavailable, "ConnectionLost", "before"), false};
        case 3:
          return FakeApi::Fault{make_error(Code::kUnavailable, "ConnectionLost", "after"), true};
        case 4:
          return FakeApi::Fault{test::api_error(429, "TooManyRequests"), false};
        default:
          return std::nullopt;
      }
    };
  }

  void changed(const Store& store, const Change& change) {
    if (store.kind().info.plural == "widgets") {
      queue.add((change.after ? change.after : change.before)->key());
      return;
    }
    for (const StoredPtr& object : {change.before, change.after}) {
      if (!object) continue;
      if (const auto* owner = object->meta.controller_owner())
        queue.add({object->meta.ns, owner->name});
    }
  }
  bool synced() {
    for (Store* store : caches.all()) {
      if (!store->synced()) return false;
    }
    return true;
  }

  bool work_one() {
    if (!synced()) return false;  // the manager starts its workers after that
    const auto key = queue.take(clock.monotonic());
    if (!key) return false;
    const auto done = core->reconcile(*key);
    switch (done.kind) {
      case ControllerCore::Done::Kind::kSuccess:
        queue.forget_failures(*key);
        if (done.requeue_after) queue.add_after(*key, *done.requeue_after, clock.monotonic());
        break;
      case ControllerCore::Done::Kind::kStale:
        queue.add_after(*key, *done.requeue_after, clock.monotonic());
        break;
      default:
        last_error = done.error->reason + " " + done.error->to_string();
        queue.add_failed(*key, clock.monotonic());
    }
    queue.done(*key);
    return true;
  }

  // People and other controllers: never faulted, never counted.
  void outside() {
    const bool was_calm = std::exchange(calm, true);
    const int writes = api.writes;
    const std::string name(1, static_cast<char>('a' + random.below(4)));
    const ObjectKey key{"ns", name};
    Json* live = api.find(Widget::kKind, key);
    api.collect_garbage();
    switch (random.below(6)) {
      case 0:
      case 1:
        if (live) {
          (void)api.patch(Widget::kKind, "ns", name, PatchType::kMerge,
                          {{"spec", {{"size", random.below(4)}}}}, {});
        } else {
          (void)api.create(Widget::kKind,
                           test::widget("ns", name, static_cast<std::int64_t>(random.below(4))),
                           {});
        }
        break;
      case 2:
        if (live) (void)api.remove(Widget::kKind, "ns", name, {});
        break;
      case 3:
        (void)api.remove(ConfigMap::kKind, "ns", name + "-0", {});
        break;
      case 4:
        (void)api.patch(ConfigMap::kKind, "ns", name + "-1", PatchType::kMerge,
                        {{"data", {{"value", "drifted"}}}}, {});
        break;
      case 5:  // history is compacted
        for (auto& [kind, oldest] : std::map<std::string, int>{{"widgets", 0}, {"configmaps", 0}}) {
          (void)oldest;
          api.compacted[kind] = api.version - static_cast<std::int64_t>(random.below(3));
        }
        break;
    }
    api.writes = writes;
    calm = was_calm;
  }

  void polish() {
    if (executor->running.empty()) return;
    auto it = executor->running.begin();
    std::advance(it, static_cast<std::ptrdiff_t>(random.below(executor->running.size())));
    auto callbacks = it->second;
    executor->running.erase(it);
    if (!calm && random.below(4) == 0) {
      callbacks.done(make_error(Code::kUnavailable, "Dusty", "x"));
    } else {
      callbacks.done(Json::object());
    }
  }

  void storm(int steps) {
    for (int i = 0; i < steps; ++i) {
      switch (random.below(10)) {
        case 0:
          outside();
          break;
        case 1:
          polish();
          break;
        case 2:
          clock.advance(Millis{static_cast<std::int64_t>(random.below(2000))});
          work.tick();
          break;
        case 3:
        case 4:
          work_one();
          break;
        default:
          reflectors[random.below(reflectors.size())]->step(false);
      }
    }
  }

  // Lets everything come to rest; false when it does not.
  bool settle() {
    calm = true;
    for (int round = 0; round < 20'000; ++round) {
      api.collect_garbage();
      bool busy = false;
      for (auto& reflector : reflectors) busy |= reflector->step(true);
      busy |= work_one();
      if (!executor->running.empty()) {
        polish();
        busy = true;
      }
      if (busy) continue;
      if (const auto due = queue.next_due()) {
        clock.advance(std::max(*due - clock.monotonic(), Nanos{}));
        work.tick();
        continue;
      }
      const bool waiting = unfinished();
      if (!waiting) return true;
      clock.advance(Seconds{10});
      work.tick();
    }
    explain();
    return false;
  }
  void explain() {
    RC_LOG() << "last error " << last_error << "\n";
    RC_LOG() << "queue depth " << queue.depth() << " due " << queue.next_due().has_value()
             << " running " << executor->running.size() << "\n";
    for (std::size_t i = 0; i < reflectors.size(); ++i)
      RC_LOG() << "reflector " << i << " behind " << reflectors[i]->behind() << "\n";
    for (Store* store : caches.all())
      RC_LOG() << store->kind().info.plural << " at " << store->version() << " of " << api.version
               << "\n";
    for (const auto& [key, object] : api.kinds["widgets"]) RC_LOG() << object.dump() << "\n";
    const std::size_t n = api.write_log.size();
    for (std::size_t i = n > 12 ? n - 12 : 0; i < n; ++i) RC_LOG() << api.write_log[i] << "\n";
  }
  bool unfinished() {
    for (const auto& [key, object] : api.kinds["widgets"]) {
      if (!get_bool(get(object, "status"), "shiny")) return true;
    }
    return false;
  }

  void check_final_state() {
    std::size_t children = 0;
    for (const auto& [key, object] : api.kinds["widgets"]) {
      RC_ASSERT(!object["metadata"].contains("deletionTimestamp"));
      RC_ASSERT(object["metadata"]["finalizers"] == Json::array({test::kFinalizer}));
      const auto size = get_int(object["spec"], "size");
      RC_ASSERT(get_int(object["status"], "ready") == size);
      RC_ASSERT(get_string(object["status"]["conditions"][0], "status") == "True");
      for (std::int64_t i = 0; i < size; ++i) {
        const Json* map = api.find(ConfigMap::kKind, {key.ns, key.name + "-" + std::to_string(i)});
        RC_ASSERT(map != nullptr);
        RC_ASSERT(get_string((*map)["data"], "value") == "size " + std::to_string(size));
        RC_ASSERT(get_string((*map)["metadata"]["ownerReferences"][0], "uid") ==
                  get_string(object["metadata"], "uid"));
      }
      const Json* once = api.find(ConfigMap::kKind, {key.ns, key.name + "-once"});
      RC_ASSERT(once != nullptr);
      children += static_cast<std::size_t>(size) + 1;
    }
    RC_ASSERT(api.kinds["configmaps"].size() == children);
    for (Store* store : caches.all()) {
      const auto& real = api.kinds[std::string(store->kind().info.plural)];
      RC_ASSERT(store->size() == real.size());
      for (const auto& [key, object] : real) {
        RC_ASSERT(store->get(key)->meta.resource_version ==
                  get_string(object["metadata"], "resourceVersion"));
      }
    }
  }

  bool calm = false;
  std::string last_error;
  CounterRandom random;
  FakeClock clock;
  MetricsRegistry metrics;
  FakeApi api;
  Caches caches;
  KindRegistry kinds{caches, api};
  KeyQueue queue;
  WorkTable work{clock, [this](const WorkOwner& owner) { queue.add(owner.key); }};
  ManualExecutor* executor = nullptr;
  std::unique_ptr<ControllerCore> core;
  std::vector<std::unique_ptr<ScheduledReflector>> reflectors;
};

RC_GTEST_PROP(Schedules, SameEndAndThenNoWrites, (std::uint64_t seed)) {
  World world(seed);
  world.storm(400);
  RC_ASSERT(world.settle());
  world.check_final_state();

  // Steady: every object is looked at again, twice, and nothing is written.
  const int writes = world.api.writes;
  const std::size_t log = world.api.write_log.size();
  for (int again = 0; again < 2; ++again) {
    for (const auto& [key, object] : world.api.kinds["widgets"]) world.queue.add(key);
    RC_ASSERT(world.settle());
  }
  for (std::size_t i = log; i < world.api.write_log.size(); ++i)
    RC_LOG() << world.api.write_log[i] << "\n";
  RC_ASSERT(world.api.writes == writes);
}

// The same, after a restart of the controller: one apply per child at most, and the server sees no
// change.
RC_GTEST_PROP(Schedules, RestartChangesNothing, (std::uint64_t seed)) {
  World world(seed);
  world.storm(200);
  RC_ASSERT(world.settle());
  const auto before = world.api.version;
  world.core = std::make_unique<ControllerCore>(
      test::widget_controller(),
      ControllerSurroundings{
          world.caches, world.api, world.kinds, world.work, world.clock, world.metrics, {}});
  for (const auto& [key, object] : world.api.kinds["widgets"]) world.queue.add(key);
  RC_ASSERT(world.settle());
  RC_ASSERT(world.api.version == before);
}

}  // namespace
}  // namespace tango::kube
