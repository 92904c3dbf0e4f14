#include "operator/fleet_query.h"

#include <algorithm>
#include <charconv>

#include "crds/device.h"
#include "lib/base/digest.h"

namespace tango::op {
namespace {

const kube::Condition* ready(const crds::Device& device) {
  return kube::find_condition(device.status.conditions, "Ready");
}

std::string state_of(const crds::Device& device) {
  const kube::Condition* c = ready(device);
  return c && !c->reason.empty() ? c->reason : "Unknown";
}

// What went wrong last on this device, or empty.
std::string reason_of(const crds::Device& device) {
  for (const auto& slot : device.status.slots) {
    if (slot.failure) return slot.failure->code;
  }
  if (device.status.failure) return device.status.failure->code;
  return {};
}

bool has_release(const crds::Device& device, std::string_view wanted) {
  return std::any_of(device.status.slots.begin(), device.status.slots.end(), [&](const auto& slot) {
    std::string_view current = slot.current;
    if (current == wanted) return true;
    if (current.starts_with("sha256:")) current.remove_prefix(7);
    std::string_view w = wanted;
    if (w.starts_with("sha256:")) w.remove_prefix(7);
    return !w.empty() && current.starts_with(w);
  });
}

bool has_reason(const crds::Device& device, std::string_view wanted) {
  if (reason_of(device) == wanted) return true;
  return std::any_of(device.status.rejected.begin(), device.status.rejected.end(),
                     [&](const auto& r) { return r.reason == wanted; });
}

std::string column(const crds::Device& device, std::string_view condition, bool reason) {
  const kube::Condition* c = kube::find_condition(device.status.conditions, condition);
  if (!c) return "Unknown";
  return reason ? c->reason : c->status;
}

}  // namespace

Result<FleetQuery> parse_fleet_query(const std::multimap<std::string, std::string>& parameters) {
  FleetQuery query;
  auto bad = [](const std::string& name, const std::string& why) {
    return make_error(Code::kInvalid, "InvalidQuery",
                      "the query parameter \"" + name + "\" " + why);
  };
  for (const auto& [name, value] : parameters) {
    if (name == "namespace") {
      query.ns = value;
    } else if (name == "label") {
      auto selector = kube::parse_selector_string(value);
      if (!selector.ok())
        return bad(name, "is no label selector such as site=seoul,line in (a,b): " +
                             selector.error().message);
      query.labels = std::move(*selector);
      if (value.empty()) query.labels.all = true;
    } else if (name == "state") {
      query.state = value;
    } else if (name == "release") {
      query.release = value;
    } else if (name == "reason") {
      query.reason = value;
    } else if (name == "limit") {
      std::size_t n = 0;
      auto [end, ec] = std::from_chars(value.data(), value.data() + value.size(), n);
      if (ec != std::errc() || end != value.data() + value.size() || n < 1 || n > kFleetPageMax) {
        return bad(name, "must be a number from 1 to " + std::to_string(kFleetPageMax));
      }
      query.limit = n;
    } else if (name == "continue") {
      auto key = from_base64url(value);
      if (!key.ok()) return bad(name, "is no continue token of this API");
      query.after = std::move(*key);
    } else {
      return bad(
          name,
          "is not known; known are namespace, label, state, release, reason, limit and continue");
    }
  }
  return query;
}

Json fleet_row(const crds::Device& device) {
  Json slots = Json::array();
  for (const auto& slot : device.status.slots) {
    Json s{{"name", slot.name},         {"current", slot.current},      {"previous", slot.previous},
           {"desired", slot.desired},   {"version", slot.version},      {"state", slot.state},
           {"sequence", slot.sequence}, {"deployment", slot.deployment}};
    if (slot.healthy) s["healthy"] = *slot.healthy;
    if (slot.latency) s["latency"] = encode(*slot.latency);
    slots.push_back(std::move(s));
  }
  Json row{{"namespace", device.metadata.ns},
           {"name", device.metadata.name},
           {"labels", device.metadata.labels},
           {"profile", device.spec.profile_ref.name},
           {"state", state_of(device)},
           {"reachable", column(device, "Reachable", false)},
           {"release", column(device, "UpToDate", true)},
           {"health", column(device, "Healthy", true)},
           {"slots", std::move(slots)}};
  if (const kube::Condition* c = ready(device); c && !c->message.empty())
    row["message"] = c->message;
  if (std::string reason = reason_of(device); !reason.empty()) row["failure"] = reason;
  if (device.status.last_seen) row["lastSeen"] = format_time(*device.status.last_seen);
  return row;
}

Json fleet_status(const FleetQuery& query, const kube::Observed& world) {
  std::vector<const crds::Device*> found;
  for (const crds::Device* device : world.list<crds::Device>(query.ns)) {
    if (!kube::matches(query.labels, device->metadata.labels)) continue;
    if (!query.state.empty() && state_of(*device) != query.state) continue;
    if (!query.release.empty() && !has_release(*device, query.release)) continue;
    if (!query.reason.empty() && !has_reason(*device, query.reason)) continue;
    found.push_back(device);
  }
  std::sort(found.begin(), found.end(),
            [](const auto* a, const auto* b) { return a->metadata.key() < b->metadata.key(); });

  std::map<std::string, std::int64_t> by_state, by_release, by_reason;
  for (const crds::Device* device : found) {
    ++by_state[state_of(*device)];
    for (const auto& slot : device->status.slots) {
      if (!slot.current.empty()) ++by_release[slot.current];
    }
    if (std::string reason = reason_of(*device); !reason.empty()) ++by_reason[reason];
  }
  Json out{{"counts",
            {{"total", found.size()},
             {"byState", by_state},
             {"byRelease", by_release},
             {"byReason", by_reason}}}};
  Json items = Json::array();
  auto from = std::upper_bound(
      found.begin(), found.end(), query.after,
      [](const std::string& key, const auto* d) { return key < d->metadata.key(); });
  for (auto it = from; it != found.end(); ++it) {
    if (items.size() == query.limit) {
      out["continue"] = to_base64url((*(it - 1))->metadata.key());
      break;
    }
    items.push_back(fleet_row(**it));
  }
  out["items"] = std::move(items);
  return out;
}

}  // namespace tango::op
