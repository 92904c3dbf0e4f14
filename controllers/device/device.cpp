#include "controllers/device/device.h"

#include <algorithm>

#include "controllers/common/conditions.h"
#include "controllers/common/status.h"
#include "controllers/common/work.h"
#include "controllers/deployment/slots.h"
#include "crds/device.h"
#include "crds/tango_deployment.h"
#include "lib/base/digest.h"

namespace tango::controllers {
namespace {

using Slot = crds::DeviceStatusSlot;

// Reasons that need a person; nothing is tried again before the spec changes.
bool stops(const Error& e) {
  return e.reason == "HostKeyChanged" || e.reason == "HostKeyMismatch" ||
         e.reason == "DuplicateIdentity" || e.reason == "IdentityMismatch" ||
         e.code == Code::kUnsupported;
}
bool is_host_key(const Error& e) {
  return e.reason == "HostKeyChanged" || e.reason == "HostKeyMismatch";
}
bool is_unreachable(const Error& e) {
  return e.code == Code::kUnavailable || e.code == Code::kTimeout || e.reason == "ConnectFailed";
}

// Device reasons that another try of the same release cannot change.
bool refuses_release(const Error& e) {
  return e.code == Code::kInvalid || e.code == Code::kDenied || e.code == Code::kUnsupported;
}

class DeviceRun {
 public:
  DeviceRun(const crds::Device& self, const kube::Observed& world, TimePoint now)
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
    if (auto supported = check_supported(); !supported.ok()) return refuse(supported.error());
    conditions_.yes("Accepted", "Valid");
    if (self_.spec.suspend) {
      conditions_.no("Ready", "Suspended", "spec.suspend is true; the device is left alone");
      return finish();
    }
    if (!approved()) return finish();
    if (!provisioned()) return finish();
    serve_slots();
    if (!working_) probe();
    weigh_evidence();
    summarise();
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

  Status check_supported() const {
    const auto unsupported = [](const std::string& what) {
      return make_error(Code::kUnsupported, "Unsupported",
                        what + " is not implemented by this version");
    };
    const std::string type(to_string(self_.spec.connection.type));
    if (type != "Direct") return unsupported("spec.connection.type " + type);
    const std::string policy(to_string(self_.spec.host_key.policy));
    if (policy == "SignedList") return unsupported("spec.hostKey.policy SignedList");
    if (self_.spec.transfer_window) return unsupported("spec.transferWindow");
    if (self_.spec.activation_window) return unsupported("spec.activationWindow");
    if (!self_.spec.monitors.empty()) return unsupported("spec.monitors");
    return ok_status();
  }

  std::string address() const {
    const auto& c = self_.spec.connection;
    return c.user + "@" + c.address + ":" + std::to_string(c.port);
  }

  // What executor `ssh` needs to reach the device; never a credential.
  Json target() const {
    const auto& c = self_.spec.connection;
    return Json{{"namespace", self_.metadata.ns},
                {"device", self_.metadata.name},
                {"uid", self_.metadata.uid},
                {"address", c.address},
                {"port", c.port},
                {"user", c.user},
                {"fingerprints", self_.spec.host_key.fingerprints},
                {"mode", std::string(to_string(self_.spec.provision.mode))},
                {"agentRoot", self_.spec.agent.root},
                {"authorizedKeysFile", self_.spec.agent.authorized_keys_file},
                {"sandbox", std::string(to_string(self_.spec.sandbox))},
                {"deviceId", status_.identity ? status_.identity->device_id : std::string()}};
  }
  // Part of every key: another address or host key is another piece of work.
  std::string identity_hash() const {
    Json t = target();
    t.erase("deviceId");
    return sha256(dump_json(t)).hex().substr(0, 16);
  }

  WorkView ask(const std::string& verb, const std::string& key, Json input, Nanos deadline) {
    Json full = target();
    full["op"] = verb;
    for (auto& [k, v] : input.items()) full[k] = v;
    return pursue_device(out_, kube::Work{"ssh", key, std::move(full), deadline});
  }

