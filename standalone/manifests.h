// Puts manifests (CRDs, profiles) into the embedded server in-process, as a server-side apply
// would.
#pragma once

#include <string_view>

#include "lib/base/result.h"
#include "standalone/operations.h"

namespace tango::standalone {

// Applies every document of a YAML stream, in order. Errors: InvalidManifest (with the server's
// words).
Status apply_manifests(Operations& operations, std::string_view yaml, const std::string& manager);

// The rules of our own kinds (crds::validate_object) as an admission hook.
AdmissionHook tango_admission();

}  // namespace tango::standalone
