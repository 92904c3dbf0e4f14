// A whole controller in one file: every ConfigMap labelled `copy-to: <name>` gets a copy under that
// name. lib/kube/README.md walks through it; the example test runs it against a server.
#include "tests/kube/example_controller.h"

#include "lib/kube-types/core.h"

namespace tango::example {

using namespace kube;

// 1. The decision: a pure function from what is to what should be.
Outcome copy(const ConfigMap& self, const Observed&, TimePoint) {
  Outcome out;
  const std::string target = self.metadata.label("copy-to");
  if (target.empty()) return out;  // omission never deletes
  const OwnerReference owner = owner_of(ConfigMap::kKind, self.metadata);
  out.apply.push_back({{"apiVersion", "v1"},
                       {"kind", "ConfigMap"},
                       {"metadata",
                        {{"name", target},
                         {"namespace", self.metadata.ns},
                         {"ownerReferences",
                          {{{"apiVersion", owner.api_version},
                            {"kind", owner.kind},
                            {"name", owner.name},
                            {"uid", owner.uid},
                            {"controller", true}}}}}},
                       {"data", self.data}});
  out.events.push_back({"Normal", "Copied", "Keeps a copy in " + target});
  return out;
}

// 2. The wiring: what wakes it. owns<ConfigMap>() wakes the original when its copy is changed or
// deleted.
std::unique_ptr<Manager> make_manager(std::unique_ptr<KubeClient> client, const std::string& ns) {
  ManagerOptions options;
  options.namespaces = {ns};
  options.election.ns = ns;
  options.election.name = "copier";
  auto manager = Manager::create(std::move(client), options);
  manager->add(controller<ConfigMap>("copier", copy).owns<ConfigMap>().build());
  return manager;  // 3. manager->run() on a thread of yours, until stop()
}

}  // namespace tango::example