  // Devices come and go: everything but what needs a person is tried again, at most every 30 s.
  WorkView pursue_device(kube::Outcome& out, kube::Work work) const {
    PursueOptions options;
    options.cap = Seconds{30};
    options.max_retries = 1'000'000;
    options.may_retry = [](const Error& e) { return !stops(e); };
    return pursue(out, world_, std::move(work), now_, options);
  }

  // Only a device whose host key is pinned is spoken to.
  bool approved() {
    const auto& key = self_.spec.host_key;
    if (!key.fingerprints.empty()) return true;
    if (to_string(key.policy) != "TrustOnFirstUse") {
      conditions_.no("HostKeyVerified", "HostKeyMissing", "spec.hostKey.fingerprints is empty");
      conditions_.no(
          "Ready", "HostKeyMissing",
          "spec.hostKey.fingerprints is empty; give the device's key, or policy TrustOnFirstUse");
      return false;
    }
    const std::string seen_at =
        self_.spec.connection.address + ":" + std::to_string(self_.spec.connection.port);
    if (!status_.observed_host_key) {
      const WorkView view = ask("hostKey", "hostkey/" + self_.metadata.uid + "/" + identity_hash(),
                                Json::object(), kProbeDeadline);
      if (view.succeeded()) {
        auto& observed = status_.observed_host_key.emplace();
        observed.type = get_string(view.output, "type");
        observed.fingerprint = get_string(view.output, "fingerprint");
        observed.seen_at = whole_seconds(now_);
      } else {
        unreachable(view, "waiting for the first contact with " + seen_at);
        return false;
      }
    }
    conditions_.no("HostKeyVerified", "AwaitingApproval",
                   "the device showed " + status_.observed_host_key->fingerprint);
    conditions_.no(
        "Ready", "AwaitingApproval",
        "the device at " + seen_at + " showed host key " + status_.observed_host_key->fingerprint +
            "; compare it and run `tangoctl device approve " + self_.metadata.name + "`");
    return false;
  }

  void unreachable(const WorkView& view, std::string waiting) {
    if (view.phase == WorkView::Phase::kRunning && view.attempt == 0) {
      conditions_.unknown("Reachable", "Connecting", waiting);
      conditions_.no("Ready", "Provisioning", std::move(waiting));
      return;
    }
    if (view.error.reason.empty()) return;  // another try is under way; the last answer stands
    report(view.error);
  }

  void report(const Error& e) {
    if (is_host_key(e)) {
      conditions_.no("HostKeyVerified", e.reason, e.message);
      conditions_.no("Ready", "Quarantined", e.message);
      conditions_.unknown("Reachable", e.reason, e.message);
      return;
    }
    if (e.reason == "DuplicateIdentity") {
      conditions_.no("Ready", e.reason, e.message);
      return;
    }
    if (is_unreachable(e)) {
      conditions_.no("Reachable", e.reason, e.message);
      conditions_.no("Ready", "Offline", e.message);
      if (kube::find_condition(status_.conditions, "Healthy") != nullptr)
        conditions_.unknown("Healthy", "Offline");
      return;
    }
    conditions_.no("Ready", e.reason, e.message);
  }

