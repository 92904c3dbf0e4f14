#include "lib/rollout/rollout.h"

#include <algorithm>
#include <map>

#include "lib/base/digest.h"

namespace tango::rollout {

std::string order_key(std::string_view deployment_uid, std::string_view device_uid) {
  return Sha256().update(deployment_uid).update(device_uid).finish().hex();
}

std::optional<std::size_t> owner(std::span<const Claim> claims) {
  std::optional<std::size_t> best;
  const auto before = [](const Claim& a, const Claim& b) {
    if (a.rejected != b.rejected) return !a.rejected;
    if (a.priority != b.priority) return a.priority > b.priority;
    if (a.created != b.created) return a.created < b.created;
    return a.deployment_uid < b.deployment_uid;
  };
  for (std::size_t i = 0; i < claims.size(); ++i) {
    if (!best || before(claims[i], claims[*best])) best = i;
  }
  return best;
}

bool is_rejected(std::span<const Rejection> rejections, std::string_view deployment_uid,
                 std::string_view digest, std::string_view retry_token) {
  return std::any_of(rejections.begin(), rejections.end(), [&](const Rejection& r) {
    return r.digest == digest && r.retry_token == retry_token &&
           (r.deployment_uid.empty() || r.deployment_uid == deployment_uid);
  });
}

std::string deferral(const Reachability& device, TimePoint now) {
  if (device.suspended) return "Suspended";
  if (!device.provisioned) return "NeverProvisioned";
  if (!device.config_error.empty()) return "MissingParameter";
  if (!device.reachable) {
    if (!device.unreachable_since || now - *device.unreachable_since >= kOfflineDeferral) {
      return "Offline";
    }
    return {};
  }
  if (!device.in_window) return "OutOfWindow";
  return {};
}

Nanos ProgressClock::elapsed(TimePoint now) const {
  Nanos total = accumulated;
  if (running_since && now > *running_since) total += now - *running_since;
  return total;
}

void ProgressClock::run(bool counting, TimePoint now) {
  if (counting && !running_since) {
    running_since = now;
  } else if (!counting && running_since) {
    accumulated = elapsed(now);
    running_since.reset();
  }
}

std::string_view to_string(DeviceState state) {
  switch (state) {
    case DeviceState::kPending:
      return "Pending";
    case DeviceState::kUpdating:
      return "Updating";
    case DeviceState::kSucceeded:
      return "UpToDate";
    case DeviceState::kFailed:
      return "Failed";
    case DeviceState::kDeferred:
      return "Deferred";
    case DeviceState::kSuperseded:
      return "Superseded";
  }
  return "Pending";
}

bool admitted(const Cursor& cursor, std::string_view release, std::string_view device_name) {
  return cursor.release == release &&
         std::binary_search(cursor.admitted.begin(), cursor.admitted.end(), device_name);
}

namespace {

bool touched(DeviceState s) {
  return s == DeviceState::kUpdating || s == DeviceState::kSucceeded || s == DeviceState::kFailed;
}
bool eligible(DeviceState s) {
  return s != DeviceState::kDeferred && s != DeviceState::kSuperseded;
}

struct PhaseTally {
  int members = 0, succeeded = 0, failed = 0;
};

struct Assignment {
  std::vector<int> phase;   // of each device; -1: in none
  std::vector<bool> waits;  // of each phase: it is empty only because its devices are deferred
};

// Devices are given in rollout order. Those that were already worked on come first, so that one
// that comes back online never pushes another out of its phase.
Assignment assign_phases(const std::vector<Phase>& phases,
                         const std::vector<const DeviceView*>& devices) {
  Assignment out{std::vector<int>(devices.size(), -1), std::vector<bool>(phases.size(), false)};
  for (std::size_t p = 0; p < phases.size(); ++p) {
    std::vector<std::size_t> fresh;
    std::int64_t population = 0, taken = 0;
    bool deferred = false;
    for (std::size_t i = 0; i < devices.size(); ++i) {
      if ((devices[i]->phases >> p & 1u) == 0) continue;
      deferred = deferred || devices[i]->state == DeviceState::kDeferred;
      if (!eligible(devices[i]->state)) continue;
      ++population;
      if (out.phase[i] >= 0) {
        ++taken;
      } else {
        fresh.push_back(i);
      }
    }
    std::int64_t size = static_cast<std::int64_t>(fresh.size());
    if (phases[p].count) {
      size = *phases[p].count;
    } else if (phases[p].percent) {
      size = (population * *phases[p].percent + 99) / 100 - taken;
    }
    out.waits[p] = deferred && fresh.empty() && (phases[p].count || taken == 0);
    std::stable_sort(fresh.begin(), fresh.end(), [&](std::size_t a, std::size_t b) {
      return touched(devices[a]->state) > touched(devices[b]->state);
    });
    for (std::size_t k = 0; k < fresh.size() && static_cast<std::int64_t>(k) < size; ++k) {
      out.phase[fresh[k]] = static_cast<int>(p);
    }
  }
  return out;
}

Counts count_states(const std::vector<const DeviceView*>& devices) {
  Counts c;
  for (const DeviceView* d : devices) {
    if (d->state != DeviceState::kSuperseded) ++c.desired;
    switch (d->state) {
      case DeviceState::kPending:
        ++c.pending;
        break;
      case DeviceState::kUpdating:
        ++c.updating;
        break;
      case DeviceState::kSucceeded:
        ++c.updated;
        break;
      case DeviceState::kFailed:
        ++c.failed;
        break;
      case DeviceState::kDeferred:
        ++c.deferred;
        break;
      case DeviceState::kSuperseded:
        ++c.superseded;
        break;
    }
  }
  return c;
}

std::string phase_label(const Phase& phase, int index, std::size_t total) {
  std::string label = "phase " + std::to_string(index + 1) + " of " + std::to_string(total);
  if (!phase.name.empty()) label += " (" + phase.name + ")";
  return label;
}

class Rollout {
 public:
  Rollout(const Strategy& strategy, std::span<const DeviceView> devices, Cursor cursor,
          TimePoint now)
      : strategy_(strategy), phases_(strategy.phases), now_(now) {
    if (phases_.empty()) phases_.push_back(Phase{{}, {}, 100, false, false});
    if (phases_.size() > kMaxPhases) phases_.resize(kMaxPhases);
    for (const DeviceView& d : devices) devices_.push_back(&d);
    std::sort(devices_.begin(), devices_.end(), [](const DeviceView* a, const DeviceView* b) {
      return std::tie(a->order, a->uid) < std::tie(b->order, b->uid);
    });
    Assignment assignment = assign_phases(phases_, devices_);
    phase_of_ = std::move(assignment.phase);
    waits_ = std::move(assignment.waits);
    decision_.cursor = std::move(cursor);
    decision_.counts = count_states(devices_);
    Cursor& c = decision_.cursor;
    c.phase = std::clamp(c.phase, 0, static_cast<int>(phases_.size()) - 1);
  }

