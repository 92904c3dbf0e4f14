// The controller runtime as a table of contents: a Manager holds caches, queues, controllers,
// executors and leader election, and carries out Outcomes. See lib/kube/README.md for an example
// controller.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/base/clock.h"
#include "lib/base/http.h"
#include "lib/base/metrics.h"
#include "lib/base/result.h"
#include "lib/kube-types/meta.h"
#include "lib/kube-types/outcome.h"
#include "lib/kube/client.h"
#include "lib/kube/executor.h"
#include "lib/kube/kind.h"

namespace tango::kube {

// Which of my objects to reconcile when an object of another kind changed.
using MapFunction = std::function<std::vector<ObjectKey>(const ObjectMeta& changed,
                                                         const void* object, const Observed&)>;

struct Watch {
  ErasedKind kind;
  bool owned = false;  // enqueue the controller owner (of this controller's kind)
  MapFunction map;     // otherwise
};

struct ControllerSpec {
  std::string name;  // also the field manager: "tango-<name>"
  ErasedKind kind;
  std::string finalizer;  // empty: none
  // self, observed, now. `self` has the dynamic type of `kind`.
  std::function<Outcome(const void* self, const Observed&, TimePoint)> reconcile;
  std::vector<Watch> watches;
  int max_concurrent = 1;
};

// controller<TangoProject>("tangoproject",
// reconcile_project).finalizer(...).owns<Dataset>().watches<Model>(fn)
class ControllerBuilder {
 public:
  explicit ControllerBuilder(ControllerSpec spec) : spec_(std::move(spec)) {}
  ControllerBuilder& finalizer(std::string name) {
    spec_.finalizer = std::move(name);
    return *this;
  }
  ControllerBuilder& concurrency(int n) {
    spec_.max_concurrent = n;
    return *this;
  }
  template <typename T>
  ControllerBuilder& owns() {
    spec_.watches.push_back({erased_kind<T>(), true, {}});
    return *this;
  }
  template <typename T>
  ControllerBuilder& watches(std::function<std::vector<ObjectKey>(const T&, const Observed&)> map) {
    spec_.watches.push_back(
        {erased_kind<T>(), false,
         [map = std::move(map)](const ObjectMeta&, const void* o, const Observed& w) {
           return map(*static_cast<const T*>(o), w);
         }});
    return *this;
  }
  ControllerSpec build() const { return spec_; }

 private:
  ControllerSpec spec_;
};
template <typename T>
ControllerBuilder controller(
    std::string name, std::function<Outcome(const T&, const Observed&, TimePoint)> reconcile) {
  ControllerSpec spec{std::move(name), erased_kind<T>(), {}, {}, {}, 1};
  spec.reconcile = [reconcile = std::move(reconcile)](const void* self, const Observed& world,
                                                      TimePoint now) {
    return reconcile(*static_cast<const T*>(self), world, now);
  };
  return ControllerBuilder(std::move(spec));
}

struct LeaderElectionOptions {
  bool enabled = true;
  std::string ns = "tango-system";
  std::string name = "tango-operator";
  std::string identity = {};  // empty: host name, process id and a random suffix
  Nanos lease = Seconds{15}, renew = Seconds{10}, retry = Seconds{2};
};

struct ManagerOptions {
  std::vector<std::string> namespaces = {};  // empty: all; several: not yet (Unsupported)
  LeaderElectionOptions election = {};
  Nanos cache_sync_timeout = Seconds{120};
  Clock* clock = nullptr;              // nullptr: system
  MetricsRegistry* metrics = nullptr;  // nullptr: default
};

class Manager {
 public:
  static std::unique_ptr<Manager> create(std::unique_ptr<KubeClient> client,
                                         ManagerOptions options);
  virtual ~Manager() = default;
  virtual void add(ControllerSpec controller) = 0;
  virtual void add_executor(std::unique_ptr<Executor> executor) = 0;
  // Additional kinds to cache although no controller watches them.
  virtual void cache(ErasedKind kind) = 0;
  // Caches are synced (and leadership is held, when elected): readyz.
  virtual bool ready() const = 0;
  virtual bool leader() const = 0;
  // Epoch of the current leadership (annotation ml-tango.io/fleet-epoch of the Lease, raised by
  // compare-and-swap).
  virtual std::int64_t fleet_epoch() const = 0;
  virtual KubeClient& client() = 0;
  // Raises the epoch above `floor` by compare-and-swap (a device reported a higher one). Errors:
  // NotLeader, Conflict.
  virtual Result<std::int64_t> raise_fleet_epoch(std::int64_t floor) = 0;
  // A consistent read-only view for APIs; valid while the returned pointer lives.
  virtual std::shared_ptr<const Observed> observed() const = 0;
  // Blocks until stop(); errors: CacheSyncTimeout, LeadershipLost, CRDsOutdated, ...
  virtual Status run() = 0;
  virtual void stop() = 0;
};

}  // namespace tango::kube
