// Everything that reaches devices: executor `ssh` (host key, provision, probe, deploy, remove) and
// the calls of the management API that go through to a device. One deploy or probe per device at a
// time; it decides nothing, it does what a Work says.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "lib/artifacts/keys.h"
#include "lib/base/file.h"
#include "lib/kube/client.h"
#include "lib/kube/manager.h"
#include "operator/executors.h"
#include "operator/rest_api.h"

namespace tango::op {

struct FleetOptions {
  RegistryAccess registry;
  kube::KubeClient* client = nullptr;         // Secrets; outlives the service
  const artifacts::KeySet* keys = nullptr;    // assignment key and root; outlives the service
  std::function<std::int64_t()> fleet_epoch;  // of the current leadership; 0: not the leader
  fs::path cache;                             // bundle content
  fs::path agents;                            // tango-agent and tango-gate, or <arch>/ with both
  int threads = 16;
  Clock* clock = nullptr;  // nullptr: system
};

class FleetService : public DeviceGateway {
 public:
  static std::unique_ptr<FleetService> create(FleetOptions options);
  // The executor keeps no state of its own; the service outlives it.
  virtual std::unique_ptr<kube::Executor> executor() = 0;
  // One piece of work, synchronously (the executor's body; tests).
  virtual Result<Json> carry_out(const Json& input, const std::function<void(Json)>& progress,
                                 std::stop_token stop) = 0;
};

// Name of the Secret that keeps the operator's own key of a namespace.
inline constexpr std::string_view kOperatorKeySecret = "tango-operator-ssh";

}  // namespace tango::op
