// Leader election by a Lease, as client-go does it: whoever holds it renews it every few seconds;
// the others judge its age by when they themselves saw it change, so clocks need not agree. The
// fleet epoch is an annotation of the Lease that grows with every acquisition, in the same write.
#pragma once

#include <mutex>
#include <string>

#include "lib/base/clock.h"
#include "lib/base/metrics.h"
#include "lib/kube/client.h"
#include "lib/kube/manager.h"

namespace tango::kube {

inline constexpr std::string_view kFleetEpochAnnotation = "ml-tango.io/fleet-epoch";

class LeaderElector {
 public:
  LeaderElector(KubeClient& client, const LeaderElectionOptions& options, Clock& clock,
                MetricsRegistry& metrics);

  enum class Try { kHeld, kTaken, kFailed };
  // One attempt to acquire or renew. kTaken: somebody else holds it; kFailed: could not find out.
  Try try_once();
  // We acquired it and the last renewal is younger than the renew deadline: after that, another may
  // take over as soon as the lease itself has run out.
  bool holding() const;
  // Gives the lease away (empty holder, one second), so that the next leader need not wait.
  void release();
  // With election disabled: raises the epoch without holding anything.
  Status raise_without_holding();
  Result<std::int64_t> raise_epoch(std::int64_t floor);
  std::int64_t epoch() const;
  const std::string& identity() const { return identity_; }

 private:
  Result<Json> read();
  Status create_lease(std::int64_t epoch, bool hold);
  Result<Json> write(Json lease);
  void became(bool leading, std::int64_t epoch, Nanos renewed);

  KubeClient& client_;
  const LeaderElectionOptions options_;
  const std::string identity_;
  Clock& clock_;
  MetricsRegistry& metrics_;

  std::mutex busy_;  // one exchange with the server at a time
  std::string observed_record_;
  Nanos observed_at_{};

  mutable std::mutex mutex_;
  bool leading_ = false;
  Nanos renewed_{};
  std::int64_t epoch_ = 0;
};

}  // namespace tango::kube
