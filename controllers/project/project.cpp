#include "controllers/project/project.h"

#include <algorithm>

#include "controllers/common/conditions.h"
#include "controllers/common/status.h"
#include "crds/dataset.h"
#include "crds/image_build.h"
#include "crds/model.h"
#include "crds/tango_deployment.h"
#include "crds/tango_project.h"
#include "crds/target_profile.h"
#include "crds/train_job.h"
#include "lib/graph/select.h"

namespace tango::controllers {
namespace {

using State = crds::StageState;
using StageName = crds::TangoProjectStatusStageName;
using StageEntry = crds::TangoProjectStatusStage;

constexpr StageName kLadder[] = {StageName::kData,  StageName::kSelect, StageName::kSearch,
                                 StageName::kTrain, StageName::kExport, StageName::kBuild,
                                 StageName::kDeploy};

Error unsupported(const std::string& what) {
  return make_error(Code::kUnsupported, "Unsupported",
                    what + " is not implemented by this version");
}

// What the schema allows and this version does not do, with its path.
Status check_supported(const crds::TangoProject& p) {
  const auto& s = p.spec;
  if (to_string(s.task) != "Classification")
    return unsupported("spec.task " + std::string(to_string(s.task)));
  if (to_string(s.search.nas) == "On") return unsupported("spec.search.nas On");
  if (to_string(s.search.hpo) == "On") return unsupported("spec.search.hpo On");
  const std::string mode(to_string(s.learning.mode));
  if (mode != "Scratch" && mode != "Distill") return unsupported("spec.learning.mode " + mode);
  if (mode == "Distill" && !s.learning.teacher_ref) {
    return make_error(Code::kInvalid, "Invalid",
                      "spec.learning.mode Distill needs spec.learning.teacherRef");
  }
  if (s.learning.from_model_ref) return unsupported("spec.learning.fromModelRef");
  if (s.base_model.weights) return unsupported("spec.baseModel.weights");
  const std::string metric(to_string(s.objective.metric));
  if (metric != "Auto" && metric != "top1") return unsupported("spec.objective.metric " + metric);
  for (std::size_t i = 0; i < s.targets.size(); ++i) {
    const std::string at = "spec.targets[" + std::to_string(i) + "]";
    if (s.targets[i].kubernetes) return unsupported(at + ".kubernetes");
    if (s.targets[i].cloud) return unsupported(at + ".cloud");
  }
  return ok_status();
}

class ProjectRun {
 public:
  ProjectRun(const crds::TangoProject& self, const kube::Observed& world, TimePoint now)
      : self_(self),
        world_(world),
        now_(now),
        status_(self.status),
        conditions_(status_.conditions, self.metadata.generation, now),
        spec_changed_(self.status.observed_generation.value_or(0) != self.metadata.generation) {
    status_.observed_generation = self.metadata.generation;
    if (status_.version.value_or(self.spec.version) != self.spec.version) status_.stages.clear();
    status_.version = self.spec.version;
    for (const StageName name : kLadder) entry(name);
  }

