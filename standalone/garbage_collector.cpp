// Owner references: dependents go when their last owner is gone (background), before it goes
// (foreground), or are set free (orphan).
#include <algorithm>
#include <set>

#include "standalone/controllers.h"

namespace tango::standalone {
namespace {

struct Dependent {
  ObjectPtr object;
  bool sole = true;  // no other living owner
  bool blocking = false;
};

std::set<std::string> living(Store& store) {
  std::set<std::string> out;
  for (const ObjectPtr& o : store.everything())
    out.insert(get_string(get(o->body(), "metadata"), "uid"));
  return out;
}

std::vector<Dependent> dependents_of(Store& store, const std::string& uid) {
  std::vector<Dependent> out;
  std::optional<std::set<std::string>> alive;
  for (const ObjectPtr& o : store.everything()) {
    if (o->text.find(uid) == std::string::npos)
      continue;  // cheap: most objects name other owners or none
    Dependent d{o, true, false};
    bool mine = false;
    for (const Json& owner : get(get(o->body(), "metadata"), "ownerReferences")) {
      std::string other = get_string(owner, "uid");
      if (other == uid) {
        mine = true;
        d.blocking = get_bool(owner, "blockOwnerDeletion");
        continue;
      }
      if (!alive) alive = living(store);
      if (alive->contains(other)) d.sole = false;
    }
    if (mine) out.push_back(std::move(d));
  }
  return out;
}

void release(Operations& operations, const StoredObject& o, const std::string& owner_uid) {
  ResourcePtr r = operations.registry().table()->by_store_key(o.resource);
  if (!r) return;
  Json owners = Json::array();
  for (const Json& owner : get(get(o.body(), "metadata"), "ownerReferences")) {
    if (get_string(owner, "uid") != owner_uid) owners.push_back(owner);
  }
  WriteContext ctx;
  ctx.manager = "tango-garbage-collector";
  Json patch = {{"metadata",
                 {{"uid", get_string(get(o.body(), "metadata"), "uid")},
                  {"ownerReferences", owners.empty() ? Json() : owners}}}};
  operations.patch(*r, o.ns, o.name, PatchKind::kMerge, patch, "", false, ctx);
}

}  // namespace

void Controllers::collect_dependents(const std::string& uid) {
  for (const Dependent& d : dependents_of(store_, uid)) {
    ResourcePtr r = operations_.registry().table()->by_store_key(d.object->resource);
    if (!r) continue;
    try {
      if (!d.sole) {
        release(operations_, *d.object, uid);
      } else if (!get(d.object->body(), "metadata").contains("deletionTimestamp")) {
        DeleteRequest q;
        q.uid = get_string(get(d.object->body(), "metadata"), "uid");
        operations_.remove(*r, d.object->ns, d.object->name, q);
      }
    } catch (const ApiError& e) {
      if (e.code != 404 && e.code != 409) throw;
    }
  }
}

void Controllers::reconcile_deleting(const std::string& resource, const std::string& ns,
                                     const std::string& name) {
  ObjectPtr owner = store_.get(resource, ns, name);
  if (!owner || !get(owner->body(), "metadata").contains("deletionTimestamp")) return;
  ResourcePtr r = operations_.registry().table()->by_store_key(resource);
  if (!r) return;
  const Json& finalizers = get(get(owner->body(), "metadata"), "finalizers");
  auto waits_for = [&](const char* f) {
    return std::find(finalizers.begin(), finalizers.end(), Json(f)) != finalizers.end();
  };
  std::string uid = get_string(get(owner->body(), "metadata"), "uid");
  const char* done = nullptr;
  if (waits_for("orphan")) {
    for (const Dependent& d : dependents_of(store_, uid)) release(operations_, *d.object, uid);
    done = "orphan";
  } else if (waits_for("foregroundDeletion")) {
    auto dependents = dependents_of(store_, uid);
    bool blocked = false;
    for (const Dependent& d : dependents) {
      ResourcePtr dr = operations_.registry().table()->by_store_key(d.object->resource);
      if (!dr) continue;
      if (!d.sole) {
        release(operations_, *d.object, uid);
        continue;
      }
      blocked = blocked || d.blocking;
      if (get(d.object->body(), "metadata").contains("deletionTimestamp")) continue;
      DeleteRequest q;
      q.propagation = "Foreground";
      try {
        operations_.remove(*dr, d.object->ns, d.object->name, q);
      } catch (const ApiError& e) {
        if (e.code != 404) throw;
      }
    }
    // Only dependents that block hold the owner; look again, some went at once.
    if (blocked) {
      auto left = dependents_of(store_, uid);
      blocked = std::any_of(left.begin(), left.end(),
                            [](const Dependent& d) { return d.blocking && d.sole; });
    }
    if (!blocked) done = "foregroundDeletion";
  }
  if (done == nullptr) return;
  try {
    WriteContext ctx;
    ctx.manager = "tango-garbage-collector";
    Json left = Json::array();
    ObjectPtr now = store_.get(resource, ns, name);
    if (!now) return;
    for (const Json& f : get(get(now->body(), "metadata"), "finalizers")) {
      if (f != Json(done)) left.push_back(f);
    }
    Json patch = {{"metadata",
                   {{"resourceVersion", std::to_string(now->revision)},
                    {"finalizers", left.empty() ? Json() : left}}}};
    operations_.patch(*r, ns, name, PatchKind::kMerge, patch, "", false, ctx);
  } catch (const ApiError& e) {
    if (e.code != 404 && e.code != 409) throw;
  }
}

void Controllers::sweep_orphans() {
  std::set<std::string> alive = living(store_), gone;
  for (const ObjectPtr& o : store_.everything()) {
    for (const Json& owner : get(get(o->body(), "metadata"), "ownerReferences")) {
      std::string uid = get_string(owner, "uid");
      if (!alive.contains(uid)) gone.insert(uid);
    }
  }
  for (const std::string& uid : gone) collect_dependents(uid);
}

}  // namespace tango::standalone
