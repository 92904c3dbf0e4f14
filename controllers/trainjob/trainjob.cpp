#include "controllers/trainjob/trainjob.h"

#include <algorithm>

#include "controllers/common/conditions.h"
#include "controllers/common/stage_run.h"
#include "controllers/common/status.h"
#include "controllers/dataset/dataset.h"
#include "crds/dataset.h"
#include "crds/model.h"
#include "crds/train_job.h"

namespace tango::controllers {
namespace {

using StageStatus = crds::TrainJobStatusStage;

bool trains(std::string_view type) { return type == "Train" || type == "Distill"; }

Json numbers_of(const Json& metrics) {
  Json out = Json::object();
  for (const auto& [key, value] : metrics.items()) {
    if (value.is_number() && out.size() < 64) out[key] = value;
  }
  return out;
}

crds::StageState state_of(StageView::State state) {
  switch (state) {
    case StageView::State::kWaiting:
      return crds::StageState::kStarted;
    case StageView::State::kRunning:
      return crds::StageState::kRunning;
    case StageView::State::kStopping:
      return crds::StageState::kStopping;
    case StageView::State::kStopped:
      return crds::StageState::kStopped;
    case StageView::State::kSucceeded:
      return crds::StageState::kCompleted;
    case StageView::State::kFailed:
      return crds::StageState::kFailed;
  }
  return crds::StageState::kReady;
}

class TrainJobRun {
 public:
  TrainJobRun(const crds::TrainJob& self, const kube::Observed& world, TimePoint now,
              const Settings& settings)
      : self_(self),
        world_(world),
        now_(now),
        settings_(settings),
        status_(self.status),
        conditions_(status_.conditions, self.metadata.generation, now) {
    status_.observed_generation = self.metadata.generation;
    const auto& project = self.spec.project_ref;
    repository_ =
        repository_of(settings, self.metadata.ns, project ? project->name : self.metadata.name);
  }

  kube::Outcome run() {
    if (ended()) return finish();
    if (auto valid = check_object(self_); !valid.ok()) return refuse(valid.error());
    const Json pod_template =
        self_.spec.pod_template ? kube::to_value(*self_.spec.pod_template) : Json();
    if (const auto account = refused_service_account(pod_template, settings_); !account.empty()) {
      return refuse(make_error(Code::kDenied, "ServiceAccountNotAllowed",
                               "spec.podTemplate.serviceAccountName " + account +
                                   " is not in the operator's allow-list"));
    }
    dataset_ = world_.get<crds::Dataset>(self_.metadata.ns, self_.spec.dataset_ref.name);
    if (dataset_ == nullptr) {
      return wait("DatasetNotFound", "there is no Dataset " + self_.spec.dataset_ref.name +
                                         " in namespace " + self_.metadata.ns);
    }
    auto mount = data_mount(*dataset_, settings_);
    if (!mount.ok()) return refuse(mount.error());
    mount_ = std::move(*mount);
    auto stages = resolve_stages(self_, *dataset_, world_);
    if (!stages.ok()) return refuse(stages.error());
    conditions_.yes("Accepted", "Valid");
    if (!pin_dataset()) return finish();
    status_.recipe = self_.spec.recipe_ref ? self_.spec.recipe_ref->name : "";
    write_ladder(*stages);
    for (const recipes::ResolvedStage& stage : *stages) {
      if (!run_one(stage, pod_template)) return finish();
    }
    status_.stage.clear();
    return make_model(*stages);
  }

 private:
  kube::Outcome finish() {
    out_.status = kube::to_value(status_);
    return std::move(out_);
  }
  kube::Outcome refuse(const Error& e) {
    conditions_.no("Accepted", e.reason, e.message);
    conditions_.no("Succeeded", e.reason, e.message);
    return finish();
  }
  kube::Outcome wait(std::string_view reason, std::string message) {
    conditions_.unknown("Succeeded", reason, std::move(message));
    return finish();
  }

