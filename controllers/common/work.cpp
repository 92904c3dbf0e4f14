#include "controllers/common/work.h"

#include <algorithm>

namespace tango::controllers {

bool retryable(const Error& error) {
  switch (error.code) {
    case Code::kUnavailable:
    case Code::kTimeout:
    case Code::kIo:
    case Code::kConflict:
    case Code::kCancelled:
    case Code::kInternal:
      return true;
    default:
      return false;
  }
}

void requeue(kube::Outcome& out, Nanos after) {
  after = std::max(after, Nanos{Millis{10}});
  if (!out.requeue_after || after < *out.requeue_after) out.requeue_after = after;
}

WorkView pursue(kube::Outcome& out, const kube::Observed& world, kube::Work work, TimePoint now,
                const PursueOptions& options) {
  const std::string base = work.key;
  Nanos delay = options.initial;
  WorkView view;
  for (int attempt = 0;; ++attempt) {
    if (attempt > 0) {
      work.key = base + "#" + std::to_string(attempt);
      delay = std::min(delay * 2, options.cap);
    }
    const kube::WorkState* state = world.work(work.key);
    view.attempt = attempt;
    if (state == nullptr || state->phase == kube::WorkState::Phase::kRunning) {
      if (state != nullptr) view.output = state->output;
      out.work.push_back(std::move(work));
      return view;
    }
    view.finished = state->finished;
    if (state->phase == kube::WorkState::Phase::kSucceeded) {
      view.phase = WorkView::Phase::kSucceeded;
      view.output = state->output;
      out.work.push_back(std::move(work));  // keeps the answer known
      return view;
    }
    view.error = state->error;
    if (!options.may_retry(state->error) || attempt >= options.max_retries) {
      view.phase = WorkView::Phase::kFailed;
      return view;
    }
    const TimePoint due = state->finished + delay;
    if (due > now) {
      view.phase = WorkView::Phase::kRetrying;
      requeue(out, due - now);
      return view;
    }
  }
}

}  // namespace tango::controllers
