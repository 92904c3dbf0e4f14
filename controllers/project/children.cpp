#include "controllers/common/conditions.h"
#include "controllers/project/project.h"
#include "crds/image_build.h"
#include "crds/tango_deployment.h"
#include "crds/tango_project.h"
#include "crds/train_job.h"
#include "lib/base/digest.h"
#include "lib/kube-types/writer.h"

namespace tango::controllers {
namespace {

Json object(const kube::KindInfo& kind, const crds::TangoProject& project, const std::string& name,
            Json spec) {
  return Json{{"apiVersion", kind.api_version()},
              {"kind", std::string(kind.kind)},
              {"metadata",
               {{"name", name},
                {"namespace", project.metadata.ns},
                {"labels",
                 {{"app.kubernetes.io/managed-by", "tango"},
                  {std::string(kProjectLabel), project.metadata.name}}},
                {"ownerReferences",
                 Json::array({owner_reference(crds::TangoProject::kKind, project.metadata)})}}},
              {"spec", std::move(spec)}};
}

// The name says what is made from what; settings of where it runs are not part of it.
std::string name_of(const crds::TangoProject& project, const std::string& stage, Json spec) {
  for (const char* key : {"podTemplate", "suspend"}) spec.erase(key);
  const auto text = canonical_json(spec);
  return kube::child_name(project.metadata.name, stage,
                          sha256(text.ok() ? *text : dump_json(spec)).hex());
}

}  // namespace

Json trainjob_manifest(const crds::TangoProject& project, const std::string& network,
                       const std::string& digest) {
  const auto& s = project.spec;
  Json spec{{"task", std::string(to_string(s.task))},
            {"datasetRef", kube::to_value(s.dataset_ref)},
            {"datasetDigest", digest},
            {"train", kube::to_value(s.train)},
            {"export", kube::to_value(s.export_)},
            {"baseModel", kube::to_value(s.base_model)},
            {"projectRef", {{"name", project.metadata.name}}},
            {"projectVersion", s.version}};
  spec["baseModel"]["name"] = network;
  const std::string mode(to_string(s.learning.mode));
  std::string recipe = mode == "Distill" ? "cls-distil" : "cls-supervised";
  if (s.recipe_ref) recipe = s.recipe_ref->name;
  spec["recipeRef"] = Json{{"name", recipe}};
  if (!s.set.empty()) spec["set"] = s.set;
  if (s.learning.teacher_ref) spec["teacherRef"] = kube::to_value(*s.learning.teacher_ref);
  if (s.learning.from_model_ref) spec["fromModelRef"] = kube::to_value(*s.learning.from_model_ref);
  const std::string name = name_of(project, "train", spec);
  if (s.pod_template) spec["podTemplate"] = kube::to_value(*s.pod_template);
  if (s.suspend) spec["suspend"] = true;
  return object(crds::TrainJob::kKind, project, name, std::move(spec));
}

Json imagebuild_manifest(const crds::TangoProject& project, const crds::TangoProjectTarget& target,
                         const std::string& model) {
  Json spec{{"modelRef", {{"name", model}}},
            {"profileRef", kube::to_value(target.profile_ref)},
            {"healthGate", kube::to_value(target.rollout.health_gate)},
            {"precision", std::string(to_string(project.spec.export_.precision))},
            {"projectRef", {{"name", project.metadata.name}}}};
  if (target.io) spec["io"] = kube::to_value(*target.io);
  const std::string name = name_of(project, target.name, spec);
  if (project.spec.pod_template) spec["podTemplate"] = kube::to_value(*project.spec.pod_template);
  return object(crds::ImageBuild::kKind, project, name, std::move(spec));
}

std::string deployment_name(const crds::TangoProject& project,
                            const crds::TangoProjectTarget& target) {
  std::string name = project.metadata.name + "-" + target.name;
  if (name.size() > 63)
    name = kube::child_name(project.metadata.name, target.name, sha256(name).hex());
  return name;
}

Json deployment_manifest(const crds::TangoProject& project, const crds::TangoProjectTarget& target,
                         const std::string& image_build) {
  Json spec{{"release", {{"imageBuildRef", {{"name", image_build}}}}},
            {"strategy", kube::to_value(target.rollout.strategy)},
            {"healthGate", kube::to_value(target.rollout.health_gate)},
            {"rollback", std::string(to_string(target.rollout.rollback))},
            {"paused", project.spec.suspend},
            {"target", Json::object()}};
  if (target.device_selector)
    spec["target"]["deviceSelector"] = kube::to_value(*target.device_selector);
  if (target.rollout.trust) spec["trust"] = kube::to_value(*target.rollout.trust);
  if (target.io) spec["io"] = kube::to_value(*target.io);
  return object(crds::TangoDeployment::kKind, project, deployment_name(project, target),
                std::move(spec));
}

}  // namespace tango::controllers