  Decision run() {
    Cursor& c = decision_.cursor;
    keep_admissions(/*pending=*/true);
    if (!c.failed && failure_threshold_passed()) c.failed = true;
    if (c.failed || strategy_.paused) keep_admissions(/*pending=*/false);
    if (c.failed) {
      say("FailureThreshold", std::to_string(decision_.counts.failed) + " of " +
                                  std::to_string(decision_.counts.desired) +
                                  " devices rolled back, more than failurePercent allows; set "
                                  "retryToken or a new release to try again");
      return finish();
    }
    if (strategy_.paused) {
      say("Paused", "spec.paused is true; running devices finish, no further one is started");
      return finish();
    }
    while (advance()) {
    }
    if (!blocked_) admit();
    return finish();
  }

 private:
  void say(std::string_view reason, std::string message) {
    decision_.reason = reason;
    decision_.message = std::move(message);
  }

  // A device keeps its place while it still has to work; finished, deferred and superseded ones
  // give it back. `pending` is false when those that have not started must not start any more.
  void keep_admissions(bool pending) {
    std::vector<std::string> kept;
    const auto& before = decision_.cursor.admitted;
    for (const DeviceView* d : devices_) {
      const bool was = std::binary_search(before.begin(), before.end(), d->name);
      if (d->state == DeviceState::kUpdating ||
          (pending && was && d->state == DeviceState::kPending)) {
        kept.push_back(d->name);
      }
    }
    std::sort(kept.begin(), kept.end());
    decision_.cursor.admitted = std::move(kept);
  }

  PhaseTally tally(int first, int last) const {
    PhaseTally t;
    for (std::size_t i = 0; i < devices_.size(); ++i) {
      if (phase_of_[i] < first || phase_of_[i] > last) continue;
      ++t.members;
      t.succeeded += devices_[i]->state == DeviceState::kSucceeded;
      t.failed += devices_[i]->state == DeviceState::kFailed;
    }
    return t;
  }

