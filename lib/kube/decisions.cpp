#include "lib/kube/decisions.h"

#include <algorithm>
#include <array>

namespace tango::kube {
namespace {

constexpr std::array<std::string_view, 6> kFailureTypes{"Failed",  "Degraded", "Stalled",
                                                        "Blocked", "Lost",     "Quarantined"};
constexpr std::array<std::string_view, 3> kAdmissionTypes{"Accepted", "Valid", "Trusted"};

template <std::size_t N>
bool is_one_of(std::string_view text, const std::array<std::string_view, N>& list) {
  return std::find(list.begin(), list.end(), text) != list.end();
}

void drop_nulls(Json& value) {
  if (value.is_object()) {
    for (auto it = value.begin(); it != value.end();) {
      if (it->is_null()) {
        it = value.erase(it);
      } else {
        drop_nulls(*it);
        ++it;
      }
    }
  } else if (value.is_array()) {
    for (Json& item : value) drop_nulls(item);
  }
}

const Json* find_by_type(const Json& conditions, std::string_view type) {
  if (!conditions.is_array()) return nullptr;
  for (const Json& condition : conditions) {
    if (get_string(condition, "type") == type) return &condition;
  }
  return nullptr;
}

}  // namespace

Json prepare_status(const Json& before, Json next, TimePoint now) {
  drop_nulls(next);
  if (!next.is_object() || !next.contains("conditions") || !next["conditions"].is_array())
    return next;
  const Json& old = get(before, "conditions");
  for (Json& condition : next["conditions"]) {
    if (!condition.is_object()) continue;
    if (get_string(condition, "status").empty()) condition["status"] = "Unknown";
    if (get_string(condition, "reason").empty()) condition["reason"] = "Unknown";
    // metav1.Condition requires a message. An empty one is legal, but Kubernetes 1.20 built with Go
    // 1.19 or newer takes empty strings for null, so the reason stands in for it.
    if (get_string(condition, "message").empty())
      condition["message"] = get_string(condition, "reason");
    const Json* was = find_by_type(old, get_string(condition, "type"));
    const bool same = was && get_string(*was, "status") == get_string(condition, "status") &&
                      !get_string(*was, "lastTransitionTime").empty();
    condition["lastTransitionTime"] =
        same ? get_string(*was, "lastTransitionTime") : format_time(now);
  }
  return next;
}

std::vector<EventNote> events_of(const Json& status_before, const Json& status_after) {
  std::vector<EventNote> notes;
  const Json& old = get(status_before, "conditions");
  for (const Json& condition : get(status_after, "conditions")) {
    const std::string type = get_string(condition, "type"),
                      status = get_string(condition, "status");
    const std::string reason = get_string(condition, "reason");
    const Json* was = find_by_type(old, type);
    const std::string old_status = was ? get_string(*was, "status") : "";
    if (was && old_status == status && get_string(*was, "reason") == reason) continue;
    if (!was && status == "Unknown") continue;  // nothing has happened yet
    const bool warning = is_one_of(type, kFailureTypes) ? status == "True"
                         : is_one_of(type, kAdmissionTypes)
                             ? status == "False"
                             : status == "False" && old_status == "True";
    EventNote note;
    note.type = warning ? "Warning" : "Normal";
    note.reason = reason;
    note.message = type + " is " + status;
    if (const auto message = get_string(condition, "message"); !message.empty())
      note.message += ": " + message;
    notes.push_back(std::move(note));
  }
  return notes;
}

bool contains(const Json& live, const Json& wanted) {
  if (wanted.is_object()) {
    if (!live.is_object()) return wanted.empty() && live.is_null();
    for (const auto& [key, value] : wanted.items()) {
      if (value.is_null()) continue;
      const auto it = live.find(key);
      if (it == live.end() ? !(value.is_object() && value.empty()) : !contains(*it, value))
        return false;
    }
    return true;
  }
  if (wanted.is_array()) {
    if (!live.is_array() || live.size() != wanted.size()) return false;
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      if (!contains(live[i], wanted[i])) return false;
    }
    return true;
  }
  return live == wanted;
}

bool has_finalizer(const ObjectMeta& meta, std::string_view finalizer) {
  return std::find(meta.finalizers.begin(), meta.finalizers.end(), finalizer) !=
         meta.finalizers.end();
}

Json finalizer_patch(const ObjectMeta& meta, std::string_view finalizer, bool present) {
  Json list = Json::array();
  for (const std::string& other : meta.finalizers) {
    if (other != finalizer) list.push_back(other);
  }
  if (present) list.push_back(std::string(finalizer));
  return {
      {"metadata", {{"finalizers", std::move(list)}, {"resourceVersion", meta.resource_version}}}};
}

ManifestName manifest_name(const Json& manifest) {
  const Json& meta = get(manifest, "metadata");
  return {get_string(manifest, "apiVersion"), get_string(manifest, "kind"),
          get_string(meta, "namespace"), get_string(meta, "name")};
}

std::string controller_uid(const Json& manifest) {
  for (const Json& owner : at_path(manifest, "metadata.ownerReferences")) {
    if (get_bool(owner, "controller")) return get_string(owner, "uid");
  }
  return {};
}

}  // namespace tango::kube
