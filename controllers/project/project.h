// Decides for a TangoProject: walks the ladder Data, Select, Search, Train, Export, Build, Deploy,
// creates the objects that carry the stages out and shows where each stands, and why.
#pragma once

#include "controllers/common/settings.h"
#include "lib/base/json.h"
#include "lib/kube-types/outcome.h"

namespace tango::crds {
struct TangoProject;
struct TangoProjectTarget;
}  // namespace tango::crds

namespace tango::controllers {

kube::Outcome reconcile_project(const crds::TangoProject& self, const kube::Observed& world,
                                TimePoint now, const Settings& settings);

// Manifests of the children; their names follow from what they say.
Json trainjob_manifest(const crds::TangoProject& project, const std::string& network,
                       const std::string& digest);
Json imagebuild_manifest(const crds::TangoProject& project, const crds::TangoProjectTarget& target,
                         const std::string& model);
Json deployment_manifest(const crds::TangoProject& project, const crds::TangoProjectTarget& target,
                         const std::string& image_build);
std::string deployment_name(const crds::TangoProject& project,
                            const crds::TangoProjectTarget& target);

}  // namespace tango::controllers
