// The example of lib/kube/README.md. Used by its test only.
#pragma once

#include <memory>
#include <string>

#include "lib/kube/manager.h"

namespace tango::example {

std::unique_ptr<kube::Manager> make_manager(std::unique_ptr<kube::KubeClient> client,
                                            const std::string& ns);

}  // namespace tango::example
