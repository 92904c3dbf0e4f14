// The rules beyond the schema: one row per rule, from manifests as people write them.
#include "crds/validate.h"

#include <gtest/gtest.h>

#include "lib/base/yaml.h"

namespace tango::crds {
namespace {

constexpr const char* kGood[] = {
    // TangoProject
    R"(
kind: TangoProject
metadata: {name: p}
spec:
  task: Classification
  datasetRef: {name: d}
  targets: [{name: t, profileRef: {name: linux-x86}, deviceSelector: {matchLabels: {a: b}}}]
)",
    // Dataset
    R"(
kind: Dataset
metadata: {name: d}
spec: {source: {hostPath: {path: /data}}}
)",
    // Device
    R"(
kind: Device
metadata: {name: dev}
spec:
  profileRef: {name: linux-x86}
  connection: {address: 10.0.0.1}
  hostKey: {policy: TrustOnFirstUse}
)",
    // TrainJob
    R"(
kind: TrainJob
metadata: {name: j}
spec:
  datasetRef: {name: d}
  recipe:
    stages:
    - {name: train, type: Train, inputs: {dataset: {datasetRef: {name: d}}}}
    - {name: evaluate, type: Evaluate, inputs: {model: {from: train.model}}}
)",
    // Deployment
    R"(
kind: Deployment
metadata: {name: dep}
spec:
  release: {imageBuildRef: {name: b}}
  target: {deviceSelector: {all: true}}
)",
    // SearchJob
    R"(
kind: SearchJob
metadata: {name: s}
spec:
  objectives: [{metric: top1, direction: Maximize}]
  parameters: [{name: lr, type: Double, min: "0.1", max: "1", scale: Log}]
  budget: {trials: 5}
  template: {trainJob: {}}
)",
    // ImageBuild
    R"(
kind: ImageBuild
metadata: {name: b}
spec: {modelRef: {name: m}, profileRef: {name: linux-x86}}
)",
    // Model
    R"(
kind: Model
metadata: {name: m}
spec:
  task: Classification
  repository: tango/default/p
  digest: sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef
)",
    // TargetProfile
    R"(
kind: TargetProfile
metadata: {name: x}
spec: {arch: amd64, os: Linux, delivery: Bundle, engines: [{name: OpenCV, formats: [ONNX], precisions: [FP32]}]}
)"};

Json good(std::string_view kind) {
  for (const char* text : kGood) {
    auto d = parse_yaml(text);
    if (d.ok() && get_string(d->value, "kind") == kind) {
      Json o = d->value;
      o["apiVersion"] = "ml-tango.io/v1alpha1";
      return o;
    }
  }
  ADD_FAILURE() << kind;
  return {};
}

TEST(Validate, GoodObjectsPass) {
  for (const char* kind : {"TangoProject", "Dataset", "Device", "TrainJob", "Deployment",
                           "ImageBuild", "Model", "TargetProfile"}) {
    auto found = validate_object(good(kind));
    EXPECT_TRUE(found.empty()) << kind << ": " << summary(found);
  }
}

struct Row {
  const char* name;
  const char* kind;
  const char* pointer;  // what is changed
  const char* value;    // YAML
  const char* path;     // where it must be reported
  const char* reason;
  const char* text;  // part of the rule
};
std::ostream& operator<<(std::ostream& out, const Row& row) { return out << row.name; }
class Rule : public ::testing::TestWithParam<Row> {};

TEST_P(Rule, IsReportedAtItsPath) {
  const Row& row = GetParam();
  Json o = good(row.kind);
  auto value = parse_yaml(std::string("v: ") + row.value);
  ASSERT_TRUE(value.ok()) << value.error().to_string();
  o[Json::json_pointer(row.pointer)] = value->value["v"];
  auto found = validate_object(o);
  bool seen = false;
  for (const auto& v : found) {
    seen = seen || (v.path == row.path && v.reason == row.reason &&
                    v.rule.find(row.text) != std::string::npos);
  }
  EXPECT_TRUE(seen) << summary(found);
  EXPECT_EQ(only_unsupported(found), std::string_view(row.reason) == "Unsupported")
      << summary(found);
}

