#include "standalone/controllers.h"

#include <algorithm>
#include <optional>

#include "lib/base/digest.h"
#include "lib/base/log.h"

namespace tango::standalone {
namespace {

constexpr auto kEventLife = std::chrono::hours(1);
constexpr auto kEventSweep = std::chrono::minutes(5);
constexpr auto kNamespaceRetry = Millis{200};

// Keys: "<kind of work>|<resource>|<ns>|<name>"; none of the parts may hold '|'.
std::string key_of(std::string_view work, std::string_view resource, std::string_view ns,
                   std::string_view name) {
  std::string out(work);
  out.append("|").append(resource).append("|").append(ns).append("|").append(name);
  return out;
}
std::vector<std::string> parts_of(const std::string& key) {
  std::vector<std::string> out;
  std::size_t from = 0;
  for (auto bar = key.find('|'); bar != std::string::npos; bar = key.find('|', from)) {
    out.push_back(key.substr(from, bar - from));
    from = bar + 1;
  }
  out.push_back(key.substr(from));
  out.resize(4);
  return out;
}

bool deleting(const Json& object) { return get(object, "metadata").contains("deletionTimestamp"); }
bool has_finalizer(const Json& object, const char* name) {
  const Json& list = get(get(object, "metadata"), "finalizers");
  return std::find(list.begin(), list.end(), Json(name)) != list.end();
}
bool drop_finalizer(Json& object, const char* name) {
  Json& list = object["metadata"]["finalizers"];
  if (!list.is_array()) return false;
  auto it = std::find(list.begin(), list.end(), Json(name));
  if (it == list.end()) return false;
  list.erase(it);
  return true;
}

}  // namespace

void KeyWorker::start() {
  thread_ = std::thread([this] { run(); });
}

void KeyWorker::stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void KeyWorker::add(const std::string& key, Nanos after) {
  auto at = std::chrono::steady_clock::now() + after;
  std::lock_guard lock(mutex_);
  auto it = due_.find(key);
  if (it == due_.end()) {
    due_.emplace(key, at);
  } else {
    it->second = std::min(it->second, at);
  }
  wake_.notify_all();
}

void KeyWorker::run() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    if (due_.empty()) {
      wake_.wait(lock);
      continue;
    }
    auto next = std::min_element(due_.begin(), due_.end(),
                                 [](const auto& a, const auto& b) { return a.second < b.second; });
    auto at = next->second;
    if (at > std::chrono::steady_clock::now()) {
      wake_.wait_until(lock, at);
      continue;
    }
    std::string key = next->first;
    due_.erase(next);
    lock.unlock();
    std::optional<Nanos> again;
    try {
      again = work_(key);
    } catch (const std::exception& e) {
      log_warn("Controller work failed", {{"key", key}, {"error", e.what()}});
      again = Seconds{1};
    }
    if (again) add(key, *again);
    lock.lock();
  }
}

ResourcePtr builtin_resource(Operations& operations, std::string_view group,
                             std::string_view plural) {
  return operations.registry().table()->find(group, "v1", plural);
}

bool update_object(Operations& operations, std::string_view group, std::string_view plural,
                   const std::string& ns, const std::string& name, const std::string& sub,
                   const std::string& manager, const std::function<bool(Json&)>& change) {
  ResourcePtr r = builtin_resource(operations, group, plural);
  for (int attempt = 0; attempt < 10; ++attempt) {
    try {
      Json object = operations.get(*r, ns, name);
      if (!change(object)) return true;
      WriteContext ctx;
      ctx.manager = manager;
      operations.update(*r, ns, name, std::move(object), sub, ctx);
      return true;
    } catch (const ApiError& e) {
      if (e.code == 404) return false;
      if (e.reason != "Conflict") throw;
    }
  }
  return false;
}

