// Brings one release to one slot of one device: plan, the chunks that are missing, activation. The
// operator's ssh executor calls it; the order of devices and the sequence are decided elsewhere.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>

#include "lib/artifacts/bundle_store.h"
#include "lib/artifacts/signature.h"
#include "lib/fleet/agent_session.h"

namespace tango::fleet {

struct DeployRequest {
  const artifacts::Bundle* bundle = nullptr;  // outlives the call
  artifacts::Envelope index_envelope;         // role release
  const artifacts::SigningKey* assignment_key = nullptr;
  std::string slot = "main";
  std::uint64_t sequence = 0;  // stored in Device.status before this is called
  std::string release;         // OCI manifest digest as text
  std::string deployment_uid;
  std::uint64_t generation = 0;
  std::string retry_token;
  std::uint64_t fleet_epoch = 0;
  artifacts::DeviceConfig config;
  Nanos validity = Seconds{7 * 24 * 3600};
  Nanos activation_deadline = Seconds{900};
  Clock* clock = nullptr;  // null: system_clock()
};

struct DeployReport {
  std::string outcome;  // committed | rolledBack | deferred | current
  std::uint64_t sequence = 0;
  std::string digest;
  std::optional<artifacts::Failure> failure;  // of a rollback
  std::string reason;                         // of a deferral
  Nanos retry_after{};
  Measured measured;
  std::optional<Nanos> downtime;
  std::uint64_t chunks_total = 0;
  std::uint64_t chunks_needed = 0;
  std::uint64_t bytes_needed = 0;  // uncompressed
  std::uint64_t bytes_sent = 0;    // on the wire, as Data payload
};

// A rollback is a report, not an error. The activation result is acknowledged before this returns.
// Errors: a refused plan with its failure code, ConnectionLost (call again: what is durable stays),
// ...
Result<DeployReport> deploy(AgentSession& agent, const DeployRequest& request,
                            const ProgressFn& progress = {}, std::stop_token stop = {});

struct ResumeOptions {
  int max_connections = 5;
  Nanos initial_wait = Millis{500};
  Nanos max_wait = Seconds{15};
};
// deploy() over new sessions as long as connections break. `open` gives a fresh session.
Result<DeployReport> deploy_resuming(
    const std::function<Result<std::unique_ptr<AgentSession>>()>& open,
    const DeployRequest& request, const ResumeOptions& options, const ProgressFn& progress = {},
    std::stop_token stop = {});

}  // namespace tango::fleet
