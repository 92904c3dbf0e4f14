// A pod's volumes and environment on a machine without mount namespaces: one folder per volume,
// mount paths in environment and arguments rewritten to it, files of ConfigMaps and Secrets copied
// in.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "lib/base/file.h"
#include "lib/base/json.h"
#include "lib/base/result.h"

namespace tango::standalone {

// Looks up a ConfigMap or Secret of the pod's namespace; null when absent.
using ObjectLookup = std::function<Json(const std::string& plural, const std::string& name)>;

struct MountPoint {
  std::string mount_path;  // in the container
  fs::path local;          // here
};

// Makes <pod_dir>/volumes/<name> for every volume that a container mounts, and returns what each
// mount path became. Idempotent. Errors: reason CreateContainerConfigError (the user can fix it by
// creating the missing object) or Unsupported (volume kinds that this runner cannot offer).
Result<std::vector<MountPoint>> prepare_mounts(const Json& pod, const Json& container,
                                               const fs::path& pod_dir, const ObjectLookup& lookup);

// A path below a mount path becomes the local one; anything else stays.
std::string rewrite_path(const std::string& value, const std::vector<MountPoint>& mounts);

// env and envFrom with $(VAR) references resolved and paths rewritten.
Result<std::map<std::string, std::string>> container_environment(
    const Json& pod, const Json& container, const std::vector<MountPoint>& mounts,
    const ObjectLookup& lookup);
std::vector<std::string> container_arguments(const Json& list,
                                             const std::map<std::string, std::string>& env,
                                             const std::vector<MountPoint>& mounts);

}  // namespace tango::standalone
