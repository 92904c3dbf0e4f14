#include "lib/kube/controller_core.h"

#include <algorithm>

#include "lib/base/digest.h"
#include "lib/base/log.h"
#include "lib/kube/decisions.h"
#include "lib/kube/runtime_metrics.h"

namespace tango::kube {
namespace {

constexpr Nanos kStaleRecheck = Millis{200};  // the awaited event wakes the key earlier
constexpr Nanos kStaleWarning = Seconds{30};
// An applied object of a kind without cache is applied again after this time, against drift.
constexpr Nanos kReapplyUncached = Seconds{600};
constexpr const char* kInputHashLabel = "ml-tango.io/input-hash";

std::string hash_of(const Json& value) { return sha256(dump_json(value)).hex(); }

// The stored JSON of an object, complete with what list items leave out.
Result<Json> document(const StoredObject& object, const KindInfo& kind) {
  TRY_ASSIGN(Json json, parse_json(object.json, {.max_bytes = 64u << 20}));
  if (!json.contains("apiVersion")) json["apiVersion"] = kind.api_version();
  if (!json.contains("kind")) json["kind"] = kind.kind;
  return json;
}

}  // namespace

bool ControllerCore::Expectation::met() const {
  if (!store) return true;
  if (gone_uid.empty()) return store->reached(version);
  const StoredPtr object = store->get(gone_key);
  return !object || object->meta.uid != gone_uid || object->meta.deleting();
}

struct ControllerCore::Pass {
  StoredPtr self;
  ObjectMeta meta;  // of the newest version we know: our own writes move it
  Json current;     // its document
  const Store* store = nullptr;
  InvolvedObject about;
  std::shared_ptr<KeyState> state;
};

ControllerCore::ControllerCore(ControllerSpec spec, ControllerSurroundings surroundings)
    : spec_(std::move(spec)), manager_("tango-" + spec_.name), s_(std::move(surroundings)) {
  declare_controller_metrics(s_.metrics, spec_.name, spec_.max_concurrent);
}

WriteOptions ControllerCore::write_options() const { return {.field_manager = manager_}; }

std::shared_ptr<ControllerCore::KeyState> ControllerCore::state_of(const ObjectKey& key) {
  std::lock_guard lock(mutex_);
  auto& slot = states_[key];
  if (!slot) slot = std::make_shared<KeyState>();
  return slot;
}

void ControllerCore::forget(const ObjectKey& key) {
  {
    std::lock_guard lock(mutex_);
    states_.erase(key);
  }
  s_.work.drop({spec_.name, key});
}

ControllerCore::Done ControllerCore::reconcile(const ObjectKey& key) {
  Pass pass;
  pass.store = s_.caches.find(spec_.kind.type);
  pass.self = pass.store->get(key);
  pass.state = state_of(key);
  if (!pass.self) {
    // Our own creation or change of it may still be on its way, but an absent object needs nothing.
    forget(key);
    return {};
  }
  if (pass.state->uid != pass.self->meta.uid) {
    if (!pass.state->uid.empty()) {
      forget(key);
      pass.state = state_of(key);
    }
    pass.state->uid = pass.self->meta.uid;
  }
  std::erase_if(pass.state->expectations, [](const Expectation& e) { return e.met(); });
  if (!pass.state->expectations.empty()) {
    const Nanos now = s_.clock.monotonic();
    if (!pass.state->waiting_since) pass.state->waiting_since = now;
    if (now - *pass.state->waiting_since > kStaleWarning) {
      log_warn("Cache has not reached our own write yet",
               {{"controller", spec_.name}, {"key", key.ns + "/" + key.name}});
      pass.state->waiting_since = now;
    }
    return {Done::Kind::kStale, kStaleRecheck};
  }
  pass.state->waiting_since.reset();

  pass.meta = pass.self->meta;
  const KindInfo& kind = spec_.kind.info;
  pass.about = {kind.api_version(), std::string(kind.kind), pass.meta.ns,
                pass.meta.name,     pass.meta.uid,          pass.meta.resource_version};
  if (!spec_.finalizer.empty() && pass.meta.deleting() &&
      !has_finalizer(pass.meta, spec_.finalizer)) {
    s_.work.drop({spec_.name, key});
    return {};  // nothing of ours is left; others hold it
  }
  auto current = document(*pass.self, kind);
  if (!current.ok()) return {Done::Kind::kError, {}, std::move(current).error()};
  pass.current = std::move(current).value();

  CacheView view(s_.caches, s_.work);
  Outcome outcome;
  try {
    outcome = spec_.reconcile(pass.self->object.get(), view, s_.clock.now());
  } catch (const std::exception& e) {
    s_.metrics.add(metric::kReconcilePanics, {{"controller", spec_.name}});
    return {Done::Kind::kError, {}, make_error(Code::kInternal, "ReconcileThrew", e.what())};
  } catch (...) {
    s_.metrics.add(metric::kReconcilePanics, {{"controller", spec_.name}});
    return {Done::Kind::kError,
            {},
            make_error(Code::kInternal, "ReconcileThrew", "an unknown exception")};
  }
  std::set<std::string> watched_work = view.asked_work();
  for (const Work& work : outcome.work) watched_work.insert(work.key);
  s_.work.set_interest({spec_.name, key}, watched_work);
  return finish(key, pass, outcome);
}

// The order matters: the finalizer before anything that would have to be cleaned up, children
// before the status that speaks of them, and the finalizer's release after everything else went
// well.
ControllerCore::Done ControllerCore::finish(const ObjectKey& key, Pass& pass,
                                            const Outcome& outcome) {
  std::optional<Error> first;
  auto keep = [&](Status status) {
    if (status.ok()) return;
    // A real error explains more than a lost race does.
    if (!first || (first->code == Code::kConflict && status.error().code != Code::kConflict))
      first = status.error();
  };
  const bool may_work = spec_.finalizer.empty() || has_finalizer(pass.self->meta, spec_.finalizer);
  keep(ensure_finalizer(pass));
  for (const Json& manifest : outcome.create_once) keep(create_once(pass, manifest));
  for (const Json& manifest : outcome.apply) keep(apply(pass, manifest));
  for (const Patch& p : outcome.patch) keep(patch(pass, p));
  for (const Removal& removal : outcome.remove) keep(remove(pass, removal));
  if (may_work) {
    for (const Work& work : outcome.work) s_.work.request(work, {spec_.name, key});
  }
  if (outcome.status) keep(write_status(pass, *outcome.status));
  std::vector<EventNote> fresh;
  for (const EventNote& note : outcome.events) {
    const auto& known = pass.state->notes;
    if (std::find(known.begin(), known.end(), note) == known.end()) fresh.push_back(note);
  }
  note_events(pass, fresh);
  pass.state->notes = outcome.events;
  if (!first && outcome.finalizer == Finalizer::kRelease && pass.meta.deleting())
    keep(release_finalizer(pass));

  if (!first) return {Done::Kind::kSuccess, outcome.requeue_after};
  if (first->code == Code::kConflict && first->reason == "Conflict")
    return {Done::Kind::kConflict, {}, first};
  note_events(pass, {{"Warning", first->reason, first->message}});
  return {Done::Kind::kError, {}, first};
}

void ControllerCore::note_events(Pass& pass, const std::vector<EventNote>& notes) {
  if (!s_.record) return;
  for (const EventNote& note : notes) s_.record(pass.about, note);
}

void ControllerCore::expect(Pass& pass, const Store* store, const Json& written) {
  if (!store) return;
  Expectation expectation;
  expectation.store = store;
  expectation.version = get_string(get(written, "metadata"), "resourceVersion");
  pass.state->expectations.push_back(std::move(expectation));
}

Status ControllerCore::ensure_finalizer(Pass& pass) {
  if (spec_.finalizer.empty() || pass.meta.deleting() || has_finalizer(pass.meta, spec_.finalizer))
    return ok_status();
  TRY_ASSIGN(Json written,
             s_.client.patch(spec_.kind.info, pass.meta.ns, pass.meta.name, PatchType::kMerge,
                             finalizer_patch(pass.meta, spec_.finalizer, true), write_options()));
  expect(pass, pass.store, written);
  pass.meta = parse_object_meta(get(written, "metadata"));
  pass.current = std::move(written);
  return ok_status();
}

Status ControllerCore::release_finalizer(Pass& pass) {
  if (spec_.finalizer.empty() || !has_finalizer(pass.meta, spec_.finalizer)) return ok_status();
  auto written =
      s_.client.patch(spec_.kind.info, pass.meta.ns, pass.meta.name, PatchType::kMerge,
                      finalizer_patch(pass.meta, spec_.finalizer, false), write_options());
  if (!written.ok()) {
    if (written.error().code == Code::kNotFound) return ok_status();
    return std::move(written).error();
  }
  expect(pass, pass.store, *written);
  s_.work.drop({spec_.name, pass.self->key()});
  return ok_status();
}

// AlreadyExists is success when the object is ours.
Status ControllerCore::check_existing(const Json& manifest, const Json& existing) {
  const std::string wanted = controller_uid(manifest), actual = controller_uid(existing);
  const std::string hash = get_string(at_path(manifest, "metadata.labels"), kInputHashLabel);
  const bool ours =
      wanted.empty() ? hash.empty() ||
                           hash == get_string(at_path(existing, "metadata.labels"), kInputHashLabel)
                     : wanted == actual;
  if (ours) return ok_status();
  return make_error(Code::kExists, "NameTaken",
                    manifest_name(manifest).text() +
                        " exists already and belongs to somebody else; rename or delete it");
}

Status ControllerCore::create_once(Pass& pass, const Json& manifest) {
  const ManifestName name = manifest_name(manifest);
  TRY_ASSIGN(const KindInfo kind, s_.kinds.find(name.api_version, name.kind));
  const Store* store = s_.caches.find(kind);
  if (store) {
    if (const StoredPtr live = store->get({kind.namespaced ? name.ns : "", name.name})) {
      TRY_ASSIGN(const Json existing, document(*live, kind));
      return check_existing(manifest, existing);
    }
  } else if (pass.state->created.contains(name.text())) {
    return ok_status();
  }
  auto created = s_.client.create(kind, manifest, write_options());
  if (created.ok()) {
    expect(pass, store, *created);
    if (!store) pass.state->created[name.text()] = get_string(get(*created, "metadata"), "uid");
    return ok_status();
  }
  if (created.error().code != Code::kExists) return std::move(created).error();
  TRY_ASSIGN(const Json existing, s_.client.get(kind, name.ns, name.name));
  TRY(check_existing(manifest, existing));
  expect(pass, store, existing);
  if (!store) pass.state->created[name.text()] = get_string(get(existing, "metadata"), "uid");
  return ok_status();
}

Status ControllerCore::apply(Pass& pass, const Json& manifest) {
  const ManifestName name = manifest_name(manifest);
  TRY_ASSIGN(const KindInfo kind, s_.kinds.find(name.api_version, name.kind));
  const Store* store = s_.caches.find(kind);
  const std::string hash = hash_of(manifest);
  const auto known = pass.state->applied.find(name.text());
  if (known != pass.state->applied.end() && known->second.hash == hash) {
    Applied& record = known->second;
    if (!store) {
      if (s_.clock.monotonic() - record.at < kReapplyUncached) return ok_status();
    } else if (const StoredPtr live = store->get({kind.namespaced ? name.ns : "", name.name});
               live && live->meta.uid == record.uid) {
      if (live->meta.resource_version == record.version) return ok_status();
      // Somebody wrote since. With the same generation it was not the spec; metadata is compared.
      if (record.generation > 0 && live->meta.generation == record.generation) {
        TRY_ASSIGN(const Json existing, document(*live, kind));
        if (contains(get(existing, "metadata"), get(manifest, "metadata"))) {
          record.version = live->meta.resource_version;
          return ok_status();
        }
      }
    }
  }
  TRY_ASSIGN(const Json written, s_.client.apply(kind, manifest, write_options()));
  const ObjectMeta meta = parse_object_meta(get(written, "metadata"));
  expect(pass, store, written);
  pass.state->applied[name.text()] = {hash, meta.uid, meta.resource_version, meta.generation,
                                      s_.clock.monotonic()};
  return ok_status();
}

Status ControllerCore::patch(Pass& pass, const Patch& wanted) {
  const Store* store = s_.caches.find(wanted.kind);
  Json before;
  if (store) {
    const StoredPtr live = store->get({wanted.kind.namespaced ? wanted.ns : "", wanted.name});
    if (!live) return ok_status();  // gone; the next reconcile sees it too
    TRY_ASSIGN(before, document(*live, wanted.kind));
  } else {
    auto live = s_.client.get(wanted.kind, wanted.ns, wanted.name);
    if (!live.ok()) {
      if (live.error().code == Code::kNotFound) return ok_status();
      return std::move(live).error();
    }
    before = std::move(*live);
  }
  Json after = before;
  merge_patch(after, wanted.merge_patch);
  if (after == before) return ok_status();
  auto written = s_.client.patch(wanted.kind, wanted.ns, wanted.name, PatchType::kMerge,
                                 wanted.merge_patch, write_options());
  if (!written.ok()) {
    if (written.error().code == Code::kNotFound) return ok_status();
    return std::move(written).error();
  }
  expect(pass, store, *written);
  return ok_status();
}

Status ControllerCore::remove(Pass& pass, const Removal& removal) {
  if (removal.uid.empty()) {
    return make_error(Code::kInternal, "RemovalWithoutUid",
                      "a removal of " + removal.name + " names no uid");
  }
  const Store* store = s_.caches.find(removal.kind);
  const ObjectKey key{removal.kind.namespaced ? removal.ns : "", removal.name};
  if (store) {
    const StoredPtr live = store->get(key);
    if (!live || live->meta.uid != removal.uid || live->meta.deleting()) return ok_status();
  }
  const Status removed =
      s_.client.remove(removal.kind, removal.ns, removal.name,
                       {.uid = removal.uid, .resource_version = removal.resource_version});
  if (!removed.ok()) {
    if (removed.error().code == Code::kNotFound) return ok_status();
    return removed.error();
  }
  Expectation expectation;
  expectation.store = store;
  expectation.gone_key = key;
  expectation.gone_uid = removal.uid;
  if (store) pass.state->expectations.push_back(std::move(expectation));
  return ok_status();
}

Status ControllerCore::write_status(Pass& pass, const Json& status) {
  const Json before = get(pass.current, "status");
  const Json next = prepare_status(before, status, s_.clock.now());
  if (next == before || (before.is_null() && next.empty())) return ok_status();
  const std::string hash = hash_of(status);  // as decided: without times of now
  // The server kept something else than we sent (pruned, defaulted): sending it again changes
  // nothing.
  if (hash == pass.state->status_hash && pass.meta.resource_version == pass.state->status_version)
    return ok_status();
  Json document = pass.current;
  document["status"] = next;
  document["metadata"].erase("managedFields");
  WriteOptions options = write_options();
  options.subresource = "status";
  TRY_ASSIGN(const Json written, s_.client.update(spec_.kind.info, document, options));
  expect(pass, pass.store, written);
  pass.meta = parse_object_meta(get(written, "metadata"));
  pass.state->status_hash = hash;
  pass.state->status_version = pass.meta.resource_version;
  pass.current = written;
  note_events(pass, events_of(before, next));
  return ok_status();
}

}  // namespace tango::kube
