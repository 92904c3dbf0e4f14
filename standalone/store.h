// The embedded API server's memory: objects and an event log in SQLite (WAL, fsync on every commit)
// with one global revision, which is resourceVersion. Reads come from memory. A watch resumes from
// the log or is told that its revision is gone. Knows nothing of kinds, schemas or HTTP.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/file.h"
#include "lib/base/json.h"
#include "lib/base/result.h"

struct sqlite3;
struct sqlite3_stmt;

namespace tango::standalone {

// Immutable. The JSON value is parsed from the text when it is first asked for.
class StoredObject {
 public:
  StoredObject(std::string resource_in, std::string ns_in, std::string name_in,
               std::int64_t revision_in, std::string text_in)
      : resource(std::move(resource_in)),
        ns(std::move(ns_in)),
        name(std::move(name_in)),
        revision(revision_in),
        text(std::move(text_in)) {}
  const Json& body() const;

  const std::string resource;  // "<group>/<plural>"
  const std::string ns, name;
  const std::int64_t revision;
  const std::string text;

 private:
  mutable std::once_flag parsed_;
  mutable Json body_;
};
using ObjectPtr = std::shared_ptr<const StoredObject>;

enum class EventType { kAdded, kModified, kDeleted };
struct StoreEvent {
  EventType type = EventType::kAdded;
  std::int64_t revision = 0;
  ObjectPtr object;    // of kDeleted: the last state, with the revision of the deletion
  ObjectPtr previous;  // null for kAdded
};

struct StoreOptions {
  std::size_t history = 4096;  // events that watches can resume from
};

class Store {
 public:
  // Errors: StoreFailed (SQLite's words), StoreVersion (written by a newer version).
  static Result<std::unique_ptr<Store>> open(const fs::path& path,
                                             const StoreOptions& options = {});
  ~Store();

  std::int64_t revision() const;
  std::int64_t oldest_resumable() const;
  ObjectPtr get(std::string_view resource, std::string_view ns, std::string_view name) const;
  struct Snapshot {
    std::vector<ObjectPtr> objects;  // ordered by namespace, name
    std::int64_t revision = 0;
  };
  Snapshot list(std::string_view resource, std::string_view ns = {}) const;  // ns "": all
  // As of an older revision. Errors: Expired.
  Result<Snapshot> list_at(std::string_view resource, std::string_view ns,
                           std::int64_t revision) const;
  std::vector<ObjectPtr> everything() const;

  // Read-modify-write sections hold this; put() and remove() require it.
  std::unique_lock<std::mutex> lock_writes() { return std::unique_lock(write_mutex_); }
  // Sets metadata.resourceVersion and commits. Durable on return.
  Result<ObjectPtr> put(const std::string& resource, const std::string& ns, const std::string& name,
                        Json body);
  Result<ObjectPtr> remove(const std::string& resource, const std::string& ns,
                           const std::string& name);

  // Every event after `from`, in order, exactly once: first the logged ones (within this call),
  // then live ones on the writer's thread. Listeners must not write to the store. Errors: Expired.
  using Listener = std::function<void(const StoreEvent&)>;
  Result<std::uint64_t> subscribe(std::string resource, std::int64_t from,
                                  Listener listener);  // "": all
  void unsubscribe(std::uint64_t id);  // afterwards the listener is not running and will not run

  // Runs `visit` between two events, with the revision of the last one.
  void in_order(const std::function<void(std::int64_t revision)>& visit);

  std::string meta(const std::string& key) const;
  Status set_meta(const std::string& key, const std::string& value);

 private:
  Store(sqlite3* db, const StoreOptions& options) : db_(db), options_(options) {}
  Status load();
  Status exec(const char* sql);
  Status commit(const StoreEvent& event);
  Error failure(const char* what) const;
  void publish(StoreEvent event);

  using Key = std::pair<std::string, std::string>;  // namespace, name
  sqlite3* db_;
  StoreOptions options_;
  sqlite3_stmt *put_ = nullptr, *delete_ = nullptr, *log_ = nullptr;
  std::mutex write_mutex_;
  mutable std::shared_mutex data_mutex_;
  std::map<std::string, std::map<Key, ObjectPtr>, std::less<>> objects_;
  std::deque<StoreEvent> history_;
  std::int64_t revision_ = 0;
  std::int64_t compacted_ = 0;  // events up to here are gone
  std::int64_t trimmed_ = 0;    // rows deleted from the log up to here
  std::mutex listeners_mutex_;  // taken before data_mutex_
  std::map<std::uint64_t, std::pair<std::string, Listener>> listeners_;
  std::uint64_t next_listener_ = 1;
};

}  // namespace tango::standalone
