// What an API server does with a structural schema: defaults, pruning and validation.
#include <algorithm>
#include <map>
#include <mutex>
#include <regex>
#include <set>

#include "crds/crds.h"

namespace tango::crds {
namespace {

constexpr std::size_t kMaxViolations = 64;  // one object; a person reads the first few

bool flag(const Json& schema, const char* key) { return get_bool(schema, key); }
bool is_free(const Json& s) { return flag(s, "x-kubernetes-preserve-unknown-fields"); }

std::string join(const std::string& path, const std::string& key) {
  if (key.find('.') != std::string::npos || key.find('/') != std::string::npos) {
    return path + "[" + key + "]";
  }
  return path.empty() ? key : path + "." + key;
}
std::string at(const std::string& path, std::size_t index) {
  return path + "[" + std::to_string(index) + "]";
}

// Calls visit(child schema, child value, child path) for every child that the schema knows.
template <typename Value, typename Visit>
void for_children(const Json& schema, Value& value, const std::string& path, const Visit& visit) {
  if (value.is_array() && schema.contains("items")) {
    for (std::size_t i = 0; i < value.size(); ++i) visit(schema["items"], value[i], at(path, i));
    return;
  }
  if (!value.is_object()) return;
  const Json& properties = get(schema, "properties");
  const Json& additional = get(schema, "additionalProperties");
  for (auto it = value.begin(); it != value.end(); ++it) {
    if (properties.is_object() && properties.contains(it.key())) {
      visit(properties[it.key()], it.value(), join(path, it.key()));
    } else if (additional.is_object()) {
      visit(additional, it.value(), join(path, it.key()));
    }
  }
}

void fill(const Json& schema, Json& value) {
  const Json& properties = get(schema, "properties");
  if (value.is_object() && properties.is_object()) {
    // An explicit null means "not set" (Kubernetes prunes it before defaulting).
    for (auto it = value.begin(); it != value.end();) {
      it = it.value().is_null() && properties.contains(it.key()) ? value.erase(it) : std::next(it);
    }
    for (const auto& [key, child] : properties.items()) {
      if (!value.contains(key) && child.contains("default")) value[key] = child["default"];
    }
  }
  for_children(schema, value, {}, [](const Json& s, Json& v, const std::string&) { fill(s, v); });
}

void drop_unknown(const Json& schema, Json& value, const std::string& path,
                  std::vector<std::string>& dropped) {
  if (is_free(schema)) return;
  const Json& properties = get(schema, "properties");
  if (value.is_object() && properties.is_object()) {
    for (auto it = value.begin(); it != value.end();) {
      if (properties.contains(it.key())) {
        ++it;
        continue;
      }
      dropped.push_back(join(path, it.key()));
      it = value.erase(it);
    }
  }
  for_children(schema, value, path, [&](const Json& s, Json& v, const std::string& p) {
    drop_unknown(s, v, p, dropped);
  });
}

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      std::size_t above = row[j];
      bool same = std::tolower(static_cast<unsigned char>(a[i - 1])) ==
                  std::tolower(static_cast<unsigned char>(b[j - 1]));
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, diagonal + (same ? 0 : 1)});
      diagonal = above;
    }
  }
  return row[b.size()];
}

// "did you mean x?" when something known is near.
template <typename Names>
std::string suggestion(std::string_view wrong, const Names& names) {
  constexpr std::size_t kNear = 3, kMaxName = 64;
  if (wrong.size() > kMaxName) return {};
  std::string best;
  std::size_t least = std::min(kNear, wrong.size() / 2 + 1);
  for (const std::string& name : names) {
    std::size_t d = edit_distance(wrong, name);
    if (d < least) {
      least = d;
      best = name;
    }
  }
  return best.empty() ? std::string() : "did you mean \"" + best + "\"?";
}

bool matches_pattern(const std::string& pattern, const std::string& text) {
  static std::mutex mutex;
  static auto* cache = new std::map<std::string, std::regex>;
  const std::regex* compiled = nullptr;
  {
    std::lock_guard lock(mutex);
    auto it = cache->find(pattern);
    if (it == cache->end()) {
      it = cache->emplace(pattern, std::regex(pattern, std::regex::ECMAScript)).first;
    }
    compiled = &it->second;
  }
  return std::regex_search(text, *compiled);
}

std::size_t characters(const std::string& text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  }));
}

class Checker {
 public:
  explicit Checker(std::vector<Violation>& out) : out_(out) {}

