// The work queue of a controller: each key at most once in it, never in two hands, with delayed
// adds and a growing delay for keys that fail. KeyQueue is the rule book, without threads and
// clocks; WorkQueue adds waiting and controller-runtime's metrics.
#pragma once

#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>

#include "lib/base/clock.h"
#include "lib/base/metrics.h"
#include "lib/kube/kind.h"

namespace tango::kube {

struct QueueOptions {
  // As controller-runtime: per key, 5 ms doubling up to 1000 s.
  Nanos first_delay = Millis{5};
  Nanos max_delay = Seconds{1000};
};

class KeyQueue {
 public:
  explicit KeyQueue(const QueueOptions& options = {}) : options_(options) {}

  // In the queue now. A key that is being worked on comes back when it is done.
  void add(const ObjectKey& key);
  // Later; of several delays of one key the shortest counts. Taking the key forgets its delay: who
  // works on it decides anew.
  void add_after(const ObjectKey& key, Nanos delay, Nanos now);
  // Later, after this key's next failure delay.
  Nanos add_failed(const ObjectKey& key, Nanos now);
  void forget_failures(const ObjectKey& key) { failures_.erase(key); }

  std::optional<ObjectKey> take(Nanos now);
  void done(const ObjectKey& key);

  std::optional<Nanos> next_due() const;  // when a delayed key becomes ready
  std::size_t depth() const { return ready_.size(); }
  bool idle() const { return ready_.empty() && working_.empty(); }
  int failures(const ObjectKey& key) const;

 private:
  void ripen(Nanos now);

  const QueueOptions options_;
  std::deque<ObjectKey> ready_;
  std::set<ObjectKey> dirty_;  // in ready_, or to be added again when done
  std::set<ObjectKey> working_;
  std::map<ObjectKey, Nanos> delayed_;
  std::set<std::pair<Nanos, ObjectKey>> due_;
  std::map<ObjectKey, int> failures_;
};

class WorkQueue {
 public:
  WorkQueue(std::string name, Clock& clock, MetricsRegistry& metrics,
            const QueueOptions& options = {});

  void add(const ObjectKey& key);
  void add_after(const ObjectKey& key, Nanos delay);
  Nanos add_failed(const ObjectKey& key);
  void forget_failures(const ObjectKey& key);
  // Waits for a key; nothing after shut_down().
  std::optional<ObjectKey> take();
  void done(const ObjectKey& key);
  void shut_down();
  bool idle() const;

 private:
  void publish_depth();

  const MetricLabels labels_;
  Clock& clock_;
  MetricsRegistry& metrics_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  KeyQueue queue_;
  std::map<ObjectKey, Nanos> added_;
  std::map<ObjectKey, Nanos> started_;
  bool stopping_ = false;
};

}  // namespace tango::kube
