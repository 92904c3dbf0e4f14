// The slot's thread: what happens between two rows of the transition table. Every function here
// runs on that thread with the slot's lock, and gives it up around slow work; `busy()` keeps
// requests from changing the state meanwhile.
#include <algorithm>

#include "device-agent/crash_point.h"
#include "device-agent/slot.h"
#include "lib/base/log.h"

namespace tango::agent {
namespace {

namespace code = artifacts::code;

// Runs `work` without the lock.
template <typename Work>
auto unlocked(std::unique_lock<std::mutex>& lock, Work&& work) {
  lock.unlock();
  auto result = work();
  lock.lock();
  return result;
}

Error ended(const ProcessState& state) {
  return make_error(
      Code::kInvalid, code::kCrashed,
      "the release ended during its trial with " +
          (state.last_exit.empty() ? std::string("an unknown status") : state.last_exit));
}

}  // namespace

Failure Slot::failure_of(const Error& error) const {
  Failure failure = artifacts::failure_from(error, phase_.empty() ? "activate" : phase_, "agent");
  failure.element = name_;
  failure.at = options_.clock->now();
  return failure;
}

void Slot::progress(std::string_view phase, std::string_view message) {
  Json event = {{"event", "progress"}, {"phase", phase}};
  if (!message.empty()) event["message"] = message;
  events_.push_back(std::move(event));
  changed_.notify_all();
}

bool Slot::interrupted(std::unique_lock<std::mutex>& lock, Nanos pause) {
  changed_.wait_for(lock, pause, [&] { return quit_ || abort_.has_value(); });
  return quit_ || abort_.has_value();
}

void Slot::reject(SlotRecord& record, const LoadedRelease& release, const Failure& failure) const {
  // What another try could cure is not held against the release.
  if (failure.retryable) return;
  const std::string token = release.assignment ? release.assignment->retry_token : std::string{};
  record.rejected.push_back({release.ref.digest, release.ref.sequence, failure.code,
                             rejection_key(release.ref.deployment_uid, token)});
  while (record.rejected.size() > kMaxRejected) record.rejected.erase(record.rejected.begin());
}

void Slot::work() {
  std::unique_lock lock(mutex_);
  last_progress_ = options_.clock->monotonic();
  while (!quit_) {
    if (!busy()) {
      abort_.reset();
      changed_.wait_for(lock, options_.deadline_check, [&] { return quit_ || busy(); });
      if (!quit_ && !busy()) check_deadline(lock);
      continue;
    }
    switch (*job_) {
      case Job::kRecover:
        recover(lock);
        break;
      case Job::kActivate:
        do_activate(lock);
        break;
      case Job::kRollback:
        leave(lock);
        break;
      case Job::kRemove:
        if (auto left = step(SlotEvent::kRemove); left.ok()) {
          do_remove(lock);
        } else {
          last_result_ = std::move(left).error();
        }
        break;
    }
    if (quit_) break;
    phase_.clear();
    finished_ = job_number_;
    changed_.notify_all();
  }
  lock.unlock();
  supervisor_->stop();
}

Status Slot::launch(std::unique_lock<std::mutex>& lock, const LoadedRelease& release,
                    bool restart) {
  const LaunchSpec spec = launch_spec(store_, name_, release);
  return unlocked(lock, [&]() -> Status {
    TRY(make_dirs(spec.run_dir / "config", 0700));
    const std::string parameters = dump_json(release.config.parameters);
    const fs::path file = spec.run_dir / "config" / "parameters.json";
    const auto there = read_file(file, 1u << 20);
    if (!there.ok() || *there != parameters) TRY(write_file_atomic(file, parameters, 0600));
    return supervisor_->start(spec, restart);
  });
}

void Slot::recover(std::unique_lock<std::mutex>& lock) {
  const SlotRecord record = journal_.record();
  last_result_ = Json::object();
  switch (record.state) {
    case SlotState::kTrial: {
      phase_ = "activate";
      const Failure failure =
          failure_of(make_error(Code::kUnavailable, code::kInterrupted,
                                "the agent was started again during the trial, which ends it"));
      if (auto moved = step(SlotEvent::kStartUp, [&](SlotRecord& r) { r.last_failure = failure; });
          !moved.ok()) {
        log_error("The journal could not be written", {{"slot", name_}, moved.error()});
      }
      do_rollback(lock);
      return;
    }
    case SlotState::kBroken:
      if (auto moved = step(SlotEvent::kStartUp); !moved.ok()) {
        log_error("The journal could not be written", {{"slot", name_}, moved.error()});
      }
      do_rollback(lock);
      return;
    case SlotState::kRollingBack:
      do_rollback(lock);
      return;
    case SlotState::kRemoving:
      do_remove(lock);
      return;
    case SlotState::kIdle:
    case SlotState::kStaging:
    case SlotState::kStaged:
    case SlotState::kCommitted:
      break;
  }
  if (record.current) {
    auto current = load(record.current);
    auto started = current.ok() ? launch(lock, *current, true) : Status(current.error());
    if (!started.ok()) {
      log_error("The current release could not be started", {{"slot", name_}, started.error()});
    }
    if (auto linked = store_.set_current(name_, record.current->digest); !linked.ok()) {
      log_warn("The link to the current release could not be replaced", {linked.error()});
    }
  }
  if (record.state == SlotState::kStaging && record.candidate) {
    auto resumed = [&]() -> Status {
      TRY_ASSIGN(const LoadedRelease candidate, load(record.candidate));
      TRY_ASSIGN(const LoadedChunks chunks, load_chunks(candidate));
      return open_staging(chunks.list, chunks.bytes,
                          wanted_chunks(*candidate.index, chunks.list, chunks.places));
    }();
    if (!resumed.ok()) log_warn("Staging could not be resumed", {{"slot", name_}, resumed.error()});
  }
  tidy(lock);
}

void Slot::tidy(std::unique_lock<std::mutex>&) {
  const SlotRecord& record = journal_.record();
  if (record.state != SlotState::kStaging && record.state != SlotState::kStaged) drop_staging();
  std::vector<std::uint64_t> keep;
  for (const auto& ref : {record.current, record.previous, record.candidate}) {
    if (ref) keep.push_back(ref->sequence);
  }
  if (auto pruned = prune_plans(store_.slot_dir(name_), keep); !pruned.ok()) {
    log_warn("Old plans could not be removed", {{"slot", name_}, pruned.error()});
  }
  std::error_code ec;
  std::vector<fs::path> runs;
  for (const auto& entry : fs::directory_iterator(store_.slot_dir(name_) / "run", ec)) {
    const std::string sequence = entry.path().filename().string();
    if (std::none_of(keep.begin(), keep.end(),
                     [&](auto s) { return std::to_string(s) == sequence; })) {
      runs.push_back(entry.path());
    }
  }
  for (const fs::path& path : runs) (void)tango::remove_all(path);
  if (auto collected = store_.collect(); !collected.ok()) {
    log_warn("Unused releases could not be removed", {{"slot", name_}, collected.error()});
  }
}

Status Slot::assemble(std::unique_lock<std::mutex>& lock, const LoadedRelease& candidate) {
  phase_ = "activate";
  progress("assemble");
  if (candidate.assignment && candidate.assignment->expires <=
                                  (options_.highest_seen ? options_.highest_seen() : TimePoint{})) {
    return make_error(Code::kDenied, code::kAssignmentExpired,
                      "the assignment expired before its first activation");
  }
  TRY_ASSIGN(const LoadedChunks chunks, load_chunks(candidate));
  if (!staging_) {
    TRY(open_staging(chunks.list, chunks.bytes,
                     wanted_chunks(*candidate.index, chunks.list, chunks.places)));
  }
  return unlocked(lock, [&] {
    return store_.build(candidate.ref.digest, *candidate.index, chunks.list, chunks.places,
                        [&](const Digest& hash) { return staging_->read(hash); });
  });
}

void Slot::do_activate(std::unique_lock<std::mutex>& lock) {
  measured_ = {};
  downtime_ = down_since_ = Nanos{0};
  trial_expired_ = false;
  current_untouched_ = true;
  auto loaded = load(journal_.record().candidate);
  if (!loaded.ok()) {
    last_result_ = loaded.error();
    return;
  }
  const LoadedRelease candidate = *loaded;
  auto built = assemble(lock, candidate);
  if (quit_) return;
  if (built.ok() && abort_ == SlotEvent::kRemove) {
    if (step(SlotEvent::kRemove).ok()) do_remove(lock);
    return;
  }
  if (built.ok() && abort_ == SlotEvent::kRollback) {
    built = make_error(Code::kCancelled, code::kCancelled, "a rollback was asked for");
  }
  if (!built.ok()) {
    // Nothing was switched: what ran goes on running.
    const Failure failure = failure_of(built.error());
    Report report{0, 0, candidate.ref.digest, Report::Kind::kRolledBack, 0, 0, 0, 0, 0, 0, {}};
    auto moved = step(SlotEvent::kAbandon, [&](SlotRecord& r) {
      r.last_failure = failure;
      r.candidate.reset();
      report = add_report(r, Report::Kind::kRolledBack, candidate.ref, failure);
    });
    if (!moved.ok()) {
      last_result_ = moved.error();
      return;
    }
    drop_staging();
    tidy(lock);
    last_result_ = report_json(report);
    return;
  }
  progress("verify");
  if (auto moved = step(SlotEvent::kActivate, [](SlotRecord& r) { r.trial_starts = 1; });
      !moved.ok()) {
    last_result_ = moved.error();
    return;
  }
  drop_staging();
  auto tried = try_release(lock, candidate);
  if (quit_) return;  // the next start-up finds Trial and rolls back

  if (tried.ok()) {
    progress("commit");
    Report report{0, 0, candidate.ref.digest, Report::Kind::kCommitted, 0, 0, 0, 0, 0, 0, {}};
    tried = step(SlotEvent::kPass, [&](SlotRecord& r) {
      r.previous = r.current;
      r.current = candidate.ref;
      r.candidate.reset();
      r.security_version = std::max(r.security_version, candidate.ref.security_version);
      r.trial_starts = 0;
      r.last_failure.reset();
      report = add_report(r, Report::Kind::kCommitted, candidate.ref, std::nullopt);
    });
    if (tried.ok()) {
      supervisor_->keep_running();
      current_measured_ = measured_;
      if (auto linked = store_.set_current(name_, candidate.ref.digest); !linked.ok()) {
        log_warn("The link to the current release could not be replaced", {linked.error()});
      }
      tidy(lock);
      log_info("Committed a release",
               {{"slot", name_}, {"digest", candidate.ref.digest.short_hex()}});
      last_result_ = report_json(report);
      return;
    }
  }
  const Failure failure = failure_of(tried.error());
  log_warn("Rolled a release back",
           {{"slot", name_}, {"digest", candidate.ref.digest.short_hex()}, tried.error()});
  SlotEvent event = trial_expired_ ? SlotEvent::kDeadline : SlotEvent::kFail;
  if (abort_) event = *abort_;
  auto moved = step(event, [&](SlotRecord& r) {
    r.last_failure = failure;
    r.trial_starts = 0;
    reject(r, candidate, failure);
  });
  if (!moved.ok()) log_error("The journal could not be written", {{"slot", name_}, moved.error()});
  if (journal_.record().state == SlotState::kRemoving) {
    do_remove(lock);
    return;
  }
  do_rollback(lock);
}

Status Slot::wait_ready(std::unique_lock<std::mutex>& lock) {
  const Nanos end = options_.clock->monotonic() + options_.health.ready_timeout;
  while (true) {
    if (unlocked(lock, [&] { return supervisor_->ready(); })) return ok_status();
    const ProcessState state = supervisor_->state();
    if (!state.running && journal_.record().state == SlotState::kTrial) return ended(state);
    if (options_.clock->monotonic() >= end) {
      return make_error(Code::kInvalid, code::kReadyTimeout,
                        "the release did not answer its ready check within " +
                            format_duration(options_.health.ready_timeout));
    }
    if (journal_.record().state != SlotState::kTrial) {
      changed_.wait_for(lock, options_.health.probe_interval, [&] { return quit_; });
      if (quit_) return make_error(Code::kCancelled, code::kCancelled, "the agent is stopping");
    } else if (interrupted(lock, options_.health.probe_interval)) {
      return make_error(Code::kCancelled, code::kCancelled, "the trial was stopped on request");
    }
  }
}

Status Slot::stay_healthy(std::unique_lock<std::mutex>& lock, Nanos duration) {
  const Nanos end = options_.clock->monotonic() + duration;
  int failed = 0;
  while (options_.clock->monotonic() < end) {
    const Nanos left = end - options_.clock->monotonic();
    if (interrupted(lock, std::min<Nanos>(left, options_.health.probe_interval * 5))) {
      return make_error(Code::kCancelled, code::kCancelled, "the trial was stopped on request");
    }
    const ProcessState state = supervisor_->state();
    if (!state.running) return ended(state);
    if (unlocked(lock, [&] { return supervisor_->ready(); })) {
      failed = 0;
      continue;
    }
    const ProcessState after = supervisor_->state();
    if (!after.running) return ended(after);
    if (++failed >= options_.health.failed_probes) {
      return make_error(Code::kInvalid, code::kReleaseNotReady,
                        "the release stopped answering its ready check during the soak");
    }
  }
  return ok_status();
}

Status Slot::try_release(std::unique_lock<std::mutex>& lock, const LoadedRelease& candidate) {
  const LaunchSpec spec = launch_spec(store_, name_, candidate);
  const Nanos begun = options_.clock->monotonic();
  const Nanos limit = rule_of(SlotState::kTrial).deadline + Millis{candidate.gate.warmup_ms} +
                      Millis{candidate.gate.soak_ms};
  const auto check = [&]() -> Status {
    trial_expired_ = options_.clock->monotonic() - begun > limit;
    if (trial_expired_)
      return make_error(Code::kTimeout, code::kTimeout, "the trial took too long");
    if (abort_ || quit_)
      return make_error(Code::kCancelled, code::kCancelled, "the trial was stopped on request");
    return ok_status();
  };
  const auto stop_current = [&] {
    current_untouched_ = false;
    if (down_since_ == Nanos{0} && supervisor_->state().running)
      down_since_ = options_.clock->monotonic();
    return unlocked(lock, [&] {
      supervisor_->stop();
      return 0;
    });
  };

  phase_ = "health";
  const std::uint64_t need = candidate.index->resources.memory_bytes;
  if (need > options_.machine.memory_available()) {
    progress("stop", "memory is short: the running release stops before the self-test");
    stop_current();
  }
  // The verbs need the run folder as their home.
  TRY(unlocked(lock, [&] { return make_dirs(spec.run_dir, 0700); }));
  if (candidate.gate.golden_samples) {
    progress("selftest");
    TRY(unlocked(lock, [&] { return self_test(options_.supervisor, spec, options_.health); }));
    TRY(check());
  }
  const bool measurable = fs::path(spec.argv.front()).filename() == "tango-infer";
  if (measurable || candidate.gate.latency_us > 0 || candidate.gate.memory_bytes > 0) {
    progress("health", "measuring latency");
    auto measured =
        unlocked(lock, [&] { return bench(options_.supervisor, spec, options_.health); });
    if (measured.ok()) {
      measured_ = *measured;
    } else if (candidate.gate.latency_us > 0) {
      return std::move(measured).error();
    } else {
      log_warn("The latency could not be measured", {{"slot", name_}, measured.error()});
    }
    artifacts::HealthGate latency_only = candidate.gate;
    latency_only.memory_bytes = 0;
    TRY(check_limits(latency_only, measured_));
    TRY(check());
  }

  progress("stop");
  stop_current();
  phase_ = "run";
  progress("start");
  TRY(launch(lock, candidate, false));
  TRY(wait_ready(lock));
  if (down_since_ != Nanos{0}) downtime_ = options_.clock->monotonic() - down_since_;
  phase_ = "health";
  if (candidate.gate.warmup_ms > 0) {
    progress("health", "warming up");
    TRY(stay_healthy(lock, Millis{candidate.gate.warmup_ms}));
  }
  progress("soak");
  TRY(stay_healthy(lock, Millis{candidate.gate.soak_ms}));
  measured_.memory_bytes = std::max(measured_.memory_bytes, supervisor_->peak_rss());
  artifacts::HealthGate memory_only = candidate.gate;
  memory_only.latency_us = 0;
  TRY(check_limits(memory_only, measured_));
  const ProcessState state = supervisor_->state();
  if (!state.running) return ended(state);
  return check();
}

void Slot::leave(std::unique_lock<std::mutex>& lock) {
  measured_ = {};
  downtime_ = down_since_ = Nanos{0};
  if (!journal_.record().previous) {
    last_result_ = make_error(Code::kNotFound, code::kNoPrevious,
                              "slot " + name_ + " has no previous release");
    return;
  }
  // Checked before anything is stopped: what runs is better than a former release that rotted.
  phase_ = "rollback";
  auto previous = load(journal_.record().previous);
  const Status usable =
      previous.ok()
          ? unlocked(lock, [&] { return store_.verify(previous->ref.digest, *previous->index); })
          : Status(previous.error());
  if (!usable.ok()) {
    last_result_ = usable.error();
    return;
  }
  auto moved = step(SlotEvent::kRollback, [](SlotRecord& r) {
    r.candidate = r.current;
    r.current = r.previous;
    r.previous.reset();
    r.last_failure.reset();
  });
  if (!moved.ok()) {
    last_result_ = moved.error();
    return;
  }
  do_rollback(lock);
}

void Slot::do_rollback(std::unique_lock<std::mutex>& lock) {
  progress("rollback");
  // A trial that failed before the switch: what runs was never stopped and needs no start.
  const bool untouched = current_untouched_ && supervisor_->state().running;
  current_untouched_ = false;
  if (!untouched) {
    (void)unlocked(lock, [&] {
      if (supervisor_->state().running && down_since_ == Nanos{0}) {
        down_since_ = options_.clock->monotonic();
      }
      supervisor_->stop();
      return 0;
    });
  }
  const std::optional<ReleaseRef> left = journal_.record().candidate;
  std::optional<Report> report;
  const auto finish = [&](SlotRecord& r, std::optional<Failure> failure) {
    r.candidate.reset();
    if (left)
      report = add_report(r, Report::Kind::kRolledBack, *left, failure ? failure : r.last_failure);
  };
  const auto end = [&](const Status& moved) {
    if (!moved.ok()) {
      log_error("The journal could not be written", {{"slot", name_}, moved.error()});
      last_result_ = moved.error();
    } else {
      last_result_ = report ? report_json(*report) : Json::object();
    }
    tidy(lock);
  };

  if (!journal_.record().current) {
    const Status moved =
        step(SlotEvent::kNothingBefore, [&](SlotRecord& r) { finish(r, std::nullopt); });
    (void)store_.clear_current(name_);
    end(moved);
    return;
  }

  const Nanos begun = options_.clock->monotonic();
  // The release before, and should it be unusable, the one before that.
  Status running = make_error(Code::kNotFound, code::kNoPrevious, "there is no former release");
  bool used_previous = false;
  for (const bool second : {false, true}) {
    const auto ref = second ? journal_.record().previous : journal_.record().current;
    if (!ref) continue;
    auto release = load(ref);
    if (!release.ok()) {
      running = release.error();
      continue;
    }
    if (untouched) {
      running = ok_status();
      break;
    }
    running = unlocked(lock, [&] { return store_.verify(release->ref.digest, *release->index); });
    if (!running.ok()) continue;
    running = launch(lock, *release, true);
    if (running.ok()) running = wait_ready(lock);
    if (quit_) return;
    if (running.ok()) {
      used_previous = second;
      break;
    }
  }
  if (down_since_ != Nanos{0}) downtime_ = options_.clock->monotonic() - down_since_;
  if (running.ok()) {
    const Status moved = step(SlotEvent::kPreviousRuns, [&](SlotRecord& r) {
      if (used_previous) {
        r.current = r.previous;
        r.previous.reset();
      }
      finish(r, std::nullopt);
    });
    if (auto linked = store_.set_current(name_, journal_.record().current->digest); !linked.ok()) {
      log_warn("The link to the current release could not be replaced", {linked.error()});
    }
    end(moved);
    return;
  }
  phase_ = "rollback";
  Failure failure = failure_of(running.error());
  if (const auto& first = journal_.record().last_failure) {
    failure.message += " (after " + first->code + ": " + first->message + ")";
  }
  log_error("No former release could be started", {{"slot", name_}, running.error()});
  const bool late = options_.clock->monotonic() - begun > rule_of(SlotState::kRollingBack).deadline;
  end(step(late ? SlotEvent::kDeadline : SlotEvent::kPreviousUnusable, [&](SlotRecord& r) {
    r.last_failure = failure;
    finish(r, failure);
  }));
}

void Slot::do_remove(std::unique_lock<std::mutex>& lock) {
  phase_ = "remove";
  (void)unlocked(lock, [&] {
    supervisor_->stop();
    return 0;
  });
  if (auto cleared = store_.clear_current(name_); !cleared.ok()) {
    last_result_ = cleared.error();
    return;
  }
  const auto moved = step(SlotEvent::kRemoved, [](SlotRecord& r) {
    r.current.reset();
    r.previous.reset();
    r.candidate.reset();
    r.last_failure.reset();
    r.trial_starts = 0;
  });
  if (!moved.ok()) {
    last_result_ = moved.error();
    return;
  }
  current_measured_ = measured_ = {};
  tidy(lock);
  last_result_ = Json::object();
}

void Slot::check_deadline(std::unique_lock<std::mutex>& lock) {
  const SlotState state = journal_.record().state;
  const Nanos deadline = rule_of(state).deadline;
  if (deadline == Nanos{0} || options_.clock->monotonic() - last_progress_ < deadline) return;
  if (state == SlotState::kStaging || state == SlotState::kStaged) {
    phase_ = "transfer";
    const Failure failure =
        failure_of(make_error(Code::kTimeout, code::kTimeout,
                              "the incoming release was dropped after " +
                                  format_duration(deadline) + " without progress"));
    if (step(SlotEvent::kDeadline, [&](SlotRecord& r) {
          r.candidate.reset();
          r.last_failure = failure;
        }).ok()) {
      tidy(lock);
    }
    phase_.clear();
  } else if (state == SlotState::kRemoving) {
    do_remove(lock);
  }
}

}  // namespace tango::agent
