// The checks of a release on this device by the verbs of the tango-infer contract: known-answer
// self-test, latency measurement, evaluation. Each runs the release's own program to its end, with
// a deadline; it opens no ports. The slot decides when, and what a failure means.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "device-agent/supervisor.h"
#include "lib/artifacts/failure.h"
#include "lib/base/json.h"
#include "lib/base/result.h"

namespace tango::agent {

struct Measured {
  std::uint32_t p50_us = 0, p95_us = 0, iterations = 0;  // 0: not measured
  std::uint64_t memory_bytes = 0;
  bool any() const { return iterations > 0 || memory_bytes > 0; }
};
Json to_json(const Measured& measured);

struct HealthLimits {
  Nanos selftest_timeout = Seconds{120};
  Nanos bench_timeout = Seconds{180};
  Nanos ready_timeout = Seconds{60};
  Nanos probe_interval = Millis{100};
  int failed_probes = 3;  // in a row, during the soak; a busy board may miss one
};

// Runs `<argv[0]> <verb> --bundle . --json <more>` in the release's folder and parses the one JSON
// object it prints. Errors: Timeout, StartFailed, Crashed (ended by a signal), KnownAnswerFailed or
// `reason` (exit code other than 0), ProtocolError (no JSON).
Result<Json> run_verb(const SupervisorOptions& options, const LaunchSpec& spec,
                      const std::string& verb, const std::vector<std::string>& more, Nanos timeout,
                      std::string_view reason);

// Errors: KnownAnswerFailed, Timeout, Crashed, StartFailed.
Status self_test(const SupervisorOptions& options, const LaunchSpec& spec,
                 const HealthLimits& limits);
Result<Measured> bench(const SupervisorOptions& options, const LaunchSpec& spec,
                       const HealthLimits& limits);
// Errors: LatencyExceeded, MemoryExceeded; a limit of 0 is none, an unmeasured value with a limit
// fails.
Status check_limits(const artifacts::HealthGate& gate, const Measured& measured);

}  // namespace tango::agent