  bool provisioned() {
    const std::string wanted = address() + " " + std::string(to_string(self_.spec.provision.mode)) +
                               " " + self_.spec.agent.root;
    if (status_.provisioned && status_.provisioned->address == wanted &&
        kube::is_true(self_.status.conditions, "Provisioned")) {
      return true;
    }
    const bool manual = to_string(self_.spec.provision.mode) == "Manual";
    if (!self_.spec.bootstrap && !manual && !status_.provisioned) {
      conditions_.no("Provisioned", "BootstrapMissing", "spec.bootstrap.credentialsRef is not set");
      conditions_.no("Ready", "BootstrapMissing",
                     "the first contact needs spec.bootstrap.credentialsRef");
      return false;
    }
    Json input = Json::object();
    if (self_.spec.bootstrap)
      input["credentialsSecret"] = self_.spec.bootstrap->credentials_ref.name;
    const std::string secret = get_string(input, "credentialsSecret");
    const WorkView view =
        ask("provision", "provision/" + self_.metadata.uid + "/" + identity_hash() + "/" + secret,
            input, kProvisionDeadline);
    if (!view.succeeded()) {
      if (view.phase == WorkView::Phase::kRunning && view.attempt == 0) {
        const std::string step = get_string(view.output, "step");
        conditions_.no("Provisioned", "Provisioning", step);
        conditions_.no("Ready", "Provisioning",
                       "installing the agent on " + address() + (step.empty() ? "" : ": " + step));
        return false;
      }
      if (!view.error.reason.empty()) {
        conditions_.no("Provisioned", view.error.reason, view.error.message);
        report(view.error);
      }
      return false;
    }
    learn(view.output);
    auto& p = status_.provisioned ? *status_.provisioned : status_.provisioned.emplace();
    p.address = wanted;
    p.operator_key = get_string(view.output, "operatorKey");
    p.credentials_deletable = self_.spec.bootstrap.has_value();
    p.at = whole_seconds(now_);
    conditions_.yes("Provisioned", "Provisioned", "the agent answers with the operator's own key");
    conditions_.yes("HostKeyVerified", "Pinned");
    conditions_.yes("Reachable", "Online");
    status_.last_seen = whole_seconds(now_);
    requeue(out_, Millis{100});
    return true;
  }

  // Takes over what a session learnt: {agent, identity, inventory, sandbox, slots}.
  void learn(const Json& output) {
    Json merged = kube::to_value(status_);
    for (const char* key : {"agent", "identity", "inventory", "sandbox"}) {
      if (const Json& v = get(output, key); !v.is_null()) merged[key] = v;
    }
    // Free space changes all the time; it is written with other changes only.
    auto conditions = status_.conditions;
    replace_status(status_, merged);
    status_.conditions = std::move(conditions);
    for (const Json& slot : get(output, "slots")) learn_slot(slot);
  }

  Slot& slot_entry(std::string_view name) {
    for (Slot& s : status_.slots) {
      if (s.name == name) return s;
    }
    Slot fresh;
    fresh.name = name;
    status_.slots.push_back(std::move(fresh));
    return status_.slots.back();
  }

  // The device's own word on one slot. What was ordered (deployment, desired, ...) stays ours.
  void learn_slot(const Json& value) {
    Slot& slot = slot_entry(get_string(value, "name"));
    slot.sequence = std::max(slot.sequence, get_int(value, "sequence"));
    slot.current = get_string(value, "current");
    slot.previous = get_string(value, "previous");
    slot.state = get_string(value, "state");
    slot.address = get_string(value, "address");
    if (const auto port = get_int(value, "port"); port > 0)
      slot.port = static_cast<std::int32_t>(port);
    if (value.contains("version")) slot.version = get_string(value, "version");
    slot.healthy = get_bool(value, "healthy");
    if (const Json& latency = get(value, "latency"); latency.is_object()) {
      auto& l = slot.latency ? *slot.latency : slot.latency.emplace();
      if (latency.contains("p50")) l.p50 = get_double(latency, "p50");
      if (latency.contains("p95")) l.p95 = get_double(latency, "p95");
    }
    if (const auto memory = get_int(value, "memoryBytes"); memory > 0) slot.memory_bytes = memory;
  }

  // --- slots -------------------------------------------------------------------------------------

  void serve_slots() {
    const auto claims = claims_on(self_, world_);
    bool all_current = true;
    std::string reason = "UpToDate", message;
    for (const auto& [name, deployments] : claims) {
      const crds::TangoDeployment* owner = slot_owner(self_, deployments);
      if (owner == nullptr) continue;
      std::string why, text;
      if (!serve(name, *owner, why, text)) {
        all_current = false;
        reason = why;
        message = text;
      }
    }
    for (std::size_t i = 0; i < status_.slots.size(); ++i) {
      if (!claims.contains(status_.slots[i].name)) leave(status_.slots[i]);
    }
    std::erase_if(status_.slots, [](const Slot& s) {
      return s.state.empty() && s.current.empty() && s.deployment_uid.empty() && s.sequence == 0;
    });
    if (claims.empty()) {
      conditions_.yes("UpToDate", "NoRelease", "no Deployment selects the device");
    } else if (all_current) {
      conditions_.yes("UpToDate", "UpToDate");
    } else {
      conditions_.no("UpToDate", reason, message);
    }
  }

