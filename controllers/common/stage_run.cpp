#include "controllers/common/stage_run.h"

#include <algorithm>

#include "controllers/common/conditions.h"
#include "controllers/common/stage_job.h"

namespace tango::controllers {
namespace {

using State = StageView::State;

// The first container status that says something.
const kube::ContainerStatus* container_of(const kube::Pod& pod) {
  return pod.status.container_statuses.empty() ? nullptr : &pod.status.container_statuses.front();
}

class StageRun {
 public:
  StageRun(const StageRequest& request, const StageMemory& memory, const kube::Observed& world,
           TimePoint now, const Settings& settings, kube::Outcome& out)
      : request_(request), world_(world), now_(now), settings_(settings), out_(out) {
    view_.memory = memory;
  }

  StageView run() {
    auto hash =
        run::input_hash(request_.type, request_.type_version, request_.config, request_.inputs);
    if (!hash.ok()) return fail(hash.error().reason, hash.error().message);
    view_.input_hash = *hash;
    base_ = kube::child_name(request_.owner->name, request_.stage, view_.input_hash);
    const kube::Job* job = find_job();
    if (job == nullptr) {
      if (!look_up(0)) return std::move(view_);
      return start();
    }
    view_.job = job->metadata.name;
    if (!view_.memory.started_at) view_.memory.started_at = job->metadata.creation_timestamp;
    if (job->metadata.deleting()) {
      say(State::kStopping, "Stopping", "the Job is being deleted");
      return std::move(view_);
    }
    if (job->complete()) return complete();
    if (job->failed()) return failed(*job);
    if (request_.suspend) return stop(*job);
    return running(*job);
  }

 private:
  void say(State state, std::string_view reason, std::string message) {
    view_.state = state;
    view_.reason = reason;
    view_.message = std::move(message);
  }
  StageView fail(std::string_view reason, std::string message) {
    say(State::kFailed, reason, std::move(message));
    return std::move(view_);
  }

  // The newest attempt that exists, whatever the (possibly lost) memory says.
  const kube::Job* find_job() {
    const kube::Job* newest = nullptr;
    const int last = std::max(view_.memory.attempt, 1);
    for (int n = last; n <= kMaxAttempts; ++n) {
      const auto* job = world_.get<kube::Job>(request_.owner->ns, stage_job_name(base_, n));
      if (job == nullptr) {
        // Attempts before the remembered one do not matter; after it there is no gap.
        break;
      }
      const kube::OwnerReference* owner = job->metadata.controller_owner();
      if (owner == nullptr || owner->uid != request_.owner->uid) break;
      newest = job;
      view_.memory.attempt = n;
    }
    return newest;
  }

  // True: the registry has no result. Otherwise the view says where it stands.
  bool look_up(int after_attempt) {
    kube::Work work;
    work.executor = "registry";
    work.key = "result/" + request_.repository + "@" + view_.input_hash + "/" +
               std::to_string(after_attempt);
    if (after_attempt > 0) work.key += "/" + view_.job;
    work.input = Json{{"op", "result"},
                      {"repository", request_.repository},
                      {"tag", run::result_tag(view_.input_hash)}};
    work.deadline = kLookupDeadline;
    const WorkView found = pursue(out_, world_, std::move(work), now_);
    switch (found.phase) {
      case WorkView::Phase::kRunning:
        say(after_attempt == 0 ? State::kWaiting : State::kRunning, "LookingUpResult",
            "asking the registry for the result");
        return false;
      case WorkView::Phase::kRetrying:
        say(State::kWaiting, found.error.reason,
            "the registry did not answer: " + found.error.message);
        return false;
      case WorkView::Phase::kFailed:
        fail(found.error.reason, found.error.message);
        return false;
      case WorkView::Phase::kSucceeded:
        break;
    }
    if (!get_bool(found.output, "found")) return true;
    auto result = run::parse_result(get(found.output, "result"));
    if (!result.ok()) {
      fail("ResultInvalid", "the result artifact cannot be read: " + result.error().message);
      return false;
    }
    view_.result = std::move(*result);
    view_.result_digest = get_string(found.output, "digest");
    view_.memory.retry_after.reset();
    say(State::kSucceeded, "Succeeded", "the result is in the registry");
    return false;
  }