  // A finished run stays finished; only a changed spec is looked at again.
  bool ended() const {
    const kube::Condition* c = kube::find_condition(self_.status.conditions, "Succeeded");
    if (c == nullptr || c->observed_generation != self_.metadata.generation) return false;
    if (c->status == "True") return true;
    return c->status == "False" && kube::is_true(self_.status.conditions, "Accepted");
  }

  // The data that this run is about is decided once.
  bool pin_dataset() {
    if (!kube::is_true(dataset_->status.conditions, "Ready")) {
      const kube::Condition* ready = kube::find_condition(dataset_->status.conditions, "Ready");
      conditions_.no("DatasetReady", ready == nullptr ? "Pending" : ready->reason,
                     ready == nullptr ? "" : ready->message);
      conditions_.unknown(
          "Succeeded", "DatasetNotReady",
          "Dataset " + dataset_->metadata.name + ": " +
              (ready == nullptr ? "not looked at yet" : ready->reason + ": " + ready->message));
      return false;
    }
    if (status_.dataset_digest.empty()) {
      status_.dataset_digest =
          self_.spec.dataset_digest.empty() ? dataset_->status.digest : self_.spec.dataset_digest;
    }
    const bool started =
        std::any_of(status_.stages.begin(), status_.stages.end(),
                    [](const StageStatus& s) { return s.state == crds::StageState::kCompleted; });
    if (status_.dataset_digest != dataset_->status.digest && !started) {
      const std::string message = "the Dataset has digest " + dataset_->status.digest +
                                  ", the job needs " + status_.dataset_digest;
      conditions_.no("DatasetReady", "DatasetChanged", message);
      conditions_.no("Succeeded", "DatasetChanged", message);
      return false;
    }
    conditions_.yes("DatasetReady", "Ready");
    return true;
  }

  void write_ladder(const std::vector<recipes::ResolvedStage>& stages) {
    decltype(status_.stages) ladder;
    for (const recipes::ResolvedStage& s : stages) {
      auto it = std::find_if(
          status_.stages.begin(), status_.stages.end(),
          [&](const StageStatus& x) { return x.name == s.stage.name && x.type == s.stage.type; });
      StageStatus entry;
      if (it != status_.stages.end()) entry = *it;
      entry.name = s.stage.name;
      entry.type = s.stage.type;
      if (it == status_.stages.end()) entry.state = crds::StageState::kReady;
      ladder.push_back(std::move(entry));
    }
    status_.stages = std::move(ladder);
  }

  StageStatus& entry_of(std::string_view name) {
    return *std::find_if(status_.stages.begin(), status_.stages.end(),
                         [&](const StageStatus& s) { return s.name == name; });
  }

  // Digest behind an input, or an error that says what is missing.
  Result<std::string> input_digest(const std::string& port, const recipes::InputRef& ref) {
    switch (ref.kind) {
      case recipes::InputRef::Kind::kDatasetRef:
        if (ref.name != "Auto" && ref.name != dataset_->metadata.name) {
          return make_error(
              Code::kUnsupported, "Unsupported",
              "input " + port +
                  ": a stage with another Dataset than spec.datasetRef is not implemented");
        }
        return status_.dataset_digest;
      case recipes::InputRef::Kind::kFrom: {
        const auto& outputs = entry_of(ref.stage).outputs;
        auto it = outputs.find(ref.port);
        if (it == outputs.end()) {
          return make_error(Code::kInvalid, "OutputMissing",
                            "stage " + ref.stage + " ended without its output " + ref.port);
        }
        return it->second;
      }
      case recipes::InputRef::Kind::kModelRef: {
        std::string name = ref.name;
        if (name == "Auto") {
          const auto& chosen =
              port == "teacher" ? self_.spec.teacher_ref : self_.spec.from_model_ref;
          if (!chosen) {
            return make_error(Code::kInvalid, "ModelNotFound",
                              "input " + port + " needs spec." +
                                  (port == "teacher" ? "teacherRef" : "fromModelRef"));
          }
          name = chosen->name;
        }
        const auto* model = world_.get<crds::Model>(self_.metadata.ns, name);
        if (model == nullptr) {
          return make_error(Code::kNotFound, "ModelNotFound",
                            "input " + port + ": there is no Model " + name);
        }
        return model->spec.digest;
      }
    }
    return make_error(Code::kInternal, "Internal", "unknown input kind");
  }

