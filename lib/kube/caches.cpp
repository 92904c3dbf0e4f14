#include "lib/kube/caches.h"

#include <algorithm>
#include <array>

#include "lib/base/log.h"
#include "lib/kube-types/core.h"
#include "lib/kube/request.h"

namespace tango::kube {
namespace {

std::string kind_key(std::string_view api_version, std::string_view kind) {
  return std::string(api_version) + "/" + std::string(kind);
}

constexpr KindInfo kService{"", "v1", "Service", "services", true};
constexpr KindInfo kAppsDeployment{"apps", "v1", "Deployment", "deployments", true};
constexpr std::array kKnown{Namespace::kKind,
                            ConfigMap::kKind,
                            KubeSecret::kKind,
                            ServiceAccount::kKind,
                            Pod::kKind,
                            Job::kKind,
                            Event::kKind,
                            Lease::kKind,
                            CustomResourceDefinition::kKind,
                            kService,
                            kAppsDeployment};

}  // namespace

Store& Caches::add(const ErasedKind& kind) {
  auto& slot = by_type_[kind.type];
  if (!slot) {
    slot = std::make_unique<Store>(kind);
    by_kind_[kind_key(kind.info.api_version(), kind.info.kind)] = slot.get();
  }
  return *slot;
}

Store* Caches::find(std::type_index type) const {
  const auto it = by_type_.find(type);
  return it == by_type_.end() ? nullptr : it->second.get();
}
Store* Caches::find(std::string_view api_version, std::string_view kind) const {
  const auto it = by_kind_.find(kind_key(api_version, kind));
  return it == by_kind_.end() ? nullptr : it->second;
}
std::vector<Store*> Caches::all() const {
  std::vector<Store*> out;
  for (const auto& [type, store] : by_type_) out.push_back(store.get());
  return out;
}

const Store* CacheView::store(std::type_index type) const {
  const Store* found = caches_.find(type);
  if (!found) log_error("A kind was read that no cache holds", {{"type", type.name()}});
  return found;
}

const void* CacheView::find(std::type_index type, std::string_view ns,
                            std::string_view name) const {
  const Store* from = store(type);
  if (!from) return nullptr;
  ObjectKey key{from->kind().info.namespaced ? std::string(ns) : std::string(), std::string(name)};
  std::lock_guard lock(mutex_);
  const auto [it, fresh] = found_.try_emplace({type, key});
  if (fresh) it->second = from->get(key);
  return it->second ? it->second->object.get() : nullptr;
}

std::vector<const void*> CacheView::pin(std::vector<StoredPtr> objects) const {
  std::vector<const void*> out;
  out.reserve(objects.size());
  std::lock_guard lock(mutex_);
  for (StoredPtr& object : objects) {
    out.push_back(object->object.get());
    pinned_.push_back(std::move(object));
  }
  return out;
}

std::vector<const void*> CacheView::find_all(std::type_index type, std::string_view ns) const {
  const Store* from = store(type);
  return from ? pin(from->list(ns)) : std::vector<const void*>{};
}

std::vector<const void*> CacheView::find_owned(std::type_index type, std::string_view uid) const {
  const Store* from = store(type);
  return from ? pin(from->owned(uid)) : std::vector<const void*>{};
}

const WorkState* CacheView::work(std::string_view key) const {
  std::lock_guard lock(mutex_);
  auto it = states_.find(key);
  if (it == states_.end()) it = states_.emplace(std::string(key), work_.state(key)).first;
  return it->second.get();
}

std::set<std::string> CacheView::asked_work() const {
  std::lock_guard lock(mutex_);
  std::set<std::string> keys;
  for (const auto& [key, state] : states_) keys.insert(key);
  return keys;
}

Result<KindInfo> KindRegistry::find(const std::string& api_version, const std::string& kind) {
  if (const Store* store = caches_.find(api_version, kind)) return store->kind().info;
  for (const KindInfo& known : kKnown) {
    if (known.kind == kind && known.api_version() == api_version) return known;
  }
  {
    std::lock_guard lock(mutex_);
    if (const auto it = discovered_.find(kind_key(api_version, kind)); it != discovered_.end())
      return it->second;
  }
  const auto slash = api_version.find('/');
  const std::string path = (slash == std::string::npos ? "/api/" : "/apis/") + api_version;
  TRY_ASSIGN(auto response, client_.raw("GET", path, {}, "application/json"));
  if (response.status != 200)
    return error_from_response(response.status, response.body, "discovering " + api_version);
  TRY_ASSIGN(Json list, parse_json(response.body));
  for (const Json& resource : get(list, "resources")) {
    const std::string plural = get_string(resource, "name");
    if (get_string(resource, "kind") != kind || plural.find('/') != std::string::npos) continue;
    std::lock_guard lock(mutex_);
    auto keep = [&](std::string text) -> std::string_view {
      return texts_.emplace_back(std::move(text));
    };
    const KindInfo info{
        slash == std::string::npos ? std::string_view{} : keep(api_version.substr(0, slash)),
        keep(slash == std::string::npos ? api_version : api_version.substr(slash + 1)), keep(kind),
        keep(plural), get_bool(resource, "namespaced")};
    discovered_[kind_key(api_version, kind)] = info;
    return info;
  }
  return make_error(Code::kInvalid, "UnknownKind",
                    "the API server does not serve " + api_version + " " + kind);
}

}  // namespace tango::kube
