// Small pure decisions of the runtime: what a status write must carry, which events a change of
// conditions tells, whether a manifest is already true. Used by the controller core; no I/O.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "lib/base/clock.h"
#include "lib/base/json.h"
#include "lib/kube-types/meta.h"
#include "lib/kube-types/outcome.h"

namespace tango::kube {

// `next` as it goes to the server: lastTransitionTime of each condition is the old one's while
// status stays, else `now`; an empty reason becomes "Unknown"; nulls are dropped.
Json prepare_status(const Json& before, Json next, TimePoint now);

// One note for every condition whose status or reason changed. A condition is Warning when it says
// that something is wrong: a failure type (Failed, Degraded, Stalled) that is True, a rejection
// (Accepted, Valid) that is False, or anything else that was True and fell.
std::vector<EventNote> events_of(const Json& status_before, const Json& status_after);

// Every field of `wanted` is in `live` with the same value; lists are compared element by element.
bool contains(const Json& live, const Json& wanted);

// Merge patch that sets the finalizers, valid for this version of the object only.
Json finalizer_patch(const ObjectMeta& meta, std::string_view finalizer, bool present);
bool has_finalizer(const ObjectMeta& meta, std::string_view finalizer);

// What names an object in JSON.
struct ManifestName {
  std::string api_version, kind, ns, name;
  std::string text() const {
    return api_version + "/" + kind + " " + (ns.empty() ? name : ns + "/" + name);
  }
};
ManifestName manifest_name(const Json& manifest);
// Uid of the manifest's controller owner; "" without one.
std::string controller_uid(const Json& manifest);

}  // namespace tango::kube
