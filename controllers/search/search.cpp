#include "controllers/search/search.h"

#include "controllers/common/conditions.h"
#include "controllers/common/status.h"
#include "crds/search_job.h"
#include "crds/trial.h"

namespace tango::controllers {
namespace {

// The first rule that the object breaks, if it breaks one beyond being unsupported; else that.
template <typename T>
kube::Outcome refuse(const T& self, TimePoint now, const std::string& what) {
  kube::Outcome out;
  if (self.metadata.deleting()) {
    out.finalizer = kube::Finalizer::kRelease;
    return out;
  }
  auto status = self.status;
  status.observed_generation = self.metadata.generation;
  Conditions conditions(status.conditions, self.metadata.generation, now);
  std::string reason = "Unsupported", message = what;
  if (const auto valid = check_object(self); !valid.ok()) {
    reason = valid.error().reason;
    message = valid.error().message;
  }
  conditions.no("Accepted", reason, message);
  conditions.no("Succeeded", reason, message);
  out.status = kube::to_value(status);
  return out;
}

}  // namespace

kube::Outcome reconcile_search_job(const crds::SearchJob& self, const kube::Observed&,
                                   TimePoint now, const Settings&) {
  return refuse(self, now,
                "spec.algorithm: this version does not search; train with fixed settings by a "
                "TrainJob or a TangoProject");
}

kube::Outcome reconcile_trial(const crds::Trial& self, const kube::Observed&, TimePoint now,
                              const Settings&) {
  return refuse(self, now, "spec: Trials belong to SearchJobs, which this version does not run");
}

}  // namespace tango::controllers
