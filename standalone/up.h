// `tangoctl up`: the whole system on one machine. run_up() starts the embedded API server, the
// artifact registry, the operator and the local pod runner under one state folder and supervises
// them until a signal; tangoctl is its only caller. It never needs root and never touches anything
// outside the state folder.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "lib/base/clock.h"
#include "lib/base/file.h"
#include "lib/base/result.h"

namespace tango::standalone {

// A row of the built-in image table: images named `prefix` (with any tag) run `program`.
struct BuiltInImage {
  std::string prefix;  // "tango.local/trainer"
  fs::path program;    // relative: beside the running executable
};

struct UpOptions {
  fs::path state;                     // created 0700
  std::string address = "127.0.0.1";  // of the API server and the registry
  std::uint16_t api_port = 0;         // 0: the port of the last start, else any free
  std::uint16_t registry_port = 0;    // likewise
  std::uint16_t rest_port = 0;        // operator's REST API, likewise
  bool with_operator = true;
  bool with_registry = true;
  fs::path operator_program;  // default: tango-operator beside the running executable
  std::string registry_program = "docker-registry";
  std::vector<std::string> operator_args;  // appended
  std::vector<BuiltInImage> images;        // empty: trainer and builder
  Nanos stop_grace = Seconds{10};
  bool stop_pods = false;  // on a clean stop: false leaves running workloads for the next start
};

// The operator is started as
//   tango-operator --kubeconfig F --registry URL --keys DIR --state DIR --run-store F --api-listen
//   A:N
//     --allow-host-path --no-leader-election
//   --api-port N
// plus operator_args, and restarted with back-off when it ends.

// Where things are inside the state folder.
struct StateLayout {
  fs::path root;
  fs::path kubeconfig() const { return root / "kubeconfig"; }
  fs::path operator_json() const { return root / "operator.json"; }
  fs::path keys() const { return root / "keys"; }
  fs::path registry() const { return root / "registry"; }
  fs::path pods() const { return root / "pods"; }
  fs::path api_db() const { return root / "api.db"; }
  fs::path runs_db() const { return root / "runs.db"; }
  fs::path logs() const { return root / "logs"; }
  fs::path pki() const { return root / "pki"; }
  fs::path admin_token() const { return root / "admin.token"; }
  fs::path lock() const { return root / "up.lock"; }
};

// Blocks until SIGTERM or SIGINT, then stops cleanly. When everything answers, prints one line of
// JSON to stdout: {"ready":true,"kubeconfig":...,"api":...,"registry":...,"seconds":...}.
// Errors: StateLocked (another `up` uses the folder), ListenFailed, StartFailed, ...
Status run_up(const UpOptions& options);

}  // namespace tango::standalone
