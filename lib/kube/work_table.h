// What executors do and have done, by idempotency key: started once, watched by the objects that
// asked, ended by a deadline at the latest. Used by the controller core; knows nothing of
// Kubernetes.
#pragma once

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/clock.h"
#include "lib/kube-types/outcome.h"
#include "lib/kube/executor.h"
#include "lib/kube/kind.h"

namespace tango::kube {

// Who asked: an object of a controller.
struct WorkOwner {
  std::string controller;
  ObjectKey key;
  auto operator<=>(const WorkOwner&) const = default;
};

struct WorkTableOptions {
  // A finished state, failed ones too, stays known as long as its key is asked for or looked at in
  // each reconcile of an owner; then it is dropped after this time. Trying again is the
  // controller's decision, under a new key (decision 0403).
  Nanos keep_unwatched = Seconds{60};
  // Owners are woken at most this often by progress.
  Nanos progress_interval = Seconds{1};
};

class WorkTable {
 public:
  WorkTable(Clock& clock, std::function<void(const WorkOwner&)> wake,
            const WorkTableOptions& options = {});
  ~WorkTable();  // cancels what runs
  void add_executor(std::unique_ptr<Executor> executor);

  // Starts the work unless its state is known; either way the owner is woken by its changes.
  // An unknown executor is a failed state with reason UnknownExecutor.
  void request(const Work& work, const WorkOwner& owner);
  std::shared_ptr<const WorkState> state(std::string_view key) const;
  // After a reconcile: the keys that this owner asked for or looked at. Running work goes on.
  void set_interest(const WorkOwner& owner, const std::set<std::string>& keys);
  // The object is gone: work that nobody else waits for is cancelled.
  void drop(const WorkOwner& owner);
  // Deadlines, forgetting and held-back progress; called a few times a second.
  void tick();
  void cancel_all();

 private:
  struct Shared;
  std::vector<std::unique_ptr<Executor>> executors_;  // here, so that no callback can outlive them
  std::shared_ptr<Shared> shared_;
};

}  // namespace tango::kube
