// The executors of the operator: side effects outside Kubernetes that controllers ask for as Work.
// `registry` looks results up, `signer` signs bundles after checking where they come from, `runs`
// reads why a stage failed. (`ssh` is in fleet_service.h.)
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "lib/artifacts/keys.h"
#include "lib/artifacts/registry_client.h"
#include "lib/base/http.h"
#include "lib/kube/client.h"
#include "lib/kube/manager.h"
#include "operator/run_store.h"
#include "operator/task_pool.h"

namespace tango::op {

struct RegistryAccess {
  HttpClient* http = nullptr;  // outlives the executors
  std::string url;
  Secret<std::string> token;
  artifacts::RegistryClient client(std::string repository) const;
};

// An executor whose work runs on a pool.
class PooledExecutor : public kube::Executor {
 public:
  using Run = std::function<Result<Json>(
      const kube::Work&, const std::function<void(Json)>& progress, std::stop_token)>;
  PooledExecutor(std::string name, int threads, Run run)
      : name_(std::move(name)), run_(std::move(run)), pool_(threads) {}
  std::string_view name() const override { return name_; }
  void start(const kube::Work& work, Callbacks callbacks) override;
  void cancel(std::string_view key) override { pool_.cancel(key); }

 private:
  std::string name_;
  Run run_;
  TaskPool pool_;  // last: its threads use the members above
};

// Work {op: "result", repository, tag} -> {found, digest, result}; {op: "exists", repository,
// digest} -> {found, size}. Events of a found run go to `runs` (may be null).
std::unique_ptr<kube::Executor> make_registry_executor(RegistryAccess access, RunStore* runs);

// Work {op: "sign", repository, bundleDigest, modelDigest, namespace, imageBuild, imageBuildUid}
// -> {signatureDigest, keyIds, indexDigest, bytes, version}. Errors: LineageMismatch, KeyMissing,
// and those of the registry. `keys` and `client` outlive it.
std::unique_ptr<kube::Executor> make_signer_executor(RegistryAccess access,
                                                     const artifacts::KeySet& keys,
                                                     kube::KubeClient& client);

// Work {op: "failure", namespace, pod} -> {reason, message}: the last `failed` event of the log.
std::unique_ptr<kube::Executor> make_runs_executor(kube::KubeClient& client);

// The same as plain functions, for tests.
Result<Json> look_up_result(const RegistryAccess& access, const Json& input, RunStore* runs);
Result<Json> look_up_artifact(const RegistryAccess& access, const Json& input);
Result<Json> sign_bundle(const RegistryAccess& access, const artifacts::KeySet& keys,
                         kube::KubeClient& client, const Json& input);
Json failure_of_log(std::string_view log);

}  // namespace tango::op
