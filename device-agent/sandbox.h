// Role `run`: gives up what a release must not have, says which parts of the sandbox are Enforced
// and which Unavailable(reason), then becomes the release. Nothing here survives the exec but what
// the kernel holds.
#pragma once

#include <string>
#include <vector>

#include "lib/base/json.h"
#include "lib/base/result.h"

namespace tango::agent {

struct SandboxPart {
  std::string part;
  bool enforced = false;
  std::string reason;  // of Unavailable
};

// What apply_sandbox() would do here; changes nothing.
std::vector<SandboxPart> sandbox_capabilities();
Json to_json(const std::vector<SandboxPart>& parts);  // the `sandbox` member of hello

// Role `run`: `argv` is the release's command line. Returns only on failure.
Status run_release(const std::vector<std::string>& argv);

}  // namespace tango::agent