INSTANTIATE_TEST_SUITE_P(
    Project, Rule,
    ::testing::Values(
        Row{"NameLength", "TangoProject", "/metadata/name",
            "abcdefghij-abcdefghij-abcdefghij-abcdefghij", "metadata.name", "Invalid", "40"},
        Row{"EmptySelector", "TangoProject", "/spec/targets/0/deviceSelector", "{}",
            "spec.targets[0].deviceSelector", "Missing", "at least one term"},
        Row{"AllAndTerms", "TangoProject", "/spec/targets/0/deviceSelector/all", "true",
            "spec.targets[0].deviceSelector.all", "Invalid", "contradicts"},
        Row{"InWithoutValues", "TangoProject", "/spec/targets/0/deviceSelector/matchExpressions",
            "[{key: a, operator: In}]", "spec.targets[0].deviceSelector.matchExpressions[0].values",
            "Missing", "In"},
        Row{"TwoTargetKinds", "TangoProject", "/spec/targets/0/kubernetes", "{}", "spec.targets[0]",
            "Invalid", "set together"},
        Row{"NoTargetKind", "TangoProject", "/spec/targets/0", "{name: t, profileRef: {name: x}}",
            "spec.targets[0]", "Missing", "exactly one of"},
        Row{"Kubernetes", "TangoProject", "/spec/targets/0",
            "{name: t, profileRef: {name: x}, kubernetes: {replicas: 2}}",
            "spec.targets[0].kubernetes", "Unsupported", "not supported"},
        Row{"Cloud", "TangoProject", "/spec/targets/0",
            "{name: t, profileRef: {name: x}, cloud: {provider: AWS}}", "spec.targets[0].cloud",
            "Unsupported", "not supported"},
        Row{"Detection", "TangoProject", "/spec/task", "Detection", "spec.task", "Unsupported",
            "not supported"},
        Row{"MetricOfTask", "TangoProject", "/spec/objective", "{metric: mIoU}",
            "spec.objective.metric", "Invalid", "not a metric of"},
        Row{"ZeroLatency", "TangoProject", "/spec/objective", "{constraints: {latency: 0s}}",
            "spec.objective.constraints.latency", "Invalid", "longer than zero"},
        Row{"QuantityOverflow", "TangoProject", "/spec/objective",
            "{constraints: {memory: 99999999999999999999}}", "spec.objective.constraints.memory",
            "Invalid", ""},
        Row{"FineTuneParent", "TangoProject", "/spec/learning", "{mode: FineTune}",
            "spec.learning.fromModelRef", "Missing", "FineTune"},
        Row{"FineTune", "TangoProject", "/spec/learning",
            "{mode: FineTune, fromModelRef: {name: m}}", "spec.learning.mode", "Unsupported",
            "not supported"},
        Row{"DistillTeacher", "TangoProject", "/spec/learning", "{mode: Distill}",
            "spec.learning.teacherRef", "Missing", "Distill"},
        Row{"Nas", "TangoProject", "/spec/search", "{nas: 'On'}", "spec.search.nas", "Unsupported",
            "not supported"},
        Row{"Hpo", "TangoProject", "/spec/search", "{hpo: 'On'}", "spec.search.hpo", "Unsupported",
            "not supported"},
        Row{"Override", "TangoProject", "/spec/set", "[epochs 4]", "spec.set[0]", "Invalid",
            "not an override"},
        Row{"Int8", "TangoProject", "/spec/export", "{precision: INT8}", "spec.export.precision",
            "Unsupported", "not supported"},
        Row{"KnownEngine", "TangoProject", "/spec/export", "{engines: [TensorRT]}",
            "spec.export.engines[0]", "Unsupported", "not supported"},
        Row{"UnknownEngine", "TangoProject", "/spec/export", "{engines: [Steam]}",
            "spec.export.engines[0]", "Invalid", "not a known engine"},
        Row{"Weights", "TangoProject", "/spec/baseModel",
            "{name: resnet20, weights: {oci: x, sha256: "
            "'sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef'}}",
            "spec.baseModel.weights", "Unsupported", "not supported"},
        Row{"RequestAboveLimit", "TangoProject", "/spec/podTemplate",
            "{resources: {requests: {memory: 2Gi}, limits: {memory: 1Gi}}}",
            "spec.podTemplate.resources.requests.memory", "Invalid", "more than the limit"},
        Row{"EarlyApproval", "TangoProject", "/spec/approvals", "[{stage: Deploy, version: 2}]",
            "spec.approvals[0].version", "Invalid", "above"},
        Row{"CountAndPercent", "TangoProject", "/spec/targets/0/rollout",
            "{strategy: {phases: [{count: 1, percent: 5}]}}",
            "spec.targets[0].rollout.strategy.phases[0]", "Invalid", "set together"},
        Row{"ManualPhaseName", "TangoProject", "/spec/targets/0/rollout",
            "{strategy: {phases: [{count: 1, approval: Manual}]}}",
            "spec.targets[0].rollout.strategy.phases[0].name", "Missing", "Manual"},
        Row{"Camera", "TangoProject", "/spec/targets/0/io", "{input: {camera: 0}}",
            "spec.targets[0].io.input", "Unsupported", "not supported"}));

