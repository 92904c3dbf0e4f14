#include "lib/kube/manager.h"

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

#include "lib/base/log.h"
#include "lib/base/random.h"
#include "lib/kube/caches.h"
#include "lib/kube/controller_core.h"
#include "lib/kube/event_recorder.h"
#include "lib/kube/leader_elector.h"
#include "lib/kube/queue.h"
#include "lib/kube/reflector.h"
#include "lib/kube/runtime_metrics.h"

namespace tango::kube {
namespace {

constexpr Nanos kTick = Millis{100};
constexpr Nanos kSyncPoll = Millis{20};
constexpr double kRetryJitter = 1.2;  // client-go's: retries of several candidates drift apart

// Kernel randomness behind the interface is not for many threads at once.
class SharedRandom : public Random {
 public:
  std::uint64_t next() override {
    std::lock_guard lock(mutex_);
    return system_random().next();
  }

 private:
  std::mutex mutex_;
};

struct Controller {
  Controller(ControllerSpec spec, const ControllerSurroundings& s)
      : core(std::move(spec), s), queue(core.spec().name, s.clock, s.metrics) {}
  ControllerCore core;
  WorkQueue queue;
  std::vector<std::thread> workers;
  std::atomic<int> active = 0;
};

class ManagerImpl final : public Manager {
 public:
  ManagerImpl(std::unique_ptr<KubeClient> client, ManagerOptions options)
      : client_(std::move(client)),
        election_client_(
            client_->with_timeout(std::max<Nanos>(options.election.renew / 2, Seconds{1}))),
        options_(std::move(options)),
        clock_(options_.clock ? *options_.clock : system_clock()),
        metrics_(options_.metrics ? *options_.metrics : default_metrics()),
        kinds_(caches_, *client_),
        work_(clock_, [this](const WorkOwner& owner) { wake(owner); }),
        elector_(election_client_ ? *election_client_ : *client_, options_.election, clock_,
                 metrics_) {}

  ~ManagerImpl() override { stop(); }

  void add(ControllerSpec spec) override {
    caches_.add(spec.kind);
    for (const Watch& watch : spec.watches) caches_.add(watch.kind);
    ControllerSurroundings surroundings{caches_,
                                        *client_,
                                        kinds_,
                                        work_,
                                        clock_,
                                        metrics_,
                                        [this](const InvolvedObject& about, const EventNote& note) {
                                          if (recorder_) recorder_->record(about, note);
                                        }};
    controllers_.push_back(std::make_unique<Controller>(std::move(spec), surroundings));
  }
  void add_executor(std::unique_ptr<Executor> executor) override {
    work_.add_executor(std::move(executor));
  }
  void cache(ErasedKind kind) override { caches_.add(kind); }

  bool ready() const override { return synced_ && (!options_.election.enabled || leader()); }
  bool leader() const override {
    return leading_ && (!options_.election.enabled || elector_.holding());
  }
  std::int64_t fleet_epoch() const override { return elector_.epoch(); }
  Result<std::int64_t> raise_fleet_epoch(std::int64_t floor) override {
    return elector_.raise_epoch(floor);
  }
  KubeClient& client() override { return *client_; }
  std::shared_ptr<const Observed> observed() const override {
    return std::make_shared<CacheView>(caches_, work_);
  }

  void stop() override {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
  }

  Status run() override {
    if (options_.namespaces.size() > 1) {
      return make_error(
          Code::kUnsupported, "Unsupported",
          "caching several chosen namespaces is not implemented; name one, or none for all");
    }
    recorder_ = std::make_unique<EventRecorder>(*client_, "tango-operator", clock_);
    Status result = start_caches();
    if (result.ok()) result = lead();
    shut_down();
    return result;
  }

 private:
  // Waits; true when stop() was called.
  bool pause(Nanos time) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, time, [&] { return stopping_; });
  }

