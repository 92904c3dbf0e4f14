#include "crds/validate.h"

#include <cmath>
#include <set>

#include "crds/rules.h"

namespace tango::crds {
namespace {

constexpr std::size_t kMaxProjectName = 40;  // names of children are made of it

template <typename E>
Json text_of(E value) {
  return std::string(to_string(value));
}

void check_target(Rules& rules, const std::string& path, const TangoProjectTarget& target) {
  rules.exactly_one(path, {{"deviceSelector", target.device_selector.has_value()},
                           {"kubernetes", target.kubernetes.has_value()},
                           {"cloud", target.cloud.has_value()}});
  if (target.device_selector) rules.selector(path / "deviceSelector", *target.device_selector);
  if (target.kubernetes) rules.unsupported(path / "kubernetes", nullptr, "use deviceSelector");
  if (target.cloud) rules.unsupported(path / "cloud", nullptr, "use deviceSelector");
  if (target.io) rules.io(path / "io", *target.io);
  rules.strategy(path / "rollout.strategy", target.rollout.strategy);
  rules.health_gate(path / "rollout.healthGate", target.rollout.health_gate);
  if (target.rollout.trust) rules.trust(path / "rollout.trust", *target.rollout.trust);
}

bool metric_fits(Task task, TangoProjectObjectiveMetric metric) {
  using M = TangoProjectObjectiveMetric;
  if (metric == M::kAuto || metric == M::kLoss) return true;
  switch (task) {
    case Task::kClassification:
      return metric == M::kTop1 || metric == M::kTop5 || metric == M::kF1 ||
             metric == M::kPrecision || metric == M::kRecall;
    case Task::kDetection:
      return metric == M::kMAP50 || metric == M::kMAP5095 || metric == M::kPrecision ||
             metric == M::kRecall || metric == M::kF1;
    case Task::kSegmentation:
      return metric == M::kMIoU || metric == M::kMAP50 || metric == M::kMAP5095;
  }
  return false;
}

void check_learning(Rules& rules, const TangoProjectSpec& spec) {
  using Mode = TangoProjectLearningMode;
  const auto& learning = spec.learning;
  const std::string path = "spec.learning";
  bool needs_parent = learning.mode == Mode::kTransfer || learning.mode == Mode::kFineTune ||
                      learning.mode == Mode::kClassIncremental ||
                      learning.mode == Mode::kTaskIncremental;
  if (spec.recipe_ref) {
    if (learning.mode != Mode::kScratch) {
      rules.invalid(path / "mode", text_of(learning.mode), "is overruled by spec.recipeRef",
                    "leave out one of them");
    }
    return;
  }
  if (needs_parent && !learning.from_model_ref) {
    rules.missing(path / "fromModelRef",
                  "is required for mode " + std::string(to_string(learning.mode)));
  }
  if (learning.mode == Mode::kDistill && !learning.teacher_ref) {
    rules.missing(path / "teacherRef", "is required for mode Distill");
  }
  if (learning.mode != Mode::kScratch && learning.mode != Mode::kDistill) {
    rules.unsupported(path / "mode", text_of(learning.mode), "use Scratch or Distill");
  }
}

}  // namespace

std::vector<Violation> validate(const TangoProject& object) {
  Rules rules;
  const auto& spec = object.spec;
  if (object.metadata.name.size() > kMaxProjectName) {
    rules.invalid("metadata.name", object.metadata.name, "has more than 40 characters",
                  "the names of everything the project makes begin with it");
  }
  if (spec.dataset_ref.name.empty()) rules.missing("spec.datasetRef.name", "is required");
  if (spec.task != Task::kClassification) {
    rules.unsupported("spec.task", text_of(spec.task), "use Classification");
  }
  if (!metric_fits(spec.task, spec.objective.metric)) {
    rules.invalid("spec.objective.metric", text_of(spec.objective.metric),
                  "is not a metric of task " + std::string(to_string(spec.task)));
  }
  const auto& limits = spec.objective.constraints;
  rules.positive_duration("spec.objective.constraints.latency", limits.latency);
  rules.quantity("spec.objective.constraints.memory", limits.memory);
  rules.quantity("spec.objective.constraints.modelSize", limits.model_size);
  rules.base_model("spec.baseModel", spec.base_model);
  check_learning(rules, spec);
  rules.overrides("spec.set", spec.set);
  if (spec.search.nas == TangoProjectSearchNas::kOn) {
    rules.unsupported("spec.search.nas", "On", "use Off or Auto");
  }
  if (spec.search.hpo == TangoProjectSearchHpo::kOn) {
    rules.unsupported("spec.search.hpo", "On", "use Off or Auto");
  }
  if (spec.search.budget)
    rules.positive_duration("spec.search.budget.time", spec.search.budget->time);
  rules.train("spec.train", spec.train);
  if (spec.pod_template) rules.pod_template("spec.podTemplate", *spec.pod_template);
  rules.export_settings("spec.export", spec.export_);
  std::set<std::string> names;
  for (std::size_t i = 0; i < spec.targets.size(); ++i) {
    std::string path = item("spec.targets", i);
    if (!names.insert(spec.targets[i].name).second) {
      rules.invalid(path / "name", spec.targets[i].name, "names two targets", "give each its own");
    }
    check_target(rules, path, spec.targets[i]);
  }
  for (std::size_t i = 0; i < spec.approvals.size(); ++i) {
    if (spec.approvals[i].version > spec.version) {
      rules.invalid(item("spec.approvals", i) / "version", spec.approvals[i].version,
                    "is above spec.version; approvals are never given in advance");
    }
  }
  return std::move(rules.found);
}

std::vector<Violation> validate(const Dataset& object) {
  Rules rules;
  const auto& source = object.spec.source;
  rules.exactly_one("spec.source", {{"pvc", source.pvc.has_value()},
                                    {"http", source.http.has_value()},
                                    {"s3", source.s3.has_value()},
                                    {"oci", source.oci.has_value()},
                                    {"hostPath", source.host_path.has_value()}});
  if (source.http) {
    rules.digest("spec.source.http.sha256", source.http->sha256);
    rules.unsupported("spec.source.http", source.http->url, "use pvc or hostPath");
  }
  if (source.s3) rules.unsupported("spec.source.s3", source.s3->bucket, "use pvc or hostPath");
  if (source.oci) rules.unsupported("spec.source.oci", source.oci->ref, "use pvc or hostPath");
  if (source.host_path) {
    const std::string& path = source.host_path->path;
    if (path.empty() || path[0] != '/' || (path + "/").find("/../") != std::string::npos) {
      rules.invalid("spec.source.hostPath.path", path, "must be an absolute path without ..");
    }
  }
  if (source.pvc && ("/" + source.pvc->path + "/").find("/../") != std::string::npos) {
    rules.invalid("spec.source.pvc.path", source.pvc->path, "must not contain ..");
  }
  using F = DatasetFormat;
  F format = object.spec.format;
  if (format != F::kAuto && format != F::kIdx && format != F::kImageFolder) {
    rules.unsupported("spec.format", text_of(format), "use Auto, ImageFolder or Idx");
  }
  const auto& splits = object.spec.splits;
  double sum = splits.train + splits.val + splits.test;
  if (std::abs(sum - 1.0) > 1e-6) {
    rules.invalid("spec.splits", sum, "is the sum of train, val and test, but it must be 1");
  } else if (splits.train <= 0) {
    rules.invalid("spec.splits.train", splits.train, "must be more than 0");
  }
  if (!splits.group_by.empty()) rules.unsupported("spec.splits.groupBy", splits.group_by);
  if (splits.lists) rules.unsupported("spec.splits.lists", nullptr);
  if (!object.spec.unlabeled.empty()) rules.unsupported("spec.unlabeled", object.spec.unlabeled);
  return std::move(rules.found);
}

std::vector<Violation> validate(const TargetProfile& object) {
  Rules rules;
  const auto& spec = object.spec;
  rules.quantity("spec.memory", spec.memory);
  if (spec.accelerator) rules.quantity("spec.accelerator.memory", spec.accelerator->memory);
  if (spec.engines.empty()) rules.missing("spec.engines", "needs at least one engine");
  bool cloud = spec.reach == TargetProfileReach::kCloud;
  if (cloud != spec.cloud.has_value()) {
    rules.invalid("spec.cloud", nullptr, "is set for reach Cloud, and only then");
  }
  return std::move(rules.found);
}

std::vector<Violation> validate(const Device& object) {
  Rules rules;
  const auto& spec = object.spec;
  const auto& c = spec.connection;
  if (spec.profile_ref.name.empty()) rules.missing("spec.profileRef.name", "is required");
  if (c.type != DeviceConnectionType::kReverse && c.address.empty()) {
    rules.missing("spec.connection.address",
                  "is required for type " + std::string(to_string(c.type)));
  }
  if ((c.type == DeviceConnectionType::kJump) != c.jump.has_value()) {
    rules.invalid("spec.connection.jump", nullptr, "is set for type Jump, and only then");
  }
  if (c.type != DeviceConnectionType::kDirect) {
    rules.unsupported("spec.connection.type", text_of(c.type), "use Direct");
  }
  if (c.address.find_first_of(" \t\n/@") != std::string::npos) {
    rules.invalid("spec.connection.address", c.address, "is not a host name or IP address",
                  "user and port have fields of their own");
  }
  const auto& key = spec.host_key;
  if (key.policy == DeviceHostKeyPolicy::kPinned && key.fingerprints.empty()) {
    rules.missing("spec.hostKey.fingerprints", "is required for policy Pinned",
                  "add the fingerprint, or use policy TrustOnFirstUse and approve what is found");
  }
  if (key.policy == DeviceHostKeyPolicy::kSignedList) {
    if (!key.signed_list) {
      rules.missing("spec.hostKey.signedList", "is required for policy SignedList");
    }
    rules.unsupported("spec.hostKey.policy", "SignedList", "use Pinned or TrustOnFirstUse");
  }
  if (spec.provision.mode == DeviceProvisionMode::kSystem) {
    rules.unsupported("spec.provision.mode", "System", "use User");
  }
  if ((spec.agent.root + "/").find("/../") != std::string::npos) {
    rules.invalid("spec.agent.root", spec.agent.root, "must not contain ..");
  }
  if (spec.agent.root == "/") rules.invalid("spec.agent.root", "/", "must be a folder of its own");
  if (spec.sandbox == DeviceSandbox::kRequired) {
    rules.unsupported("spec.sandbox", "Required", "use BestEffort");
  }
  if (!spec.monitors.empty()) rules.unsupported("spec.monitors", nullptr);
  for (const auto& [name, window] : {std::pair{"spec.transferWindow", &spec.transfer_window},
                                     std::pair{"spec.activationWindow", &spec.activation_window}}) {
    if (!window->has_value()) continue;
    rules.positive_duration(std::string(name) / "duration", (*window)->duration);
    rules.unsupported(name, (*window)->schedule, "leave it out; the device is always open");
  }
  return std::move(rules.found);
}

std::vector<Violation> validate(const SearchJob& object) {
  Rules rules;
  const auto& spec = object.spec;
  if (spec.objectives.empty()) rules.missing("spec.objectives", "needs at least one objective");
  if (spec.parameters.empty() && !spec.nas) {
    rules.missing("spec.parameters", "is required unless nas is given");
  }
  std::set<std::string> names;
  for (const auto& p : spec.parameters) names.insert(p.name);
  for (std::size_t i = 0; i < spec.parameters.size(); ++i) {
    const auto& p = spec.parameters[i];
    std::string path = item("spec.parameters", i);
    bool categorical = p.type == SearchJobParameterType::kCategorical;
    if (categorical && p.values.empty())
      rules.missing(path / "values", "is required for type Categorical");
    if (!categorical && (p.min.empty() || p.max.empty())) {
      rules.missing(path, "needs min and max for type " + std::string(to_string(p.type)));
    } else if (!categorical) {
      double low = std::strtod(p.min.c_str(), nullptr), high = std::strtod(p.max.c_str(), nullptr);
      if (!(low <= high)) rules.invalid(path / "min", p.min, "is above max " + p.max);
      if (p.scale == SearchJobParameterScale::kLog && !(low > 0)) {
        rules.invalid(path / "min", p.min, "must be above 0 on a Log scale");
      }
    }
    if (p.when && (names.count(p.when->parameter) == 0 || p.when->parameter == p.name)) {
      rules.invalid(path / "when.parameter", p.when->parameter,
                    "is not another parameter of this search");
    }
  }
  for (std::size_t i = 0; i < spec.bindings.size(); ++i) {
    if (names.count(spec.bindings[i].parameter) == 0) {
      rules.invalid(item("spec.bindings", i) / "parameter", spec.bindings[i].parameter,
                    "is not a parameter of this search");
    }
  }
  rules.positive_duration("spec.budget.time", spec.budget.time);
  rules.unsupported("spec", nullptr, "train with settings of your choice by a TrainJob");
  return std::move(rules.found);
}

std::vector<Violation> validate(const Trial& object) {
  Rules rules;
  if (object.spec.search_ref.name.empty()) rules.missing("spec.searchRef.name", "is required");
  rules.unsupported("spec", nullptr);
  return std::move(rules.found);
}

std::vector<Violation> validate(const TrainJob& object) {
  Rules rules;
  const auto& spec = object.spec;
  if (spec.dataset_ref.name.empty()) rules.missing("spec.datasetRef.name", "is required");
  rules.exactly_one(
      "spec", {{"recipe", spec.recipe.has_value()}, {"recipeRef", spec.recipe_ref.has_value()}});
  if (spec.task != Task::kClassification) {
    rules.unsupported("spec.task", text_of(spec.task), "use Classification");
  }
  if (spec.recipe) {
    for (auto& v : validate(*spec.recipe)) rules.found.push_back(std::move(v));
  }
  rules.digest("spec.datasetDigest", spec.dataset_digest);
  rules.overrides("spec.set", spec.set);
  rules.base_model("spec.baseModel", spec.base_model);
  rules.train("spec.train", spec.train);
  rules.export_settings("spec.export", spec.export_);
  if (spec.pod_template) rules.pod_template("spec.podTemplate", *spec.pod_template);
  return std::move(rules.found);
}

std::vector<Violation> validate(const Model& object) {
  Rules rules;
  if (object.spec.digest.empty()) rules.missing("spec.digest", "is required");
  rules.digest("spec.digest", object.spec.digest);
  rules.digest("spec.graphDigest", object.spec.graph_digest);
  for (std::size_t i = 0; i < object.spec.formats.size(); ++i) {
    rules.digest(item("spec.formats", i) / "digest", object.spec.formats[i].digest);
  }
  if (object.spec.repository.empty()) rules.missing("spec.repository", "is required");
  return std::move(rules.found);
}

std::vector<Violation> validate(const ImageBuild& object) {
  Rules rules;
  const auto& spec = object.spec;
  if (spec.model_ref.name.empty()) rules.missing("spec.modelRef.name", "is required");
  if (spec.profile_ref.name.empty()) rules.missing("spec.profileRef.name", "is required");
  rules.digest("spec.modelDigest", spec.model_digest);
  if (spec.output != ImageBuildOutput::kAuto && spec.output != ImageBuildOutput::kBundle) {
    rules.unsupported("spec.output", text_of(spec.output), "use Bundle");
  }
  rules.precision("spec.precision", spec.precision);
  rules.engine("spec.engine", spec.engine);
  if (spec.io) rules.io("spec.io", *spec.io);
  if (spec.health_gate) rules.health_gate("spec.healthGate", *spec.health_gate);
  if (spec.pod_template) rules.pod_template("spec.podTemplate", *spec.pod_template);
  return std::move(rules.found);
}

std::vector<Violation> validate(const TangoDeployment& object) {
  Rules rules;
  const auto& spec = object.spec;
  const auto& release = spec.release;
  if (!release.image_build_ref && release.digest.empty()) {
    rules.missing("spec.release", "needs imageBuildRef or digest");
  }
  if (!release.image_build_ref && !release.digest.empty() && release.repository.empty()) {
    rules.missing("spec.release.repository", "is required for a release by digest");
  }
  rules.digest("spec.release.digest", release.digest);
  const auto& target = spec.target;
  rules.exactly_one("spec.target", {{"deviceSelector", target.device_selector.has_value()},
                                    {"kubernetes", target.kubernetes.has_value()},
                                    {"cloud", target.cloud.has_value()}});
  if (target.device_selector) rules.selector("spec.target.deviceSelector", *target.device_selector);
  if (target.kubernetes) rules.unsupported("spec.target.kubernetes", nullptr, "use deviceSelector");
  if (target.cloud) rules.unsupported("spec.target.cloud", nullptr, "use deviceSelector");
  for (std::size_t i = 0; i < spec.config.size(); ++i) {
    const auto& file = spec.config[i];
    std::string path = item("spec.config", i);
    rules.exactly_one(path, {{"inline", !file.inline_.empty()},
                             {"configMapRef", file.config_map_ref.has_value()},
                             {"secretRef", file.secret_ref.has_value()}});
    if (file.name.empty() || file.name[0] == '/' ||
        ("/" + file.name + "/").find("/../") != std::string::npos) {
      rules.invalid(path / "name", file.name, "must be a relative path without ..");
    }
  }
  rules.strategy("spec.strategy", spec.strategy);
  rules.health_gate("spec.healthGate", spec.health_gate);
  rules.trust("spec.trust", spec.trust);
  if (spec.io) rules.io("spec.io", *spec.io);
  rules.duration("spec.deletionDeadline", spec.deletion_deadline);
  return std::move(rules.found);
}

}  // namespace tango::crds
