#include "standalone/schema.h"

#include <algorithm>

namespace tango::standalone {
namespace {

constexpr int kMaxSchemaDepth = 64;

Error schema_error(const std::string& path, const std::string& why) {
  return make_error(Code::kInvalid, "InvalidSchema", path + ": " + why);
}

std::optional<double> number(const Json& source, const char* key) {
  const Json& v = get(source, key);
  return v.is_number() ? std::optional<double>(v.get<double>()) : std::nullopt;
}
std::optional<std::int64_t> integer(const Json& source, const char* key) {
  const Json& v = get(source, key);
  return v.is_number() ? std::optional<std::int64_t>(static_cast<std::int64_t>(v.get<double>()))
                       : std::nullopt;
}

Result<std::vector<SchemaPtr>> compile_list(const Json& source, const char* key,
                                            const std::string& path, int depth);

Result<SchemaPtr> compile(const Json& source, const std::string& path, int depth) {
  if (depth > kMaxSchemaDepth) return schema_error(path, "is nested too deeply");
  if (!source.is_object()) return schema_error(path, "must be an object");
  auto s = std::make_shared<Schema>();
  s->source = depth == 0 ? source : Json();
  s->description = get_string(source, "description");
  s->format = get_string(source, "format");
  s->nullable = get_bool(source, "nullable");
  s->int_or_string = get_bool(source, "x-kubernetes-int-or-string");
  s->preserve_unknown = get_bool(source, "x-kubernetes-preserve-unknown-fields");
  s->embedded_resource = get_bool(source, "x-kubernetes-embedded-resource");
  std::string type = get_string(source, "type");
  if (type == "object") {
    s->type = SchemaType::kObject;
  } else if (type == "array") {
    s->type = SchemaType::kArray;
  } else if (type == "string") {
    s->type = SchemaType::kString;
  } else if (type == "integer") {
    s->type = SchemaType::kInteger;
  } else if (type == "number") {
    s->type = SchemaType::kNumber;
  } else if (type == "boolean") {
    s->type = SchemaType::kBoolean;
  } else if (!type.empty()) {
    return schema_error(path + ".type", "unknown type " + type);
  }
  if (const Json& p = get(source, "properties"); p.is_object()) {
    for (const auto& [key, value] : p.items()) {
      TRY_ASSIGN(auto child, compile(value, path + ".properties[" + key + "]", depth + 1));
      s->properties[key] = std::move(child);
    }
  }
  if (const Json& r = get(source, "required"); r.is_array()) {
    for (const Json& v : r) {
      if (v.is_string()) s->required.push_back(v);
    }
  }
  if (const Json& a = get(source, "additionalProperties"); a.is_object()) {
    TRY_ASSIGN(s->additional, compile(a, path + ".additionalProperties", depth + 1));
  } else if (a.is_boolean() && a.get<bool>()) {
    auto any = std::make_shared<Schema>();
    any->preserve_unknown = true;
    s->additional = any;
  }
  if (const Json& i = get(source, "items"); i.is_object()) {
    TRY_ASSIGN(s->items, compile(i, path + ".items", depth + 1));
  } else if (s->type == SchemaType::kArray) {
    return schema_error(path + ".items", "must be specified");
  }
  s->atomic_map = get_string(source, "x-kubernetes-map-type") == "atomic";
  std::string list = get_string(source, "x-kubernetes-list-type");
  if (list == "set") s->list = ListType::kSet;
  if (list == "map") {
    s->list = ListType::kMap;
    for (const Json& k : get(source, "x-kubernetes-list-map-keys")) {
      if (k.is_string()) s->list_keys.push_back(k);
    }
    if (s->list_keys.empty())
      return schema_error(path + ".x-kubernetes-list-map-keys", "Required value");
  }
  if (source.contains("default")) s->default_value = source["default"];
  if (const Json& e = get(source, "enum"); e.is_array()) s->enumeration.assign(e.begin(), e.end());
  s->pattern = get_string(source, "pattern");
  if (!s->pattern.empty()) {
    try {
      s->regex = std::make_shared<const std::regex>(s->pattern,
                                                    std::regex::ECMAScript | std::regex::optimize);
    } catch (const std::regex_error& e) {
      return schema_error(path + ".pattern", "is not a usable regular expression: " + s->pattern);
    }
  }
  s->minimum = number(source, "minimum");
  s->maximum = number(source, "maximum");
  s->multiple_of = number(source, "multipleOf");
  s->exclusive_minimum = get_bool(source, "exclusiveMinimum");
  s->exclusive_maximum = get_bool(source, "exclusiveMaximum");
  s->unique_items = get_bool(source, "uniqueItems");
  s->min_length = integer(source, "minLength");
  s->max_length = integer(source, "maxLength");
  s->min_items = integer(source, "minItems");
  s->max_items = integer(source, "maxItems");
  s->min_properties = integer(source, "minProperties");
  s->max_properties = integer(source, "maxProperties");
  TRY_ASSIGN(s->all_of, compile_list(source, "allOf", path, depth));
  TRY_ASSIGN(s->any_of, compile_list(source, "anyOf", path, depth));
  TRY_ASSIGN(s->one_of, compile_list(source, "oneOf", path, depth));
  if (const Json& n = get(source, "not"); n.is_object()) {
    TRY_ASSIGN(s->not_of, compile(n, path + ".not", depth + 1));
  }
  return SchemaPtr(s);
}

Result<std::vector<SchemaPtr>> compile_list(const Json& source, const char* key,
                                            const std::string& path, int depth) {
  std::vector<SchemaPtr> out;
  const Json& list = get(source, key);
  if (!list.is_array()) return out;
  for (std::size_t i = 0; i < list.size(); ++i) {
    TRY_ASSIGN(auto s,
               compile(list[i], path + "." + key + "[" + std::to_string(i) + "]", depth + 1));
    out.push_back(std::move(s));
  }
  return out;
}

bool is_object_like(const Schema& s) {
  return s.type == SchemaType::kObject || !s.properties.empty() || s.additional != nullptr;
}

}  // namespace

std::string join_path(const std::string& path, std::string_view key) {
  return path.empty() ? std::string(key) : path + "." + std::string(key);
}

const Schema* Schema::member(std::string_view key) const {
  auto it = properties.find(key);
  if (it != properties.end()) return it->second.get();
  return additional.get();
}

Result<SchemaPtr> compile_crd_schema(const Json& source, const std::string& path) {
  return compile(source, path, 0);
}

void prune(Json& value, const Schema& schema, const std::string& path,
           std::vector<std::string>& unknown) {
  if (value.is_object()) {
    if (!is_object_like(schema) && schema.preserve_unknown) return;
    if (schema.type == SchemaType::kAny && !is_object_like(schema)) return;
    for (auto it = value.begin(); it != value.end();) {
      const std::string& key = it.key();
      const bool resource_root = path.empty() || schema.embedded_resource;
      if (const Schema* m = schema.member(key)) {
        if (!(resource_root && key == "metadata"))
          prune(it.value(), *m, join_path(path, key), unknown);
        ++it;
      } else if (schema.preserve_unknown ||
                 (resource_root && (key == "apiVersion" || key == "kind" || key == "metadata"))) {
        ++it;
      } else {
        unknown.push_back(join_path(path, key));
        it = value.erase(it);
      }
    }
  } else if (value.is_array() && schema.items) {
    for (std::size_t i = 0; i < value.size(); ++i) {
      prune(value[i], *schema.items, path + "[" + std::to_string(i) + "]", unknown);
    }
  }
}

void apply_defaults(Json& value, const Schema& schema) {
  if (value.is_object()) {
    for (const auto& [key, child] : schema.properties) {
      auto it = value.find(key);
      const bool null_with_default =
          it != value.end() && it->is_null() && !child->nullable && child->default_value;
      if ((it == value.end() || null_with_default) && child->default_value) {
        value[key] = *child->default_value;
        it = value.find(key);
      }
      if (it != value.end()) apply_defaults(*it, *child);
    }
    if (schema.additional) {
      for (auto it = value.begin(); it != value.end(); ++it) {
        if (!schema.properties.contains(it.key())) apply_defaults(it.value(), *schema.additional);
      }
    }
  } else if (value.is_array() && schema.items) {
    for (Json& item : value) apply_defaults(item, *schema.items);
  }
}

}  // namespace tango::standalone
