#include "controllers/deployment/deployment.h"

#include <algorithm>

#include "controllers/common/conditions.h"
#include "controllers/common/status.h"
#include "controllers/common/work.h"
#include "controllers/deployment/slots.h"
#include "crds/device.h"
#include "crds/image_build.h"
#include "crds/tango_deployment.h"

namespace tango::controllers {
namespace {

constexpr std::size_t kMaxReasons = 10;
constexpr Nanos kDefaultDeletionDeadline = Seconds{24 * 3600};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

Status check_supported(const crds::TangoDeployment& d) {
  const auto unsupported = [](std::string message) {
    return make_error(Code::kUnsupported, "Unsupported", std::move(message));
  };
  if (d.spec.target.kubernetes)
    return unsupported("spec.target.kubernetes is not implemented by this version");
  if (d.spec.target.cloud)
    return unsupported("spec.target.cloud is not implemented by this version");
  if (!d.spec.target.device_selector) {
    return make_error(Code::kInvalid, "InvalidTarget", "spec.target names no deviceSelector");
  }
  if (to_string(d.spec.rollback) != "Device") {
    return unsupported(
        "spec.rollback " + std::string(to_string(d.spec.rollback)) +
        " is not implemented by this version; a failing device goes back by itself (Device)");
  }
  if (!d.spec.trust.key_ids.empty() || d.spec.trust.threshold > 1) {
    return unsupported(
        "spec.trust beyond the root's own role release is not implemented by this version");
  }
  for (const auto& file : d.spec.config) {
    if (file.secret_ref)
      return unsupported("spec.config " + file.name +
                         ".secretRef is not implemented by this version");
  }
  return ok_status();
}

class DeploymentRun {
 public:
  DeploymentRun(const crds::TangoDeployment& self, const kube::Observed& world, TimePoint now)
      : self_(self),
        world_(world),
        now_(now),
        status_(self.status),
        conditions_(status_.conditions, self.metadata.generation, now) {
    status_.observed_generation = self.metadata.generation;
  }

  kube::Outcome run() {
    if (self_.metadata.deleting()) return remove();
    const auto* accepted = kube::find_condition(self_.status.conditions, "Accepted");
    if (accepted == nullptr || accepted->observed_generation != self_.metadata.generation) {
      if (auto valid = check_object(self_); !valid.ok()) return refuse(valid.error());
    }
    if (auto supported = check_supported(self_); !supported.ok()) return refuse(supported.error());
    conditions_.yes("Accepted", "Valid");
    if (!resolve_release()) return finish();
    roll_out();
    return finish();
  }

 private:
  kube::Outcome finish() {
    out_.status = kube::to_value(status_);
    return std::move(out_);
  }
  kube::Outcome refuse(const Error& e) {
    conditions_.no("Accepted", e.reason, e.message);
    conditions_.no("Ready", e.reason, e.message);
    return finish();
  }

  // True when there is a release to roll out; an older one goes on meanwhile.
  bool resolve_release() {
    const auto& wanted = self_.spec.release;
    if (!wanted.image_build_ref) {
      take_release(wanted.digest, wanted.repository, {}, {}, {});
      return true;
    }
    const std::string& name = wanted.image_build_ref->name;
    const auto* build = world_.get<crds::ImageBuild>(self_.metadata.ns, name);
    if (build == nullptr) return not_built("ImageBuildNotFound", "there is no ImageBuild " + name);
    if (!kube::is_true(build->status.conditions, "Succeeded") || !build->status.signature) {
      const auto* c = kube::find_condition(build->status.conditions, "Succeeded");
      if (c != nullptr && c->status == "False")
        return not_built("BuildFailed", "ImageBuild " + name + ": " + c->message);
      return not_built("Building",
                       "ImageBuild " + name + " is not finished" +
                           (c == nullptr || c->message.empty() ? "" : ": " + c->message));
    }
    if (!wanted.digest.empty() && wanted.digest != build->status.bundle_digest) {
      return not_built("DigestMismatch", "ImageBuild " + name + " has bundle " +
                                             build->status.bundle_digest +
                                             ", spec.release.digest says " + wanted.digest);
    }
    take_release(build->status.bundle_digest, build->status.repository, build->status.index_digest,
                 build->status.version, build->status.arch);
    return true;
  }

