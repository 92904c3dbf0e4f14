#include "standalone/patch.h"

#include <algorithm>

namespace tango::standalone {
namespace {

constexpr std::size_t kMaxPatchOperations = 10'000;  // as kube-apiserver
const Schema kUnknown;

std::string order_key(std::string_view directive, const std::string& key) {
  return std::string(directive) + "/" + key;
}

const Schema& child(const Schema& s, std::string_view key) {
  const Schema* m = s.member(key);
  return m == nullptr ? kUnknown : *m;
}

bool same_key(const Json& a, const Json& b, const std::string& key) {
  return a.is_object() && b.is_object() && a.contains(key) && b.contains(key) && a[key] == b[key];
}

// Sorts `list` so that elements named in `order` come in that order; the others keep their place
// relative to the element before them.
void set_order(Json& list, const Json& order, const std::string& merge_key) {
  if (!list.is_array() || !order.is_array()) return;
  auto rank = [&](const Json& item) -> int {
    for (std::size_t i = 0; i < order.size(); ++i) {
      if (merge_key.empty() ? order[i] == item : same_key(order[i], item, merge_key))
        return static_cast<int>(i);
    }
    return -1;
  };
  std::vector<std::pair<int, Json>> ranked;
  int last = -1;
  for (Json& item : list) {
    int r = rank(item);
    if (r < 0) r = last;
    last = r;
    ranked.emplace_back(r, std::move(item));
  }
  std::stable_sort(ranked.begin(), ranked.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  Json sorted = Json::array();
  for (auto& [r, item] : ranked) sorted.push_back(std::move(item));
  list = std::move(sorted);
}

Json merge_map(Json target, const Json& patch, const Schema& schema);

// A new value that may carry directives: they are obeyed against nothing, and vanish.
Json without_directives(const Json& patch, const Schema& schema) {
  if (patch.is_object()) return merge_map(Json::object(), patch, schema);
  if (patch.is_array() && schema.items && schema.merge_list && !schema.merge_key.empty()) {
    Json out = Json::array();
    for (const Json& item : patch) {
      std::string d = get_string(item, "$patch");
      if (d == "delete" || (d == "replace" && item.size() == 1)) continue;
      out.push_back(without_directives(item, *schema.items));
    }
    return out;
  }
  return patch;
}

Json merge_list(Json target, const Json& patch, const Schema& schema) {
  const std::string& key = schema.merge_key;
  bool replace = false;
  for (const Json& item : patch) replace = replace || get_string(item, "$patch") == "replace";
  if (replace || !target.is_array()) return without_directives(patch, schema);
  for (const Json& item : patch) {
    std::string directive = get_string(item, "$patch");
    if (!item.is_object() || !item.contains(key)) {
      throw ApiError(422, "Invalid",
                     "map: " + item.dump() + " does not contain declared merge key: " + key);
    }
    auto found = std::find_if(target.begin(), target.end(),
                              [&](const Json& t) { return same_key(t, item, key); });
    if (directive == "delete") {
      if (found != target.end()) target.erase(found);
    } else if (found != target.end()) {
      *found = merge_map(std::move(*found), item, *schema.items);
    } else {
      target.push_back(without_directives(item, *schema.items));
    }
  }
  return target;
}

Json merge_map(Json target, const Json& patch, const Schema& schema) {
  std::string directive = get_string(patch, "$patch");
  if (directive == "replace") {
    Json out = patch;
    out.erase("$patch");
    return out;
  }
  if (directive == "delete") return Json::object();
  if (!directive.empty() && directive != "merge")
    throw bad_request("Unknown patch directive: " + directive);
  if (!target.is_object()) target = Json::object();
  if (const Json& keep = get(patch, "$retainKeys"); keep.is_array()) {
    for (auto it = target.begin(); it != target.end();) {
      bool named = std::find(keep.begin(), keep.end(), Json(it.key())) != keep.end();
      it = named ? std::next(it) : target.erase(it);
    }
  }
  for (const auto& [key, value] : patch.items()) {
    if (key.starts_with("$deleteFromPrimitiveList/")) {
      Json& list = target[key.substr(key.find('/') + 1)];
      if (!list.is_array() || !value.is_array()) continue;
      Json kept = Json::array();
      for (const Json& item : list) {
        if (std::find(value.begin(), value.end(), item) == value.end()) kept.push_back(item);
      }
      list = std::move(kept);
    }
    if (key.starts_with('$')) continue;
    const Schema& s = child(schema, key);
    if (value.is_null()) {
      target.erase(key);
    } else if (value.is_object()) {
      auto it = target.find(key);
      target[key] = it == target.end() || !it->is_object() ? without_directives(value, s)
                                                           : merge_map(*it, value, s);
    } else if (value.is_array() && s.merge_list && !s.merge_key.empty() && s.items) {
      target[key] = merge_list(target.contains(key) ? target[key] : Json(), value, s);
    } else if (value.is_array() && s.merge_list && target.contains(key) && target[key].is_array()) {
      for (const Json& item : value) {
        if (std::find(target[key].begin(), target[key].end(), item) == target[key].end())
          target[key].push_back(item);
      }
    } else {
      target[key] = value;
    }
    const Json& order = get(patch, order_key("$setElementOrder", key));
    if (order.is_array()) set_order(target[key], order, s.merge_key);
  }
  // An order without new elements still sorts.
  for (const auto& [key, value] : patch.items()) {
    if (!key.starts_with("$setElementOrder/")) continue;
    std::string field = key.substr(key.find('/') + 1);
    if (!patch.contains(field) && target.contains(field))
      set_order(target[field], value, child(schema, field).merge_key);
  }
  return target;
}

}  // namespace

Json json_patch(const Json& target, const Json& patch) {
  if (!patch.is_array()) throw bad_request("a JSON patch is an array of operations");
  if (patch.size() > kMaxPatchOperations) {
    throw ApiError(
        413, "RequestEntityTooLarge",
        "The allowed maximum operations in a JSON patch is " + std::to_string(kMaxPatchOperations));
  }
  try {
    return target.patch(patch);
  } catch (const Json::parse_error& e) {
    throw bad_request(std::string("malformed JSON patch: ") + e.what());
  } catch (const Json::exception&) {
    throw ApiError(422, "Invalid",
                   "the server rejected our request due to an error in our request");
  }
}

Json strategic_merge(const Json& target, const Json& patch, const Schema& schema) {
  if (!patch.is_object()) throw bad_request("a strategic merge patch is an object");
  return merge_map(target, patch, schema);
}

}  // namespace tango::standalone
