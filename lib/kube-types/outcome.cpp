#include "lib/kube-types/outcome.h"

namespace tango::kube {
namespace {

std::string key_of(std::string_view ns, std::string_view name) {
  std::string key(ns);
  key += '/';
  key += name;
  return key;
}

}  // namespace

const WorkState* MapObserved::work(std::string_view key) const {
  auto it = work_.find(key);
  return it == work_.end() ? nullptr : &it->second;
}

const void* MapObserved::find(std::type_index type, std::string_view ns,
                              std::string_view name) const {
  auto kind = objects_.find(type);
  if (kind == objects_.end()) return nullptr;
  auto it = kind->second.find(key_of(ns, name));
  return it == kind->second.end() ? nullptr : it->second.object.get();
}

std::vector<const void*> MapObserved::find_all(std::type_index type, std::string_view ns) const {
  std::vector<const void*> out;
  auto kind = objects_.find(type);
  if (kind == objects_.end()) return out;
  for (const auto& [key, entry] : kind->second) {
    if (ns.empty() || entry.ns == ns) out.push_back(entry.object.get());
  }
  return out;
}

std::vector<const void*> MapObserved::find_owned(std::type_index type, std::string_view uid) const {
  std::vector<const void*> out;
  auto kind = objects_.find(type);
  if (kind == objects_.end() || uid.empty()) return out;
  for (const auto& [key, entry] : kind->second) {
    if (entry.owner_uid == uid) out.push_back(entry.object.get());
  }
  return out;
}

void MapObserved::put_erased(std::type_index type, const ObjectMeta& meta,
                             std::shared_ptr<const void> object) {
  const OwnerReference* owner = meta.controller_owner();
  objects_[type][key_of(meta.ns, meta.name)] =
      Entry{meta.ns, meta.name, owner == nullptr ? std::string() : owner->uid, std::move(object)};
}

}  // namespace tango::kube
