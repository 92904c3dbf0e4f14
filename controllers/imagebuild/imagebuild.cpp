#include "controllers/imagebuild/imagebuild.h"

#include "controllers/common/conditions.h"
#include "controllers/common/stage_run.h"
#include "controllers/common/status.h"
#include "crds/image_build.h"
#include "crds/model.h"
#include "crds/target_profile.h"

namespace tango::controllers {
namespace {

constexpr std::string_view kDefaultEngine = "OpenCV";

class ImageBuildRun {
 public:
  ImageBuildRun(const crds::ImageBuild& self, const kube::Observed& world, TimePoint now,
                const Settings& settings)
      : self_(self),
        world_(world),
        now_(now),
        settings_(settings),
        status_(self.status),
        conditions_(status_.conditions, self.metadata.generation, now) {
    status_.observed_generation = self.metadata.generation;
  }

  kube::Outcome run() {
    const kube::Condition* done = kube::find_condition(self_.status.conditions, "Succeeded");
    if (done != nullptr && done->observed_generation == self_.metadata.generation &&
        (done->status == "True" ||
         (done->status == "False" && kube::is_true(self_.status.conditions, "Accepted")))) {
      return finish();
    }
    if (auto valid = check_object(self_); !valid.ok()) return refuse(valid.error());
    const Json pod_template =
        self_.spec.pod_template ? kube::to_value(*self_.spec.pod_template) : Json();
    if (const auto account = refused_service_account(pod_template, settings_); !account.empty()) {
      return refuse(make_error(Code::kDenied, "ServiceAccountNotAllowed",
                               "spec.podTemplate.serviceAccountName " + account +
                                   " is not in the operator's allow-list"));
    }
    const auto* profile = world_.get<crds::TargetProfile>("", self_.spec.profile_ref.name);
    if (profile == nullptr) {
      return wait("ProfileNotFound", "there is no TargetProfile " + self_.spec.profile_ref.name +
                                         "; `kubectl get targetprofiles` lists those that exist");
    }
    if (auto supported = check_supported(*profile); !supported.ok())
      return refuse(supported.error());
    conditions_.yes("Accepted", "Valid");
    const auto* model = world_.get<crds::Model>(self_.metadata.ns, self_.spec.model_ref.name);
    if (model == nullptr) {
      return wait("ModelNotFound", "there is no Model " + self_.spec.model_ref.name +
                                       " in namespace " + self_.metadata.ns);
    }
    if (!self_.spec.model_digest.empty() && self_.spec.model_digest != model->spec.digest) {
      conditions_.no("Succeeded", "ModelChanged",
                     "the Model has digest " + model->spec.digest + ", the build needs " +
                         self_.spec.model_digest);
      return finish();
    }
    if (!build(*model, *profile, pod_template)) return finish();
    sign(*model);
    return finish();
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

  Status check_supported(const crds::TargetProfile& profile) const {
    const auto unsupported = [](std::string message) {
      return make_error(Code::kUnsupported, "Unsupported", std::move(message));
    };
    const std::string output(to_string(self_.spec.output));
    if (output != "Auto" && output != "Bundle") {
      return unsupported("spec.output " + output +
                         " is not implemented by this version; it builds a Bundle");
    }
    if (output == "Auto" && profile.spec.delivery != crds::Delivery::kBundle) {
      return unsupported("TargetProfile " + profile.metadata.name + " wants delivery " +
                         std::string(to_string(profile.spec.delivery)) +
                         "; this version builds a Bundle");
    }
    if (profile.spec.arch != crds::Arch::kAmd64) {
      return unsupported("TargetProfile " + profile.metadata.name + " has architecture " +
                         std::string(to_string(profile.spec.arch)) +
                         "; this version builds for amd64");
    }
    const std::string precision(to_string(self_.spec.precision));
    if (precision != "Auto" && precision != "FP32") {
      return unsupported("spec.precision " + precision +
                         " is not implemented by this version; it exports FP32");
    }
    if (self_.spec.engine != "Auto" && self_.spec.engine != kDefaultEngine) {
      return unsupported("spec.engine " + self_.spec.engine +
                         " is not implemented by this version; it has " +
                         std::string(kDefaultEngine));
    }
    return ok_status();
  }

  std::string owner_name() const {
    return self_.spec.project_ref ? self_.spec.project_ref->name : self_.metadata.name;
  }

  Result<Json> config(const crds::Model& model, const crds::TargetProfile& profile) const {
    const std::string digest = model.spec.digest.substr(model.spec.digest.find(':') + 1, 12);
    Json c{{"id", self_.metadata.ns + "/" + owner_name()},
           {"target",
            {{"profile", profile.metadata.name},
             {"arch", std::string(to_string(profile.spec.arch))},
             {"os", "linux"},
             {"engine", std::string(kDefaultEngine)}}},
           {"version",
            {{"display", self_.spec.version.display.empty() ? digest : self_.spec.version.display},
             {"security", self_.spec.version.security}}}};
    if (self_.spec.io) c["io"] = kube::to_value(*self_.spec.io);
    if (self_.spec.health_gate) {
      TRY_ASSIGN(c["healthGate"], gate_config(*self_.spec.health_gate));
    }
    if (!self_.spec.licence.empty()) c["licence"] = self_.spec.licence;
    return c;
  }

  // True when the bundle is built.
  bool build(const crds::Model& model, const crds::TargetProfile& profile,
             const Json& pod_template) {
    StageRequest request;
    request.owner_kind = crds::ImageBuild::kKind;
    request.owner = &self_.metadata;
    request.project = self_.spec.project_ref ? self_.spec.project_ref->name : "";
    request.stage = "build";
    request.type = "Build";
    auto resolved = config(model, profile);
    if (!resolved.ok()) {
      conditions_.no("Accepted", resolved.error().reason, resolved.error().message);
      conditions_.no("Succeeded", resolved.error().reason, resolved.error().message);
      return false;
    }
    request.config = std::move(*resolved);
    request.inputs["model"] = model.spec.digest;
    // The builder reads the model from where its Model says it is and pushes beside it.
    request.repository = model.spec.repository;
    request.image = settings_.builder_image;
    request.pod_template = pod_template;
    request.retries = self_.spec.retries;
    request.suspend = self_.spec.suspend;
    const auto hash =
        run::input_hash(request.type, request.type_version, request.config, request.inputs);
    const bool same = hash.ok() && *hash == self_.status.input_hash;
    if (same && !self_.status.bundle_digest.empty()) return true;
    StageMemory memory;
    if (same) {
      memory.attempt = self_.status.attempt;
      memory.exit_code = self_.status.exit_code;
      memory.started_at = self_.status.started_at;
    }
    const StageView view = run_stage(request, memory, world_, now_, settings_, out_);
    status_.input_hash = view.input_hash;
    status_.job = view.job;
    status_.attempt = view.memory.attempt;
    status_.exit_code = view.memory.exit_code;
    status_.retry_after = view.memory.retry_after;
    status_.started_at = view.memory.started_at;
    status_.model_digest = model.spec.digest;
    status_.repository = request.repository;
    status_.arch = std::string(to_string(profile.spec.arch));
    status_.engine = std::string(kDefaultEngine);
    status_.version = get_string(request.config["version"], "display");
    if (view.state == StageView::State::kFailed) {
      conditions_.no("Built", view.reason, view.message);
      conditions_.no("Succeeded", view.reason, view.message);
      return false;
    }
    if (view.state != StageView::State::kSucceeded) {
      conditions_.no("Built", view.reason, view.message);
      conditions_.unknown("Succeeded",
                          view.state == StageView::State::kStopped ? "Suspended" : "Building",
                          view.reason + ": " + view.message);
      return false;
    }
    const auto bundle = view.result.outputs.find("bundle");
    if (bundle == view.result.outputs.end()) {
      conditions_.no("Succeeded", "ResultInvalid", "the build ended without its output bundle");
      return false;
    }
    status_.bundle_digest = bundle->second;
    status_.result_digest = view.result_digest;
    status_.index_digest = get_string(view.result.metrics, "indexDigest");
    if (view.result.metrics.contains("bytes")) status_.size = get_int(view.result.metrics, "bytes");
    status_.signature.reset();
    return true;
  }

  void sign(const crds::Model& model) {
    conditions_.yes("Built", "Built", "bundle " + status_.bundle_digest);
    if (!status_.signature) {
      const WorkView view = pursue(out_, world_,
                                   {"signer", "sign/" + status_.bundle_digest,
                                    Json{{"op", "sign"},
                                         {"namespace", self_.metadata.ns},
                                         {"imageBuild", self_.metadata.name},
                                         {"imageBuildUid", self_.metadata.uid},
                                         {"repository", status_.repository},
                                         {"bundleDigest", status_.bundle_digest},
                                         {"modelDigest", model.spec.digest}},
                                    kSignDeadline},
                                   now_);
      if (view.phase == WorkView::Phase::kFailed) {
        conditions_.no("Signed", view.error.reason, view.error.message);
        conditions_.no("Succeeded", view.error.reason, "the signer refused: " + view.error.message);
        return;
      }
      if (view.phase != WorkView::Phase::kSucceeded) {
        conditions_.no("Signed", "Signing", view.error.message);
        conditions_.unknown("Succeeded", "Signing", view.error.message);
        return;
      }
      auto& signature = status_.signature.emplace();
      signature.digest = get_string(view.output, "signatureDigest");
      for (const Json& id : get(view.output, "keyIds")) {
        if (id.is_string()) signature.key_ids.push_back(id.get<std::string>());
      }
      status_.index_digest = get_string(view.output, "indexDigest");
      if (view.output.contains("bytes")) status_.size = get_int(view.output, "bytes");
    }
    if (!status_.finished_at) status_.finished_at = whole_seconds(now_);
    conditions_.yes("Signed", "Signed");
    conditions_.yes("Succeeded", "Succeeded",
                    "bundle " + status_.bundle_digest + " is built and signed");
  }

  const crds::ImageBuild& self_;
  const kube::Observed& world_;
  TimePoint now_;
  const Settings& settings_;
  kube::Outcome out_;
  decltype(self_.status) status_;
  Conditions conditions_;
};

}  // namespace

Result<Json> gate_config(const crds::HealthGate& gate) {
  Json out{{"goldenSamples", gate.golden_samples}};
  if (!gate.latency.empty()) {
    TRY_ASSIGN(const Nanos latency, parse_duration(gate.latency));
    out["latencyUs"] = std::max<std::int64_t>(latency.count() / 1000, 1);
  }
  if (!gate.memory.empty()) {
    TRY_ASSIGN(out["memoryBytes"], kube::parse_quantity(gate.memory));
  }
  if (!gate.warmup.empty()) {
    TRY_ASSIGN(const Nanos warmup, parse_duration(gate.warmup));
    out["warmupMs"] = warmup.count() / 1'000'000;
  }
  if (!gate.soak.empty()) {
    TRY_ASSIGN(const Nanos soak, parse_duration(gate.soak));
    out["soakMs"] = soak.count() / 1'000'000;
  }
  return out;
}

kube::Outcome reconcile_imagebuild(const crds::ImageBuild& self, const kube::Observed& world,
                                   TimePoint now, const Settings& settings) {
  if (self.metadata.deleting()) {
    kube::Outcome out;
    out.finalizer = kube::Finalizer::kRelease;
    return out;
  }
  return ImageBuildRun(self, world, now, settings).run();
}

}  // namespace tango::controllers
