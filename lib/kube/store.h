// The cache of one kind: immutable objects behind shared pointers, with indexes by namespace and
// name, by owner uid and by label. Readers get pointers, never copies; a list replaces everything
// at once, so nobody sees a half-filled cache. Filled by the reflector alone.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/json.h"
#include "lib/kube/kind.h"

namespace tango::kube {

struct StoredObject {
  ObjectMeta meta;
  std::shared_ptr<const void> object;  // of the store's kind
  std::string json;                    // as the server sent it
  ObjectKey key() const { return {meta.ns, meta.name}; }
};
using StoredPtr = std::shared_ptr<const StoredObject>;

struct Change {
  enum class Type { kAdded, kUpdated, kDeleted };
  Type type;
  StoredPtr before;  // of kUpdated and kDeleted: the last known state
  StoredPtr after;   // of kAdded and kUpdated
};

class Store {
 public:
  explicit Store(ErasedKind kind) : kind_(std::move(kind)) {}
  const ErasedKind& kind() const { return kind_; }

  // Writers. The version of each call is the store's only after the caller has passed the changes
  // on: set_version() comes last.
  std::vector<Change> replace(std::vector<StoredPtr> objects);
  std::vector<Change> put(StoredPtr object);
  std::vector<Change> erase(const ObjectKey& key);
  void set_version(std::string_view resource_version);
  void set_synced() { synced_.store(true); }

  // Readers.
  StoredPtr get(const ObjectKey& key) const;
  std::vector<StoredPtr> list(std::string_view ns) const;  // "" = all; ordered by namespace, name
  std::vector<StoredPtr> owned(std::string_view owner_uid) const;
  std::vector<StoredPtr> labelled(std::string_view key, std::string_view value) const;
  std::size_t size() const;
  bool synced() const { return synced_.load(); }
  std::string version() const;
  // Whether the cache shows everything up to this version of its kind.
  bool reached(std::string_view resource_version) const;

 private:
  using Index = std::map<std::string, std::set<ObjectKey>, std::less<>>;
  void index(const StoredObject& object, bool add);
  std::vector<StoredPtr> indexed(const Index& index, std::string_view key) const;

  const ErasedKind kind_;
  mutable std::shared_mutex mutex_;
  std::map<ObjectKey, StoredPtr> objects_;
  Index by_owner_;
  Index by_label_;
  std::string version_;
  std::atomic<bool> synced_ = false;
};

// Versions are opaque to clients but for this: of one kind, a higher number is later (KEP-5504, and
// what client-go's staleness guard relies on). What is not a number compares as "not later".
bool version_reached(std::string_view current, std::string_view wanted);

// Parses an object as the server sent it. Errors: those of the kind's codec.
Result<StoredPtr> parse_stored(const ErasedKind& kind, std::string json);

}  // namespace tango::kube
