// The door to everything outside Kubernetes: an Executor carries out Work that a reconcile asked
// for. Implemented by the operator (registry, signer, ssh); called by the work table.
#pragma once

#include <functional>
#include <string_view>

#include "lib/base/json.h"
#include "lib/base/result.h"
#include "lib/kube-types/outcome.h"

namespace tango::kube {

// Lives as long as the manager; called on manager threads.
class Executor {
 public:
  virtual ~Executor() = default;
  virtual std::string_view name() const = 0;  // Work::executor
  // Starts (or re-attaches to) the work and returns at once. Must be idempotent by key. `done` (and
  // `progress`, any number of times before) may be called from any thread; the manager then stores
  // the state and wakes the objects that asked. Calls after cancel() are ignored.
  struct Callbacks {
    std::function<void(Json output)> progress;
    std::function<void(Result<Json> result)> done;
  };
  virtual void start(const Work& work, Callbacks callbacks) = 0;
  virtual void cancel(std::string_view key) = 0;
};

}  // namespace tango::kube
