#include "controllers/deployment/slots.h"

#include <algorithm>

#include "controllers/imagebuild/imagebuild.h"
#include "crds/device.h"
#include "crds/tango_deployment.h"
#include "lib/base/digest.h"
#include "lib/kube-types/core.h"
#include "lib/kube-types/writer.h"

namespace tango::controllers {
namespace {

constexpr std::size_t kMaxFileBytes = 48u << 10;

const crds::DeviceStatusSlot* slot_of(const crds::Device& device, std::string_view name) {
  for (const auto& s : device.status.slots) {
    if (s.name == name) return &s;
  }
  return nullptr;
}

// Replaces ${parameters.k} and ${labels.k}; "$$" is a dollar sign. Nothing else is touched.
Result<std::string> substitute(const std::string& text, const crds::Device& device,
                               const std::string& where) {
  std::string out;
  std::size_t i = 0;
  while (i < text.size()) {
    if (text.compare(i, 2, "$$") == 0) {
      out += '$';
      i += 2;
      continue;
    }
    if (text.compare(i, 2, "${") != 0) {
      out += text[i++];
      continue;
    }
    const auto end = text.find('}', i);
    const std::string name =
        end == std::string::npos ? text.substr(i + 2) : text.substr(i + 2, end - i - 2);
    const auto dot = name.find('.');
    const std::string group = name.substr(0, dot);
    const std::string key = dot == std::string::npos ? "" : name.substr(dot + 1);
    const std::map<std::string, std::string>* values = nullptr;
    if (group == "parameters") values = &device.spec.parameters;
    if (group == "labels") values = &device.metadata.labels;
    if (end == std::string::npos || values == nullptr) {
      return make_error(
          Code::kInvalid, "InvalidConfig",
          where + ": ${" + name + "} is neither ${parameters.name} nor ${labels.name}");
    }
    const auto it = values->find(key);
    if (it == values->end()) {
      return make_error(
          Code::kNotFound, "MissingParameter",
          where + ": the device has no " + (group == "labels" ? "label " : "parameter ") + key);
    }
    out += it->second;
    i = end + 1;
  }
  return out;
}

Result<std::string> file_content(const crds::TangoDeploymentConfigItem& file,
                                 const crds::TangoDeployment& deployment,
                                 const kube::Observed& world) {
  if (file.secret_ref) {
    return make_error(Code::kUnsupported, "Unsupported",
                      "spec.config " + file.name + ".secretRef is not implemented by this version");
  }
  if (!file.config_map_ref) return file.inline_;
  const auto* map = world.get<kube::ConfigMap>(deployment.metadata.ns, file.config_map_ref->name);
  if (map == nullptr) {
    return make_error(
        Code::kNotFound, "ConfigMapNotFound",
        "spec.config " + file.name + ": there is no ConfigMap " + file.config_map_ref->name);
  }
  const auto it = map->data.find(file.config_map_ref->key);
  if (it == map->data.end()) {
    return make_error(Code::kNotFound, "ConfigMapNotFound",
                      "spec.config " + file.name + ": ConfigMap " + file.config_map_ref->name +
                          " has no entry " + file.config_map_ref->key);
  }
  return it->second;
}

}  // namespace

ReleaseKey release_of(const crds::TangoDeployment& deployment) {
  return {deployment.status.release ? deployment.status.release->digest : std::string(),
          deployment.spec.retry_token};
}

bool selects(const crds::TangoDeployment& deployment, const crds::Device& device) {
  return deployment.metadata.ns == device.metadata.ns && !deployment.metadata.deleting() &&
         deployment.spec.target.device_selector &&
         kube::matches(*deployment.spec.target.device_selector, device.metadata.labels);
}

std::map<std::string, std::vector<const crds::TangoDeployment*>> claims_on(
    const crds::Device& device, const kube::Observed& world) {
  std::map<std::string, std::vector<const crds::TangoDeployment*>> out;
  for (const auto* d : world.list<crds::TangoDeployment>(device.metadata.ns)) {
    if (selects(*d, device)) out[d->spec.slot].push_back(d);
  }
  return out;
}

bool rejected_on(const crds::Device& device, const crds::TangoDeployment& deployment) {
  std::vector<rollout::Rejection> list;
  for (const auto& r : device.status.rejected) {
    if (r.slot.empty() || r.slot == deployment.spec.slot)
      list.push_back({r.deployment_uid, r.digest, r.retry_token});
  }
  const ReleaseKey release = release_of(deployment);
  return !release.digest.empty() &&
         rollout::is_rejected(list, deployment.metadata.uid, release.digest, release.retry_token);
}

const crds::TangoDeployment* slot_owner(
    const crds::Device& device, const std::vector<const crds::TangoDeployment*>& deployments) {
  std::vector<rollout::Claim> claims;
  for (const auto* d : deployments) {
    claims.push_back({d->metadata.uid, d->spec.priority,
                      d->metadata.creation_timestamp.value_or(TimePoint{}),
                      rejected_on(device, *d)});
  }
  const auto best = rollout::owner(claims);
  return best ? deployments[*best] : nullptr;
}

Result<RenderedConfig> render_config(const crds::TangoDeployment& deployment,
                                     const crds::Device& device, const kube::Observed& world) {
  Json config = Json::object();
  TRY_ASSIGN(config["healthGate"], gate_config(deployment.spec.health_gate));
  if (deployment.spec.io && deployment.spec.io->output && deployment.spec.io->output->http) {
    config["listen"] = Json{{"port", deployment.spec.io->output->http->port}};
  }
  Json files = Json::object();
  for (const auto& file : deployment.spec.config) {
    TRY_ASSIGN(const std::string text, file_content(file, deployment, world));
    TRY_ASSIGN(const std::string rendered, substitute(text, device, "spec.config " + file.name));
    if (rendered.size() > kMaxFileBytes) {
      return make_error(Code::kExhausted, "ConfigTooLarge",
                        "spec.config " + file.name + " has more than " +
                            std::to_string(kMaxFileBytes) + " bytes");
    }
    files[file.name] = rendered;
  }
  if (!files.empty()) config["parameters"] = Json{{"files", std::move(files)}};
  TRY_ASSIGN(std::string bytes, canonical_json(config));
  std::string digest = sha256(bytes).to_string();
  return RenderedConfig{std::move(bytes), std::move(digest)};
}

rollout::Reachability reachability_of(const crds::Device& device, const std::string& config_error) {
  rollout::Reachability r;
  r.provisioned = kube::is_true(device.status.conditions, "Provisioned");
  r.suspended = device.spec.suspend;
  const kube::Condition* reachable = kube::find_condition(device.status.conditions, "Reachable");
  r.reachable = reachable != nullptr && reachable->status == "True";
  if (!r.reachable && reachable != nullptr) r.unreachable_since = reachable->last_transition_time;
  r.config_error = config_error;
  return r;
}

rollout::DeviceView view_of(const crds::TangoDeployment& deployment, const crds::Device& device,
                            const kube::Observed& world, TimePoint now) {
  using rollout::DeviceState;
  rollout::DeviceView view;
  view.uid = device.metadata.uid;
  view.name = device.metadata.name;
  view.order = rollout::order_key(deployment.metadata.uid, device.metadata.uid);
  const auto& strategy = deployment.spec.strategy;
  view.phases = 0;
  for (std::size_t i = 0; i < strategy.phases.size() && i < 32; ++i) {
    const auto& selector = strategy.phases[i].selector;
    if (!selector || kube::matches(*selector, device.metadata.labels)) view.phases |= 1u << i;
  }
  if (strategy.phases.empty()) view.phases = ~0u;
  if (strategy.disruption) view.group = device.metadata.label(strategy.disruption->group_by);
  const auto* healthy = kube::find_condition(device.status.conditions, "Healthy");
  view.available = healthy == nullptr || healthy->status != "False";

  const auto claims = claims_on(device, world);
  const auto mine = claims.find(deployment.spec.slot);
  const crds::TangoDeployment* owner =
      mine == claims.end() ? nullptr : slot_owner(device, mine->second);
  const ReleaseKey release = release_of(deployment);
  const auto* slot = slot_of(device, deployment.spec.slot);
  const bool mine_on_slot = slot != nullptr && slot->deployment_uid == deployment.metadata.uid;
  if (rejected_on(device, deployment)) {
    view.state = DeviceState::kFailed;
    view.reason = "RolledBack";
    for (const auto& r : device.status.rejected) {
      if (r.digest == release.digest &&
          (r.deployment_uid.empty() || r.deployment_uid == deployment.metadata.uid)) {
        view.reason = r.reason;
      }
    }
    return view;
  }
  if (owner != nullptr && owner->metadata.uid != deployment.metadata.uid) {
    view.state = DeviceState::kSuperseded;
    view.reason = "Superseded";
    return view;
  }
  auto config = render_config(deployment, device, world);
  const std::string why =
      rollout::deferral(reachability_of(device, config.ok() ? "" : config.error().message), now);
  const bool current = mine_on_slot && !release.digest.empty() && slot->current == release.digest &&
                       slot->desired == release.digest &&
                       slot->retry_token == release.retry_token && config.ok() &&
                       slot->config_digest == config->digest && slot->state == "Committed";
  if (current) {
    view.state = why.empty() ? DeviceState::kSucceeded : DeviceState::kDeferred;
    view.reason = why;
    // A device that has the release stays counted as such while it is away.
    if (why == "Offline" || why == "Suspended" || why == "OutOfWindow")
      view.state = DeviceState::kSucceeded;
    return view;
  }
  if (!why.empty()) {
    view.state = DeviceState::kDeferred;
    view.reason = config.ok() ? why : config.error().reason;
    return view;
  }
  if (mine_on_slot && slot->desired == release.digest && !release.digest.empty() &&
      slot->retry_token == release.retry_token) {
    view.state = DeviceState::kUpdating;
    view.reason = slot->failure ? slot->failure->code : "Updating";
    return view;
  }
  view.state = DeviceState::kPending;
  view.reason = "Pending";
  return view;
}

rollout::Strategy strategy_of(const crds::TangoDeployment& deployment) {
  const auto& s = deployment.spec.strategy;
  rollout::Strategy out;
  const ReleaseKey release = release_of(deployment);
  for (const auto& p : s.phases) {
    rollout::Phase phase;
    phase.name = p.name;
    if (p.count) phase.count = *p.count;
    if (p.percent) phase.percent = *p.percent;
    phase.manual = to_string(p.approval) == "Manual";
    phase.approved =
        std::any_of(deployment.spec.approvals.begin(), deployment.spec.approvals.end(),
                    [&](const auto& a) { return a.phase == p.name && a.digest == release.digest; });
    out.phases.push_back(std::move(phase));
  }
  out.max_parallel = s.max_parallel;
  out.max_unavailable = s.disruption ? s.disruption->max_unavailable : 0;
  out.success_percent = s.success_percent;
  out.failure_percent = s.failure_percent;
  out.min_samples = s.min_samples;
  out.pause_between = parse_duration(s.pause_between).value_or(Nanos{0});
  out.paused = deployment.spec.paused;
  return out;
}

rollout::Cursor cursor_of(const crds::TangoDeployment& deployment) {
  rollout::Cursor c;
  if (!deployment.status.phase) return c;
  const auto& p = *deployment.status.phase;
  c.release = ReleaseKey{p.digest, p.retry_token}.text();
  c.phase = p.index;
  c.phase_done = p.finished_at;
  c.failed = p.failed;
  c.admitted = p.admitted_devices;
  std::sort(c.admitted.begin(), c.admitted.end());
  return c;
}

}  // namespace tango::controllers