  Status start_caches() {
    ReflectorOptions reflector;
    reflector.metrics = &metrics_;
    for (Store* store : caches_.all()) {
      reflector.ns = store->kind().info.namespaced && !options_.namespaces.empty()
                         ? options_.namespaces.front()
                         : "";
      reflectors_.push_back(std::make_unique<Reflector>(
          *client_, *store, reflector, clock_, random_,
          [this, store](const Change& change) { changed(*store, change); }));
    }
    const Nanos limit = clock_.monotonic() + options_.cache_sync_timeout;
    for (;;) {
      std::string missing;
      for (Store* store : caches_.all()) {
        if (!store->synced())
          missing += (missing.empty() ? "" : ", ") + std::string(store->kind().info.plural);
      }
      if (missing.empty()) break;
      if (clock_.monotonic() > limit) {
        return make_error(Code::kTimeout, "CacheSyncTimeout",
                          "no complete list within " +
                              format_duration(options_.cache_sync_timeout) + " of: " + missing +
                              "; see the log for the reasons (missing CRDs, missing permission, "
                              "unreachable server)");
      }
      if (pause(kSyncPoll)) return ok_status();
    }
    synced_ = true;
    log_info("Caches synced", {{"kinds", caches_.all().size()}});
    return ok_status();
  }

  Status lead() {
    if (stopped()) return ok_status();
    if (options_.election.enabled) {
      if (!acquire()) return ok_status();
    } else if (const Status raised = elector_.raise_without_holding(); !raised.ok()) {
      return Error(raised.error()).with_context("raising the fleet epoch");
    }
    leading_ = true;
    std::thread renewing;
    if (options_.election.enabled) renewing = std::thread([this] { renew(); });
    for (auto& controller : controllers_) {
      for (int i = 0; i < controller->core.spec().max_concurrent; ++i) {
        controller->workers.emplace_back([this, c = controller.get()] { work_on(*c); });
      }
    }
    bool lost = false;
    while (!pause(kTick)) {
      work_.tick();
      if (options_.election.enabled && !elector_.holding()) {
        lost = true;
        break;
      }
    }
    leading_ = false;
    stop();  // also ends the renewing thread
    stop_workers();
    if (renewing.joinable()) renewing.join();
    if (options_.election.enabled) elector_.release();
    if (lost) {
      return make_error(Code::kUnavailable, "LeadershipLost",
                        "the lease " + options_.election.ns + "/" + options_.election.name +
                            " could not be renewed in time; this process must start again");
    }
    return ok_status();
  }

  bool acquire() {
    log_info("Waiting for leadership",
             {{"lease", options_.election.name}, {"identity", elector_.identity()}});
    while (!stopped()) {
      if (elector_.try_once() == LeaderElector::Try::kHeld) return true;
      if (pause(retry_delay())) break;
    }
    return false;
  }
  void renew() {
    while (!pause(retry_delay())) (void)elector_.try_once();
  }
  Nanos retry_delay() {
    const double factor = 1 + (kRetryJitter - 1) * random_.uniform();
    return Nanos(
        static_cast<std::int64_t>(static_cast<double>(options_.election.retry.count()) * factor));
  }

  void work_on(Controller& c) {
    const std::string& name = c.core.spec().name;
    const MetricLabels labels{{"controller", name}};
    while (auto key = c.queue.take()) {
      metrics_.set(metric::kActiveWorkers, labels, ++c.active);
      const Nanos begin = clock_.monotonic();
      const ControllerCore::Done done = c.core.reconcile(*key);
      metrics_.observe(metric::kReconcileTime, labels,
                       std::chrono::duration<double>(clock_.monotonic() - begin).count());
      metrics_.set(metric::kActiveWorkers, labels, --c.active);
      settle(c, *key, done);
      c.queue.done(*key);
    }
  }

