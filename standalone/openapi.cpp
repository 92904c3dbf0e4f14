#include "standalone/openapi.h"

#include <set>

#include "standalone/builtin_types.h"

namespace tango::standalone {
namespace {

struct Flavour {
  bool v3 = false;
  std::string ref_prefix() const { return v3 ? "#/components/schemas/" : "#/definitions/"; }
};

constexpr const char* kObjectMeta = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
constexpr const char* kListMeta = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";

Json encode(const Schema& s, const Flavour& f, bool top);

Json reference(const std::string& name, const std::string& description, const Flavour& f) {
  Json ref = {{"$ref", f.ref_prefix() + name}};
  if (!f.v3) {
    if (!description.empty()) ref["description"] = description;
    return ref;
  }
  // In v3, siblings of $ref are ignored, so a description needs allOf.
  Json out = {{"allOf", Json::array({ref})}};
  if (!description.empty()) out["description"] = description;
  return out;
}

Json encode(const Schema& s, const Flavour& f, bool top) {
  if (!top && !s.ref.empty()) {
    // A use that adds nothing to the definition's own description is a bare reference.
    SchemaPtr definition = builtin_type(s.ref);
    return reference(
        s.ref, definition && definition->description == s.description ? "" : s.description, f);
  }
  Json o = Json::object();
  if (!s.description.empty()) o["description"] = s.description;
  if (s.format == "quantity") {
    o["type"] = "string";
    return o;
  }
  if (s.int_or_string) {
    if (f.v3) {
      o["oneOf"] = Json::array({{{"type", "integer"}}, {{"type", "string"}}});
      o["x-kubernetes-int-or-string"] = true;
    } else {
      o["type"] = "string";
    }
    o["format"] = "int-or-string";
    return o;
  }
  switch (s.type) {
    case SchemaType::kObject:
      o["type"] = "object";
      break;
    case SchemaType::kArray:
      o["type"] = "array";
      break;
    case SchemaType::kString:
      o["type"] = "string";
      break;
    case SchemaType::kInteger:
      o["type"] = "integer";
      break;
    case SchemaType::kNumber:
      o["type"] = "number";
      break;
    case SchemaType::kBoolean:
      o["type"] = "boolean";
      break;
    case SchemaType::kAny:
      break;
  }
  if (!s.format.empty()) o["format"] = s.format;
  for (const auto& [key, child] : s.properties) o["properties"][key] = encode(*child, f, false);
  if (!s.required.empty()) o["required"] = s.required;
  if (s.additional) o["additionalProperties"] = encode(*s.additional, f, false);
  if (s.items) o["items"] = encode(*s.items, f, false);
  if (s.preserve_unknown && s.type != SchemaType::kAny)
    o["x-kubernetes-preserve-unknown-fields"] = true;
  if (s.default_value && !s.default_value->is_object()) o["default"] = *s.default_value;
  if (s.merge_list) {
    o["x-kubernetes-patch-strategy"] = s.retain_keys ? "merge,retainKeys" : "merge";
    if (!s.merge_key.empty()) o["x-kubernetes-patch-merge-key"] = s.merge_key;
  }
  if (s.list == ListType::kMap) {
    o["x-kubernetes-list-type"] = "map";
    o["x-kubernetes-list-map-keys"] = s.list_keys;
  } else if (s.list == ListType::kSet) {
    o["x-kubernetes-list-type"] = "set";
  }
  if (s.atomic_map) o["x-kubernetes-map-type"] = "atomic";
  return o;
}

// A CRD schema as OpenAPI v2 may say it: what v2 does not know is dropped (as kube-apiserver does).
Json crd_to_v2(const Json& in) {
  if (!in.is_object()) return in;
  Json o = Json::object();
  const bool int_or_string = get_bool(in, "x-kubernetes-int-or-string");
  const bool preserve = get_bool(in, "x-kubernetes-preserve-unknown-fields");
  for (const auto& [key, value] : in.items()) {
    if (key == "nullable" || key == "oneOf" || key == "anyOf" || key == "not" || key == "allOf" ||
        key == "example" || key == "x-kubernetes-validations")
      continue;
    if (key == "properties" && value.is_object()) {
      if (preserve) continue;  // clients would reject unknown fields otherwise
      for (const auto& [name, child] : value.items()) o["properties"][name] = crd_to_v2(child);
    } else if (key == "items" || key == "additionalProperties") {
      if (preserve && key == "items") continue;
      o[key] = crd_to_v2(value);
    } else if ((key == "type" || key == "required") && (preserve || get_bool(in, "nullable"))) {
      if (key == "required" && !preserve) o[key] = value;
    } else {
      o[key] = value;
    }
  }
  if (int_or_string) {
    o.erase("type");
    o["format"] = "int-or-string";
  }
  return o;
}

Json kind_extension(const ResourceInfo& r) {
  return {{"group", r.group}, {"kind", r.kind}, {"version", r.version}};
}

Json definition_of(const ResourceInfo& r, const Flavour& f) {
  Json d;
  if (r.custom) {
    d = f.v3 ? r.openapi_schema : crd_to_v2(r.openapi_schema);
    if (d.contains("properties") ||
        !get_bool(r.openapi_schema, "x-kubernetes-preserve-unknown-fields")) {
      d["type"] = "object";
      d["properties"]["apiVersion"] = {
          {"type", "string"},
          {"description", "The version of this object's schema, as group/version."}};
      d["properties"]["kind"] = {{"type", "string"}, {"description", "The kind of this object."}};
      d["properties"]["metadata"] = reference(kObjectMeta, "Standard object metadata.", f);
    }
  } else {
    d = encode(*r.schema, f, true);
  }
  d["x-kubernetes-group-version-kind"] = Json::array({kind_extension(r)});
  return d;
}

Json list_definition(const ResourceInfo& r, const Flavour& f) {
  Json ext = kind_extension(r);
  ext["kind"] = r.list_kind;
  Json item = {{"$ref", f.ref_prefix() + r.definition}};
  return {{"description", "A list of " + r.kind + "."},
          {"type", "object"},
          {"required", {"items"}},
          {"properties",
           {{"apiVersion", {{"type", "string"}}},
            {"kind", {{"type", "string"}}},
            {"metadata", reference(kListMeta, "Standard list metadata.", f)},
            {"items", {{"type", "array"}, {"items", item}, {"description", "The objects."}}}}},
          {"x-kubernetes-group-version-kind", Json::array({ext})}};
}

Json query(const char* name, const char* type, const Flavour& f) {
  if (f.v3)
    return {{"name", name}, {"in", "query"}, {"schema", {{"type", type}, {"uniqueItems", true}}}};
  return {{"name", name}, {"in", "query"}, {"type", type}, {"uniqueItems", true}};
}

Json operation(const ResourceInfo& r, const char* verb, const char* action, const Flavour& f) {
  Json params = Json::array();
  std::string v = verb;
  if (v == "post" || v == "put" || v == "patch") {
    params.push_back(query("dryRun", "string", f));
    params.push_back(query("fieldManager", "string", f));
    params.push_back(query("fieldValidation", "string", f));
    if (v == "patch") params.push_back(query("force", "boolean", f));
  } else if (v == "delete") {
    params.push_back(query("dryRun", "string", f));
    params.push_back(query("propagationPolicy", "string", f));
  }
  Json ok = {{"description", "OK"}};
  return {{"operationId", v + r.group + r.version + r.plural},
          {"parameters", params},
          {"responses", {{"200", ok}}},
          {"x-kubernetes-action", action},
          {"x-kubernetes-group-version-kind", kind_extension(r)}};
}

void add_paths(const ResourceInfo& r, const Flavour& f, Json& paths) {
  std::string base = r.group.empty() ? "/api/" + r.version : "/apis/" + r.group + "/" + r.version;
  std::string many = base + (r.namespaced ? "/namespaces/{namespace}/" : "/") + r.plural;
  paths[many]["post"] = operation(r, "post", "post", f);
  if (r.review) return;
  paths[many]["get"] = operation(r, "get", "list", f);
  Json& one = paths[many + "/{name}"];
  one["get"] = operation(r, "get", "get", f);
  one["put"] = operation(r, "put", "put", f);
  one["patch"] = operation(r, "patch", "patch", f);
  one["delete"] = operation(r, "delete", "delete", f);
}

}  // namespace

Json openapi_v2(const ResourceTable& table) {
  Flavour f;
  Json doc = {{"swagger", "2.0"},
              {"info", {{"title", "Kubernetes"}, {"version", "v1.29.0"}}},
              {"paths", Json::object()},
              {"definitions", Json::object()}};
  for (const auto& [name, schema] : builtin_definitions())
    doc["definitions"][name] = encode(*schema, f, true);
  for (const auto& r : table.all()) {
    doc["definitions"][r->definition] = definition_of(*r, f);
    if (!r->review) doc["definitions"][r->definition + "List"] = list_definition(*r, f);
    add_paths(*r, f, doc["paths"]);
  }
  return doc;
}

Json openapi_v3_index(const ResourceTable& table, const std::string& hash) {
  Json paths = Json::object();
  std::set<std::string> seen;
  for (const auto& r : table.all()) {
    std::string at = r->group.empty() ? "api/" + r->version : "apis/" + r->group + "/" + r->version;
    if (seen.insert(at).second)
      paths[at] = {{"serverRelativeURL", "/openapi/v3/" + at + "?hash=" + hash}};
  }
  return {{"paths", paths}};
}

Json openapi_v3(const ResourceTable& table, std::string_view group, std::string_view version) {
  Flavour f{true};
  Json doc = {{"openapi", "3.0.0"},
              {"info", {{"title", "Kubernetes"}, {"version", "v1.29.0"}}},
              {"paths", Json::object()},
              {"components", {{"schemas", Json::object()}}}};
  Json& schemas = doc["components"]["schemas"];
  bool any = false;
  for (const auto& r : table.all()) {
    if (r->group != group || r->version != version) continue;
    any = true;
    schemas[r->definition] = definition_of(*r, f);
    if (!r->review) schemas[r->definition + "List"] = list_definition(*r, f);
    add_paths(*r, f, doc["paths"]);
  }
  if (!any) return nullptr;
  for (const auto& [name, schema] : builtin_definitions()) {
    if (!schemas.contains(name)) schemas[name] = encode(*schema, f, true);
  }
  return doc;
}

}  // namespace tango::standalone
