// Answers SearchJobs and Trials, which this version has no engine for: they are told so at once,
// with the path, instead of waiting for ever.
#pragma once

#include "controllers/common/settings.h"
#include "lib/kube-types/outcome.h"

namespace tango::crds {
struct SearchJob;
struct Trial;
}  // namespace tango::crds

namespace tango::controllers {

kube::Outcome reconcile_search_job(const crds::SearchJob& self, const kube::Observed& world,
                                   TimePoint now, const Settings& settings);
kube::Outcome reconcile_trial(const crds::Trial& self, const kube::Observed& world, TimePoint now,
                              const Settings& settings);

}  // namespace tango::controllers
