// Facts about this machine for `inventory`: architecture, memory, disk, accelerators. Read fresh
// each time; what cannot be read is left out, never guessed.
#pragma once

#include <string>

#include "lib/base/file.h"
#include "lib/base/json.h"

namespace tango::agent {

std::string machine_arch();  // amd64 | arm64 | armv7, of this program
std::string boot_id();
Json read_inventory(const fs::path& root);

}  // namespace tango::agent