  // True when the stage is done.
  bool run_one(const recipes::ResolvedStage& stage, const Json& pod_template) {
    StageStatus& entry = entry_of(stage.stage.name);
    StageRequest request;
    request.owner_kind = crds::TrainJob::kKind;
    request.owner = &self_.metadata;
    request.project = self_.spec.project_ref ? self_.spec.project_ref->name : "";
    request.stage = stage.stage.name;
    request.type = stage.stage.type;
    request.type_version = stage.type_version;
    request.config = stage.stage.config;
    for (const auto& [port, ref] : stage.stage.inputs) {
      auto digest = input_digest(port, ref);
      if (!digest.ok()) {
        const bool later = digest.error().code == Code::kNotFound;
        entry.state = later ? crds::StageState::kReady : crds::StageState::kFailed;
        describe(entry, digest.error().reason, digest.error().message);
        summarise(entry, later);
        return false;
      }
      request.inputs[port] = *digest;
    }
    const auto hash =
        run::input_hash(request.type, request.type_version, request.config, request.inputs);
    const bool same = hash.ok() && *hash == entry.input_hash;
    if (same && entry.state == crds::StageState::kCompleted) return true;
    if (!same) {
      StageStatus fresh;
      fresh.name = entry.name;
      fresh.type = entry.type;
      entry = fresh;
    }
    request.repository = repository_;
    request.image = settings_.trainer_image;
    request.data_volume = mount_.volume;
    request.data_sub_path = mount_.sub_path;
    request.pod_template = pod_template;
    request.active_deadline_seconds = trains(stage.stage.type) ? kTrainSeconds : kStageSeconds;
    request.retries = self_.spec.retries;
    request.suspend = self_.spec.suspend;
    StageMemory memory;
    memory.attempt = entry.attempt;
    memory.started_at = entry.started_at;
    memory.exit_code = entry.exit_code;
    const StageView view = run_stage(request, memory, world_, now_, settings_, out_);
    entry.state = state_of(view.state);
    entry.input_hash = view.input_hash;
    entry.job = view.job;
    entry.attempt = view.memory.attempt;
    entry.exit_code = view.memory.exit_code;
    entry.started_at = view.memory.started_at;
    entry.retry_after = view.memory.retry_after;
    describe(entry, view.reason, view.message);
    if (view.state == StageView::State::kSucceeded) {
      entry.outputs = view.result.outputs;
      entry.result_digest = view.result_digest;
      entry.finished_at = whole_seconds(now_);
      if (!entry.started_at) entry.started_at = entry.finished_at;  // found, not run
      entry.metrics = numbers_of(view.result.metrics).get<std::map<std::string, double>>();
      for (const auto& [name, value] : entry.metrics) status_.metrics[name] = value;
      if (const Json& facts = get(view.result.metrics, "model"); facts.is_object()) facts_ = facts;
      return true;
    }
    if (view.state == StageView::State::kFailed) entry.finished_at = whole_seconds(now_);
    summarise(entry, view.state != StageView::State::kFailed);
    return false;
  }

  static void describe(StageStatus& entry, std::string_view reason, std::string message) {
    entry.reason = reason;
    entry.message = clip(std::move(message), 2000);
  }

  void summarise(const StageStatus& entry, bool goes_on) {
    status_.stage = entry.name;
    const std::string message = "stage " + entry.name + ": " + entry.reason + ": " + entry.message;
    if (!goes_on) {
      conditions_.no("Succeeded", entry.reason, message);
    } else if (entry.state == crds::StageState::kStopped ||
               entry.state == crds::StageState::kStopping) {
      conditions_.unknown("Succeeded", "Suspended", message);
    } else {
      conditions_.unknown("Succeeded", "Running", message);
    }
  }