  bool not_built(std::string_view reason, std::string message) {
    conditions_.no("Ready", reason, message);
    conditions_.no("Progressing", reason, std::move(message));
    return false;
  }

  void take_release(const std::string& digest, const std::string& repository,
                    const std::string& index, const std::string& version, const std::string& arch) {
    std::string previous;
    if (status_.release) {
      previous =
          status_.release->digest == digest ? status_.release->previous : status_.release->digest;
    }
    auto& r = status_.release.emplace();
    r.digest = digest;
    r.repository = repository;
    r.index_digest = index;
    r.version = version;
    r.arch = arch;
    r.previous = previous;
  }

  void roll_out() {
    // The views must be of the release that this status is about to say.
    crds::TangoDeployment next = self_;
    next.status = status_;
    std::vector<rollout::DeviceView> views;
    std::vector<const crds::Device*> mine;
    for (const auto* device : world_.list<crds::Device>(self_.metadata.ns)) {
      if (device->metadata.deleting() || !selects(self_, *device)) continue;
      views.push_back(view_of(next, *device, world_, now_));
      mine.push_back(device);
    }
    const ReleaseKey release = release_of(next);
    const rollout::Decision d =
        rollout::decide(strategy_of(next), views, cursor_of(self_), release.text(), now_);
    write_cursor(d, release);
    write_counts(d, views, mine);
    write_reasons(views);
    write_conditions(d);
    if (d.requeue_after) requeue(out_, *d.requeue_after);
    // Devices become deferred by time alone.
    for (std::size_t i = 0; i < mine.size(); ++i) {
      const auto reach = reachability_of(*mine[i], "");
      if (!reach.reachable && reach.unreachable_since &&
          views[i].state != rollout::DeviceState::kDeferred) {
        const Nanos left = *reach.unreachable_since + rollout::kOfflineDeferral - now_;
        if (left > Nanos{0}) requeue(out_, left);
      }
    }
  }

  void write_cursor(const rollout::Decision& d, const ReleaseKey& release) {
    const rollout::Cursor before = cursor_of(self_);
    const bool same =
        before.release == d.cursor.release && before.phase == d.cursor.phase && status_.phase;
    auto phase = same ? *status_.phase : crds::TangoDeploymentStatusPhase{};
    phase.index = d.cursor.phase;
    const auto& phases = self_.spec.strategy.phases;
    const auto index = static_cast<std::size_t>(d.cursor.phase);
    phase.name = index < phases.size() && !phases[index].name.empty()
                     ? phases[index].name
                     : "phase-" + std::to_string(d.cursor.phase + 1);
    phase.digest = release.digest;
    phase.retry_token = release.retry_token;
    if (!same) phase.started_at = whole_seconds(now_);
    phase.finished_at.reset();
    if (d.cursor.phase_done) phase.finished_at = whole_seconds(*d.cursor.phase_done);
    phase.failed = d.cursor.failed;
    phase.admitted_devices = d.cursor.admitted;
    phase.admitted = static_cast<std::int64_t>(d.cursor.admitted.size());
    status_.phase = std::move(phase);
  }

  void write_counts(const rollout::Decision& d, const std::vector<rollout::DeviceView>& views,
                    const std::vector<const crds::Device*>& devices) {
    auto& c = status_.counts;
    c = {};
    c.desired = d.counts.desired;
    c.pending = d.counts.pending;
    c.updating = d.counts.updating;
    c.updated = d.counts.updated;
    c.failed = d.counts.failed;
    c.deferred = d.counts.deferred;
    c.superseded = d.counts.superseded;
    std::vector<double> p50, p95;
    for (std::size_t i = 0; i < views.size(); ++i) {
      if (views[i].state != rollout::DeviceState::kSucceeded) continue;
      if (kube::is_true(devices[i]->status.conditions, "Healthy") &&
          kube::is_true(devices[i]->status.conditions, "Reachable")) {
        ++c.ready;
      }
      for (const auto& slot : devices[i]->status.slots) {
        if (slot.name != self_.spec.slot || !slot.latency) continue;
        if (slot.latency->p50) p50.push_back(*slot.latency->p50);
        if (slot.latency->p95) p95.push_back(*slot.latency->p95);
      }
    }
    status_.latency.reset();
    if (!p50.empty() || !p95.empty()) {
      auto& latency = status_.latency.emplace();
      if (!p50.empty()) latency.p50 = median(std::move(p50));
      if (!p95.empty()) latency.p95 = median(std::move(p95));
    }
  }

