// Which objects a person means: types by any of their names, "TYPE/NAME" arguments, manifests from
// files. Used by the verbs that take resources; it asks the server only about types it does not
// know.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/base/yaml.h"
#include "lib/kube-types/meta.h"
#include "tangoctl/session.h"

namespace tango::ctl {

struct ResourceType {
  kube::KindInfo info;  // texts live as long as the process
  std::string_view singular;
  // "tangoproject.ml-tango.io", "pod": how kubectl names the type in messages.
  std::string printed() const;
};

// One or more types: "tp", "pods,jobs", "tango" (all kinds of ours). Errors: UnknownResource (with
// the nearest known name).
Result<std::vector<ResourceType>> find_types(Session& session, std::string_view text);
// Type of a manifest. Errors: UnknownResource.
Result<ResourceType> type_of(Session& session, std::string_view api_version, std::string_view kind);

struct Target {
  ResourceType type;
  std::string ns;    // empty: cluster-scoped
  std::string name;  // empty: all of the type
};
// ["tp", "a", "b"], ["tp/a", "job/b"], ["tp,pods"].
Result<std::vector<Target>> parse_targets(Session& session, const std::vector<std::string>& args);

struct Manifest {
  std::string file;  // "-" for stdin
  YamlDocument document;
};
// Files, folders (*.yaml, *.yml, *.json) and "-". Errors: NotFound, InvalidYaml with file and line.
Result<std::vector<Manifest>> read_manifests(Session& session,
                                             const std::vector<std::string>& files);

}  // namespace tango::ctl
