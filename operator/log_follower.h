// Follows the logs of stage pods and puts the run events in them into the run store, so that
// progress is seen while a stage runs. Only a convenience: what it misses (a restart, a cut
// connection) is read again, and the store keeps every event once.
#pragma once

#include <functional>
#include <memory>

#include "lib/kube-types/outcome.h"
#include "lib/kube/client.h"
#include "operator/run_store.h"

namespace tango::op {

struct LogFollowerOptions {
  Nanos interval = Seconds{2};        // how often the pods are looked at
  std::size_t max_streams = 64;       // logs followed at once; further pods wait for their turn
  std::size_t max_line = 256u << 10;  // longer lines are dropped
};

class LogFollower {
 public:
  // `observed` gives the current caches, in which pods must be. Both outlive the follower.
  static std::unique_ptr<LogFollower> start(
      kube::KubeClient& client, std::function<std::shared_ptr<const kube::Observed>()> observed,
      RunStore& store, const LogFollowerOptions& options = {});
  virtual ~LogFollower() = default;  // stops
};

// Splits a byte stream into run events; what is no event (a program's other output) is left out.
class EventSplitter {
 public:
  explicit EventSplitter(std::size_t max_line) : max_line_(max_line) {}
  std::vector<run::Event> feed(std::string_view bytes);

 private:
  std::size_t max_line_;
  std::string partial_;
  bool skipping_ = false;
};

}  // namespace tango::op
