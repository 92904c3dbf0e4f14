// An API server in memory, for tests of the runtime: versions, conflicts, finalizers, deletion with
// preconditions, owner garbage collection, pages, watches and faults on demand. Single-threaded.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "lib/kube-types/core.h"
#include "lib/kube/client.h"
#include "lib/kube/kind.h"
#include "lib/kube/request.h"

namespace tango::kube::test {

inline Error api_error(int code, std::string_view reason) {
  return error_from_status({{"code", code}, {"reason", reason}, {"message", reason}}, code, "");
}

class FakeApi : public KubeClient {
 public:
  struct LogEntry {
    std::int64_t version;
    std::string kind;
    std::string type;
    Json object;
  };
  // Asked before each call with the verb ("get", "create", ...): an error instead of doing it, or
  // (lost) after having done it.
  struct Fault {
    Error error;
    bool lost = false;
  };
  std::function<std::optional<Fault>(std::string_view verb)> fault;
  int writes = 0;  // requests that write, Events and Leases apart
  std::vector<std::string> write_log;
  std::vector<LogEntry> log;
  std::map<std::string, std::int64_t> compacted;  // kind -> oldest version that can be watched from
  std::int64_t version = 100;

  using Objects = std::map<ObjectKey, Json>;
  std::map<std::string, Objects> kinds;

  static std::string kind_of(const KindInfo& kind) { return std::string(kind.plural); }
  Json* find(const KindInfo& kind, const ObjectKey& key) {
    Objects& objects = kinds[kind_of(kind)];
    const auto it = objects.find(key);
    return it == objects.end() ? nullptr : &it->second;
  }