  StageView start() {
    StageMemory& m = view_.memory;
    if (request_.suspend) {
      say(State::kStopped, "Suspended", "spec.suspend is true");
      return std::move(view_);
    }
    m.retry_after = due();
    if (m.retry_after && *m.retry_after > now_) {
      requeue(out_, *m.retry_after - now_);
      const bool empty_handed = before_complete();
      say(State::kWaiting, empty_handed ? "ResultMissing" : "WaitingForRetry",
          "attempt " + std::to_string(m.attempt - 1) +
              (empty_handed  ? " ended well, but without a result"
               : m.exit_code ? " ended with exit code " + std::to_string(*m.exit_code)
                             : std::string(" failed")) +
              "; attempt " + std::to_string(m.attempt) + " starts at " +
              format_time(*m.retry_after));
      return std::move(view_);
    }
    m.attempt = std::max(m.attempt, 1);
    StageAttempt attempt{base_, stage_job_name(base_, m.attempt), view_.input_hash, m.attempt,
                         request_.config};
    if (m.exit_code == run::kOutOfMemory) shrink_batch(attempt.config, m.attempt);
    out_.create_once.push_back(stage_config_map(request_, attempt, settings_));
    out_.create_once.push_back(stage_job(request_, attempt, settings_));
    view_.job = attempt.job;
    if (!m.started_at) m.started_at = whole_seconds(now_);
    say(State::kRunning, "JobCreated", "Job " + attempt.job + " was created");
    return std::move(view_);
  }

  // The attempt before ended well although its result is not in the registry.
  bool before_complete() const {
    const auto* before =
        world_.get<kube::Job>(request_.owner->ns, stage_job_name(base_, view_.memory.attempt - 1));
    return before != nullptr && before->complete();
  }

  // When the next attempt may start, from the Job of the one before.
  std::optional<TimePoint> due() const {
    if (view_.memory.attempt <= 1) return std::nullopt;
    const auto* before =
        world_.get<kube::Job>(request_.owner->ns, stage_job_name(base_, view_.memory.attempt - 1));
    if (before == nullptr) return std::nullopt;
    const kube::Condition* failed = kube::find_condition(before->status.conditions, "Failed");
    std::optional<TimePoint> ended = before->status.completion_time;
    if (failed != nullptr && failed->last_transition_time) ended = failed->last_transition_time;
    if (!ended) return std::nullopt;
    Nanos delay = kRetryInitial;
    for (int i = 2; i < view_.memory.attempt; ++i) delay = std::min(delay * 2, kRetryCap);
    return *ended + delay;
  }

  static void shrink_batch(Json& config, int attempt) {
    if (!config.contains("batchSize")) return;
    const std::int64_t first = config["batchSize"].is_number_integer()
                                   ? config["batchSize"].get<std::int64_t>() / 2
                                   : std::int64_t{kFallbackBatch};
    config["batchSize"] =
        std::max<std::int64_t>(first >> std::min(std::max(attempt - 2, 0), 30), 1);
  }

  StageView complete() {
    if (!look_up(std::max(view_.memory.attempt, 1))) return std::move(view_);
    return retry("ResultMissing", "the Job ended well, but the registry has no result with tag " +
                                      run::result_tag(view_.input_hash));
  }

  StageView stop(const kube::Job& job) {
    out_.remove.push_back(
        {kube::Job::kKind, job.metadata.ns, job.metadata.name, job.metadata.uid, {}});
    // The next start is an attempt of its own, so that events and Jobs stay apart.
    view_.memory.attempt = std::min(view_.memory.attempt + 1, kMaxAttempts);
    say(State::kStopping, "Suspending", "the Job is stopped after a checkpoint");
    return std::move(view_);
  }

  StageView running(const kube::Job& job) {
    const TimePoint created = job.metadata.creation_timestamp.value_or(now_);
    for (const kube::Pod* pod : world_.owned<kube::Pod>(job.metadata.uid)) {
      const kube::ContainerStatus* c = container_of(*pod);
      if (c != nullptr && c->state.kind == kube::ContainerState::Kind::kWaiting &&
          !c->state.reason.empty() && c->state.reason != "ContainerCreating" &&
          c->state.reason != "PodInitializing") {
        return not_started(created, c->state.reason, c->state.message);
      }
      if (pod->status.phase == "Running") {
        say(State::kRunning, "Running", "pod " + pod->metadata.name + " runs");
        return std::move(view_);
      }
      for (const kube::Condition& condition : pod->status.conditions) {
        if (condition.type == "PodScheduled" && condition.status == "False") {
          return not_started(created, "Unschedulable", condition.message);
        }
      }
    }
    return not_started(created, "PodPending", "the pod has not started yet");
  }

  StageView not_started(TimePoint created, std::string_view reason, std::string message) {
    if (now_ - created >= kPodStartDeadline) {
      return fail("PodNotStarted", std::string(reason) + ": " + message + " (waited " +
                                       human_age(kPodStartDeadline) + ")");
    }
    requeue(out_, created + kPodStartDeadline - now_);
    say(State::kRunning, reason, std::move(message));
    return std::move(view_);
  }

