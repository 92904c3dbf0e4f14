// Fleet status queries: pure functions over cached Devices. The management API and tangoctl's
// tables show the same three columns (REACHABLE, RELEASE, HEALTH) from the same truth table.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/json.h"
#include "lib/base/result.h"
#include "lib/kube-types/meta.h"
#include "lib/kube-types/outcome.h"

namespace tango::crds {
struct Device;
}

namespace tango::op {

inline constexpr std::size_t kFleetPageDefault = 500;
inline constexpr std::size_t kFleetPageMax = 5000;

struct FleetQuery {
  std::string ns;              // empty: all
  kube::LabelSelector labels;  // `all` by default
  std::string state;           // reason of Ready: Online, Offline, Updating, ...; empty: any
  std::string release;         // digest, or the beginning of its hex; empty: any
  std::string reason;          // code of the last failure or of a refusal; empty: any
  std::size_t limit = kFleetPageDefault;
  std::string after;  // continue token: key of the last device of the page before
  FleetQuery() { labels.all = true; }
};
// From the parameters of GET /api/v1/fleet: namespace, label, state, release, reason, limit,
// continue. Errors: InvalidQuery (which parameter, why).
Result<FleetQuery> parse_fleet_query(const std::multimap<std::string, std::string>& parameters);

// {"counts": {"total", "byState": {..}, "byRelease": {..}, "byReason": {..}}, "items": [row],
// "continue"}. Counts are of everything that matches; items are one page, ordered by namespace and
// name.
Json fleet_status(const FleetQuery& query, const kube::Observed& world);

// One row: {namespace, name, labels, state, reachable, release, health, slots: [...], failure,
// lastSeen}.
Json fleet_row(const crds::Device& device);

}  // namespace tango::op
