#include <algorithm>

#include "controllers/deployment/slots.h"
#include "controllers/device/device.h"
#include "crds/device.h"
#include "crds/tango_deployment.h"

namespace tango::controllers {
namespace {

std::string sentence_of(const crds::Device& device, const crds::TangoDeployment& owner,
                        const rollout::DeviceView& view, const std::string& detail) {
  const std::string who = "device " + device.metadata.name;
  const std::string release = "the release of Deployment " + owner.metadata.name;
  switch (view.state) {
    case rollout::DeviceState::kSucceeded:
      return who + " runs " + release;
    case rollout::DeviceState::kUpdating:
      return who + " is being brought " + release + detail;
    case rollout::DeviceState::kFailed:
      return who + " went back from " + release + ": " + view.reason + detail;
    case rollout::DeviceState::kDeferred:
      return who + " waits for " + release + ": " + view.reason + detail;
    case rollout::DeviceState::kSuperseded:
      return who + " is owned by another Deployment than " + owner.metadata.name;
    case rollout::DeviceState::kPending:
      return who + " waits for its turn to get " + release + detail;
  }
  return who;
}

}  // namespace

Json explain_device(const crds::Device& device, const kube::Observed& world, TimePoint now) {
  Json out{{"device", device.metadata.name},
           {"namespace", device.metadata.ns},
           {"slots", Json::array()}};
  for (const char* type : {"Ready", "Reachable", "Provisioned", "Healthy", "UpToDate"}) {
    if (const auto* c = kube::find_condition(device.status.conditions, type)) {
      out["conditions"].push_back(Json{{"type", c->type},
                                       {"status", c->status},
                                       {"reason", c->reason},
                                       {"message", c->message}});
    }
  }
  std::string sentence;
  for (const auto& [slot, deployments] : claims_on(device, world)) {
    const crds::TangoDeployment* owner = slot_owner(device, deployments);
    Json row{{"slot", slot}, {"claims", Json::array()}};
    for (const auto* d : deployments) {
      const rollout::DeviceView view = view_of(*d, device, world, now);
      std::string message;
      for (const auto& r : device.status.rejected) {
        if (r.deployment_uid == d->metadata.uid && r.digest == release_of(*d).digest)
          message = r.message;
      }
      row["claims"].push_back(Json{{"deployment", d->metadata.name},
                                   {"priority", d->spec.priority},
                                   {"owns", d == owner},
                                   {"state", std::string(to_string(view.state))},
                                   {"reason", view.reason},
                                   {"message", message},
                                   {"release", release_of(*d).digest}});
    }
    if (owner != nullptr) {
      const rollout::DeviceView view = view_of(*owner, device, world, now);
      std::string detail;
      if (const auto* c = kube::find_condition(
              device.status.conditions,
              view.state == rollout::DeviceState::kDeferred ? "Ready" : "UpToDate");
          c != nullptr && view.state != rollout::DeviceState::kSucceeded && !c->message.empty()) {
        detail = " (" + c->message + ")";
      }
      row["deployment"] = owner->metadata.name;
      row["state"] = std::string(to_string(view.state));
      row["reason"] = view.reason;
      row["message"] = sentence_of(device, *owner, view, detail);
      sentence += (sentence.empty() ? "" : "; ") + row["message"].get<std::string>();
      for (const auto* d : deployments) {
        if (d != owner && rejected_on(device, *d)) {
          for (const Json& claim : row["claims"]) {
            if (claim["deployment"] == d->metadata.name) {
              sentence += "; Deployment " + d->metadata.name +
                          " was rolled back here: " + claim["reason"].get<std::string>() + ": " +
                          claim["message"].get<std::string>();
            }
          }
        }
      }
    }
    out["slots"].push_back(std::move(row));
  }
  if (sentence.empty()) sentence = "no Deployment selects device " + device.metadata.name;
  if (const auto* ready = kube::find_condition(device.status.conditions, "Ready");
      ready != nullptr && ready->status != "True") {
    sentence += "; the device is not ready: " + ready->reason +
                (ready->message.empty() ? "" : ": " + ready->message);
  }
  out["sentence"] = sentence;
  return out;
}

}  // namespace tango::controllers