  kube::Outcome run() {
    if (self_.metadata.deleting()) return remove();
    const auto* accepted = kube::find_condition(self_.status.conditions, "Accepted");
    if (accepted == nullptr || accepted->observed_generation != self_.metadata.generation) {
      if (auto valid = check_object(self_); !valid.ok()) return refuse(valid.error());
    }
    if (auto supported = check_supported(self_); !supported.ok()) return refuse(supported.error());
    conditions_.yes("Accepted", "Valid");
    if (data() && select() && search() && train() && build()) deploy();
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

  StageEntry& entry(StageName name) {
    for (StageEntry& s : status_.stages) {
      if (s.name == name) return s;
    }
    StageEntry fresh;
    fresh.name = name;
    fresh.state = State::kReady;
    status_.stages.push_back(std::move(fresh));
    return status_.stages.back();
  }

  void set(StageName name, State state, std::string_view reason, std::string message = {}) {
    StageEntry& e = entry(name);
    e.reason = reason;
    e.message = clip(std::move(message), 1000);
    e.state = state;
    const bool begun = state != State::kReady;
    const bool ended = state == State::kCompleted || state == State::kFailed;
    if (begun && !e.started_at) e.started_at = whole_seconds(now_);
    if (!begun) e.started_at.reset();
    if (ended && !e.finished_at) e.finished_at = whole_seconds(now_);
    if (!ended) e.finished_at.reset();
  }
  void refer(StageName name, const kube::KindInfo& kind, const std::string& object) {
    crds::ObjectRef ref;
    ref.kind = kind.kind;
    ref.name = object;
    entry(name).ref = std::move(ref);
  }

  // Manual workflows wait for the approval of this version.
  bool may_start(StageName name, std::string_view condition) {
    if (entry(name).state == State::kCompleted) return true;
    if (self_.spec.suspend && entry(name).state == State::kReady) {
      set(name, State::kReady, "Suspended", "spec.suspend is true");
      return false;
    }
    if (to_string(self_.spec.workflow) != "Manual") return true;
    const bool given =
        std::any_of(self_.spec.approvals.begin(), self_.spec.approvals.end(), [&](const auto& a) {
          return to_string(a.stage) == to_string(name) && a.version == self_.spec.version;
        });
    if (given) return true;
    const std::string stage(to_string(name));
    set(name, State::kReady, "AwaitingApproval",
        "add {stage: " + stage + ", version: " + std::to_string(self_.spec.version) +
            "} to spec.approvals");
    if (!condition.empty()) conditions_.unknown(condition, "AwaitingApproval");
    return false;
  }

  bool data() {
    if (!may_start(StageName::kData, "DatasetReady")) return false;
    const std::string& name = self_.spec.dataset_ref.name;
    refer(StageName::kData, crds::Dataset::kKind, name);
    dataset_ = world_.get<crds::Dataset>(self_.metadata.ns, name);
    if (dataset_ == nullptr) {
      const std::string message =
          "there is no Dataset " + name + " in namespace " + self_.metadata.ns;
      set(StageName::kData, State::kStarted, "DatasetNotFound", message);
      conditions_.no("DatasetReady", "DatasetNotFound", message);
      return false;
    }
    const auto* ready = kube::find_condition(dataset_->status.conditions, "Ready");
    if (ready == nullptr || ready->status != "True") {
      const std::string reason = ready == nullptr ? "Pending" : ready->reason;
      const std::string message = ready == nullptr ? "" : ready->message;
      const bool failed = ready != nullptr && ready->status == "False" && reason != "Validating";
      set(StageName::kData, failed ? State::kFailed : State::kRunning, reason, message);
      conditions_.no("DatasetReady", reason, "Dataset " + name + ": " + message);
      return false;
    }
    set(StageName::kData, State::kCompleted, "Ready", ready->message);
    conditions_.yes("DatasetReady", "Ready");
    return true;
  }

  bool select() {
    if (!may_start(StageName::kSelect, "BaseModelSelected")) return false;
    if (!spec_changed_ && status_.base_model &&
        entry(StageName::kSelect).state == State::kCompleted)
      return true;
    graph::SelectionInput input;
    input.task = to_string(self_.spec.task);
    input.classes = dataset_->status.class_count.value_or(0);
    input.requested = self_.spec.base_model.name;
    input.channels = dataset_->status.channels.value_or(3);
    if (const auto& size = dataset_->status.size) {
      input.height = size->median_height.value_or(0);
      input.width = size->median_width.value_or(0);
    }
    if (const auto side = crds::auto_number(self_.spec.train.image_size, 0); side > 0)
      input.height = input.width = side;
    for (const auto& target : self_.spec.targets) {
      const auto* profile = world_.get<crds::TargetProfile>("", target.profile_ref.name);
      if (profile == nullptr) {
        return select_failed(State::kStarted,
                             make_error(Code::kNotFound, "ProfileNotFound",
                                        "target " + target.name + ": there is no TargetProfile " +
                                            target.profile_ref.name));
      }
      graph::SelectionTarget t;
      t.name = target.name;
      if (const auto& a = profile->spec.accelerator) {
        t.accelerator = to_string(a->kind);
        if (t.accelerator == "None") t.accelerator.clear();
        t.accelerator_memory =
            static_cast<std::uint64_t>(kube::parse_quantity(a->memory).value_or(0));
      }
      t.phone = to_string(profile->spec.delivery) == "AndroidProject";
      input.targets.push_back(std::move(t));
    }
    const auto& limits = self_.spec.objective.constraints;
    if (!limits.latency.empty()) {
      if (auto v = parse_duration(limits.latency); v.ok()) input.max_latency = *v;
    }
    if (!limits.memory.empty()) {
      if (auto v = kube::parse_quantity(limits.memory); v.ok())
        input.max_memory = static_cast<std::uint64_t>(*v);
    }
    if (!limits.model_size.empty()) {
      if (auto v = kube::parse_quantity(limits.model_size); v.ok())
        input.max_model_size = static_cast<std::uint64_t>(*v);
    }
    auto selection = graph::select_base_model(input);
    if (!selection.ok()) return select_failed(State::kFailed, selection.error());
    auto& base = status_.base_model.emplace();
    base.name = selection->name;
    base.rule_id = selection->rule_id;
    base.reason = clip(selection->reason, 1000);
    for (const auto& r : selection->rejected) {
      if (base.rejected.size() >= 32) break;
      auto& row = base.rejected.emplace_back();
      row.name = r.name;
      row.reason = clip(r.reason + ": " + r.message, 1000);
    }
    set(StageName::kSelect, State::kCompleted, "Selected", base.name + ": " + base.reason);
    conditions_.yes("BaseModelSelected", "Selected", base.name + ": " + base.reason);
    return true;
  }

  bool select_failed(State state, const Error& e) {
    set(StageName::kSelect, state, e.reason, e.message);
    conditions_.no("BaseModelSelected", e.reason, e.message);
    return false;
  }

  bool search() {
    set(StageName::kSearch, State::kCompleted, "Off", "no search was asked for");
    conditions_.yes("SearchSucceeded", "Off");
    return true;
  }

  // Stages Train and Export: one TrainJob.
  bool train() {
    const Json manifest =
        trainjob_manifest(self_, status_.base_model->name, dataset_->status.digest);
    const std::string name = manifest["metadata"]["name"];
    const auto* job = world_.get<crds::TrainJob>(self_.metadata.ns, name);
    if (job == nullptr && !may_start(StageName::kTrain, "Trained")) return false;
    if (job != nullptr && job->spec.suspend != self_.spec.suspend) {
      out_.patch.push_back({crds::TrainJob::kKind, self_.metadata.ns, name,
                            Json{{"spec", {{"suspend", self_.spec.suspend}}}}});
    }
    refer(StageName::kTrain, crds::TrainJob::kKind, name);
    refer(StageName::kExport, crds::TrainJob::kKind, name);
    if (job == nullptr) {
      out_.create_once.push_back(manifest);
      set(StageName::kTrain, State::kStarted, "Created", "TrainJob " + name + " was created");
      set(StageName::kExport, State::kReady, "Waiting");
      conditions_.unknown("Trained", "Created");
      return false;
    }
    const auto* done = kube::find_condition(job->status.conditions, "Succeeded");
    const bool failed = done != nullptr && done->status == "False";
    const crds::TrainJobStatusStage* current = nullptr;
    bool trained = !job->status.stages.empty(), exporting = false;
    for (const auto& s : job->status.stages) {
      if (s.state == State::kCompleted) continue;
      if (current == nullptr) current = &s;
      if (s.type != "Export") trained = false;
      exporting = s.type == "Export";
    }
    const std::string message = done == nullptr ? "" : done->message;
    if (!trained) {
      State state = current == nullptr ? State::kStarted : current->state;
      if (failed) state = State::kFailed;
      const std::string reason = failed               ? done->reason
                                 : current == nullptr ? "Waiting"
                                                      : current->reason;
      set(StageName::kTrain, state, reason, message);
      set(StageName::kExport, State::kReady, "Waiting");
      conditions_.set("Trained", failed ? "False" : "Unknown", reason, message);
      return false;
    }
    set(StageName::kTrain, State::kCompleted, "Succeeded");
    conditions_.yes("Trained", "Succeeded");
    if (done == nullptr || done->status != "True") {
      const State state = failed               ? State::kFailed
                          : current != nullptr ? current->state
                                               : State::kRunning;
      const std::string reason = failed                            ? done->reason
                                 : exporting && current != nullptr ? current->reason
                                                                   : "Running";
      set(StageName::kExport, state, reason, message);
      conditions_.set("Exported", failed ? "False" : "Unknown", reason, message);
      return false;
    }
    if (!job->status.model_ref) {
      set(StageName::kExport, State::kFailed, "NoModel", "the recipe ended without a model");
      conditions_.no("Exported", "NoModel",
                     "the recipe of TrainJob " + name + " ended without a model");
      return false;
    }
    set(StageName::kExport, State::kCompleted, "Succeeded", "Model " + job->status.model_ref->name);
    conditions_.yes("Exported", "Succeeded");
    auto& model = status_.model.emplace();
    model.name = job->status.model_ref->name;
    model.digest = job->status.model_digest;
    model.metrics = job->status.metrics;
    return true;
  }

  crds::TangoProjectTargetStatus& target_status(const std::string& name) {
    for (auto& t : status_.targets) {
      if (t.name == name) return t;
    }
    auto& fresh = status_.targets.emplace_back();
    fresh.name = name;
    return fresh;
  }

  bool build() {
    std::erase_if(status_.targets, [&](const auto& t) {
      return std::none_of(self_.spec.targets.begin(), self_.spec.targets.end(),
                          [&](const auto& s) { return s.name == t.name; });
    });
    if (self_.spec.targets.empty()) {
      set(StageName::kBuild, State::kCompleted, "NoTargets", "spec.targets is empty");
      conditions_.yes("Built", "NoTargets");
      return true;
    }
    std::size_t ready = 0;
    std::string failed, waiting;
    for (const auto& target : self_.spec.targets) {
      const Json manifest = imagebuild_manifest(self_, target, status_.model->name);
      const std::string name = manifest["metadata"]["name"];
      const auto* b = world_.get<crds::ImageBuild>(self_.metadata.ns, name);
      if (b == nullptr) {
        if (!may_start(StageName::kBuild, "Built")) return false;
        out_.create_once.push_back(manifest);
      }
      refer(StageName::kBuild, crds::ImageBuild::kKind, name);
      target_status(target.name).image_build = name;
      const auto* done =
          b == nullptr ? nullptr : kube::find_condition(b->status.conditions, "Succeeded");
      if (done != nullptr && done->status == "True") {
        ++ready;
      } else if (done != nullptr && done->status == "False") {
        failed = done->reason + ": target " + target.name + ": " + done->message;
      } else if (done != nullptr) {
        waiting = "target " + target.name + ": " + done->reason + ": " + done->message;
      }
    }
    if (!failed.empty()) {
      set(StageName::kBuild, State::kFailed, failed.substr(0, failed.find(':')), failed);
      conditions_.no("Built", failed.substr(0, failed.find(':')), failed);
      return false;
    }
    const std::string count = std::to_string(ready) + " of " +
                              std::to_string(self_.spec.targets.size()) + " targets are built";
    if (ready < self_.spec.targets.size()) {
      set(StageName::kBuild, State::kRunning, "Building",
          count + (waiting.empty() ? "" : "; " + waiting));
      conditions_.unknown("Built", "Building", count);
      return false;
    }
    set(StageName::kBuild, State::kCompleted, "Succeeded", count);
    conditions_.yes("Built", "Succeeded", count);
    return true;
  }

  void deploy() {
    if (self_.spec.targets.empty()) {
      set(StageName::kDeploy, State::kCompleted, "NoTargets", "spec.targets is empty");
      conditions_.yes("Deployed", "NoTargets");
      return;
    }
    std::size_t ready = 0;
    std::string failed, waiting;
    for (const auto& target : self_.spec.targets) {
      const std::string name = deployment_name(self_, target);
      const auto* d = world_.get<crds::TangoDeployment>(self_.metadata.ns, name);
      if (d == nullptr && !may_start(StageName::kDeploy, "Deployed")) return;
      auto& row = target_status(target.name);
      row.deployment = name;
      refer(StageName::kDeploy, crds::TangoDeployment::kKind, name);
      const Json manifest = deployment_manifest(self_, target, row.image_build);
      if (d == nullptr || !says(*d, manifest)) out_.apply.push_back(manifest);
      if (d == nullptr) continue;
      row.desired = d->status.counts.desired;
      row.updated = d->status.counts.updated;
      row.ready = d->status.counts.ready;
      row.failed = d->status.counts.failed;
      row.latency = d->status.latency;
      const auto* up = kube::find_condition(d->status.conditions, "Ready");
      if (kube::is_true(d->status.conditions, "Failed")) {
        failed = "target " + target.name + ": " + (up == nullptr ? "" : up->message);
      } else if (up != nullptr && up->status == "True") {
        ++ready;
      } else if (up != nullptr) {
        waiting = "target " + target.name + ": " + up->reason + ": " + up->message;
      }
    }
    if (!failed.empty()) {
      set(StageName::kDeploy, State::kFailed, "RolloutFailed", failed);
      conditions_.no("Deployed", "RolloutFailed", failed);
    } else if (ready == self_.spec.targets.size()) {
      set(StageName::kDeploy, State::kCompleted, "Succeeded",
          std::to_string(ready) + " targets run the model");
      conditions_.yes("Deployed", "Succeeded");
    } else {
      set(StageName::kDeploy, State::kRunning, "Deploying", waiting);
      conditions_.unknown("Deployed", "Deploying", waiting);
    }
  }

  // Whether the Deployment has what the project wants of it already. Fields that the project does
  // not set (approvals, retryToken, priority, ...) belong to others.
  static bool says(const crds::TangoDeployment& d, const Json& manifest) {
    const Json has = kube::to_value(d.spec);
    auto wanted_typed = crds::decode<crds::TangoDeploymentSpec>(manifest["spec"]);
    if (!wanted_typed.ok()) return false;
    const Json wanted = kube::to_value(*wanted_typed);
    for (const auto& [key, value] : manifest["spec"].items()) {
      if (get(has, key) != get(wanted, key)) return false;
    }
    return true;
  }

  void summarise() {
    status_.stage.clear();
    for (const StageName name : kLadder) {
      const StageEntry& e = entry(name);
      if (e.state == State::kCompleted) continue;
      status_.stage = to_string(name);
      const std::string message =
          status_.stage + ": " + e.reason + (e.message.empty() ? "" : ": " + e.message);
      if (e.state == State::kFailed) {
        conditions_.no("Ready", e.reason, message);
      } else if (self_.spec.suspend) {
        conditions_.no("Ready", "Suspended", message);
      } else if (e.reason == "AwaitingApproval") {
        conditions_.no("Ready", "AwaitingApproval", message);
      } else {
        conditions_.no("Ready", working_word(name), message);
      }
      return;
    }
    conditions_.yes("Ready", "Ready", "all stages are done");
  }
  static std::string_view working_word(StageName name) {
    switch (name) {
      case StageName::kData:
        return "WaitingForData";
      case StageName::kSelect:
        return "Selecting";
      case StageName::kSearch:
        return "Searching";
      case StageName::kTrain:
        return "Training";
      case StageName::kExport:
        return "Exporting";
      case StageName::kBuild:
        return "Building";
      case StageName::kDeploy:
        return "Deploying";
    }
    return "Working";
  }

  // Owned objects go with the project; Models have no owner and go only when the policy says so.
  kube::Outcome remove() {
    if (to_string(self_.spec.deletion_policy.models) == "Delete") {
      bool left = false;
      for (const auto* m : world_.list<crds::Model>(self_.metadata.ns)) {
        if (m->metadata.label(kProjectLabel) != self_.metadata.name) continue;
        if (m->metadata.deleting()) continue;
        left = true;
        out_.remove.push_back(
            {crds::Model::kKind, m->metadata.ns, m->metadata.name, m->metadata.uid, {}});
      }
      if (left) return std::move(out_);
    }
    out_.finalizer = kube::Finalizer::kRelease;
    return std::move(out_);
  }

  const crds::TangoProject& self_;
  const kube::Observed& world_;
  TimePoint now_;
  kube::Outcome out_;
  decltype(self_.status) status_;
  Conditions conditions_;
  bool spec_changed_;
  const crds::Dataset* dataset_ = nullptr;
};

}  // namespace

kube::Outcome reconcile_project(const crds::TangoProject& self, const kube::Observed& world,
                                TimePoint now, const Settings&) {
  return ProjectRun(self, world, now).run();
}

}  // namespace tango::controllers