INSTANTIATE_TEST_SUITE_P(
    Others, Rule,
    ::testing::Values(
        Row{"NoSource", "Dataset", "/spec/source", "{}", "spec.source", "Missing", "exactly one"},
        Row{"TwoSources", "Dataset", "/spec/source/pvc", "{claimName: x}", "spec.source", "Invalid",
            "set together"},
        Row{"HostPathDots", "Dataset", "/spec/source/hostPath/path", "/data/../etc",
            "spec.source.hostPath.path", "Invalid", ".."},
        Row{"S3", "Dataset", "/spec/source", "{s3: {endpoint: 'https://s', bucket: b}}",
            "spec.source.s3", "Unsupported", "not supported"},
        Row{"Coco", "Dataset", "/spec/format", "COCO", "spec.format", "Unsupported",
            "not supported"},
        Row{"SplitSum", "Dataset", "/spec/splits", "{train: 0.9, val: 0.2, test: 0.1}",
            "spec.splits", "Invalid", "must be 1"},
        Row{"NoTrain", "Dataset", "/spec/splits", "{train: 0, val: 0.5, test: 0.5}",
            "spec.splits.train", "Invalid", "more than 0"},
        Row{"NoAddress", "Device", "/spec/connection", "{user: x}", "spec.connection.address",
            "Missing", "Direct"},
        Row{"AddressWithUser", "Device", "/spec/connection/address", "tango@host",
            "spec.connection.address", "Invalid", "host name"},
        Row{"PinnedWithoutKey", "Device", "/spec/hostKey", "{policy: Pinned}",
            "spec.hostKey.fingerprints", "Missing", "Pinned"},
        Row{"Jump", "Device", "/spec/connection",
            "{type: Jump, address: a, jump: {address: j, fingerprints: "
            "['SHA256:2Zlm3mY8mGvLhqkOqIYKyzcCLKjVHPdPZcXUcBs9aHw']}}",
            "spec.connection.type", "Unsupported", "not supported"},
        Row{"JumpMissing", "Device", "/spec/connection", "{type: Jump, address: a}",
            "spec.connection.jump", "Invalid", "only then"},
        Row{"System", "Device", "/spec/provision", "{mode: System}", "spec.provision.mode",
            "Unsupported", "not supported"},
        Row{"RootFolder", "Device", "/spec/agent", "{root: /}", "spec.agent.root", "Invalid",
            "folder of its own"},
        Row{"Window", "Device", "/spec/transferWindow", "{schedule: '0 0 * * *', duration: 6h}",
            "spec.transferWindow", "Unsupported", "not supported"},
        Row{"NoRecipe", "TrainJob", "/spec", "{datasetRef: {name: d}}", "spec", "Missing",
            "recipe"},
        Row{"TwoRecipes", "TrainJob", "/spec/recipeRef", "{name: r}", "spec", "Invalid",
            "set together"},
        Row{"UnknownStage", "TrainJob", "/spec/recipe/stages/0/type", "Trian",
            "spec.recipe.stages[0].type", "Invalid", "not a stage type"},
        Row{"KnownStage", "TrainJob", "/spec/recipe/stages", "[{name: q, type: Quantize}]",
            "spec.recipe.stages[0].type", "Unsupported", "not supported"},
        Row{"UnknownInput", "TrainJob", "/spec/recipe/stages/1/inputs",
            "{modle: {from: train.model}}", "spec.recipe.stages[1].inputs.modle", "Invalid",
            "not an input"},
        Row{"NoSuchStage", "TrainJob", "/spec/recipe/stages/1/inputs",
            "{model: {from: pretrain.model}}", "spec.recipe.stages[1].inputs.model.from", "Invalid",
            "no stage"},
        Row{"NoSuchOutput", "TrainJob", "/spec/recipe/stages/1/inputs",
            "{model: {from: train.report}}", "spec.recipe.stages[1].inputs.model.from", "Invalid",
            "no output"},
        Row{"TypeMismatch", "TrainJob", "/spec/recipe/stages/1/inputs",
            "{model: {from: train.trainerState}}", "spec.recipe.stages[1].inputs.model.from",
            "Invalid", "needs Network"},
        Row{"DatasetMismatch", "TrainJob", "/spec/recipe/stages/1/inputs",
            "{model: {datasetRef: {name: d}}}", "spec.recipe.stages[1].inputs.model.datasetRef",
            "Invalid", "needs Network"},
        Row{"TwoInputSources", "TrainJob", "/spec/recipe/stages/1/inputs",
            "{model: {from: train.model, modelRef: {name: m}}}",
            "spec.recipe.stages[1].inputs.model", "Invalid", "set together"},
        Row{"Circle", "TrainJob", "/spec/recipe/stages",
            "[{name: a, type: Train, inputs: {model: {from: b.model}}}, {name: b, type: Train, "
            "inputs: {model: {from: a.model}}}]",
            "spec.recipe.stages", "Invalid", "circle"},
        Row{"SelfCircle", "TrainJob", "/spec/recipe/stages",
            "[{name: a, type: Train, inputs: {model: {from: a.model}}}]", "spec.recipe.stages",
            "Invalid", "circle"},
        Row{"NoRelease", "Deployment", "/spec/release", "{}", "spec.release", "Missing",
            "imageBuildRef"},
        Row{"DigestWithoutRepository", "Deployment", "/spec/release",
            "{digest: 'sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef'}",
            "spec.release.repository", "Missing", "digest"},
        Row{"NoTarget", "Deployment", "/spec/target", "{}", "spec.target", "Missing",
            "exactly one"},
        Row{"ConfigPath", "Deployment", "/spec/config", "[{name: ../x, inline: a}]",
            "spec.config[0].name", "Invalid", "relative"},
        Row{"ConfigSources", "Deployment", "/spec/config", "[{name: x}]", "spec.config[0]",
            "Missing", "exactly one"},
        Row{"Threshold", "Deployment", "/spec/trust", "{keyIds: [a], threshold: 2}",
            "spec.trust.threshold", "Invalid", "number of keys"},
        Row{"KeyTwice", "Deployment", "/spec/trust", "{keyIds: [a, a]}", "spec.trust.keyIds",
            "Invalid", "twice"},
        Row{"PhaseNames", "Deployment", "/spec/strategy",
            "{phases: [{name: a, count: 1}, {name: a, percent: 100}]}",
            "spec.strategy.phases[1].name", "Invalid", "two phases"},
        Row{"OciImage", "ImageBuild", "/spec/output", "OCIImage", "spec.output", "Unsupported",
            "not supported"},
        Row{"CloudProfile", "TargetProfile", "/spec/reach", "Cloud", "spec.cloud", "Invalid",
            "only then"},
        Row{"Search", "SearchJob", "/spec/budget", "{trials: 5}", "spec", "Unsupported",
            "not supported"},
        Row{"LogFromZero", "SearchJob", "/spec/parameters/0/min", "'0'", "spec.parameters[0].min",
            "Invalid", "Log"},
        Row{"MinAboveMax", "SearchJob", "/spec/parameters/0/min", "'5'", "spec.parameters[0].min",
            "Invalid", "above max"},
        Row{"When", "SearchJob", "/spec/parameters/0/when", "{parameter: lr, in: [a]}",
            "spec.parameters[0].when.parameter", "Invalid", "another parameter"},
        Row{"Binding", "SearchJob", "/spec/bindings", "[{parameter: nope, path: a}]",
            "spec.bindings[0].parameter", "Invalid", "not a parameter"}));