  void write_reasons(const std::vector<rollout::DeviceView>& views) {
    std::map<std::string, std::pair<std::int64_t, std::string>> tally;
    for (const auto& v : views) {
      if (v.state == rollout::DeviceState::kSucceeded || v.reason.empty()) continue;
      auto& [count, example] = tally[v.reason];
      if (count++ == 0) example = v.name;
    }
    std::vector<std::pair<std::string, std::pair<std::int64_t, std::string>>> sorted(tally.begin(),
                                                                                     tally.end());
    std::stable_sort(sorted.begin(), sorted.end(),
                     [](const auto& a, const auto& b) { return a.second.first > b.second.first; });
    if (sorted.size() > kMaxReasons) sorted.resize(kMaxReasons);
    status_.reasons.clear();
    for (const auto& [reason, entry] : sorted) {
      auto& r = status_.reasons.emplace_back();
      r.reason = reason;
      r.count = entry.first;
      r.example = entry.second;
    }
  }

  void write_conditions(const rollout::Decision& d) {
    const auto& c = status_.counts;
    const std::string summary = std::to_string(c.updated) + " of " + std::to_string(c.desired) +
                                " updated, " + std::to_string(c.ready) + " ready";
    if (self_.spec.paused) {
      conditions_.yes("Paused", "Paused", d.message);
    } else {
      conditions_.no("Paused", "NotPaused");
    }
    if (d.cursor.failed) {
      conditions_.yes("Failed", d.reason, d.message);
      conditions_.yes("RolledBack", "DevicesRolledBack",
                      std::to_string(c.failed) + " devices run their release before");
      conditions_.no("Progressing", d.reason, d.message);
      conditions_.no("Ready", "Failed", d.message);
    } else {
      conditions_.no("Failed", "NotFailed");
      conditions_.no("RolledBack", "NotRolledBack");
      const bool done = d.reason == "RolloutComplete";
      conditions_.set("Progressing", done ? "False" : "True", d.reason, d.message);
      if (done && c.ready >= c.updated && c.updated > 0) {
        conditions_.yes("Ready", "Available", summary);
      } else if (done) {
        conditions_.no("Ready", "Degraded", summary);
      } else {
        conditions_.no("Ready", d.reason, d.message + "; " + summary);
      }
    }
    if (c.ready > 0) {
      conditions_.yes("Available", "Available", summary);
    } else {
      conditions_.no("Available", "NoneReady", summary);
    }
  }

  // The devices drop the release themselves; this only waits for them, within the deadline.
  kube::Outcome remove() {
    std::vector<std::string> holding;
    if (to_string(self_.spec.on_delete) == "Remove") {
      for (const auto* device : world_.list<crds::Device>(self_.metadata.ns)) {
        if (device->metadata.deleting()) continue;
        for (const auto& slot : device->status.slots) {
          if (slot.deployment_uid == self_.metadata.uid) holding.push_back(device->metadata.name);
        }
      }
    }
    const Nanos deadline =
        parse_duration(self_.spec.deletion_deadline).value_or(Nanos{kDefaultDeletionDeadline});
    const TimePoint due = self_.metadata.deletion_timestamp.value_or(now_) + deadline;
    if (holding.empty() || now_ >= due) {
      if (!holding.empty()) {
        out_.events.push_back({"Warning", "DeletionDeadlinePassed",
                               std::to_string(holding.size()) +
                                   " devices keep the release, among them " + holding[0]});
      }
      out_.finalizer = kube::Finalizer::kRelease;
      return std::move(out_);
    }
    requeue(out_, due - now_);
    if (!status_.deletion_started_at) status_.deletion_started_at = whole_seconds(now_);
    conditions_.no("Ready", "Deleting",
                   "waiting for " + std::to_string(holding.size()) +
                       " devices to remove the release, among them " + holding[0]);
    return finish();
  }

  const crds::TangoDeployment& self_;
  const kube::Observed& world_;
  TimePoint now_;
  kube::Outcome out_;
  decltype(self_.status) status_;
  Conditions conditions_;
};

}  // namespace

kube::Outcome reconcile_deployment(const crds::TangoDeployment& self, const kube::Observed& world,
                                   TimePoint now, const Settings&) {
  return DeploymentRun(self, world, now).run();
}

}  // namespace tango::controllers
