#include "standalone/operations.h"

#include <algorithm>

#include "standalone/apply.h"
#include "standalone/builtin_types.h"
#include "standalone/patch.h"
#include "standalone/strategy.h"

namespace tango::standalone {
namespace {

constexpr int kGeneratedSuffix = 5;
constexpr std::size_t kMaxObjectBytes = 3u << 20;  // etcd's default limit is near
constexpr const char* kForeground = "foregroundDeletion";
constexpr const char* kCleanUp = "customresourcecleanup.apiextensions.k8s.io";
constexpr const char* kOrphan = "orphan";

Json& meta_of(Json& object) {
  if (!object["metadata"].is_object()) object["metadata"] = Json::object();
  return object["metadata"];
}

// A typed decoder cannot hold null, nor can a structural schema unless it says nullable.
void drop_nulls(Json& v, const Schema* s, bool keep_nullable) {
  if (v.is_object()) {
    for (auto it = v.begin(); it != v.end();) {
      const Schema* m = s == nullptr ? nullptr : s->member(it.key());
      bool known = m != nullptr;
      if (it.value().is_null() && known && !(keep_nullable && (m->nullable || m->default_value))) {
        it = v.erase(it);
      } else {
        if (known) drop_nulls(it.value(), m, keep_nullable);
        ++it;
      }
    }
  } else if (v.is_array() && s != nullptr && s->items) {
    for (Json& item : v) drop_nulls(item, s->items.get(), keep_nullable);
  }
}

bool has_finalizers(const Json& object) {
  return !get(get(object, "metadata"), "finalizers").empty();
}

void add_finalizer(Json& object, const char* name) {
  Json& list = meta_of(object)["finalizers"];
  if (!list.is_array()) list = Json::array();
  if (std::find(list.begin(), list.end(), Json(name)) == list.end()) list.push_back(name);
}

bool grace_counts(const ResourceInfo& r, const Json& object) {
  if (r.store_key() != "/pods") return false;
  std::string phase = get_string(get(object, "status"), "phase");
  return !get_string(get(object, "spec"), "nodeName").empty() && phase != "Succeeded" &&
         phase != "Failed";
}

}  // namespace

Json Operations::present(const Json& stored, const ResourceInfo& r) {
  if (r.version == r.storage_version) return stored;
  Json out = stored;
  out["apiVersion"] = r.api_version();
  return out;
}

Json Operations::get(const ResourceInfo& r, const std::string& ns, const std::string& name) const {
  ObjectPtr o = store_.get(r.store_key(), ns, name);
  if (!o) throw not_found(r.group, r.plural, name);
  return present(o->body(), r);
}

Json Operations::commit(const ResourceInfo& r, const std::string& ns, const std::string& name,
                        Json next) {
  auto stored = store_.put(r.store_key(), ns, name, std::move(next));
  if (!stored.ok()) throw ApiError(500, "InternalError", stored.error().to_string());
  Json body = (*stored)->body();
  if (r.store_key() == "apiextensions.k8s.io/customresourcedefinitions")
    registry_.set_definition(body);
  return body;
}

void Operations::commit_removal(const ResourceInfo& r, const std::string& ns,
                                const std::string& name) {
  auto removed = store_.remove(r.store_key(), ns, name);
  if (!removed.ok()) throw ApiError(500, "InternalError", removed.error().to_string());
  if (r.store_key() == "apiextensions.k8s.io/customresourcedefinitions")
    registry_.remove_definition(name);
}

void Operations::clean(const ResourceInfo& r, Json& next, WriteContext& ctx) const {
  std::vector<std::string> unknown;
  if (!r.custom) {
    std::string mismatch = type_mismatch(next, *r.schema, "");
    if (!mismatch.empty()) {
      throw bad_request(r.kind + " in version \"" + r.version + "\" cannot be handled as a " +
                        r.kind + ": " + mismatch);
    }
  }
  std::string mismatch =
      type_mismatch(tango::get(next, "metadata"), *object_meta_schema(), "metadata");
  if (!mismatch.empty()) {
    throw bad_request(r.kind + " in version \"" + r.version + "\" cannot be handled as a " +
                      r.kind + ": " + mismatch);
  }
  prune(next, *r.schema, "", unknown);
  Json& meta = meta_of(next);
  std::vector<std::string> unknown_meta;
  for (auto it = meta.begin(); it != meta.end();) {
    if (object_meta_schema()->member(it.key()) == nullptr) {
      unknown.push_back("metadata." + it.key());
      it = meta.erase(it);
    } else {
      ++it;
    }
  }
  drop_nulls(meta, object_meta_schema().get(), false);
  drop_nulls(next, r.schema.get(), r.custom);
  if (unknown.empty()) return;
  std::sort(unknown.begin(), unknown.end());
  std::string list;
  for (const std::string& path : unknown) {
    std::string text = "unknown field \"" + path + "\"";
    if (ctx.validation == FieldValidation::kWarn) ctx.warnings.push_back(text);
    list += (list.empty() ? "" : ", ") + text;
  }
  if (ctx.validation == FieldValidation::kStrict) {
    throw bad_request(r.kind + " in version \"" + r.version + "\" cannot be handled as a " +
                      r.kind + ": strict decoding error: " + list);
  }
}

void Operations::check(const ResourceInfo& r, const Json& next, const Json* old,
                       const std::string& sub) const {
  std::vector<Cause> causes;
  check_metadata(r, next, causes);
  validate(next, *r.schema, "", causes);
  if (causes.empty()) check_strategy(r, next, old, causes);
  if (causes.empty() && admission_ && sub.empty()) causes = admission_(r, next, old);
  if (!causes.empty()) {
    throw invalid(r.group, r.kind, get_string(tango::get(next, "metadata"), "name"),
                  std::move(causes));
  }
}

Json Operations::create(const ResourceInfo& r, const std::string& ns, Json body,
                        WriteContext& ctx) {
  auto lock = store_.lock_writes();
  return present(create_locked(r, ns, std::move(body), ctx, true), r);
}

Json Operations::create_locked(const ResourceInfo& r, const std::string& ns, Json body,
                               WriteContext& ctx, bool tracked) {
  const TimePoint now = clock_.now();
  clean(r, body, ctx);
  Json& meta = meta_of(body);
  std::string name = get_string(meta, "name");
  if (!get_string(meta, "resourceVersion").empty())
    throw bad_request("resourceVersion should not be set on objects to be created");
  if (r.namespaced) {
    std::string given = get_string(meta, "namespace");
    if (!given.empty() && given != ns)
      throw bad_request(
          "the namespace of the provided object does not match the namespace sent on the request");
    meta["namespace"] = ns;
    ObjectPtr home = store_.get("/namespaces", "", ns);
    if (!home) throw not_found("", "namespaces", ns);
    if (home->body()["metadata"].contains("deletionTimestamp")) {
      throw forbidden(
          r.group, r.plural, name,
          "unable to create new content in namespace " + ns + " because it is being terminated");
    }
  } else {
    meta.erase("namespace");
  }
  if (name.empty()) {
    std::string prefix = get_string(meta, "generateName");
    if (prefix.empty()) {
      throw invalid(r.group, r.kind, "",
                    {{"FieldValueRequired", "Required value: name or generateName is required",
                      "metadata.name"}});
    }
    if (prefix.size() > 58) prefix.resize(58);
    do {
      name = prefix + random_suffix(system_random(), kGeneratedSuffix);
    } while (store_.get(r.store_key(), ns, name));
    meta["name"] = name;
  }
  if (store_.get(r.store_key(), r.namespaced ? ns : "", name))
    throw already_exists(r.group, r.plural, name);
  for (const char* key :
       {"deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "resourceVersion"})
    meta.erase(key);
  if (tracked) meta.erase("managedFields");
  meta["uid"] = random_uuid(system_random());
  meta["creationTimestamp"] = format_time(now);
  meta.erase("generation");
  const bool counted = r.custom || (r.status_subresource && r.store_key() != "/namespaces" &&
                                    r.store_key() != "/services");
  if (counted) meta["generation"] = 1;
  if (r.status_subresource) body.erase("status");
  body["apiVersion"] = r.storage_api_version();
  body["kind"] = r.kind;
  apply_defaults(body, *r.schema);
  normalise(r, body);
  if (tracked) track_update(Json(), body, *r.schema, {ctx.manager, r.api_version(), ""}, now);
  apply_strategy(r, body, nullptr, now);
  check(r, body, nullptr, "");
  if (body.dump().size() > kMaxObjectBytes)
    throw ApiError(413, "RequestEntityTooLarge", "object is too large");
  if (ctx.dry_run) return body;
  return commit(r, r.namespaced ? ns : "", name, std::move(body));
}

Json Operations::finish(const ResourceInfo& r, const Json& old, Json next, const std::string& sub,
                        WriteContext& ctx, bool tracked) {
  const TimePoint now = clock_.now();
  const Json& old_meta = old["metadata"];
  const std::string name = get_string(old_meta, "name"), ns = get_string(old_meta, "namespace");
  clean(r, next, ctx);
  Json& meta = meta_of(next);
  auto same_or_absent = [&](const char* key) {
    std::string v = get_string(meta, key);
    return v.empty() || v == get_string(old_meta, key);
  };
  if (!same_or_absent("name"))
    throw bad_request("the name of the object does not match the name on the URL");
  if (!same_or_absent("namespace"))
    throw bad_request(
        "the namespace of the provided object does not match the namespace sent on the request");
  if (!same_or_absent("uid")) {
    throw conflict(r.group, r.plural, name,
                   "Precondition failed: UID in precondition: " + get_string(meta, "uid") +
                       ", UID in object meta: " + get_string(old_meta, "uid"));
  }
  if (!same_or_absent("resourceVersion")) throw modified(r.group, r.plural, name);

  if (sub == "status") {
    Json status = tango::get(next, "status"), fields = tango::get(meta, "managedFields");
    next = old;
    if (status.is_null()) {
      next.erase("status");
    } else {
      next["status"] = std::move(status);
    }
    if (!tracked && !fields.is_null()) next["metadata"]["managedFields"] = std::move(fields);
  } else if (r.status_subresource) {
    if (old.contains("status")) {
      next["status"] = old["status"];
    } else {
      next.erase("status");
    }
  }
  Json& m = meta_of(next);
  for (const char* key :
       {"name", "namespace", "uid", "creationTimestamp", "deletionTimestamp",
        "deletionGracePeriodSeconds", "generation", "resourceVersion", "generateName"}) {
    if (old_meta.contains(key)) {
      m[key] = old_meta[key];
    } else {
      m.erase(key);
    }
  }
  if (tracked) {
    if (old_meta.contains("managedFields")) {
      m["managedFields"] = old_meta["managedFields"];
    } else {
      m.erase("managedFields");
    }
  }
  next["apiVersion"] = r.storage_api_version();
  next["kind"] = r.kind;
  apply_defaults(next, *r.schema);
  normalise(r, next);
  if (old_meta.contains("deletionTimestamp")) {
    for (const Json& f : tango::get(m, "finalizers")) {
      const Json& before = tango::get(old_meta, "finalizers");
      if (std::find(before.begin(), before.end(), f) == before.end()) {
        throw invalid(r.group, r.kind, name,
                      {{"FieldValueForbidden",
                        "Forbidden: no new finalizers can be added if the object is being deleted",
                        "metadata.finalizers"}});
      }
    }
  }
  if (tracked) track_update(old, next, *r.schema, {ctx.manager, r.api_version(), sub}, now);
  apply_strategy(r, next, &old, now);
  check(r, next, &old, sub);
  if (m.contains("generation")) {
    Json a = old, b = next;
    for (Json* o : {&a, &b}) {
      o->erase("metadata");
      if (r.status_subresource) o->erase("status");
    }
    if (a != b) m["generation"] = get_int(old_meta, "generation") + 1;
  }
  if (next == old) return old;
  if (next.dump().size() > kMaxObjectBytes)
    throw ApiError(413, "RequestEntityTooLarge", "object is too large");
  if (ctx.dry_run) return next;
  const bool graceful = get_int(old_meta, "deletionGracePeriodSeconds") > 0;
  const bool is_namespace = r.store_key() == "/namespaces";
  if (old_meta.contains("deletionTimestamp") && !has_finalizers(next) && !graceful &&
      !is_namespace) {
    commit_removal(r, ns, name);
    return next;
  }
  return commit(r, ns, name, std::move(next));
}

Json Operations::update(const ResourceInfo& r, const std::string& ns, const std::string& name,
                        Json body, const std::string& sub, WriteContext& ctx) {
  auto lock = store_.lock_writes();
  ObjectPtr old = store_.get(r.store_key(), ns, name);
  if (!old) throw not_found(r.group, r.plural, name);
  if (get_string(tango::get(body, "metadata"), "name") != name)
    throw bad_request("the name of the object (" +
                      get_string(tango::get(body, "metadata"), "name") +
                      ") does not match the name on the URL (" + name + ")");
  if (r.requires_version && get_string(tango::get(body, "metadata"), "resourceVersion").empty()) {
    throw invalid(r.group, r.plural, name,
                  {{"FieldValueInvalid", "Invalid value: 0x0: must be specified for an update",
                    "metadata.resourceVersion"}});
  }
  return present(finish(r, old->body(), std::move(body), sub, ctx, true), r);
}

std::pair<Json, bool> Operations::patch(const ResourceInfo& r, const std::string& ns,
                                        const std::string& name, PatchKind kind, const Json& patch,
                                        const std::string& sub, bool force, WriteContext& ctx) {
  auto lock = store_.lock_writes();
  ObjectPtr stored = store_.get(r.store_key(), ns, name);
  if (kind == PatchKind::kApply) {
    Json config = patch;
    if (!config.is_object()) throw bad_request("an apply patch is an object");
    if (get_string(config, "apiVersion") != r.api_version() ||
        get_string(config, "kind") != r.kind) {
      throw bad_request("the apply patch must have apiVersion " + r.api_version() + " and kind " +
                        r.kind);
    }
    Json& meta = meta_of(config);
    if (!tango::get(meta, "managedFields").empty())
      throw bad_request("metadata.managedFields must be nil");
    std::string given = get_string(meta, "name", name);
    if (given != name)
      throw bad_request("the name of the object (" + given +
                        ") does not match the name on the URL (" + name + ")");
    meta["name"] = name;
    if (sub == "status") {
      Json only = {{"apiVersion", config["apiVersion"]},
                   {"kind", config["kind"]},
                   {"metadata", {{"name", name}}}};
      if (config.contains("status")) only["status"] = config["status"];
      config = std::move(only);
    } else if (r.status_subresource) {
      config.erase("status");
    }
    clean(r, config, ctx);
    ctx.warnings.erase(std::unique(ctx.warnings.begin(), ctx.warnings.end()), ctx.warnings.end());
    FieldWriter writer{ctx.manager, r.api_version(), sub};
    if (!stored) {
      if (!sub.empty()) throw not_found(r.group, r.plural, name);
      if (!get_string(meta, "uid").empty())
        throw conflict(r.group, r.plural, name, "uid mismatch: the object does not exist");
      return {
          present(create_locked(
                      r, ns, apply_config(Json(), config, *r.schema, writer, force, clock_.now()),
                      ctx, false),
                  r),
          true};
    }
    std::string version = get_string(config["metadata"], "resourceVersion");
    if (!version.empty() && version != get_string(stored->body()["metadata"], "resourceVersion"))
      throw modified(r.group, r.plural, name);
    Json merged = apply_config(stored->body(), config, *r.schema, writer, force, clock_.now());
    return {present(finish(r, stored->body(), std::move(merged), sub, ctx, false), r), false};
  }
  if (!stored) throw not_found(r.group, r.plural, name);
  Json next;
  switch (kind) {
    case PatchKind::kJson:
      next = json_patch(present(stored->body(), r), patch);
      break;
    case PatchKind::kMerge:
      if (!patch.is_object()) throw bad_request("a merge patch is an object");
      next = present(stored->body(), r);
      merge_patch(next, patch);
      break;
    default:
      if (r.custom) {
        throw ApiError(415, "UnsupportedMediaType",
                       "the body of the request was in an unknown format - accepted media types "
                       "include: application/json-patch+json, application/merge-patch+json, "
                       "application/apply-patch+yaml");
      }
      next = strategic_merge(stored->body(), patch, *r.schema);
  }
  if (!next.is_object()) throw bad_request("the patch leaves no object");
  return {present(finish(r, stored->body(), std::move(next), sub, ctx, true), r), false};
}

Deleted Operations::remove(const ResourceInfo& r, const std::string& ns, const std::string& name,
                           const DeleteRequest& q) {
  auto lock = store_.lock_writes();
  ObjectPtr stored = store_.get(r.store_key(), ns, name);
  if (!stored) throw not_found(r.group, r.plural, name);
  const Json& old = stored->body();
  const Json& meta = old["metadata"];
  if (!q.uid.empty() && q.uid != get_string(meta, "uid")) {
    throw conflict(r.group, r.plural, name,
                   "Precondition failed: UID in precondition: " + q.uid +
                       ", UID in object meta: " + get_string(meta, "uid"));
  }
  if (!q.resource_version.empty() && q.resource_version != get_string(meta, "resourceVersion")) {
    throw conflict(r.group, r.plural, name,
                   "Precondition failed: ResourceVersion in precondition: " + q.resource_version +
                       ", ResourceVersion in object meta: " + get_string(meta, "resourceVersion"));
  }
  if (!q.propagation.empty() && q.propagation != "Background" && q.propagation != "Foreground" &&
      q.propagation != "Orphan") {
    throw invalid("meta.k8s.io", "DeleteOptions", "",
                  {{"FieldValueNotSupported",
                    "Unsupported value: \"" + q.propagation +
                        "\": supported values: \"Background\", \"Foreground\", \"Orphan\"",
                    "propagationPolicy"}});
  }
  if (r.store_key() == "/namespaces" &&
      (name == "default" || name == "kube-system" || name == "kube-public")) {
    throw forbidden(r.group, r.plural, name, "this namespace may not be deleted");
  }
  // As kube-apiserver: who deletes a job without saying how leaves its pods alone.
  const std::string propagation =
      q.propagation.empty() && r.store_key() == "batch/jobs" ? "Orphan" : q.propagation;
  Json next = old;
  std::int64_t grace = 0;
  if (grace_counts(r, old)) {
    grace = q.grace_seconds.value_or(get_int(old["spec"], "terminationGracePeriodSeconds", 30));
    if (grace < 0) grace = 1;
  }
  const bool is_namespace = r.store_key() == "/namespaces";
  if (!meta.contains("deletionTimestamp")) {
    if (propagation == "Foreground") add_finalizer(next, kForeground);
    if (propagation == "Orphan") add_finalizer(next, kOrphan);
  }
  if (r.store_key() == "apiextensions.k8s.io/customresourcedefinitions" &&
      !meta.contains("deletionTimestamp")) {
    add_finalizer(next, kCleanUp);
  }
  const bool waits = has_finalizers(next) || grace > 0 || is_namespace;
  if (!waits) {
    if (!q.dry_run) commit_removal(r, ns, name);
    next["metadata"]["deletionTimestamp"] = format_time(clock_.now());
    next["metadata"]["deletionGracePeriodSeconds"] = 0;
    return {true, present(next, r)};
  }
  const bool already = meta.contains("deletionTimestamp");
  const std::int64_t before = get_int(meta, "deletionGracePeriodSeconds");
  if (!already || grace < before) {
    next["metadata"]["deletionTimestamp"] = format_time(clock_.now() + Seconds{grace});
    if (!is_namespace) next["metadata"]["deletionGracePeriodSeconds"] = grace;
    if (!already && next["metadata"].contains("generation"))
      next["metadata"]["generation"] = get_int(meta, "generation") + 1;
    if (is_namespace) next["status"]["phase"] = "Terminating";
  }
  if (next == old || q.dry_run) return {false, present(next, r)};
  return {false, present(commit(r, ns, name, std::move(next)), r)};
}

bool Operations::finalize_namespace(const std::string& name) {
  auto lock = store_.lock_writes();
  ObjectPtr stored = store_.get("/namespaces", "", name);
  if (!stored || !stored->body()["metadata"].contains("deletionTimestamp")) return true;
  for (const ObjectPtr& o : store_.everything()) {
    if (o->ns == name) return false;
  }
  if (has_finalizers(stored->body())) return false;
  auto table = registry_.table();
  commit_removal(*table->find("", "v1", "namespaces"), "", name);
  return true;
}

}  // namespace tango::standalone