TEST(Validate, CircleIsShown) {
  Recipe recipe;
  for (const char* name : {"a", "b", "c"})
    recipe.stages.push_back({name, "Train", {}, {}, Json::object()});
  recipe.stages[0].inputs["model"].from = "c.model";
  recipe.stages[1].inputs["model"].from = "a.model";
  recipe.stages[2].inputs["model"].from = "b.model";
  auto found = validate(recipe);
  ASSERT_EQ(found.size(), 1u) << summary(found);
  EXPECT_EQ(found[0].value, "a → c → b → a");
}

TEST(Validate, ModelsAreImmutableAndVersionsNeverFall) {
  Json old = good("Model"), now = old;
  EXPECT_TRUE(validate_object(now, old).empty());
  now["spec"]["licence"] = "MIT";
  auto found = validate_object(now, old);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].path, "spec");
  Json p = good("TangoProject"), q = p;
  p["spec"]["version"] = 3;
  q["spec"]["version"] = 2;
  found = validate_object(q, p);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].path, "spec.version");
}

TEST(Validate, RulesOfTheUnfinishedKindStillHold) {
  auto found = validate_object(good("SearchJob"));
  EXPECT_TRUE(only_unsupported(found));
  ASSERT_EQ(found.size(), 1u);
}

}  // namespace
}  // namespace tango::crds
