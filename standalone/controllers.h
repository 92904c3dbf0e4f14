// The controllers that run inside the embedded API server's process: batch/v1 Jobs, garbage
// collection of owned objects, and the life cycle of namespaces and definitions. They learn of
// changes from the store and act through Operations; one thread works one queue.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "standalone/operations.h"

namespace tango::standalone {

// A worker thread with a set of keys: a key that is added while it waits is worked once.
class KeyWorker {
 public:
  using Work = std::function<std::optional<Nanos>(const std::string& key)>;  // answer: again after
  explicit KeyWorker(Work work) : work_(std::move(work)) {}
  ~KeyWorker() { stop(); }
  void start();
  void stop();
  void add(const std::string& key, Nanos after = Nanos{0});

 private:
  void run();
  Work work_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::map<std::string, std::chrono::steady_clock::time_point> due_;
  bool stopping_ = false;
  std::thread thread_;
};

class Controllers {
 public:
  explicit Controllers(Operations& operations);
  ~Controllers();
  Status start();
  void stop();

 private:
  std::optional<Nanos> reconcile(const std::string& key);
  std::optional<Nanos> reconcile_job(const std::string& ns, const std::string& name);
  std::optional<Nanos> reconcile_namespace(const std::string& name);
  void reconcile_definition(const std::string& name);
  void collect_dependents(const std::string& owner_uid);
  void reconcile_deleting(const std::string& resource, const std::string& ns,
                          const std::string& name);
  void sweep_orphans();
  void expire_events();
  void on_event(const StoreEvent& event);

  Operations& operations_;
  Store& store_;
  KeyWorker worker_;
  std::uint64_t subscription_ = 0;
};

// Helpers that controllers and the pod runner share: conflicts are retried, absence is fine.
// `change` edits the object; false: nothing to write. Writes `sub` ("" or "status").
bool update_object(Operations& operations, std::string_view group, std::string_view plural,
                   const std::string& ns, const std::string& name, const std::string& sub,
                   const std::string& manager, const std::function<bool(Json&)>& change);
void record_event(Operations& operations, const Json& about, const std::string& type,
                  const std::string& reason, const std::string& message,
                  const std::string& component);
ResourcePtr builtin_resource(Operations& operations, std::string_view group,
                             std::string_view plural);
// Inserts or replaces a condition by type; lastTransitionTime moves only with the status.
void put_condition(Json& conditions, const std::string& type, bool status,
                   const std::string& reason, const std::string& message, TimePoint now);

}  // namespace tango::standalone
