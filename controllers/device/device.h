// Decides for a Device: approval of its host key, provisioning, probing, and which release each of
// its slots shall run. It is the only one that asks for work over SSH and that writes
// Device.status.
#pragma once

#include <string_view>

#include "controllers/common/settings.h"
#include "lib/base/json.h"
#include "lib/kube-types/outcome.h"

namespace tango::crds {
struct Device;
}

namespace tango::controllers {

inline constexpr Nanos kProbeOnline = Seconds{30};  // between two probes, with jitter
inline constexpr Nanos kProbeOffline = Seconds{10};
inline constexpr Nanos kDeviceDeletionDeadline = Seconds{600};
inline constexpr std::size_t kMaxRejected = 8;

kube::Outcome reconcile_device(const crds::Device& self, const kube::Observed& world, TimePoint now,
                               const Settings& settings);

// "Why does this device not have the release?": {device, reachable, slots: [{slot, deployment,
// state, reason, message, claims: [...]}], sentence}. Used by the API and `tangoctl fleet why`.
Json explain_device(const crds::Device& device, const kube::Observed& world, TimePoint now);

}  // namespace tango::controllers
