// Where the API server is and who we are: kubeconfig files and in-cluster configuration. Reads
// files and the environment, never the network; programs are not run (exec plug-ins are refused).
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/base/clock.h"
#include "lib/base/http.h"
#include "lib/base/result.h"
#include "lib/base/secret.h"

namespace tango::kube {

struct ClientConfig {
  std::string server = {};  // "https://127.0.0.1:6443"
  TlsOptions tls = {};
  Secret<std::string> token = {};
  std::string token_file = {};  // re-read at least once a minute; wins over `token`
  std::string username = {};
  Secret<std::string> password = {};
  std::string proxy_url = {};
  std::string ns = "default";
  std::string context = {};
  std::string user_agent = "tango/0.1";
  // "Impersonate-User", "Impersonate-Group", ...: from as, as-groups, as-uid and as-user-extra.
  std::multimap<std::string, std::string> impersonate = {};
  Nanos request_timeout = Seconds{30};  // of one try; streams have none
};

struct ConfigOptions {
  std::string kubeconfig =
      {};  // explicit path (must exist); else $KUBECONFIG, in-cluster, ~/.kube/config
  std::string context = {};
  std::string ns = {};
  std::string service_account_dir = "/var/run/secrets/kubernetes.io/serviceaccount";
};
// Errors: KubeconfigNotFound, InvalidKubeconfig (file, line), UnknownContext, Unsupported
// (auth-provider, exec).
Result<ClientConfig> load_config(const ConfigOptions& options);
// One parsed and merged set of files; paths inside are relative to their own file.
Result<ClientConfig> parse_kubeconfig(
    const std::vector<std::pair<std::string, std::string>>& path_and_text,
    const ConfigOptions& options);
// From KUBERNETES_SERVICE_HOST/PORT and the service account's files. Errors: NotInCluster, IoError.
Result<ClientConfig> in_cluster_config(const ConfigOptions& options);

}  // namespace tango::kube
