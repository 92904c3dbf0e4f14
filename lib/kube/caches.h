// All caches of a manager, the view that a reconcile gets of them, and the registry that turns
// apiVersion and kind of a manifest into a path. Used by the controller core and the manager.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <typeindex>
#include <vector>

#include "lib/kube-types/outcome.h"
#include "lib/kube/client.h"
#include "lib/kube/store.h"
#include "lib/kube/work_table.h"

namespace tango::kube {

class Caches {
 public:
  // One store per type; a second call gives the first one's store.
  Store& add(const ErasedKind& kind);
  Store* find(std::type_index type) const;
  Store* find(std::string_view api_version, std::string_view kind) const;
  Store* find(const KindInfo& info) const { return find(info.api_version(), info.kind); }
  std::vector<Store*> all() const;

 private:
  std::map<std::type_index, std::unique_ptr<Store>> by_type_;
  std::map<std::string, Store*, std::less<>> by_kind_;
};

// Observed over the caches. What it has given out stays alive and the same as long as the view
// does.
class CacheView final : public Observed {
 public:
  CacheView(const Caches& caches, const WorkTable& work) : caches_(caches), work_(work) {}
  const WorkState* work(std::string_view key) const override;
  // The keys of work that were looked at.
  std::set<std::string> asked_work() const;

 protected:
  const void* find(std::type_index type, std::string_view ns, std::string_view name) const override;
  std::vector<const void*> find_all(std::type_index type, std::string_view ns) const override;
  std::vector<const void*> find_owned(std::type_index type, std::string_view uid) const override;

 private:
  const Store* store(std::type_index type) const;
  std::vector<const void*> pin(std::vector<StoredPtr> objects) const;

  const Caches& caches_;
  const WorkTable& work_;
  mutable std::mutex mutex_;  // API handlers may share a view
  mutable std::vector<StoredPtr> pinned_;
  mutable std::map<std::pair<std::type_index, ObjectKey>, StoredPtr> found_;
  mutable std::map<std::string, std::shared_ptr<const WorkState>, std::less<>> states_;
};

// KindInfo of a manifest: cached kinds, Kubernetes' own that TANGO writes, else the server's
// discovery.
class KindRegistry {
 public:
  KindRegistry(const Caches& caches, KubeClient& client) : caches_(caches), client_(client) {}
  // Errors: UnknownKind, or those of the discovery request.
  Result<KindInfo> find(const std::string& api_version, const std::string& kind);

 private:
  const Caches& caches_;
  KubeClient& client_;
  std::mutex mutex_;
  std::deque<std::string> texts_;  // what discovered KindInfos point into
  std::map<std::string, KindInfo> discovered_;
};

}  // namespace tango::kube