  void check(const Json& schema, const Json& value, const std::string& path) {
    if (out_.size() >= kMaxViolations) return;
    if (flag(schema, "x-kubernetes-int-or-string")) return check_scalar(schema, value, path);
    std::string type = get_string(schema, "type");
    if (!has_type(value, type)) {
      return add(path, value, "must be " + article(type), "");
    }
    if (schema.contains("enum")) check_enum(schema, value, path);
    if (type == "string") check_string(schema, value, path);
    if (type == "integer" || type == "number") check_range(schema, value, path);
    if (type == "array") check_list(schema, value, path);
    if (type == "object") check_object(schema, value, path);
  }

  void add(const std::string& path, Json value, std::string rule, std::string remedy,
           std::string reason = "Invalid") {
    out_.push_back({path, std::move(value), std::move(rule), std::move(remedy), std::move(reason)});
  }

 private:
  static bool has_type(const Json& v, const std::string& type) {
    if (type == "object") return v.is_object();
    if (type == "array") return v.is_array();
    if (type == "string") return v.is_string();
    if (type == "boolean") return v.is_boolean();
    if (type == "number") return v.is_number();
    if (type == "integer") return v.is_number_integer();
    return true;
  }
  static std::string article(const std::string& type) {
    if (type == "array") return "a list";
    if (type == "integer") return "a whole number";
    if (type == "object") return "an object";
    if (type == "boolean") return "true or false";
    return "a " + type;
  }

  void check_scalar(const Json& schema, const Json& value, const std::string& path) {
    if (value.is_string()) return check_string(schema, value, path);
    if (!value.is_number_integer()) {
      return add(path, value, "must be a string or a whole number", "");
    }
    // A number is held to the same form as its text: -1 is no positive number either way.
    check_string(schema, Json(value.dump()), path);
  }

  void check_string(const Json& schema, const Json& value, const std::string& path) {
    const auto& text = value.get_ref<const std::string&>();
    std::size_t length = characters(text);
    if (schema.contains("maxLength") && length > schema["maxLength"].get<std::size_t>()) {
      return add(path, value,
                 "has " + std::to_string(length) + " characters; at most " +
                     schema["maxLength"].dump() + " are allowed",
                 "");
    }
    if (schema.contains("minLength") && length < schema["minLength"].get<std::size_t>()) {
      return add(path, value, "must not be empty", "");
    }
    if (schema.contains("pattern") && !matches_pattern(schema["pattern"], text)) {
      std::string meaning = get_string(schema, "description");
      return add(path, value, "does not match " + schema["pattern"].get<std::string>(), meaning);
    }
    if (get_string(schema, "format") == "date-time" && !parse_time(text).ok()) {
      add(path, value, "is not a time such as 2026-01-31T12:00:00Z", "");
    }
  }

  void check_enum(const Json& schema, const Json& value, const std::string& path) {
    std::string list;
    std::vector<std::string> names;
    for (const auto& allowed : schema["enum"]) {
      if (allowed == value) return;
      names.push_back(allowed.get<std::string>());
      list += (list.empty() ? "" : ", ") + names.back();
    }
    add(path, value, "must be one of " + list,
        value.is_string() ? suggestion(value.get<std::string>(), names) : std::string());
  }

  void check_range(const Json& schema, const Json& value, const std::string& path) {
    if (schema.contains("minimum") && value < schema["minimum"]) {
      add(path, value, "must be at least " + schema["minimum"].dump(), "");
    }
    if (schema.contains("maximum") && value > schema["maximum"]) {
      add(path, value, "must be at most " + schema["maximum"].dump(), "");
    }
  }

  void check_list(const Json& schema, const Json& value, const std::string& path) {
    if (schema.contains("maxItems") && value.size() > schema["maxItems"].get<std::size_t>()) {
      return add(path, value.size(),
                 "items are too many; at most " + schema["maxItems"].dump() + " are allowed", "");
    }
    if (schema.contains("minItems") && value.size() < schema["minItems"].get<std::size_t>()) {
      add(path, nullptr, "needs at least " + schema["minItems"].dump() + " item(s)", "");
    }
    for (std::size_t i = 0; i < value.size(); ++i) check(schema["items"], value[i], at(path, i));
    if (get_string(schema, "x-kubernetes-list-type") == "map") check_keys(schema, value, path);
  }