  StageView failed(const kube::Job& job) {
    const kube::Condition* why = kube::find_condition(job.status.conditions, "Failed");
    const std::string job_reason = why == nullptr ? "" : why->reason;
    std::optional<std::int32_t> code;
    const kube::Pod* pod = nullptr;
    for (const kube::Pod* p : world_.owned<kube::Pod>(job.metadata.uid)) {
      if (p->exit_code()) {
        code = p->exit_code();
        pod = p;
      }
    }
    if (!code && job_reason != "DeadlineExceeded") {
      const TimePoint at =
          why != nullptr && why->last_transition_time ? *why->last_transition_time : now_;
      if (why != nullptr && now_ - at < kPodStatusGrace) {
        requeue(out_, at + kPodStatusGrace - now_);
        say(State::kRunning, "JobFailed", "the Job failed; waiting for its pod's exit code");
        return std::move(view_);
      }
      return retry("PodLost", "the Job failed and its pod is gone" +
                                  (why == nullptr ? "" : ": " + why->message));
    }
    view_.memory.exit_code = code;
    if (job_reason == "DeadlineExceeded") {
      return fail("DeadlineExceeded", "the Job ran longer than " +
                                          std::to_string(request_.active_deadline_seconds) + " s");
    }
    // What the program itself said last; its exit code alone is no explanation.
    kube::Work work{
        "runs", "failure/" + request_.owner->ns + "/" + pod->metadata.name,
        Json{{"op", "failure"}, {"namespace", request_.owner->ns}, {"pod", pod->metadata.name}},
        kLookupDeadline};
    PursueOptions few;
    few.max_retries = 3;
    const WorkView said = pursue(out_, world_, std::move(work), now_, few);
    if (said.phase == WorkView::Phase::kRunning || said.phase == WorkView::Phase::kRetrying) {
      say(State::kRunning, "JobFailed", "the Job failed; reading why");
      return std::move(view_);
    }
    std::string reason = get_string(said.output, "reason");
    std::string message = get_string(said.output, "message");
    const kube::ContainerStatus* c = container_of(*pod);
    const bool killed_by_memory = c != nullptr && c->state.reason == "OOMKilled";
    if (message.empty())
      message = "exit code " + std::to_string(*code) + "; see the log of pod " + pod->metadata.name;
    switch (*code) {
      case run::kBadInput:
        return fail(reason.empty() ? "BadInput" : reason, std::move(message));
      case run::kOutOfMemory:
        return retry(reason.empty() ? "OutOfMemory" : reason, std::move(message));
      case run::kInterrupted:
        return retry(reason.empty() ? "Interrupted" : reason, std::move(message));
      case run::kRegistryFailure:
        return retry(reason.empty() ? "RegistryUnavailable" : reason, std::move(message));
      default:
        if (killed_by_memory) {
          view_.memory.exit_code = run::kOutOfMemory;
          return retry("OutOfMemory", std::move(message));
        }
        return retry(reason.empty() ? (*code > 128 ? "Killed" : "StageFailed") : reason,
                     std::move(message));
    }
  }

  // Another attempt while there is one left.
  StageView retry(std::string_view reason, std::string message) {
    StageMemory& m = view_.memory;
    const int made = std::max(m.attempt, 1);
    if (made > request_.retries || made >= kMaxAttempts) {
      return fail(reason, message + " (after " + std::to_string(made) + " attempts)");
    }
    m.attempt = made + 1;
    m.retry_after = due();
    requeue(out_, m.retry_after ? *m.retry_after - now_ : Nanos{0});
    view_.job.clear();
    say(State::kWaiting, reason, message + "; attempt " + std::to_string(m.attempt) + " follows");
    return std::move(view_);
  }

  const StageRequest& request_;
  const kube::Observed& world_;
  TimePoint now_;
  const Settings& settings_;
  kube::Outcome& out_;
  StageView view_;
  std::string base_;
};

}  // namespace

std::string stage_job_name(const std::string& base, int attempt) {
  if (attempt <= 1) return base;
  const std::string suffix = "-a" + std::to_string(attempt);
  if (base.size() + suffix.size() <= 63) return base + suffix;
  // The hash at the end of the base keeps it unique; its front gives way.
  return base.substr(0, 63 - suffix.size() - 9) + base.substr(base.size() - 9) + suffix;
}

std::string run_id(std::string_view ns, std::string_view base) {
  return std::string(ns) + "/" + std::string(base);
}

std::string repository_of(const Settings& settings, std::string_view ns, std::string_view name) {
  return settings.repository_root + "/" + std::string(ns) + "/" + std::string(name);
}

std::string refused_service_account(const Json& pod_template, const Settings& settings) {
  const std::string account = get_string(pod_template, "serviceAccountName");
  return account.empty() || account == "default" || settings.service_accounts.contains(account)
             ? ""
             : account;
}

StageView run_stage(const StageRequest& request, const StageMemory& memory,
                    const kube::Observed& world, TimePoint now, const Settings& settings,
                    kube::Outcome& out) {
  return StageRun(request, memory, world, now, settings, out).run();
}

}  // namespace tango::controllers
