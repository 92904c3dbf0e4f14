#include "standalone/apply.h"

#include <algorithm>

#include "standalone/builtin_types.h"
#include "standalone/field_set.h"

namespace tango::standalone {
namespace {

const Schema kUnknown;

struct Entry {
  std::string manager, operation, api_version, subresource, time;
  FieldSet fields;
};

std::vector<Entry> read_entries(const Json& object) {
  std::vector<Entry> out;
  for (const Json& e : get(get(object, "metadata"), "managedFields")) {
    if (!e.is_object()) continue;
    out.push_back({get_string(e, "manager"), get_string(e, "operation"),
                   get_string(e, "apiVersion"), get_string(e, "subresource"), get_string(e, "time"),
                   FieldSet::from_json(get(e, "fieldsV1"))});
  }
  return out;
}

void write_entries(Json& object, const std::vector<Entry>& entries) {
  Json list = Json::array();
  for (const Entry& e : entries) {
    if (e.fields.empty()) continue;
    Json item = {{"manager", e.manager},        {"operation", e.operation},
                 {"apiVersion", e.api_version}, {"time", e.time},
                 {"fieldsType", "FieldsV1"},    {"fieldsV1", e.fields.to_json()}};
    if (!e.subresource.empty()) item["subresource"] = e.subresource;
    list.push_back(std::move(item));
  }
  if (list.empty()) {
    object["metadata"].erase("managedFields");
  } else {
    object["metadata"]["managedFields"] = std::move(list);
  }
}

Entry& entry_for(std::vector<Entry>& entries, const FieldWriter& w, const char* operation) {
  for (Entry& e : entries) {
    if (e.manager == w.manager && e.operation == operation && e.subresource == w.subresource &&
        (e.operation == "Apply" || e.api_version == w.api_version)) {
      return e;
    }
  }
  entries.push_back({w.manager, operation, w.api_version, w.subresource, {}, {}});
  return entries.back();
}

const Schema& member_of(const Schema& s, const std::string& key, bool root) {
  if (root && key == "metadata") return *object_meta_schema();
  const Schema* m = s.member(key);
  return m == nullptr ? kUnknown : *m;
}

Json merge_value(const Json& live, const Json& config, const Schema& s, bool root) {
  if (live.is_object() && config.is_object() && !s.atomic_map) {
    Json out = live;
    for (const auto& [key, value] : config.items()) {
      if (value.is_null()) {
        out[key] = nullptr;
        continue;
      }
      auto it = out.find(key);
      out[key] = it == out.end() ? value : merge_value(*it, value, member_of(s, key, root), false);
    }
    return out;
  }
  if (live.is_array() && config.is_array() && s.list != ListType::kAtomic) {
    // Applied items come in the applied order; live items that nobody applied keep their place
    // after.
    std::map<std::string, const Json*> old;
    for (std::size_t i = 0; i < live.size(); ++i) old[list_element(live, i, s)] = &live[i];
    Json out = Json::array();
    std::map<std::string, bool> seen;
    for (std::size_t i = 0; i < config.size(); ++i) {
      std::string element = list_element(config, i, s);
      auto it = old.find(element);
      out.push_back(it == old.end() || !s.items
                        ? config[i]
                        : merge_value(*it->second, config[i], *s.items, false));
      seen[element] = true;
    }
    for (std::size_t i = 0; i < live.size(); ++i) {
      if (!seen.contains(list_element(live, i, s))) out.push_back(live[i]);
    }
    return out;
  }
  return config;
}

// Removes the members of `gone` from `v`; true: v itself is to be removed.
bool remove_fields(Json& v, const FieldSet& gone, const FieldSet& keep, const Schema& s,
                   bool root) {
  if (v.is_object()) {
    bool removed_any = false;
    for (const auto& [element, child] : gone.children) {
      if (!element.starts_with("f:")) continue;
      std::string key = element.substr(2);
      auto it = v.find(key);
      if (it == v.end()) continue;
      static const FieldSet kNone;
      auto k = keep.children.find(element);
      if (remove_fields(*it, child, k == keep.children.end() ? kNone : k->second,
                        member_of(s, key, root), false)) {
        v.erase(key);
        removed_any = true;
      }
    }
    if (gone.member && keep.empty()) return true;
    // A container that only existed for what was removed goes too, unless somebody owns it.
    return removed_any && v.empty() && !keep.member && !root;
  }
  if (v.is_array() && s.list != ListType::kAtomic) {
    Json kept = Json::array();
    for (std::size_t i = 0; i < v.size(); ++i) {
      std::string element = list_element(v, i, s);
      auto g = gone.children.find(element);
      if (g != gone.children.end()) {
        static const FieldSet kNone;
        auto k = keep.children.find(element);
        const Schema& item = s.items ? *s.items : kUnknown;
        if (remove_fields(v[i], g->second, k == keep.children.end() ? kNone : k->second, item,
                          false))
          continue;
      }
      kept.push_back(v[i]);
    }
    v = std::move(kept);
    return (gone.member && keep.empty()) || (v.empty() && !keep.member);
  }
  return gone.member && keep.empty();
}

bool has_value(const Json& object, const std::vector<std::string>& path, const Schema& schema) {
  const Json* v = &object;
  const Schema* s = &schema;
  bool root = true;
  for (const std::string& element : path) {
    if (element.starts_with("f:")) {
      std::string key = element.substr(2);
      if (!v->is_object() || !v->contains(key)) return false;
      s = &member_of(*s, key, root);
      v = &(*v)[key];
    } else {
      if (!v->is_array()) return false;
      const Json* found = nullptr;
      for (std::size_t i = 0; i < v->size() && found == nullptr; ++i) {
        if (list_element(*v, i, *s) == element) found = &(*v)[i];
      }
      if (found == nullptr) return false;
      v = found;
      s = s->items ? s->items.get() : &kUnknown;
    }
    root = false;
  }
  return true;
}

// Paths that no longer exist are nobody's.
FieldSet only_existing(const FieldSet& fields, const Json& object, const Schema& schema) {
  FieldSet out;
  for_each_path(fields, [&](const std::vector<std::string>& path) {
    if (!has_value(object, path, schema)) return;
    FieldSet* at = &out;
    for (const std::string& e : path) at = &at->children[e];
    at->member = true;
  });
  return out;
}

}  // namespace

Json merge_typed(const Json& live, const Json& config, const Schema& schema) {
  return merge_value(live, config, schema, true);
}

void track_update(const Json& before, Json& after, const Schema& schema, const FieldWriter& writer,
                  TimePoint now) {
  std::vector<Entry> entries = before.is_null() ? std::vector<Entry>{} : read_entries(before);
  // A client may clear managedFields on purpose by sending [{}] or []; anything else is ours to
  // keep.
  FieldChanges changes = before.is_null() ? FieldChanges{} : compare_fields(before, after, schema);
  FieldSet mine;
  if (before.is_null()) {
    mine = compare_fields(Json::object(), after, schema).added;
  } else {
    mine = set_union(changes.added, changes.modified);
    FieldSet lost = set_union(changes.modified, changes.removed);
    for (Entry& e : entries) e.fields = recursive_difference(e.fields, lost);
  }
  if (!mine.empty()) {
    Entry& own = entry_for(entries, writer, "Update");
    own.fields = only_existing(set_union(own.fields, mine), after, schema);
    own.time = format_time(now);
  }
  write_entries(after, entries);
}

Json apply_config(const Json& live, const Json& config, const Schema& schema,
                  const FieldWriter& writer, bool force, TimePoint now) {
  FieldSet applied = fields_of(config, schema);
  std::vector<Entry> entries = live.is_null() ? std::vector<Entry>{} : read_entries(live);
  Json merged = live.is_null() ? config : merge_typed(live, config, schema);
  if (!live.is_null()) {
    merged["metadata"]["managedFields"] = get(get(live, "metadata"), "managedFields");
    FieldChanges changes = compare_fields(live, merged, schema);
    FieldSet changed = set_union(changes.modified, changes.removed);
    std::vector<Cause> causes;
    std::string owners;
    for (Entry& e : entries) {
      if (e.manager == writer.manager && e.operation == "Apply" &&
          e.subresource == writer.subresource)
        continue;
      FieldSet clash = set_intersection(set_intersection(e.fields, applied), changed);
      if (clash.empty()) continue;
      if (force) {
        e.fields = recursive_difference(e.fields, clash);
        continue;
      }
      std::string who =
          "\"" + e.manager + "\"" + (e.operation == "Update" ? " using " + e.api_version : "") +
          (e.subresource.empty() ? "" : " with subresource \"" + e.subresource + "\"");
      for_each_path(clash, [&](const std::vector<std::string>& path) {
        causes.push_back({"FieldManagerConflict", "conflict with " + who, show_path(path)});
      });
      owners = owners.empty() ? who : owners;
    }
    if (!causes.empty()) {
      std::string text = "Apply failed with " + std::to_string(causes.size()) +
                         (causes.size() == 1 ? " conflict: " : " conflicts: ");
      for (std::size_t i = 0; i < causes.size(); ++i) {
        text += (i ? ", " : "") + causes[i].message + ": " + causes[i].field;
      }
      ApiError e(409, "Conflict", std::move(text));
      e.causes = std::move(causes);
      throw e;
    }
  }
  Entry& own = entry_for(entries, writer, "Apply");
  FieldSet given_up = set_difference(own.fields, applied);
  if (!live.is_null() && !given_up.empty()) {
    FieldSet keep = applied;
    for (const Entry& e : entries) {
      if (&e != &own) keep = set_union(keep, e.fields);
    }
    remove_fields(merged, set_difference(given_up, keep), keep, schema, true);
  }
  const bool same =
      own.fields == applied && own.api_version == writer.api_version && !own.time.empty();
  own.fields = std::move(applied);
  own.api_version = writer.api_version;
  if (!same) own.time = format_time(now);
  write_entries(merged, entries);
  return merged;
}

}  // namespace tango::standalone