  void check_keys(const Json& schema, const Json& value, const std::string& path) {
    std::set<Json> seen;
    for (std::size_t i = 0; i < value.size(); ++i) {
      Json key = Json::array();
      for (const auto& name : schema["x-kubernetes-list-map-keys"]) {
        key.push_back(get(value[i], name.get<std::string>()));
      }
      if (!seen.insert(key).second) {
        std::string field = schema["x-kubernetes-list-map-keys"][0];
        add(join(at(path, i), field), key[0], "appears twice in this list",
            "give every item its own");
      }
    }
  }

  void check_object(const Json& schema, const Json& value, const std::string& path) {
    const Json& properties = get(schema, "properties");
    if (schema.contains("maxProperties") &&
        value.size() > schema["maxProperties"].get<std::size_t>()) {
      return add(path, value.size(),
                 "entries are too many; at most " + schema["maxProperties"].dump() + " are allowed",
                 "");
    }
    if (schema.contains("required")) {
      for (const auto& key : schema["required"]) {
        std::string name = key.get<std::string>();
        if (get(value, name).is_null())
          add(join(path, name), nullptr, "is required", "", "Missing");
      }
    }
    if (is_free(schema)) return;
    for (const auto& [key, child] : value.items()) {
      if (properties.is_object() && properties.contains(key)) {
        if (!child.is_null()) check(properties[key], child, join(path, key));
      } else if (schema.contains("additionalProperties")) {
        check(schema["additionalProperties"], child, join(path, key));
      } else {
        std::vector<std::string> names;
        for (const auto& [name, s] : properties.items()) names.push_back(name);
        add(join(path, key), nullptr, "is not a known field", suggestion(key, names),
            "UnknownField");
      }
    }
  }

  std::vector<Violation>& out_;
};

void check_name(const Json& object, Checker& checker) {
  const Json& meta = get(object, "metadata");
  std::string name = get_string(meta, "name");
  if (name.empty() && get_string(meta, "generateName").empty()) {
    return checker.add("metadata.name", nullptr, "is required", "", "Missing");
  }
  constexpr std::size_t kMaxName = 253;
  if (!name.empty() &&
      (name.size() > kMaxName ||
       !matches_pattern("^[a-z0-9]([a-z0-9-]*[a-z0-9])?([.][a-z0-9]([a-z0-9-]*[a-z0-9])?)*$",
                        name))) {
    checker.add("metadata.name", name, "is not a DNS name",
                "use lower-case letters, digits, '-' and '.', at most 253 of them");
  }
}

}  // namespace

Result<Json> apply_defaults(std::string_view kind, Json object) {
  const Json& schema = schema_of(kind);
  if (schema.is_null()) {
    return make_error(Code::kNotFound, "UnknownKind",
                      "\"" + std::string(kind) + "\" is no kind of ml-tango.io/v1alpha1");
  }
  fill(schema, object);
  return object;
}

std::vector<std::string> prune(std::string_view kind, Json& object) {
  std::vector<std::string> dropped;
  const Json& schema = schema_of(kind);
  if (schema.is_null() || !object.is_object()) return dropped;
  for (auto it = object.begin(); it != object.end();) {
    const std::string& key = it.key();
    bool known = key == "apiVersion" || key == "kind" || key == "metadata" ||
                 schema["properties"].contains(key);
    if (!known) {
      dropped.push_back(key);
      it = object.erase(it);
      continue;
    }
    if (schema["properties"].contains(key)) {
      drop_unknown(schema["properties"][key], it.value(), key, dropped);
    }
    ++it;
  }
  return dropped;
}

std::vector<Violation> structural_errors(std::string_view kind, const Json& object,
                                         bool with_status) {
  std::vector<Violation> out;
  Checker checker(out);
  const KindEntry* entry = find_kind(kind);
  if (entry == nullptr) {
    checker.add("kind", std::string(kind), "is no kind of ml-tango.io/v1alpha1", "");
    return out;
  }
  if (!object.is_object()) {
    checker.add("", object, "must be an object", "");
    return out;
  }
  if (std::string version = get_string(object, "apiVersion"); version != "ml-tango.io/v1alpha1") {
    checker.add("apiVersion", version, "is not served", "write ml-tango.io/v1alpha1");
  }
  check_name(object, checker);
  const Json& schema = schema_of(kind);
  Json body = Json::object();
  for (const auto& [key, value] : object.items()) {
    if (key == "apiVersion" || key == "kind" || key == "metadata") continue;
    if (key == "status" && !with_status) continue;
    body[key] = value;
  }
  checker.check(schema, body, "");
  return out;
}

}  // namespace tango::crds
