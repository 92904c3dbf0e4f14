// Pursuing a piece of work until it succeeds: asks for it, waits, and asks again under a new key
// after a growing delay when it failed in a way that can pass. The state is read from Observed
// alone, so the same world gives the same answer.
#pragma once

#include <optional>
#include <string>

#include "controllers/common/settings.h"
#include "lib/kube-types/outcome.h"

namespace tango::controllers {

struct WorkView {
  enum class Phase { kRunning, kRetrying, kSucceeded, kFailed };
  Phase phase = Phase::kRunning;
  Json output;  // of kSucceeded; progress of kRunning
  Error error;  // of kFailed and kRetrying
  int attempt = 0;
  TimePoint finished{};
  bool succeeded() const { return phase == Phase::kSucceeded; }
  bool failed() const { return phase == Phase::kFailed; }
};

// Errors of these codes pass by themselves.
bool retryable(const Error& error);

struct PursueOptions {
  Nanos initial = kRetryInitial;
  Nanos cap = kRetryCap;
  int max_retries = kWorkRetries;
  bool (*may_retry)(const Error&) = retryable;
};

// Adds what must be asked for now to `out` (work, requeueAfter).
WorkView pursue(kube::Outcome& out, const kube::Observed& world, kube::Work work, TimePoint now,
                const PursueOptions& options = {});

void requeue(kube::Outcome& out, Nanos after);  // the shortest one wins

}  // namespace tango::controllers
