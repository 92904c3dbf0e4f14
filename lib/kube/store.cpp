#include "lib/kube/store.h"

#include <algorithm>
#include <mutex>

namespace tango::kube {
namespace {

std::string label_key(std::string_view key, std::string_view value) {
  std::string out(key);
  out += '=';
  out += value;
  return out;
}

bool is_number(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
}

}  // namespace

bool version_reached(std::string_view current, std::string_view wanted) {
  if (wanted.empty() || current == wanted) return true;
  if (!is_number(current) || !is_number(wanted)) return false;
  if (current.size() != wanted.size()) return current.size() > wanted.size();
  return current >= wanted;
}

Result<StoredPtr> parse_stored(const ErasedKind& kind, std::string json) {
  TRY_ASSIGN(auto parsed, kind.parse(json));
  auto stored = std::make_shared<StoredObject>();
  stored->meta = std::move(parsed.first);
  stored->object = std::move(parsed.second);
  stored->json = std::move(json);
  return StoredPtr(std::move(stored));
}

void Store::index(const StoredObject& object, bool add) {
  const ObjectKey key = object.key();
  auto change = [&](Index& index, std::string_view at) {
    if (add) {
      index[std::string(at)].insert(key);
    } else if (const auto it = index.find(at); it != index.end()) {
      it->second.erase(key);
      if (it->second.empty()) index.erase(it);
    }
  };
  if (const OwnerReference* owner = object.meta.controller_owner()) change(by_owner_, owner->uid);
  for (const auto& [label, value] : object.meta.labels) change(by_label_, label_key(label, value));
}

std::vector<Change> Store::replace(std::vector<StoredPtr> objects) {
  std::map<ObjectKey, StoredPtr> next;
  for (auto& object : objects) next.insert_or_assign(object->key(), std::move(object));
  std::vector<Change> changes;
  std::unique_lock lock(mutex_);
  for (const auto& [key, before] : objects_) {
    const auto it = next.find(key);
    // Another uid under the same name is another object: the old one was deleted unseen.
    if (it == next.end() || it->second->meta.uid != before->meta.uid) {
      changes.push_back({Change::Type::kDeleted, before, nullptr});
    }
  }
  for (const auto& [key, after] : next) {
    const auto it = objects_.find(key);
    if (it == objects_.end() || it->second->meta.uid != after->meta.uid) {
      changes.push_back({Change::Type::kAdded, nullptr, after});
    } else if (it->second->meta.resource_version != after->meta.resource_version) {
      changes.push_back({Change::Type::kUpdated, it->second, after});
    }
  }
  objects_ = std::move(next);
  by_owner_.clear();
  by_label_.clear();
  for (const auto& [key, object] : objects_) index(*object, true);
  return changes;
}

std::vector<Change> Store::put(StoredPtr object) {
  std::unique_lock lock(mutex_);
  StoredPtr& slot = objects_[object->key()];
  StoredPtr before = std::exchange(slot, object);
  if (before) index(*before, false);
  index(*object, true);
  if (!before) return {{Change::Type::kAdded, nullptr, std::move(object)}};
  if (before->meta.uid != object->meta.uid) {
    return {{Change::Type::kDeleted, std::move(before), nullptr},
            {Change::Type::kAdded, nullptr, std::move(object)}};
  }
  return {{Change::Type::kUpdated, std::move(before), std::move(object)}};
}

std::vector<Change> Store::erase(const ObjectKey& key) {
  std::unique_lock lock(mutex_);
  auto node = objects_.extract(key);
  if (node.empty()) return {};
  index(*node.mapped(), false);
  return {{Change::Type::kDeleted, std::move(node.mapped()), nullptr}};
}

void Store::set_version(std::string_view resource_version) {
  std::unique_lock lock(mutex_);
  version_ = resource_version;
}

StoredPtr Store::get(const ObjectKey& key) const {
  std::shared_lock lock(mutex_);
  const auto it = objects_.find(key);
  return it == objects_.end() ? nullptr : it->second;
}

std::vector<StoredPtr> Store::list(std::string_view ns) const {
  std::shared_lock lock(mutex_);
  std::vector<StoredPtr> out;
  auto it = ns.empty() ? objects_.begin() : objects_.lower_bound(ObjectKey{std::string(ns), ""});
  for (; it != objects_.end() && (ns.empty() || it->first.ns == ns); ++it)
    out.push_back(it->second);
  return out;
}

std::vector<StoredPtr> Store::indexed(const Index& index, std::string_view key) const {
  std::shared_lock lock(mutex_);
  std::vector<StoredPtr> out;
  const auto it = index.find(key);
  if (it == index.end()) return out;
  for (const ObjectKey& object : it->second) out.push_back(objects_.at(object));
  return out;
}

std::vector<StoredPtr> Store::owned(std::string_view owner_uid) const {
  return indexed(by_owner_, owner_uid);
}
std::vector<StoredPtr> Store::labelled(std::string_view key, std::string_view value) const {
  return indexed(by_label_, label_key(key, value));
}

std::size_t Store::size() const {
  std::shared_lock lock(mutex_);
  return objects_.size();
}
std::string Store::version() const {
  std::shared_lock lock(mutex_);
  return version_;
}
bool Store::reached(std::string_view resource_version) const {
  std::shared_lock lock(mutex_);
  return version_reached(version_, resource_version);
}

}  // namespace tango::kube