void record_event(Operations& operations, const Json& about, const std::string& type,
                  const std::string& reason, const std::string& message,
                  const std::string& component) {
  const Json& meta = get(about, "metadata");
  std::string ns = get_string(meta, "namespace", "default");
  // The same report again raises the count of the first one, as client-go's correlator does.
  std::string name = get_string(meta, "name") + "." +
                     sha256(get_string(meta, "uid") + "|" + type + "|" + reason + "|" + message)
                         .hex()
                         .substr(0, 16);
  std::string now = format_time(operations.clock().now());
  try {
    bool counted = update_object(operations, "", "events", ns, name, "", component, [&](Json& e) {
      e["count"] = get_int(e, "count", 1) + 1;
      e["lastTimestamp"] = now;
      return true;
    });
    if (counted) return;
    Json event = {{"metadata", {{"name", name}}},
                  {"involvedObject",
                   {{"apiVersion", get_string(about, "apiVersion")},
                    {"kind", get_string(about, "kind")},
                    {"namespace", ns},
                    {"name", get_string(meta, "name")},
                    {"uid", get_string(meta, "uid")},
                    {"resourceVersion", get_string(meta, "resourceVersion")}}},
                  {"reason", reason},
                  {"message", message.substr(0, 1024)},
                  {"type", type},
                  {"count", 1},
                  {"firstTimestamp", now},
                  {"lastTimestamp", now},
                  {"source", {{"component", component}}}};
    WriteContext ctx;
    ctx.manager = component;
    operations.create(*builtin_resource(operations, "", "events"), ns, std::move(event), ctx);
  } catch (const ApiError& e) {
    log_debug("Event was not recorded", {{"reason", reason}, {"error", e.message}});
  }
}

void put_condition(Json& conditions, const std::string& type, bool status,
                   const std::string& reason, const std::string& message, TimePoint now) {
  if (!conditions.is_array()) conditions = Json::array();
  Json next = {{"type", type},
               {"status", status ? "True" : "False"},
               {"lastTransitionTime", format_time(now)}};
  if (!reason.empty()) next["reason"] = reason;
  if (!message.empty()) next["message"] = message;
  for (Json& c : conditions) {
    if (get_string(c, "type") != type) continue;
    if (get(c, "status") == next["status"] && c.contains("lastTransitionTime"))
      next["lastTransitionTime"] = c["lastTransitionTime"];
    c = std::move(next);
    return;
  }
  conditions.push_back(std::move(next));
}

Controllers::Controllers(Operations& operations)
    : operations_(operations),
      store_(operations.store()),
      worker_([this](const std::string& key) { return reconcile(key); }) {}

Controllers::~Controllers() { stop(); }

Status Controllers::start() {
  auto subscription =
      store_.subscribe("", store_.revision(), [this](const StoreEvent& e) { on_event(e); });
  if (!subscription.ok()) return std::move(subscription).error();
  subscription_ = *subscription;
  // Level-triggered: everything there is counts as changed once.
  for (const ObjectPtr& o : store_.everything())
    on_event({EventType::kAdded, o->revision, o, nullptr});
  worker_.add(key_of("sweep", "", "", ""));
  worker_.add(key_of("events", "", "", ""));
  worker_.start();
  return ok_status();
}

void Controllers::stop() {
  if (subscription_ != 0) store_.unsubscribe(subscription_);
  subscription_ = 0;
  worker_.stop();
}

void Controllers::on_event(const StoreEvent& e) {
  const StoredObject& o = *e.object;
  if (o.resource == "/events" || o.resource == "coordination.k8s.io/leases") return;
  const Json& body = o.body();
  if (e.type == EventType::kDeleted) {
    worker_.add(key_of("owner", "", "", get_string(get(body, "metadata"), "uid")));
  } else if (deleting(body) &&
             (has_finalizer(body, "foregroundDeletion") || has_finalizer(body, "orphan"))) {
    worker_.add(key_of("deleting", o.resource, o.ns, o.name));
  }
  if (o.resource == "batch/jobs" && e.type != EventType::kDeleted)
    worker_.add(key_of("job", "", o.ns, o.name));
  if (o.resource == "/pods") {
    for (const Json& owner : get(get(body, "metadata"), "ownerReferences")) {
      if (get_string(owner, "kind") == "Job")
        worker_.add(key_of("job", "", o.ns, get_string(owner, "name")));
    }
  }
  if (o.resource == "/namespaces" && e.type != EventType::kDeleted)
    worker_.add(key_of("namespace", "", "", o.name));
  if (o.resource == "/serviceaccounts" && e.type == EventType::kDeleted)
    worker_.add(key_of("namespace", "", "", o.ns));
  if (o.resource == "apiextensions.k8s.io/customresourcedefinitions" && deleting(body))
    worker_.add(key_of("crd", "", "", o.name));
  // A dependent that goes may be what a foreground deletion waits for.
  if (e.type == EventType::kDeleted) {
    for (const Json& owner : get(get(body, "metadata"), "ownerReferences")) {
      ResourcePtr r = operations_.registry().table()->by_kind(
          get_string(owner, "apiVersion").find('/') == std::string::npos
              ? ""
              : get_string(owner, "apiVersion")
                    .substr(0, get_string(owner, "apiVersion").find('/')),
          get_string(owner, "kind"));
      if (r)
        worker_.add(key_of("deleting", r->store_key(), r->namespaced ? o.ns : "",
                           get_string(owner, "name")));
    }
  }
}

