// Decides for a Dataset: its source is checked, one Job of type Dataset validates it, and what the
// Job found becomes the status. Also says how other stages mount the data.
#pragma once

#include "controllers/common/settings.h"
#include "lib/base/result.h"
#include "lib/kube-types/outcome.h"

namespace tango::crds {
struct Dataset;
}

namespace tango::controllers {

kube::Outcome reconcile_dataset(const crds::Dataset& self, const kube::Observed& world,
                                TimePoint now, const Settings& settings);

// How a pod mounts the source of a Dataset.
struct DataMount {
  Json volume;           // core/v1 volume source
  std::string sub_path;  // inside the volume
};
// Errors: HostPathNotAllowed, Unsupported (sources that this version does not read; with the path).
Result<DataMount> data_mount(const crds::Dataset& dataset, const Settings& settings);
// The members of a stage's configuration that say how to read the data: {format, splits}.
Json data_config(const crds::Dataset& dataset);

}  // namespace tango::controllers
