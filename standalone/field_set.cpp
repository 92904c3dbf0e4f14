#include "standalone/field_set.h"

#include <algorithm>

#include "standalone/builtin_types.h"

namespace tango::standalone {
namespace {

const Schema kAtomicUnknown;

bool ignored_at_root(std::string_view key) { return key == "apiVersion" || key == "kind"; }
bool ignored_metadata(std::string_view key) {
  static constexpr std::string_view kServer[] = {"name",
                                                 "namespace",
                                                 "generateName",
                                                 "uid",
                                                 "generation",
                                                 "creationTimestamp",
                                                 "deletionTimestamp",
                                                 "resourceVersion",
                                                 "selfLink",
                                                 "managedFields",
                                                 "deletionGracePeriodSeconds",
                                                 "clusterName"};
  return std::find(std::begin(kServer), std::end(kServer), key) != std::end(kServer);
}
bool skipped(int depth, bool in_metadata, std::string_view key) {
  return (depth == 0 && ignored_at_root(key)) ||
         (depth == 1 && in_metadata && ignored_metadata(key));
}

// Without a schema, an unknown object is granular (as a server deduces it), an unknown list atomic.
bool granular_object(const Schema& s) { return !s.atomic_map; }
bool granular_list(const Schema& s) { return s.list != ListType::kAtomic; }

const Schema& member_of(const Schema& s, const std::string& key, int depth) {
  if (depth == 0 && key == "metadata") {
    return *object_meta_schema();
  }
  const Schema* m = s.member(key);
  return m == nullptr ? kAtomicUnknown : *m;
}
bool declared(const Schema& s, const std::string& key) { return s.properties.contains(key); }

void collect(const Json& v, const Schema& s, FieldSet& out, int depth, bool in_metadata) {
  if (v.is_object() && granular_object(s) && !v.empty()) {
    for (const auto& [key, value] : v.items()) {
      if (skipped(depth, in_metadata, key)) continue;
      FieldSet child;
      collect(value, member_of(s, key, depth), child, depth + 1, depth == 0 && key == "metadata");
      if (depth > 0 && !declared(s, key) && s.is_map()) child.member = true;
      if (!child.empty()) out.children["f:" + key] = std::move(child);
    }
    return;
  }
  if (v.is_array() && granular_list(s) && !v.empty()) {
    for (std::size_t i = 0; i < v.size(); ++i) {
      FieldSet child;
      child.member = true;
      if (s.list == ListType::kMap && s.items) collect(v[i], *s.items, child, depth + 1, false);
      child.member = true;
      out.children[list_element(v, i, s)] = std::move(child);
    }
    return;
  }
  if (depth > 0) out.member = true;
}

// Everything below a value that is new (or gone) as a whole, the containers themselves included.
void mark_all(const Json& v, const Schema& s, FieldSet& out, int depth, bool in_metadata) {
  if (v.is_object() && granular_object(s) && !v.empty()) {
    for (const auto& [key, value] : v.items()) {
      if (skipped(depth, in_metadata, key)) continue;
      FieldSet child;
      mark_all(value, member_of(s, key, depth), child, depth + 1, depth == 0 && key == "metadata");
      if (!child.empty()) out.children["f:" + key] = std::move(child);
    }
    if (depth > 0 && !in_metadata && !s.built_in_struct) out.member = true;
    return;
  }
  if (v.is_array() && granular_list(s) && !v.empty()) {
    for (std::size_t i = 0; i < v.size(); ++i) {
      FieldSet child;
      if (s.list == ListType::kMap && s.items) mark_all(v[i], *s.items, child, depth + 1, false);
      child.member = true;
      out.children[list_element(v, i, s)] = std::move(child);
    }
    if (depth > 0) out.member = true;
    return;
  }
  if (depth > 0) out.member = true;
}

std::map<std::string, const Json*> by_element(const Json& list, const Schema& s) {
  std::map<std::string, const Json*> out;
  for (std::size_t i = 0; i < list.size(); ++i) out[list_element(list, i, s)] = &list[i];
  return out;
}

void compare(const Json& a, const Json& b, const Schema& s, FieldChanges& out, int depth,
             bool in_metadata);

struct Level {
  FieldChanges changes;
  void into(FieldChanges& out, const std::string& element) {
    if (!changes.added.empty()) out.added.children[element] = std::move(changes.added);
    if (!changes.modified.empty()) out.modified.children[element] = std::move(changes.modified);
    if (!changes.removed.empty()) out.removed.children[element] = std::move(changes.removed);
  }
};

void compare(const Json& a, const Json& b, const Schema& s, FieldChanges& out, int depth,
             bool in_metadata) {
  if (a == b) return;
  if (a.is_object() && b.is_object() && granular_object(s)) {
    for (const auto& [key, value] : a.items()) {
      if (skipped(depth, in_metadata, key)) continue;
      Level level;
      const Schema& m = member_of(s, key, depth);
      bool meta = depth == 0 && key == "metadata";
      auto it = b.find(key);
      if (it != b.end()) {
        compare(value, *it, m, level.changes, depth + 1, meta);
      } else {
        mark_all(value, m, level.changes.removed, depth + 1, meta);
      }
      level.into(out, "f:" + key);
    }
    for (const auto& [key, value] : b.items()) {
      if (skipped(depth, in_metadata, key) || a.contains(key)) continue;
      Level level;
      mark_all(value, member_of(s, key, depth), level.changes.added, depth + 1,
               depth == 0 && key == "metadata");
      level.into(out, "f:" + key);
    }
    return;
  }
  if (a.is_array() && b.is_array() && granular_list(s)) {
    auto left = by_element(a, s), right = by_element(b, s);
    const Schema& item = s.items ? *s.items : kAtomicUnknown;
    for (const auto& [element, value] : left) {
      Level level;
      auto it = right.find(element);
      if (it == right.end()) {
        mark_all(*value, item, level.changes.removed, depth + 1, false);
      } else {
        compare(*value, *it->second, item, level.changes, depth + 1, false);
      }
      level.into(out, element);
    }
    for (const auto& [element, value] : right) {
      if (left.contains(element)) continue;
      Level level;
      mark_all(*value, item, level.changes.added, depth + 1, false);
      level.into(out, element);
    }
    return;
  }
  out.modified.member = true;
}

void walk(const FieldSet& set, std::vector<std::string>& path,
          const std::function<void(const std::vector<std::string>&)>& visit) {
  if (set.member) visit(path);
  for (const auto& [element, child] : set.children) {
    path.push_back(element);
    walk(child, path, visit);
    path.pop_back();
  }
}

}  // namespace

bool FieldSet::contains_path(const std::vector<std::string>& path) const {
  const FieldSet* at = this;
  for (const std::string& element : path) {
    auto it = at->children.find(element);
    if (it == at->children.end()) return false;
    at = &it->second;
  }
  return at->member;
}

FieldSet FieldSet::from_json(const Json& v) {
  FieldSet out;
  if (!v.is_object()) return out;
  if (v.empty()) {
    out.member = true;
    return out;
  }
  for (const auto& [key, value] : v.items()) {
    if (key == ".") {
      out.member = true;
    } else {
      out.children[key] = from_json(value);
    }
  }
  return out;
}

Json FieldSet::to_json() const {
  Json out = Json::object();
  if (children.empty()) return out;
  if (member) out["."] = Json::object();
  for (const auto& [element, child] : children) out[element] = child.to_json();
  return out;
}

FieldSet set_union(const FieldSet& a, const FieldSet& b) {
  FieldSet out = a;
  out.member = a.member || b.member;
  for (const auto& [element, child] : b.children) {
    auto it = out.children.find(element);
    if (it == out.children.end()) {
      out.children[element] = child;
    } else {
      it->second = set_union(it->second, child);
    }
  }
  return out;
}

FieldSet set_intersection(const FieldSet& a, const FieldSet& b) {
  FieldSet out;
  out.member = a.member && b.member;
  for (const auto& [element, child] : a.children) {
    auto it = b.children.find(element);
    if (it == b.children.end()) continue;
    FieldSet both = set_intersection(child, it->second);
    if (!both.empty()) out.children[element] = std::move(both);
  }
  return out;
}

FieldSet set_difference(const FieldSet& a, const FieldSet& b) {
  FieldSet out;
  out.member = a.member && !b.member;
  for (const auto& [element, child] : a.children) {
    auto it = b.children.find(element);
    FieldSet left = it == b.children.end() ? child : set_difference(child, it->second);
    if (!left.empty()) out.children[element] = std::move(left);
  }
  return out;
}

FieldSet recursive_difference(const FieldSet& a, const FieldSet& b) {
  FieldSet out;
  if (b.member) return out;
  out.member = a.member;
  for (const auto& [element, child] : a.children) {
    auto it = b.children.find(element);
    FieldSet left = it == b.children.end() ? child : recursive_difference(child, it->second);
    if (!left.empty()) out.children[element] = std::move(left);
  }
  return out;
}

void for_each_path(const FieldSet& set,
                   const std::function<void(const std::vector<std::string>&)>& visit) {
  std::vector<std::string> path;
  walk(set, path, visit);
}

std::string show_path(const std::vector<std::string>& path) {
  std::string out;
  for (const std::string& element : path) {
    if (element.starts_with("f:")) {
      out += "." + element.substr(2);
    } else if (element.starts_with("k:")) {
      Json keys = Json::parse(element.substr(2), nullptr, false);
      std::string inside;
      if (keys.is_object()) {
        for (const auto& [k, v] : keys.items())
          inside += (inside.empty() ? "" : ",") + k + "=" + v.dump();
      }
      out += "[" + inside + "]";
    } else if (element.starts_with("v:")) {
      out += "[=" + element.substr(2) + "]";
    } else {
      out += "[" + element.substr(2) + "]";
    }
  }
  return out;
}

std::string list_element(const Json& list, std::size_t index, const Schema& schema) {
  const Json& item = list[index];
  if (schema.list == ListType::kSet) return "v:" + item.dump();
  if (schema.list == ListType::kMap && item.is_object()) {
    Json key = Json::object();
    for (const std::string& name : schema.list_keys) {
      if (item.contains(name)) {
        key[name] = item[name];
      } else if (const Schema* m = schema.items ? schema.items->member(name) : nullptr;
                 m && m->default_value) {
        key[name] = *m->default_value;
      }
    }
    return "k:" + key.dump();
  }
  return "i:" + std::to_string(index);
}

FieldSet fields_of(const Json& object, const Schema& schema) {
  FieldSet out;
  collect(object, schema, out, 0, false);
  return out;
}

FieldChanges compare_fields(const Json& before, const Json& after, const Schema& schema) {
  FieldChanges out;
  compare(before, after, schema, out, 0, false);
  return out;
}

}  // namespace tango::standalone
