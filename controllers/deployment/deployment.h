// Decides for a Deployment: resolves its release, moves the rollout cursor and sums up its devices.
// It never talks to a device; the Device controller does, for the devices that the cursor admits.
#pragma once

#include "controllers/common/settings.h"
#include "lib/kube-types/outcome.h"

namespace tango::crds {
struct TangoDeployment;
}

namespace tango::controllers {

kube::Outcome reconcile_deployment(const crds::TangoDeployment& self, const kube::Observed& world,
                                   TimePoint now, const Settings& settings);

}  // namespace tango::controllers