std::optional<Nanos> Controllers::reconcile(const std::string& key) {
  auto p = parts_of(key);
  if (p[0] == "job") return reconcile_job(p[2], p[3]);
  if (p[0] == "namespace") return reconcile_namespace(p[3]);
  if (p[0] == "owner") collect_dependents(p[3]);
  if (p[0] == "deleting") reconcile_deleting(p[1], p[2], p[3]);
  if (p[0] == "sweep") sweep_orphans();
  if (p[0] == "crd") {
    reconcile_definition(p[3]);
    if (store_.get("apiextensions.k8s.io/customresourcedefinitions", "", p[3]))
      return kNamespaceRetry;
  }
  if (p[0] == "events") {
    expire_events();
    return kEventSweep;
  }
  return std::nullopt;
}

void Controllers::expire_events() {
  ResourcePtr r = builtin_resource(operations_, "", "events");
  for (const ObjectPtr& o : store_.list("/events").objects) {
    auto t = parse_time(get_string(o->body(), "lastTimestamp",
                                   get_string(get(o->body(), "metadata"), "creationTimestamp")));
    if (!t.ok() || operations_.clock().now() - *t < kEventLife) continue;
    try {
      operations_.remove(*r, o->ns, o->name, {});
    } catch (const ApiError&) {
      // Somebody was faster.
    }
  }
}

std::optional<Nanos> Controllers::reconcile_namespace(const std::string& name) {
  ObjectPtr ns = store_.get("/namespaces", "", name);
  if (!ns) return std::nullopt;
  if (!deleting(ns->body())) {
    auto ensure = [&](const char* plural, const char* object, Json body) {
      if (store_.get(std::string("/") + plural, name, object)) return;
      try {
        WriteContext ctx;
        ctx.manager = "tango-apiserver";
        body["metadata"] = {{"name", object}};
        operations_.create(*builtin_resource(operations_, "", plural), name, std::move(body), ctx);
      } catch (const ApiError& e) {
        if (e.reason != "AlreadyExists" && e.code != 403 && e.code != 404) throw;
      }
    };
    ensure("serviceaccounts", "default", Json::object());
    return std::nullopt;
  }
  auto table = operations_.registry().table();
  for (const ObjectPtr& o : store_.everything()) {
    if (o->ns != name || deleting(o->body())) continue;
    ResourcePtr r = table->by_store_key(o->resource);
    if (!r) continue;
    try {
      operations_.remove(*r, o->ns, o->name, {});
    } catch (const ApiError& e) {
      if (e.code != 404) throw;
    }
  }
  if (operations_.finalize_namespace(name)) return std::nullopt;
  return kNamespaceRetry;
}

void Controllers::reconcile_definition(const std::string& name) {
  ObjectPtr crd = store_.get("apiextensions.k8s.io/customresourcedefinitions", "", name);
  if (!crd || !deleting(crd->body())) return;
  std::string key = get_string(get(crd->body(), "spec"), "group") + "/" +
                    get_string(get(get(crd->body(), "spec"), "names"), "plural");
  ResourcePtr r = operations_.registry().table()->by_store_key(key);
  auto left = store_.list(key).objects;
  for (const ObjectPtr& o : left) {
    if (!r || deleting(o->body())) continue;
    try {
      operations_.remove(*r, o->ns, o->name, {});
    } catch (const ApiError& e) {
      if (e.code != 404) throw;
    }
  }
  if (store_.list(key).objects.empty()) {
    update_object(operations_, "apiextensions.k8s.io", "customresourcedefinitions", "", name, "",
                  "tango-apiserver", [](Json& o) {
                    return drop_finalizer(o, "customresourcecleanup.apiextensions.k8s.io");
                  });
  }
}

}  // namespace tango::standalone
