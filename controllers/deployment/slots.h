// What Deployments mean for one device: which of them owns a slot, what it would run there, with
// which configuration, and how far it is. The Device and the Deployment controllers and the API
// share these pure functions, so that they can never disagree.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "controllers/common/settings.h"
#include "lib/base/json.h"
#include "lib/base/result.h"
#include "lib/kube-types/outcome.h"
#include "lib/rollout/rollout.h"

namespace tango::crds {
struct Device;
struct DeviceSlotStatus;
struct TangoDeployment;
}  // namespace tango::crds

namespace tango::controllers {

struct ReleaseKey {
  std::string digest;
  std::string retry_token;
  std::string text() const { return digest + "/" + retry_token; }
};
// Of the release that the Deployment has resolved; an empty digest: none yet.
ReleaseKey release_of(const crds::TangoDeployment& deployment);

// Deployments of the device's namespace that select it, by slot.
std::map<std::string, std::vector<const crds::TangoDeployment*>> claims_on(
    const crds::Device& device, const kube::Observed& world);
// The one that owns the slot, or nullptr.
const crds::TangoDeployment* slot_owner(const crds::Device& device,
                                        const std::vector<const crds::TangoDeployment*>& claims);
bool selects(const crds::TangoDeployment& deployment, const crds::Device& device);
bool rejected_on(const crds::Device& device, const crds::TangoDeployment& deployment);

// The configuration document of this device (canonical JSON, docs/formats/bundle.md) with the
// Deployment's health gate, port and files; ${parameters.k} and ${labels.k} are replaced.
// Errors: MissingParameter (names it), Unsupported (secretRef), ConfigMapNotFound, InvalidDuration.
struct RenderedConfig {
  std::string bytes;
  std::string digest;
};
Result<RenderedConfig> render_config(const crds::TangoDeployment& deployment,
                                     const crds::Device& device, const kube::Observed& world);

rollout::Reachability reachability_of(const crds::Device& device, const std::string& config_error);

// State of the device in this Deployment's rollout, with the reason in the device's own words.
rollout::DeviceView view_of(const crds::TangoDeployment& deployment, const crds::Device& device,
                            const kube::Observed& world, TimePoint now);

rollout::Strategy strategy_of(const crds::TangoDeployment& deployment);
rollout::Cursor cursor_of(const crds::TangoDeployment& deployment);

}  // namespace tango::controllers