  void settle(Controller& c, const ObjectKey& key, const ControllerCore::Done& done) {
    const std::string& name = c.core.spec().name;
    auto count = [&](const char* result) {
      metrics_.add(metric::kReconcileTotal, {{"controller", name}, {"result", result}});
    };
    switch (done.kind) {
      case ControllerCore::Done::Kind::kSuccess:
        c.queue.forget_failures(key);
        if (done.requeue_after) c.queue.add_after(key, *done.requeue_after);
        count(done.requeue_after ? "requeue_after" : "success");
        break;
      case ControllerCore::Done::Kind::kStale:
        c.queue.add_after(key, *done.requeue_after);
        count("requeue_after");
        break;
      case ControllerCore::Done::Kind::kConflict:
        c.queue.add_failed(key);
        count("requeue");
        break;
      case ControllerCore::Done::Kind::kError: {
        const Nanos delay = c.queue.add_failed(key);
        metrics_.add(metric::kReconcileErrors, {{"controller", name}});
        count("error");
        log_warn("Reconcile failed", {{"controller", name},
                                      {"key", key.ns + "/" + key.name},
                                      {"retry", format_duration(delay)},
                                      *done.error});
        break;
      }
    }
  }

  // From a reflector's thread: which keys of which controllers does this change concern?
  void changed(const Store& store, const Change& change) {
    const StoredPtr& now = change.after ? change.after : change.before;
    for (auto& controller : controllers_) {
      const ControllerSpec& spec = controller->core.spec();
      if (spec.kind.type == store.kind().type) controller->queue.add(now->key());
      for (const Watch& watch : spec.watches) {
        if (watch.kind.type != store.kind().type) continue;
        for (const StoredPtr& object : {change.before, change.after}) {
          if (object) enqueue(*controller, watch, *object);
        }
      }
    }
  }

  void enqueue(Controller& controller, const Watch& watch, const StoredObject& object) {
    const ControllerSpec& spec = controller.core.spec();
    if (watch.owned) {
      const OwnerReference* owner = object.meta.controller_owner();
      const KindInfo& kind = spec.kind.info;
      if (!owner || owner->kind != kind.kind) return;
      // Another version of the same group owns it all the same.
      const auto slash = owner->api_version.find('/');
      const std::string group =
          slash == std::string::npos ? "" : owner->api_version.substr(0, slash);
      if (group == kind.group)
        controller.queue.add({kind.namespaced ? object.meta.ns : "", owner->name});
      return;
    }
    if (!watch.map) return;
    try {
      const CacheView view(caches_, work_);
      for (const ObjectKey& key : watch.map(object.meta, object.object.get(), view))
        controller.queue.add(key);
    } catch (const std::exception& e) {
      log_error("A map function threw", {{"controller", spec.name}, {"what", e.what()}});
    }
  }

  void wake(const WorkOwner& owner) {
    for (auto& controller : controllers_) {
      if (controller->core.spec().name == owner.controller) controller->queue.add(owner.key);
    }
  }

  bool stopped() {
    std::lock_guard lock(mutex_);
    return stopping_;
  }

  void stop_workers() {
    for (auto& controller : controllers_) controller->queue.shut_down();
    for (auto& controller : controllers_) {
      for (auto& worker : controller->workers) worker.join();
      controller->workers.clear();
    }
    work_.cancel_all();
  }

  // The reverse of the start: nobody writes any more when the caches go.
  void shut_down() {
    stop();
    stop_workers();
    if (recorder_) recorder_->stop();
    for (auto& reflector : reflectors_) reflector->stop();
    reflectors_.clear();
    log_info("Manager stopped");
  }

  const std::unique_ptr<KubeClient> client_;
  const std::unique_ptr<KubeClient> election_client_;
  const ManagerOptions options_;
  Clock& clock_;
  MetricsRegistry& metrics_;
  SharedRandom random_;
  Caches caches_;
  KindRegistry kinds_;
  std::vector<std::unique_ptr<Controller>> controllers_;
  WorkTable work_;
  LeaderElector elector_;
  std::unique_ptr<EventRecorder> recorder_;
  std::vector<std::unique_ptr<Reflector>> reflectors_;
  std::atomic<bool> synced_ = false;
  std::atomic<bool> leading_ = false;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;
};

}  // namespace

std::unique_ptr<Manager> Manager::create(std::unique_ptr<KubeClient> client,
                                         ManagerOptions options) {
  return std::make_unique<ManagerImpl>(std::move(client), std::move(options));
}

}  // namespace tango::kube