  kube::Outcome make_model(const std::vector<recipes::ResolvedStage>& stages) {
    const StageStatus* source = nullptr;
    for (const StageStatus& s : status_.stages) {
      if (s.outputs.contains("model")) source = &s;
    }
    if (source == nullptr) {
      conditions_.yes("Succeeded", "Succeeded", "all stages are done");
      return finish();  // eval and infer modes have no model
    }
    status_.model_digest = source->outputs.at("model");
    const std::string owner =
        self_.spec.project_ref ? self_.spec.project_ref->name : self_.metadata.name;
    const std::string name = kube::child_name(owner, "model", source->input_hash);
    status_.model_ref = crds::NameRef{name};
    const auto* model = world_.get<crds::Model>(self_.metadata.ns, name);
    if (model == nullptr) {
      out_.create_once.push_back(model_manifest(name, owner, *source, stages));
      conditions_.unknown("Succeeded", "CreatingModel", "Model " + name + " is being created");
      return finish();
    }
    if (model->spec.digest != status_.model_digest) {
      conditions_.no("Succeeded", "ModelConflict",
                     "Model " + name + " exists with another digest, " + model->spec.digest);
      return finish();
    }
    conditions_.yes("Succeeded", "Succeeded", "Model " + name + " is ready");
    return finish();
  }

  Json model_manifest(const std::string& name, const std::string& owner, const StageStatus& source,
                      const std::vector<recipes::ResolvedStage>& stages) const {
    Json spec{{"task", std::string(to_string(self_.spec.task))},
              {"repository", repository_},
              {"digest", status_.model_digest},
              {"metrics", status_.metrics},
              {"lineage",
               {{"trainJob", self_.metadata.name},
                {"trainJobUid", self_.metadata.uid},
                {"dataset", dataset_->metadata.name},
                {"datasetDigest", status_.dataset_digest},
                {"inputHash", source.input_hash}}}};
    if (self_.spec.project_ref) {
      spec["lineage"]["project"] = self_.spec.project_ref->name;
      spec["lineage"]["projectVersion"] = self_.spec.project_version;
    }
    for (const recipes::ResolvedStage& s : stages) {
      if (const std::string network = get_string(s.stage.config, "network"); !network.empty())
        spec["baseModel"] = network;
    }
    if (status_.metrics.contains("params"))
      spec["parameters"] = static_cast<std::int64_t>(status_.metrics.at("params"));
    if (status_.metrics.contains("flops"))
      spec["flops"] = static_cast<std::int64_t>(status_.metrics.at("flops"));
    // What the exporter says about the network itself.
    for (const char* key :
         {"formats", "graphDigest", "classes", "input", "parameters", "flops", "licence"}) {
      if (facts_.contains(key)) spec[key] = facts_[key];
    }
    if (!dataset_->status.classes.empty() && !spec.contains("classes"))
      spec["classes"] = dataset_->status.classes;
    return Json{{"apiVersion", crds::Model::kKind.api_version()},
                {"kind", "Model"},
                {"metadata",
                 {{"name", name},
                  {"namespace", self_.metadata.ns},
                  {"labels",
                   {{"app.kubernetes.io/managed-by", "tango"},
                    {std::string(kProjectLabel), owner},
                    {std::string(kInputHashLabel), source.input_hash.substr(0, 63)}}}}},
                {"spec", std::move(spec)}};
  }

  const crds::TrainJob& self_;
  const kube::Observed& world_;
  TimePoint now_;
  const Settings& settings_;
  kube::Outcome out_;
  decltype(self_.status) status_;
  Conditions conditions_;
  std::string repository_;
  const crds::Dataset* dataset_ = nullptr;
  DataMount mount_;
  Json facts_ = Json::object();
};

}  // namespace

kube::Outcome reconcile_trainjob(const crds::TrainJob& self, const kube::Observed& world,
                                 TimePoint now, const Settings& settings) {
  if (self.metadata.deleting()) {
    kube::Outcome out;
    out.finalizer = kube::Finalizer::kRelease;
    return out;
  }
  return TrainJobRun(self, world, now, settings).run();
}

}  // namespace tango::controllers