  Result<Json> get(const KindInfo& kind, std::string_view ns, std::string_view name) override {
    if (auto f = ask("get")) return f->error;
    const Json* object = find(kind, {std::string(ns), std::string(name)});
    if (!object) return api_error(404, "NotFound");
    return *object;
  }
  Result<ListResult> list(const KindInfo& kind, const ListOptions&) override {
    ListResult out;
    for (const auto& [key, object] : kinds[kind_of(kind)]) out.items.push_back(object);
    out.resource_version = std::to_string(version);
    return out;
  }
  Result<Json> create(const KindInfo& kind, const Json& object, const WriteOptions&) override {
    return write("create", kind, key_of(object), [&](Json* live) -> Result<Json> {
      if (live) return api_error(409, "AlreadyExists");
      Json made = object;
      made["metadata"]["uid"] = "uid-" + std::to_string(version + 1);
      made["metadata"]["generation"] = 1;
      made.erase("status");
      return made;
    });
  }
  Result<Json> update(const KindInfo& kind, const Json& object,
                      const WriteOptions& options) override {
    return write("update", kind, key_of(object), [&](Json* live) -> Result<Json> {
      if (!live) return api_error(404, "NotFound");
      const std::string wanted = get_string(object["metadata"], "resourceVersion");
      if (!wanted.empty() && wanted != get_string((*live)["metadata"], "resourceVersion"))
        return api_error(409, "Conflict");
      Json next = *live;
      if (options.subresource == "status") {
        next["status"] = tango::get(object, "status");
      } else {
        const Json uid = next["metadata"]["uid"];
        next = object;
        next["metadata"]["uid"] = uid;
        next["status"] = tango::get(*live, "status");
        if (next["status"].is_null()) next.erase("status");
      }
      return next;
    });
  }
  Result<Json> patch(const KindInfo& kind, std::string_view ns, std::string_view name,
                     PatchType type, const Json& body, const WriteOptions&) override {
    return write(
        "patch", kind, {std::string(ns), std::string(name)}, [&](Json* live) -> Result<Json> {
          if (type == PatchType::kApply && !live) {
            Json made = body;
            made["metadata"]["uid"] = "uid-" + std::to_string(version + 1);
            made["metadata"]["generation"] = 1;
            return made;
          }
          if (!live) return api_error(404, "NotFound");
          const std::string wanted = get_string(tango::get(body, "metadata"), "resourceVersion");
          if (!wanted.empty() && wanted != get_string((*live)["metadata"], "resourceVersion"))
            return api_error(409, "Conflict");
          Json next = *live;
          merge_patch(next, body);
          return next;
        });
  }
  Result<Json> apply(const KindInfo& kind, const Json& object,
                     const WriteOptions& options) override {
    return patch(kind, key_of(object).ns, key_of(object).name, PatchType::kApply, object, options);
  }
  Status remove(const KindInfo& kind, std::string_view ns, std::string_view name,
                const DeleteOptions& options) override {
    count("remove", kind, name);
    const auto f = ask("remove");
    if (f && !f->lost) return f->error;
    const ObjectKey key{std::string(ns), std::string(name)};
    Json* live = find(kind, key);
    if (!live) return api_error(404, "NotFound");
    const Json& meta = (*live)["metadata"];
    if (!options.uid.empty() && options.uid != get_string(meta, "uid"))
      return api_error(409, "Conflict");
    if (!options.resource_version.empty() &&
        options.resource_version != get_string(meta, "resourceVersion")) {
      return api_error(409, "Conflict");
    }
    if (!tango::get(meta, "finalizers").empty()) {
      if (!meta.contains("deletionTimestamp")) {
        Json next = *live;
        next["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z";
        store(kind, key, std::move(next));
      }
    } else {
      drop(kind, key);
    }
    if (f) return f->error;
    return ok_status();
  }
  // Removes ConfigMaps whose owner is gone (a Widget made from a stale cache owns things, too).
  void collect_garbage() {
    std::vector<ObjectKey> orphans;
    for (const auto& [child, object] : kinds["configmaps"]) {
      for (const Json& owner : at_path(object, "metadata.ownerReferences")) {
        const auto it = kinds["widgets"].find({child.ns, get_string(owner, "name")});
        const bool alive = it != kinds["widgets"].end() &&
                           get_string(it->second["metadata"], "uid") == get_string(owner, "uid");
        if (!alive) orphans.push_back(child);
      }
    }
    for (const ObjectKey& child : orphans) drop(ConfigMap::kKind, child);
  }
  // Lists in pages, as the reflector asks for them.
  Result<HttpResponse> raw(std::string_view, std::string_view path, std::string_view,
                           std::string_view) override {
    const UrlTarget target = split_target(path);
    const std::string kind = split_path(target.path).back();
    const auto limit = static_cast<std::size_t>(std::atoll(target.get("limit", "0").c_str()));
    // All pages show the version of the first one.
    const std::string token = target.get("continue");
    std::size_t snapshot = snapshots_.size(), skip = 0;
    if (token.empty()) {
      Snapshot fresh{version, {}};
      for (const auto& [key, object] : kinds[kind]) fresh.items.push_back(object);
      snapshots_.push_back(std::move(fresh));
    } else {
      snapshot = static_cast<std::size_t>(std::atoll(token.c_str()));
      skip = static_cast<std::size_t>(std::atoll(token.c_str() + token.find('-') + 1));
    }
    const Snapshot& from = snapshots_.at(snapshot);
    Json list = {{"kind", "List"},
                 {"metadata", {{"resourceVersion", std::to_string(from.version)}}},
                 {"items", Json::array()}};
    for (std::size_t i = skip; i < from.items.size(); ++i) {
      if (limit > 0 && i - skip == limit) {
        list["metadata"]["continue"] = std::to_string(snapshot) + "-" + std::to_string(i);
        break;
      }
      list["items"].push_back(from.items[i]);
    }
    return HttpResponse{200, {}, list.dump()};
  }
  // Frames of a watch from `from` on; nullopt: too old.
  std::optional<std::vector<LogEntry>> events_since(const std::string& kind, std::int64_t from) {
    if (from < compacted[kind]) return std::nullopt;
    std::vector<LogEntry> out;
    for (const LogEntry& entry : log) {
      if (entry.kind == kind && entry.version > from) out.push_back(entry);
    }
    return out;
  }
  std::uint64_t stream(std::string_view, StreamCallbacks) override { return 0; }
  void cancel(std::uint64_t) override {}
  const ClientConfig& config() const override { return config_; }
  std::unique_ptr<KubeClient> with_timeout(Nanos) override { return nullptr; }

 private:
  static ObjectKey key_of(const Json& object) {
    return {get_string(object["metadata"], "namespace"), get_string(object["metadata"], "name")};
  }
  std::optional<Fault> ask(std::string_view verb) { return fault ? fault(verb) : std::nullopt; }
  void count(std::string_view verb, const KindInfo& kind, std::string_view name) {
    if (kind.plural == "events" || kind.plural == "leases") return;
    ++writes;
    write_log.push_back(std::string(verb) + " " + std::string(kind.plural) + " " +
                        std::string(name));
  }
  template <typename F>
  Result<Json> write(std::string_view verb, const KindInfo& kind, const ObjectKey& key, F make) {
    count(verb, kind, key.name);
    const auto f = ask(verb);
    if (f && !f->lost) return f->error;
    Json* live = find(kind, key);
    TRY_ASSIGN(Json next, make(live));
    if (live) {
      next["metadata"]["resourceVersion"] = (*live)["metadata"]["resourceVersion"];
      if (next == *live) return f ? Result<Json>(f->error) : Result<Json>(next);
      Json spec_before = *live, spec_after = next;
      for (Json* j : {&spec_before, &spec_after}) {
        j->erase("metadata");
        j->erase("status");
      }
      if (spec_before != spec_after) {
        next["metadata"]["generation"] = get_int((*live)["metadata"], "generation") + 1;
      }
    }
    store(kind, key, next);
    if (const Json* stored = find(kind, key)) {
      next = *stored;
    } else {
      next["metadata"]["resourceVersion"] = std::to_string(version);
    }
    if (f) return f->error;
    return next;
  }
  void store(const KindInfo& kind, const ObjectKey& key, Json next) {
    if (next["metadata"].contains("deletionTimestamp") &&
        tango::get(next["metadata"], "finalizers").empty()) {
      return drop(kind, key);
    }
    Objects& objects = kinds[kind_of(kind)];
    const bool fresh = !objects.contains(key);
    next["metadata"]["resourceVersion"] = std::to_string(++version);
    log.push_back({version, kind_of(kind), fresh ? "ADDED" : "MODIFIED", next});
    objects[key] = std::move(next);
  }
  void drop(const KindInfo& kind, const ObjectKey& key) {
    auto node = kinds[kind_of(kind)].extract(key);
    if (node.empty()) return;
    Json gone = std::move(node.mapped());
    gone["metadata"]["resourceVersion"] = std::to_string(++version);
    log.push_back({version, kind_of(kind), "DELETED", std::move(gone)});
    collect_garbage();
  }
  struct Snapshot {
    std::int64_t version;
    std::vector<Json> items;
  };
  std::vector<Snapshot> snapshots_;
  ClientConfig config_;
};

}  // namespace tango::kube::test
