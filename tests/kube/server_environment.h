// A running API server for the server suite. Two programs link the suite with one environment each:
// the embedded server in this process, and a real kube-apiserver.
#pragma once

#include <memory>
#include <string>

#include "lib/kube/config.h"

namespace tango::kube::test {

class ServerEnvironment {
 public:
  virtual ~ServerEnvironment() = default;
  ClientConfig config;
  std::string kubeconfig;  // path of a file with the same; "" where there is none
  // Why there is none here ("" = there is one); the tests are then skipped with this text.
  std::string missing;
};
std::unique_ptr<ServerEnvironment> start_server();

}  // namespace tango::kube::test