  // True when the slot runs what its owner wants.
  bool serve(const std::string& name, const crds::TangoDeployment& owner, std::string& why,
             std::string& text) {
    const ReleaseKey release = release_of(owner);
    if (release.digest.empty()) {
      why = "WaitingForRelease";
      text = "Deployment " + owner.metadata.name + " has no release yet";
      return false;
    }
    if (rejected_on(self_, owner)) {
      why = "RolledBack";
      for (const auto& r : status_.rejected) {
        if (r.digest == release.digest) text = r.reason + ": " + r.message;
      }
      return false;
    }
    auto config = render_config(owner, self_, world_);
    if (!config.ok()) {
      why = config.error().reason;
      text = config.error().message;
      return false;
    }
    Slot& slot = slot_entry(name);
    const bool ordered = slot.deployment_uid == owner.metadata.uid &&
                         slot.desired == release.digest && slot.config_digest == config->digest &&
                         slot.retry_token == release.retry_token;
    if (ordered && slot.current == release.digest && slot.state == "Committed" && slot.committed_at)
      return true;
    if (!ordered) {
      if (!rollout::admitted(cursor_of(owner), release.text(), self_.metadata.name)) {
        why = "Waiting";
        const auto* progressing = kube::find_condition(owner.status.conditions, "Progressing");
        text =
            "Deployment " + owner.metadata.name + " has not admitted the device yet" +
            (progressing == nullptr || progressing->message.empty() ? ""
                                                                    : ": " + progressing->message);
        return false;
      }
      order(slot, owner, release, *config);
      why = "Updating";
      text = "order " + std::to_string(slot.sequence) + " is recorded";
      working_ = true;
      return false;
    }
    return deploy(slot, owner, release, *config, why, text);
  }

  // The number of the order is in the API server before the device hears of it.
  void order(Slot& slot, const crds::TangoDeployment& owner, const ReleaseKey& release,
             const RenderedConfig& config) {
    slot.sequence += 1;
    slot.desired = release.digest;
    slot.deployment = owner.metadata.name;
    slot.deployment_uid = owner.metadata.uid;
    slot.deployment_generation = owner.metadata.generation;
    slot.retry_token = release.retry_token;
    slot.config_digest = config.digest;
    slot.ordered_at = whole_seconds(now_);
    slot.failure.reset();
    slot.committed_at.reset();
  }

  bool deploy(Slot& slot, const crds::TangoDeployment& owner, const ReleaseKey& release,
              const RenderedConfig& config, std::string& why, std::string& text) {
    const std::string key = "deploy/" + self_.metadata.uid + "/" + slot.name + "/" +
                            std::to_string(slot.sequence) + "/" + identity_hash();
    const Json input{{"slot", slot.name},
                     {"sequence", slot.sequence},
                     {"repository", owner.status.release->repository},
                     {"bundle", release.digest},
                     {"config", config.bytes},
                     {"configDigest", config.digest},
                     {"deploymentUid", owner.metadata.uid},
                     {"generation", slot.deployment_generation.value_or(0)},
                     {"retryToken", release.retry_token}};
    const WorkView view = ask("deploy", key, input, kDeployDeadline);
    why = "Updating";
    text = "bringing " + short_digest(release.digest) + " of Deployment " + owner.metadata.name;
    if (view.succeeded()) return take_result(slot, owner, release, view, why, text);
    working_ = view.phase == WorkView::Phase::kRunning;
    if (view.error.reason.empty()) {
      const std::string step = get_string(view.output, "step");
      if (!step.empty()) text += ": " + step;
      return false;
    }
    if (refuses_release(view.error) && !is_host_key(view.error) &&
        view.error.reason != "AuthFailed") {
      reject(slot, owner, release, view.error.reason, view.error.message);
      why = view.error.reason;
      text = view.error.message;
      working_ = false;
      return false;
    }
    failed_with(slot, view.error);
    if (is_unreachable(view.error) || is_host_key(view.error)) {
      add_evidence(view.finished, view.error);
    }
    if (overdue(slot, owner)) {
      reject(slot, owner, release, "ProgressDeadlineExceeded",
             "no success within spec.strategy.progressDeadline; last: " + view.error.message);
      why = "ProgressDeadlineExceeded";
    }
    text += ": " + view.error.reason + ": " + view.error.message;
    return false;
  }

