// Who this device is: an Ed25519 key made on the first start and kept in a file of mode 0600. The
// device id is derived from it, so it survives everything but the loss of that file.
#pragma once

#include "lib/artifacts/signature.h"
#include "lib/base/file.h"
#include "lib/base/result.h"

namespace tango::agent {

// Errors: KeyInvalid (a damaged file is never replaced: that would be another device), IoError.
Result<artifacts::SigningKey> load_or_create_identity(const fs::path& file);

}  // namespace tango::agent
