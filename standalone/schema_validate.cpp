// Validation of values against a Schema; messages follow the words of a real API server.
#include <cmath>
#include <set>

#include "lib/base/clock.h"
#include "standalone/schema.h"

namespace tango::standalone {
namespace {

constexpr std::size_t kMaxPatternInput = 8192;  // std::regex recurses; longer strings are refused

std::string type_name(const Json& v) {
  if (v.is_null()) return "null";
  if (v.is_boolean()) return "boolean";
  if (v.is_number_integer()) return "integer";
  if (v.is_number()) return "number";
  if (v.is_string()) return "string";
  return v.is_array() ? "array" : "object";
}

const char* schema_name(SchemaType t) {
  switch (t) {
    case SchemaType::kObject:
      return "object";
    case SchemaType::kArray:
      return "array";
    case SchemaType::kString:
      return "string";
    case SchemaType::kInteger:
      return "integer";
    case SchemaType::kNumber:
      return "number";
    case SchemaType::kBoolean:
      return "boolean";
    case SchemaType::kAny:
      break;
  }
  return "any";
}

bool whole(const Json& v) {
  if (v.is_number_integer()) return true;
  if (!v.is_number_float()) return false;
  double d = v.get<double>();
  return std::isfinite(d) && d == std::floor(d);
}

bool type_fits(const Json& v, const Schema& s) {
  if (v.is_null()) return s.nullable || s.type == SchemaType::kAny;
  if (s.int_or_string) {
    return v.is_string() || whole(v) || (s.format == "quantity" && v.is_number());
  }
  switch (s.type) {
    case SchemaType::kAny:
      return true;
    case SchemaType::kObject:
      return v.is_object();
    case SchemaType::kArray:
      return v.is_array();
    case SchemaType::kString:
      return v.is_string();
    case SchemaType::kInteger:
      return whole(v);
    case SchemaType::kNumber:
      return v.is_number();
    case SchemaType::kBoolean:
      return v.is_boolean();
  }
  return false;
}

std::string shown(const Json& v) { return dump_json(v).substr(0, 256); }

void add(std::vector<Cause>& causes, const char* reason, const std::string& path,
         std::string message) {
  causes.push_back({reason, std::move(message), path.empty() ? "<root>" : path});
}
void bad(std::vector<Cause>& causes, const std::string& path, const Json& v,
         const std::string& why) {
  add(causes, "FieldValueInvalid", path,
      "Invalid value: " + shown(v) + ": " + path + " in body " + why);
}

std::size_t utf8_length(const std::string& s) {
  std::size_t n = 0;
  for (char c : s) n += (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  return n;
}

std::string number_text(double d) {
  return d == std::floor(d) && std::abs(d) < 1e15 ? std::to_string(static_cast<std::int64_t>(d))
                                                  : Json(d).dump();
}

void check_string(const std::string& v, const Json& json, const Schema& s, const std::string& path,
                  std::vector<Cause>& causes) {
  auto n = static_cast<std::int64_t>(utf8_length(v));
  if (s.max_length && n > *s.max_length) {
    add(causes, "FieldValueTooLong", path,
        "Too long: may not be longer than " + std::to_string(*s.max_length));
    return;
  }
  if (s.min_length && n < *s.min_length) {
    bad(causes, path, json, "should be at least " + std::to_string(*s.min_length) + " chars long");
  }
  if (s.regex) {
    if (v.size() > kMaxPatternInput) {
      add(causes, "FieldValueTooLong", path,
          "Too long: may not be longer than " + std::to_string(kMaxPatternInput));
    } else if (!std::regex_search(v, *s.regex)) {
      bad(causes, path, json, "should match '" + s.pattern + "'");
    }
  }
  if (s.format == "date-time" && !parse_time(v).ok())
    bad(causes, path, json, "must be of type date-time: " + shown(json));
}

void check_number(double v, const Json& json, const Schema& s, const std::string& path,
                  std::vector<Cause>& causes) {
  if (s.minimum && (s.exclusive_minimum ? v <= *s.minimum : v < *s.minimum)) {
    bad(causes, path, json,
        std::string("should be greater than ") + (s.exclusive_minimum ? "" : "or equal to ") +
            number_text(*s.minimum));
  }
  if (s.maximum && (s.exclusive_maximum ? v >= *s.maximum : v > *s.maximum)) {
    bad(causes, path, json,
        std::string("should be less than ") + (s.exclusive_maximum ? "" : "or equal to ") +
            number_text(*s.maximum));
  }
  if (s.multiple_of && *s.multiple_of > 0) {
    double q = v / *s.multiple_of;
    if (std::abs(q - std::round(q)) > 1e-9)
      bad(causes, path, json, "should be a multiple of " + number_text(*s.multiple_of));
  }
  if (s.format == "int32" && (v > 2147483647.0 || v < -2147483648.0))
    bad(causes, path, json, "must be of type int32: " + shown(json));
}

void check_array(const Json& v, const Schema& s, const std::string& path,
                 std::vector<Cause>& causes) {
  auto n = static_cast<std::int64_t>(v.size());
  if (s.max_items && n > *s.max_items) {
    add(causes, "FieldValueTooMany", path,
        "Too many: " + std::to_string(n) + ": must have at most " + std::to_string(*s.max_items) +
            " items");
    return;
  }
  if (s.min_items && n < *s.min_items) {
    bad(causes, path, n, "should have at least " + std::to_string(*s.min_items) + " items");
  }
  std::set<std::string> seen;
  for (std::size_t i = 0; i < v.size(); ++i) {
    std::string at = path + "[" + std::to_string(i) + "]";
    if (s.items) validate(v[i], *s.items, at, causes);
    std::string key;
    Json shown_key;
    if (s.list == ListType::kMap && v[i].is_object()) {
      Json k = Json::object();
      for (const std::string& name : s.list_keys) {
        const Json* found = v[i].contains(name) ? &v[i][name] : nullptr;
        if (found == nullptr) {
          const Schema* m = s.items ? s.items->member(name) : nullptr;
          if (m == nullptr || !m->default_value) {
            // Absent keys are allowed when the schema does not require them; they count as null.
            k[name] = nullptr;
            continue;
          }
          k[name] = *m->default_value;
        } else {
          k[name] = *found;
        }
      }
      key = k.dump();
      shown_key = k;
    } else if (s.list == ListType::kSet || s.unique_items) {
      key = v[i].dump();
      shown_key = v[i];
    } else {
      continue;
    }
    if (!seen.insert(key).second) {
      add(causes, "FieldValueDuplicate", at, "Duplicate value: " + shown(shown_key));
    }
  }
}

void check_object(const Json& v, const Schema& s, const std::string& path,
                  std::vector<Cause>& causes) {
  for (const std::string& key : s.required) {
    if (!v.contains(key)) add(causes, "FieldValueRequired", join_path(path, key), "Required value");
  }
  auto n = static_cast<std::int64_t>(v.size());
  if (s.max_properties && n > *s.max_properties) {
    add(causes, "FieldValueTooMany", path,
        "Too many: " + std::to_string(n) + ": must have at most " +
            std::to_string(*s.max_properties) + " items");
  }
  if (s.min_properties && n < *s.min_properties) {
    bad(causes, path, n,
        "should have at least " + std::to_string(*s.min_properties) + " properties");
  }
  for (const auto& [key, value] : v.items()) {
    if (path.empty() && (key == "metadata" || key == "apiVersion" || key == "kind")) continue;
    if (const Schema* m = s.member(key)) validate(value, *m, join_path(path, key), causes);
  }
}

bool fits(const Json& v, const Schema& s) {
  std::vector<Cause> causes;
  validate(v, s, "x", causes);
  return causes.empty();
}

}  // namespace

void validate(const Json& v, const Schema& s, const std::string& path, std::vector<Cause>& causes) {
  if (!type_fits(v, s)) {
    std::string want = s.int_or_string ? "integer or string" : schema_name(s.type);
    add(causes, "FieldValueTypeInvalid", path,
        "Invalid value: \"" + type_name(v) + "\": " + path + " in body must be of type " + want +
            ": \"" + type_name(v) + "\"");
    return;
  }
  if (v.is_null()) return;
  if (!s.enumeration.empty()) {
    bool found = false;
    std::string list;
    for (const Json& e : s.enumeration) {
      found = found || e == v;
      list += (list.empty() ? "" : ", ") + e.dump();
    }
    if (!found) {
      add(causes, "FieldValueNotSupported", path,
          "Unsupported value: " + shown(v) + ": supported values: " + list);
    }
  }
  if (v.is_string()) check_string(v.get_ref<const std::string&>(), v, s, path, causes);
  if (v.is_number()) check_number(v.get<double>(), v, s, path, causes);
  if (v.is_array()) check_array(v, s, path, causes);
  if (v.is_object()) check_object(v, s, path, causes);
  for (const SchemaPtr& sub : s.all_of) validate(v, *sub, path, causes);
  if (!s.any_of.empty()) {
    bool any = false;
    for (const SchemaPtr& sub : s.any_of) any = any || fits(v, *sub);
    if (!any) bad(causes, path, v, "must validate at least one schema (anyOf)");
  }
  if (!s.one_of.empty()) {
    int hits = 0;
    for (const SchemaPtr& sub : s.one_of) hits += fits(v, *sub);
    if (hits != 1) bad(causes, path, v, "must validate one and only one schema (oneOf)");
  }
  if (s.not_of && fits(v, *s.not_of)) bad(causes, path, v, "must not validate the schema (not)");
}

std::string type_mismatch(const Json& v, const Schema& s, const std::string& path) {
  // A typed decoder takes null for "absent" everywhere.
  if (v.is_null()) return {};
  if (!type_fits(v, s)) {
    return path + ": cannot use " + type_name(v) + " as " +
           (s.int_or_string ? "integer or string" : schema_name(s.type));
  }
  if (v.is_object()) {
    for (const auto& [key, value] : v.items()) {
      if (const Schema* m = s.member(key)) {
        std::string e = type_mismatch(value, *m, join_path(path, key));
        if (!e.empty()) return e;
      }
    }
  } else if (v.is_array() && s.items) {
    for (std::size_t i = 0; i < v.size(); ++i) {
      std::string e = type_mismatch(v[i], *s.items, path + "[" + std::to_string(i) + "]");
      if (!e.empty()) return e;
    }
  }
  return {};
}

}  // namespace tango::standalone