  static std::string short_digest(const std::string& digest) {
    const auto colon = digest.find(':');
    return digest.substr(colon == std::string::npos ? 0 : colon + 1, 12);
  }

  static void failed_with(Slot& slot, const Error& e) {
    auto& f = slot.failure ? *slot.failure : slot.failure.emplace();
    f.code = e.reason;
    f.message = clip(e.message);
    f.retryable = true;
  }

  // Only time in which the device could be reached counts.
  bool overdue(const Slot& slot, const crds::TangoDeployment& owner) const {
    const auto* reachable = kube::find_condition(self_.status.conditions, "Reachable");
    if (reachable == nullptr || reachable->status != "True" || !slot.ordered_at) return false;
    rollout::ProgressClock clock;
    clock.running_since =
        std::max(*slot.ordered_at, reachable->last_transition_time.value_or(*slot.ordered_at));
    const Nanos limit = parse_duration(owner.spec.strategy.progress_deadline)
                            .value_or(Nanos{rollout::kDefaultProgressDeadline});
    return clock.elapsed(now_) >= limit;
  }

  bool take_result(Slot& slot, const crds::TangoDeployment& owner, const ReleaseKey& release,
                   const WorkView& view, std::string& why, std::string& text) {
    const std::string outcome = get_string(view.output, "outcome");
    const std::string name = slot.name;
    for (const Json& value : get(view.output, "slots")) learn_slot(value);
    Slot& now_slot = slot_entry(name);
    add_evidence(view.finished, std::nullopt);
    if (outcome == "committed" || outcome == "current") {
      now_slot.committed_at = whole_seconds(now_);
      now_slot.failure.reset();
      now_slot.current = release.digest;
      now_slot.state = "Committed";
      now_slot.healthy = true;
      return true;
    }
    if (outcome == "rolledBack") {
      const Json& failure = get(view.output, "failure");
      const std::string code = get_string(failure, "code", "RolledBack");
      const std::string message =
          get_string(failure, "message", "the device went back to its release before");
      reject(now_slot, owner, release, code, message);
      why = "RolledBack";
      text = code + ": " + message;
      return false;
    }
    if (outcome == "deferred") {
      // The device says when; until then it is not asked again.
      const Nanos wait = Millis{
          std::clamp<std::int64_t>(get_int(view.output, "retryAfterMs", 30'000), 1000, 3'600'000)};
      const TimePoint due = view.finished + wait;
      why = "Deferred";
      text = get_string(view.output, "reason", "the device asked to wait");
      if (now_ < due) {
        requeue(out_, due - now_);
        return false;
      }
    }
    // Deferred long enough, or the device knows a higher sequence: a new order with a new number.
    now_slot.desired.clear();
    why = outcome == "deferred" ? why : "SequenceStale";
    requeue(out_, Millis{100});
    return false;
  }

  void reject(Slot& slot, const crds::TangoDeployment& owner, const ReleaseKey& release,
              const std::string& reason, const std::string& message) {
    auto& list = status_.rejected;
    if (list.size() >= kMaxRejected) list.erase(list.begin(), list.end() - (kMaxRejected - 1));
    auto& r = list.emplace_back();
    r.digest = release.digest;
    r.slot = slot.name;
    r.reason = reason;
    r.message = clip(message, 1000);
    r.sequence = slot.sequence;
    r.deployment = owner.metadata.name;
    r.deployment_uid = owner.metadata.uid;
    r.retry_token = release.retry_token;
    r.at = whole_seconds(now_);
    auto& f = slot.failure ? *slot.failure : slot.failure.emplace();
    f.code = reason;
    f.message = clip(message);
    f.retryable = false;
    f.at = whole_seconds(now_);
    out_.events.push_back({"Warning", reason,
                           "release " + short_digest(release.digest) + " of Deployment " +
                               owner.metadata.name + " was rolled back: " + message});
    // The next claim on the slot gets its turn at once.
    requeue(out_, Millis{100});
  }

  // No Deployment selects the slot any more.
  void leave(Slot& slot) {
    if (slot.deployment_uid.empty()) return;
    const crds::TangoDeployment* gone = nullptr;
    for (const auto* d : world_.list<crds::TangoDeployment>(self_.metadata.ns)) {
      if (d->metadata.uid == slot.deployment_uid) gone = d;
    }
    bool take_away = false;
    if (gone != nullptr) {
      take_away = gone->metadata.deleting() ? to_string(gone->spec.on_delete) == "Remove"
                                            : to_string(gone->spec.on_leave) == "Remove";
    }
    if (!take_away) return;
    const WorkView view =
        ask("remove",
            "remove/" + self_.metadata.uid + "/" + slot.name + "/" + slot.deployment_uid + "/" +
                std::to_string(slot.sequence),
            Json{{"slot", slot.name}, {"deploymentUid", slot.deployment_uid}}, kRemoveDeadline);
    working_ = working_ || view.phase == WorkView::Phase::kRunning;
    if (!view.succeeded()) return;
    const std::string name = slot.name;
    const std::int64_t sequence = slot.sequence;
    slot = Slot{};
    slot.name = name;
    slot.sequence = sequence;
    slot.state = "Empty";
  }

  // --- probing -----------------------------------------------------------------------------------

  void probe() {
    const auto* reachable = kube::find_condition(self_.status.conditions, "Reachable");
    const bool online = reachable != nullptr && reachable->status == "True";
    const Nanos period = online ? kProbeOnline : kProbeOffline;
    // Devices are spread over the period by their uid.
    const auto spread = static_cast<std::int64_t>(
        std::stoull(sha256(self_.metadata.uid).hex().substr(0, 12), nullptr, 16) %
        static_cast<std::uint64_t>(period.count()));
    const std::int64_t ticks = now_.time_since_epoch().count() + spread;
    const std::int64_t bucket = ticks / period.count();
    Json input = target();
    input["op"] = "probe";
    kube::Work work{"ssh",
                    "probe/" + self_.metadata.uid + "/" + identity_hash() + "/" +
                        (online ? "n" : "f") + std::to_string(bucket),
                    std::move(input), kProbeDeadline};
    requeue(out_, Nanos{(bucket + 1) * period.count() - ticks});
    const kube::WorkState* state = world_.work(work.key);
    if (state == nullptr || state->phase == kube::WorkState::Phase::kRunning) {
      out_.work.push_back(std::move(work));
      return;  // the last answer stands
    }
    if (state->phase == kube::WorkState::Phase::kFailed) {
      add_evidence(state->finished, state->error);
      return;
    }
    add_evidence(state->finished, std::nullopt);
    for (const Json& value : get(state->output, "slots")) {
      const Slot& slot = slot_entry(get_string(value, "name"));
      // What was asked before the last order or its end says nothing new about the slot.
      const bool pending = !slot.desired.empty() && !slot.committed_at;
      const bool older = slot.committed_at && whole_seconds(state->started) <= *slot.committed_at;
      if (!pending && !older) learn_slot(value);
    }
  }

  // Whether the device answers is told by the latest session, whatever it was for.
  void add_evidence(TimePoint at, std::optional<Error> error) {
    if (has_evidence_ && at < evidence_at_) return;
    // What is older than the last change was weighed when it was new; the two probing periods and
    // the deploys overlap.
    const auto* known = kube::find_condition(self_.status.conditions, "Reachable");
    if (known != nullptr && known->last_transition_time &&
        whole_seconds(at) <= *known->last_transition_time) {
      return;
    }
    has_evidence_ = true;
    evidence_at_ = at;
    evidence_ = std::move(error);
  }

  void weigh_evidence() {
    if (!has_evidence_) return;  // the last answer stands
    if (evidence_) {
      report(*evidence_);
      reported_ = true;
      return;
    }
    const bool was = kube::is_true(self_.status.conditions, "Reachable");
    conditions_.yes("Reachable", "Online");
    conditions_.yes("HostKeyVerified", "Pinned");
    if (!was) status_.last_seen = whole_seconds(now_);
  }

  void summarise() {
    const auto* reachable = kube::find_condition(status_.conditions, "Reachable");
    if (reachable == nullptr || reachable->status != "True") {
      if (!reported_ && reachable != nullptr && reachable->status == "False") {
        conditions_.no("Ready", "Offline", reachable->message);
        conditions_.unknown("Healthy", "Offline");
      }
      return;
    }
    std::string sick;
    bool any = false;
    for (const Slot& s : status_.slots) {
      if (s.current.empty()) continue;
      any = true;
      if (s.healthy && !*s.healthy) sick = s.name;
    }
    if (!any) {
      conditions_.unknown("Healthy", "NoRelease");
    } else if (sick.empty()) {
      conditions_.yes("Healthy", "Healthy");
    } else {
      conditions_.no("Healthy", "Unhealthy", "the release in slot " + sick + " is not ready");
    }
    const auto* up = kube::find_condition(status_.conditions, "UpToDate");
    if (!sick.empty()) {
      conditions_.no("Ready", "Degraded", "the release in slot " + sick + " is not ready");
    } else if (up != nullptr && up->reason == "Updating") {
      conditions_.yes("Ready", "Updating", up->message);
    } else {
      conditions_.yes("Ready", "Online");
    }
  }

  kube::Outcome remove() {
    const TimePoint due =
        self_.metadata.deletion_timestamp.value_or(now_) + kDeviceDeletionDeadline;
    const bool holds = std::any_of(status_.slots.begin(), status_.slots.end(),
                                   [](const Slot& s) { return !s.deployment_uid.empty(); });
    if (!status_.provisioned || !holds || now_ >= due || self_.spec.host_key.fingerprints.empty()) {
      if (holds && now_ >= due) {
        out_.events.push_back({"Warning", "DeletionDeadlinePassed",
                               "the device keeps its releases: it was not reached in time"});
      }
      out_.finalizer = kube::Finalizer::kRelease;
      return std::move(out_);
    }
    requeue(out_, due - now_);
    bool left = false;
    for (Slot& slot : status_.slots) {
      if (slot.deployment_uid.empty()) continue;
      const WorkView view = ask("remove",
                                "remove/" + self_.metadata.uid + "/" + slot.name + "/" +
                                    slot.deployment_uid + "/" + std::to_string(slot.sequence),
                                Json{{"slot", slot.name}}, kRemoveDeadline);
      left = left || !view.succeeded();
    }
    if (!left) {
      out_.finalizer = kube::Finalizer::kRelease;
      return std::move(out_);
    }
    conditions_.no("Ready", "Deleting", "removing the releases from the device");
    return finish();
  }

  const crds::Device& self_;
  const kube::Observed& world_;
  TimePoint now_;
  kube::Outcome out_;
  decltype(self_.status) status_;
  Conditions conditions_;
  bool working_ = false;   // a deploy or remove holds the session
  bool reported_ = false;  // this reconcile has said what is wrong already
  bool has_evidence_ = false;
  TimePoint evidence_at_{};
  std::optional<Error> evidence_;  // nullopt: the device answered
};

}  // namespace

kube::Outcome reconcile_device(const crds::Device& self, const kube::Observed& world, TimePoint now,
                               const Settings&) {
  return DeviceRun(self, world, now).run();
}

}  // namespace tango::controllers