  bool failure_threshold_passed() const {
    const PhaseTally t = tally(0, decision_.cursor.phase);
    return t.failed > 0 && t.succeeded + t.failed >= strategy_.min_samples &&
           t.failed * 100 > strategy_.failure_percent * t.members;
  }

  // One phase further; false when there is something to wait for or nothing left.
  bool advance() {
    Cursor& c = decision_.cursor;
    const Phase& phase = phases_[static_cast<std::size_t>(c.phase)];
    const std::string label = phase_label(phase, c.phase, phases_.size());
    if (phase.manual && !phase.approved) {
      blocked_ = true;
      say("AwaitingApproval", label + " waits for its approval");
      return false;
    }
    const PhaseTally t = tally(c.phase, c.phase);
    if (t.members == 0) {
      c.phase_done.reset();
      if (decision_.counts.desired == 0) {
        say("NoDevices", "no device matches the selector, or others own them all");
        return false;
      }
      if (waits_[static_cast<std::size_t>(c.phase)]) {
        say("WaitingForDevices", "every device of " + label + " is deferred");
        return false;
      }
      // The phases before have taken every device that this one could have.
      if (last()) {
        complete();
        return false;
      }
      ++c.phase;
      return true;
    }
    const bool met = t.succeeded * 100 >= strategy_.success_percent * t.members &&
                     t.succeeded + t.failed >= std::min(strategy_.min_samples, t.members);
    if (!met) {
      c.phase_done.reset();
      say("Progressing", label + ": " + std::to_string(t.succeeded) + " of " +
                             std::to_string(t.members) + " devices are up to date");
      return false;
    }
    if (last()) {
      complete();
      return false;
    }
    if (!c.phase_done) c.phase_done = now_;
    const Nanos waited = now_ - *c.phase_done;
    if (waited < strategy_.pause_between) {
      decision_.requeue_after = strategy_.pause_between - waited;
      say("PausedBetween", label + " is done; the next one starts after pauseBetween");
      return false;
    }
    ++c.phase;
    c.phase_done.reset();
    return true;
  }

  bool last() const { return decision_.cursor.phase + 1 == static_cast<int>(phases_.size()); }

  void complete() {
    const Counts& n = decision_.counts;
    const bool all = n.pending == 0 && n.updating == 0;
    decision_.complete = true;
    say(all ? "RolloutComplete" : "Progressing",
        std::to_string(n.updated) + " of " + std::to_string(n.desired) + " devices are up to date" +
            (n.deferred > 0 ? ", " + std::to_string(n.deferred) + " deferred" : ""));
  }

  void admit() {
    Cursor& c = decision_.cursor;
    std::map<std::string, int> disrupted;
    for (const DeviceView* d : devices_) {
      const bool working = std::binary_search(c.admitted.begin(), c.admitted.end(), d->name);
      if (working || (!d->available && d->state != DeviceState::kSuperseded)) ++disrupted[d->group];
    }
    const int limit = std::clamp(strategy_.max_parallel, 1, kMaxParallelLimit);
    std::vector<std::string> added;
    for (std::size_t i = 0; i < devices_.size(); ++i) {
      const DeviceView* d = devices_[i];
      if (static_cast<int>(c.admitted.size() + added.size()) >= limit) break;
      if (d->state != DeviceState::kPending || phase_of_[i] < 0 || phase_of_[i] > c.phase) continue;
      if (std::binary_search(c.admitted.begin(), c.admitted.end(), d->name)) continue;
      // A device that is down anyway is not disrupted further by being updated.
      if (strategy_.max_unavailable > 0 && d->available &&
          disrupted[d->group] >= strategy_.max_unavailable) {
        continue;
      }
      if (d->available) ++disrupted[d->group];
      added.push_back(d->name);
    }
    c.admitted.insert(c.admitted.end(), added.begin(), added.end());
    std::sort(c.admitted.begin(), c.admitted.end());
  }

  Decision finish() { return std::move(decision_); }

  const Strategy& strategy_;
  std::vector<Phase> phases_;
  TimePoint now_;
  std::vector<const DeviceView*> devices_;
  std::vector<int> phase_of_;
  std::vector<bool> waits_;
  Decision decision_;
  bool blocked_ = false;
};

}  // namespace

Decision decide(const Strategy& strategy, std::span<const DeviceView> devices, const Cursor& cursor,
                std::string_view release, TimePoint now) {
  Cursor start = cursor;
  if (start.release != release) {
    start = Cursor{};
    start.release = release;
  }
  return Rollout(strategy, devices, std::move(start), now).run();
}

}  // namespace tango::rollout
