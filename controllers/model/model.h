// Decides for a Model: its artifact must be in the registry, and it stays while something uses it.
#pragma once

#include "controllers/common/settings.h"
#include "lib/kube-types/outcome.h"

namespace tango::crds {
struct Model;
}

namespace tango::controllers {

kube::Outcome reconcile_model(const crds::Model& self, const kube::Observed& world, TimePoint now,
                              const Settings& settings);

}  // namespace tango::controllers
