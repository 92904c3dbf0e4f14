#include "lib/kube-types/meta.h"

#include <algorithm>

#include "lib/base/digest.h"
#include "lib/kube-types/reader.h"

namespace tango::kube {
namespace {

std::optional<TimePoint> time_member(const Json& object, std::string_view key) {
  auto time = parse_time(get_string(object, key));
  if (!time.ok()) return std::nullopt;
  return *time;
}

std::map<std::string, std::string> string_map(const Json& object) {
  std::map<std::string, std::string> out;
  if (!object.is_object()) return out;
  for (const auto& [key, value] : object.items()) {
    if (value.is_string()) out.emplace(key, value.get<std::string>());
  }
  return out;
}

std::string find_in(const std::map<std::string, std::string>& map, std::string_view key) {
  auto it = map.find(std::string(key));
  return it == map.end() ? std::string() : it->second;
}

}  // namespace

std::string ObjectMeta::label(std::string_view key) const { return find_in(labels, key); }
std::string ObjectMeta::annotation(std::string_view key) const { return find_in(annotations, key); }

const OwnerReference* ObjectMeta::controller_owner() const {
  for (const auto& owner : owner_references) {
    if (owner.controller) return &owner;
  }
  return nullptr;
}

ObjectMeta parse_object_meta(const Json& metadata) {
  ObjectMeta out;
  if (!metadata.is_object()) return out;
  out.name = get_string(metadata, "name");
  out.generate_name = get_string(metadata, "generateName");
  out.ns = get_string(metadata, "namespace");
  out.uid = get_string(metadata, "uid");
  out.resource_version = get_string(metadata, "resourceVersion");
  out.generation = get_int(metadata, "generation");
  out.creation_timestamp = time_member(metadata, "creationTimestamp");
  out.deletion_timestamp = time_member(metadata, "deletionTimestamp");
  out.labels = string_map(get(metadata, "labels"));
  out.annotations = string_map(get(metadata, "annotations"));
  const Json& owners = get(metadata, "ownerReferences");
  if (owners.is_array()) {
    for (const auto& o : owners) {
      out.owner_references.push_back(
          {get_string(o, "apiVersion"), get_string(o, "kind"), get_string(o, "name"),
           get_string(o, "uid"), get_bool(o, "controller"), get_bool(o, "blockOwnerDeletion")});
    }
  }
  const Json& finalizers = get(metadata, "finalizers");
  if (finalizers.is_array()) {
    for (const auto& f : finalizers) {
      if (f.is_string()) out.finalizers.push_back(f.get<std::string>());
    }
  }
  return out;
}

bool read(JsonCursor& in, OwnerReference& out, ReadContext& ctx) {
  return read_fields(
      in,
      [&](std::string_view key, JsonCursor& value) {
        if (key == "apiVersion") return read_at(key, value, out.api_version, ctx);
        if (key == "kind") return read_at(key, value, out.kind, ctx);
        if (key == "name") return read_at(key, value, out.name, ctx);
        if (key == "uid") return read_at(key, value, out.uid, ctx);
        if (key == "controller") return read_at(key, value, out.controller, ctx);
        if (key == "blockOwnerDeletion") return read_at(key, value, out.block_owner_deletion, ctx);
        return true;
      },
      ctx);
}

bool read(JsonCursor& in, ObjectMeta& out, ReadContext& ctx) {
  return read_fields(
      in,
      [&](std::string_view key, JsonCursor& value) {
        if (key == "name") return read_at(key, value, out.name, ctx);
        if (key == "generateName") return read_at(key, value, out.generate_name, ctx);
        if (key == "namespace") return read_at(key, value, out.ns, ctx);
        if (key == "uid") return read_at(key, value, out.uid, ctx);
        if (key == "resourceVersion") return read_at(key, value, out.resource_version, ctx);
        if (key == "generation") return read_at(key, value, out.generation, ctx);
        if (key == "creationTimestamp") return read_at(key, value, out.creation_timestamp, ctx);
        if (key == "deletionTimestamp") return read_at(key, value, out.deletion_timestamp, ctx);
        if (key == "labels") return read_at(key, value, out.labels, ctx);
        if (key == "annotations") return read_at(key, value, out.annotations, ctx);
        if (key == "ownerReferences") return read_at(key, value, out.owner_references, ctx);
        if (key == "finalizers") return read_at(key, value, out.finalizers, ctx);
        return true;  // managedFields and the like are nobody's business here
      },
      ctx);
}

Json encode(const ObjectMeta& meta) {
  Json out = Json::object();
  auto text = [&](const char* key, const std::string& value) {
    if (!value.empty()) out[key] = value;
  };
  text("name", meta.name);
  text("generateName", meta.generate_name);
  text("namespace", meta.ns);
  text("uid", meta.uid);
  text("resourceVersion", meta.resource_version);
  if (meta.generation != 0) out["generation"] = meta.generation;
  if (meta.creation_timestamp) out["creationTimestamp"] = format_time(*meta.creation_timestamp);
  if (meta.deletion_timestamp) out["deletionTimestamp"] = format_time(*meta.deletion_timestamp);
  if (!meta.labels.empty()) out["labels"] = meta.labels;
  if (!meta.annotations.empty()) out["annotations"] = meta.annotations;
  for (const auto& o : meta.owner_references) {
    Json owner{{"apiVersion", o.api_version}, {"kind", o.kind}, {"name", o.name}, {"uid", o.uid}};
    if (o.controller) owner["controller"] = true;
    if (o.block_owner_deletion) owner["blockOwnerDeletion"] = true;
    out["ownerReferences"].push_back(std::move(owner));
  }
  if (!meta.finalizers.empty()) out["finalizers"] = meta.finalizers;
  return out;
}

Condition parse_condition(const Json& value) {
  Condition out;
  out.type = get_string(value, "type");
  out.status = get_string(value, "status", "Unknown");
  out.reason = get_string(value, "reason");
  out.message = get_string(value, "message");
  out.observed_generation = get_int(value, "observedGeneration");
  out.last_transition_time = time_member(value, "lastTransitionTime");
  return out;
}

bool read(JsonCursor& in, Condition& out, ReadContext& ctx) {
  return read_fields(
      in,
      [&](std::string_view key, JsonCursor& value) {
        if (key == "type") return read_at(key, value, out.type, ctx);
        if (key == "status") return read_at(key, value, out.status, ctx);
        if (key == "reason") return read_at(key, value, out.reason, ctx);
        if (key == "message") return read_at(key, value, out.message, ctx);
        if (key == "observedGeneration") return read_at(key, value, out.observed_generation, ctx);
        if (key == "lastTransitionTime") return read_at(key, value, out.last_transition_time, ctx);
        return true;
      },
      ctx);
}

Json encode(const Condition& condition) {
  Json out{{"type", condition.type},
           {"status", condition.status},
           {"reason", condition.reason.empty() ? std::string("Unknown") : condition.reason},
           {"message", condition.message}};
  if (condition.observed_generation != 0) {
    out["observedGeneration"] = condition.observed_generation;
  }
  if (condition.last_transition_time) {
    out["lastTransitionTime"] = format_time(*condition.last_transition_time);
  }
  return out;
}

const Condition* find_condition(const std::vector<Condition>& conditions, std::string_view type) {
  for (const auto& c : conditions) {
    if (c.type == type) return &c;
  }
  return nullptr;
}

bool is_true(const std::vector<Condition>& conditions, std::string_view type) {
  const Condition* c = find_condition(conditions, type);
  return c != nullptr && c->status == "True";
}

void set_condition(std::vector<Condition>& conditions, Condition next, TimePoint now) {
  for (auto& c : conditions) {
    if (c.type != next.type) continue;
    next.last_transition_time = c.status == next.status && c.last_transition_time
                                    ? c.last_transition_time
                                    : std::optional<TimePoint>(now);
    c = std::move(next);
    return;
  }
  next.last_transition_time = now;
  conditions.push_back(std::move(next));
}

std::string child_name(std::string_view owner, std::string_view stage,
                       std::string_view input_hash) {
  constexpr std::size_t kMaxName = 63;
  constexpr std::size_t kHash = 8;
  std::string base = std::string(owner) + "-" + std::string(stage);
  std::string hash(input_hash.substr(0, kHash));
  if (base.size() + 1 + hash.size() <= kMaxName) return base + "-" + hash;
  // The whole base goes into a hash of its own, so that two long names stay different.
  std::string full = sha256(base).hex().substr(0, kHash);
  base.resize(kMaxName - 2 - kHash - hash.size());
  while (!base.empty() && (base.back() == '-' || base.back() == '.')) base.pop_back();
  return base + "-" + full + "-" + hash;
}

OwnerReference owner_of(const KindInfo& kind, const ObjectMeta& meta) {
  return {kind.api_version(), std::string(kind.kind), meta.name, meta.uid, true, true};
}

}  // namespace tango::kube
