// Decides for an ImageBuild: one Job packs the Model for the profile, the signer signs the result.
#pragma once

#include "controllers/common/settings.h"
#include "lib/base/json.h"
#include "lib/kube-types/outcome.h"

namespace tango::crds {
struct HealthGate;
struct ImageBuild;
struct Io;
}  // namespace tango::crds

namespace tango::controllers {

kube::Outcome reconcile_imagebuild(const crds::ImageBuild& self, const kube::Observed& world,
                                   TimePoint now, const Settings& settings);

// {goldenSamples, latencyUs, memoryBytes, warmupMs, soakMs} as bundles and device configurations
// say it. Errors: InvalidDuration, InvalidQuantity.
Result<Json> gate_config(const crds::HealthGate& gate);

}  // namespace tango::controllers
