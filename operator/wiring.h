// The operator put together: controllers with what they watch and own, executors, API and metrics
// servers. `tango-operator` and tests start it; everything it needs is in OperatorOptions.
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <string>

#include "controllers/common/settings.h"
#include "lib/base/file.h"
#include "lib/base/result.h"
#include "lib/kube/manager.h"

namespace tango::op {

// host:port; port 0: any free one.
struct ListenAddress {
  std::string host = "127.0.0.1";
  std::uint16_t port = 0;
};
// Errors: InvalidAddress.
Result<ListenAddress> parse_listen(std::string_view text);

struct OperatorOptions {
  std::string kubeconfig;  // empty: $KUBECONFIG, in-cluster, ~/.kube/config
  std::set<std::string> roles{"controllers", "fleet", "signer", "api"};
  controllers::Settings settings;
  fs::path keys;       // made (threshold 1) when it does not exist
  fs::path state;      // run store and bundle cache
  fs::path run_store;  // empty: <state>/runs.db
  fs::path agents;     // folder with tango-agent and tango-gate
  ListenAddress api;
  ListenAddress metrics;
  bool leader_election = true;
  std::string election_namespace = "tango-system";
};

// Controllers of all kinds, wired to the manager.
void add_controllers(kube::Manager& manager, const controllers::Settings& settings);

// Compares the served CRDs with those this program was built for. Errors: CRDsOutdated (names the
// kinds), CRDsMissing.
Status check_crds(kube::KubeClient& client);

// Runs until a signal. Prints one line of JSON to stdout when the ports are open:
// {"api": "http://…", "metrics": "http://…"}.
Status run_operator(const OperatorOptions& options);

}  // namespace tango::op
