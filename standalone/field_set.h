// Sets of field paths: who owns what in metadata.managedFields (FieldsV1). A set is a trie whose
// nodes are path elements: "f:name", "k:{...}" (keys of an associative list item), "v:..." (member
// of a set), "i:0". Pure.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "lib/base/json.h"
#include "standalone/schema.h"

namespace tango::standalone {

struct FieldSet {
  bool member = false;  // the path ending here is in the set
  std::map<std::string, FieldSet> children;

  bool empty() const { return !member && children.empty(); }
  FieldSet& at(const std::string& element) { return children[element]; }
  bool contains_path(const std::vector<std::string>& path) const;

  static FieldSet from_json(const Json& fields_v1);
  Json to_json() const;
  bool operator==(const FieldSet&) const = default;
};

FieldSet set_union(const FieldSet& a, const FieldSet& b);
FieldSet set_intersection(const FieldSet& a, const FieldSet& b);
FieldSet set_difference(const FieldSet& a,
                        const FieldSet& b);  // member paths of a that are not in b
// Removes from `a` every member at or below a member of `b`.
FieldSet recursive_difference(const FieldSet& a, const FieldSet& b);
void for_each_path(const FieldSet& set,
                   const std::function<void(const std::vector<std::string>&)>& visit);
// "f:spec f:containers k:{"name":"x"} f:image" as kubectl shows it:
// .spec.containers[name="x"].image
std::string show_path(const std::vector<std::string>& path);

// The path element of item `index` of a list (by the list's schema), or "" for atomic lists.
std::string list_element(const Json& list, std::size_t index, const Schema& schema);

// All fields a manifest names. apiVersion, kind and identity metadata are left out at the root.
FieldSet fields_of(const Json& object, const Schema& schema);
struct FieldChanges {
  FieldSet added, modified, removed;
};
// What differs from `before` to `after`.
FieldChanges compare_fields(const Json& before, const Json& after, const Schema& schema);

}  // namespace tango::standalone
