// Dataset, TrainJob, Model and ImageBuild: each flow, each failure with its reason.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/controllers/pipeline.h"

namespace tango::controllers {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr std::string_view kTrainJob = R"(
apiVersion: ml-tango.io/v1alpha1
kind: TrainJob
metadata: {name: job}
spec: {datasetRef: {name: fashion}, recipeRef: {name: cls-supervised}, baseModel: {name: resnet20}, train: {epochs: 3}}
)";

TEST(DatasetController, ValidatesOnceAndThenRests) {
  Pipeline c;
  c.apply_yaml(kDataset);
  c.pass();
  EXPECT_EQ(c.condition("Dataset", "fashion", "Ready"), "False/Validating");
  c.settle();
  EXPECT_EQ(c.condition("Dataset", "fashion", "Ready"), "True/Ready");
  const Json& status = c.object("Dataset", "fashion")["status"];
  EXPECT_EQ(status["digest"], digest_of("data"));
  EXPECT_EQ(status["images"], 10);
  EXPECT_EQ(status["channels"], 1);
  EXPECT_EQ(status["perClass"]["b"], 5);
  EXPECT_EQ(status["size"]["medianWidth"], 28);
  EXPECT_EQ(status["splits"]["train"]["corruptCount"], 1);
  EXPECT_EQ(status["splits"]["train"]["corrupt"][0], "x.png");
  EXPECT_EQ(c.jobs_run, 1);
  EXPECT_EQ(c.pass(), 0);
}

TEST(DatasetController, JobGetsItsStageAndTheDataReadOnly) {
  Pipeline c;
  c.run_jobs = false;
  c.apply_yaml(kDataset);
  c.settle();
  ASSERT_THAT(c.names("Job"), SizeIs(1));
  const Json job = c.object("Job", c.names("Job")[0]);
  EXPECT_EQ(job["spec"]["backoffLimit"], 0);
  const Json& pod = job["spec"]["template"]["spec"];
  EXPECT_EQ(pod["containers"][0]["image"], "tango.local/trainer:dev");
  bool data = false;
  for (const Json& m : pod["containers"][0]["volumeMounts"]) {
    if (m["name"] == "data") {
      data = true;
      EXPECT_EQ(m["mountPath"], "/tango/data");
      EXPECT_EQ(m["readOnly"], true);
    }
  }
  EXPECT_TRUE(data);
  const Json stage =
      parse_json(c.object("ConfigMap", c.names("Job")[0])["data"]["stage.json"].get<std::string>())
          .value();
  EXPECT_EQ(stage["type"], "Dataset");
  EXPECT_EQ(stage["config"]["format"], "Idx");
  EXPECT_EQ(stage["registry"]["repository"], "tango/default/fashion");
  EXPECT_EQ(stage["runId"], "default/" + c.names("Job")[0]);
}

TEST(DatasetController, WipedStatusRunsNothingAgain) {
  Pipeline c;
  c.apply_yaml(kDataset);
  c.settle();
  c.object("Dataset", "fashion").erase("status");
  for (const auto& j : c.names("Job")) c.erase("Job", j);
  c.works.clear();
  c.settle();
  EXPECT_EQ(c.condition("Dataset", "fashion", "Ready"), "True/Ready");
  EXPECT_EQ(c.jobs_run, 1);
}

TEST(DatasetController, BadDataIsNeverRetriedAndSaysWhy) {
  Pipeline c;
  c.exit_codes["data"] = 10;
  c.apply_yaml(kDataset);
  c.settle();
  EXPECT_EQ(c.condition("Dataset", "fashion", "Ready"), "False/DataBroken");
  EXPECT_EQ(c.message("Dataset", "fashion", "Ready"), "the program said so");
  EXPECT_EQ(c.jobs_run, 1);
  c.now += Seconds{3600};
  c.settle();
  EXPECT_EQ(c.jobs_run, 1);
  // The annotation asks for another look.
  c.object("Dataset", "fashion")["metadata"]["annotations"]["ml-tango.io/retry"] = "1";
  c.settle();
  EXPECT_EQ(c.condition("Dataset", "fashion", "Ready"), "True/Ready");
}

TEST(DatasetController, HostPathNeedsTheFlag) {
  Pipeline c;
  c.settings.allow_host_path = false;
  c.apply_yaml(kDataset);
  c.settle();
  EXPECT_EQ(c.condition("Dataset", "fashion", "Accepted"), "False/HostPathNotAllowed");
  EXPECT_THAT(c.names("Job"), IsEmpty());
}

TEST(DatasetController, SourcesOfLaterVersionsAreUnsupportedWithTheirPath) {
  Pipeline c;
  c.apply_yaml(R"(
apiVersion: ml-tango.io/v1alpha1
kind: Dataset
metadata: {name: web}
spec: {source: {oci: {ref: "registry/x@sha256:aa"}}}
)");
  c.settle();
  EXPECT_EQ(c.condition("Dataset", "web", "Accepted"), "False/Unsupported");
  EXPECT_THAT(c.message("Dataset", "web", "Accepted"), HasSubstr("spec.source.oci"));
}

TEST(DatasetController, RegistryDownIsSaidAndWaitedFor) {
  Pipeline c;
  c.registry_up = false;
  c.apply_yaml(kDataset);
  c.settle();
  EXPECT_THAT(c.message("Dataset", "fashion", "Ready"), HasSubstr("RegistryUnavailable"));
  EXPECT_THAT(c.names("Job"), IsEmpty());
  ASSERT_TRUE(c.last("Dataset", "fashion").requeue_after);
  c.registry_up = true;
  c.now += Seconds{6};
  c.settle();
  EXPECT_EQ(c.condition("Dataset", "fashion", "Ready"), "True/Ready");
}

TEST(TrainJobController, RunsItsStagesInOrderAndMakesAModel) {
  Pipeline c;
  c.apply_yaml(kDataset);
  c.apply_yaml(kTrainJob);
  c.settle();
  EXPECT_EQ(c.condition("TrainJob", "job", "Succeeded"), "True/Succeeded")
      << c.message("TrainJob", "job", "Succeeded");
  const Json& status = c.object("TrainJob", "job")["status"];
  ASSERT_THAT(status["stages"], SizeIs(3));
  for (const Json& s : status["stages"]) EXPECT_EQ(s["state"], "Completed") << s.dump();
  EXPECT_EQ(status["metrics"]["top1"], 0.91) << "of the test split";
  ASSERT_THAT(c.names("Model"), SizeIs(1));
  const Json& model = c.object("Model", c.names("Model")[0]);
  EXPECT_EQ(model["spec"]["digest"], status["modelDigest"]);
  EXPECT_EQ(model["spec"]["lineage"]["datasetDigest"], digest_of("data"));
  EXPECT_FALSE(model["metadata"].contains("ownerReferences"));
  EXPECT_EQ(c.condition("Model", c.names("Model")[0], "Ready"), "True/Available");
  EXPECT_EQ(c.jobs_run, 4);
  EXPECT_EQ(c.pass(), 0);
}

TEST(TrainJobController, WipedStatusRetrainsNothing) {
  Pipeline c;
  c.apply_yaml(kDataset);
  c.apply_yaml(kTrainJob);
  c.settle();
  const std::string model = c.names("Model").at(0);
  c.object("TrainJob", "job").erase("status");
  c.object("Dataset", "fashion").erase("status");
  for (const auto& j : c.names("Job")) c.erase("Job", j);
  c.works.clear();
  c.settle();
  EXPECT_EQ(c.condition("TrainJob", "job", "Succeeded"), "True/Succeeded");
  EXPECT_EQ(c.jobs_run, 4);
  EXPECT_THAT(c.names("Model"), ::testing::ElementsAre(model));
}

TEST(TrainJobController, MissingDatasetAndRecipeAreNamed) {
  Pipeline c;
  c.apply_yaml(kTrainJob);
  c.settle();
  EXPECT_EQ(c.condition("TrainJob", "job", "Succeeded"), "Unknown/DatasetNotFound");
  c.apply_yaml(kDataset);
  c.patch_spec("TrainJob", "job", {{"recipeRef", {{"name", "nope"}}}});
  c.settle();
  EXPECT_EQ(c.condition("TrainJob", "job", "Accepted"), "False/RecipeNotFound");
  EXPECT_THAT(c.message("TrainJob", "job", "Accepted"), HasSubstr("cls-supervised"));
}

TEST(TrainJobController, UnknownSettingIsRefusedWithItsPath) {
  Pipeline c;
  c.apply_yaml(kDataset);
  c.apply_yaml(kTrainJob);
  c.patch_spec("TrainJob", "job", {{"set", {"train.epoch=4"}}});
  c.settle();
  EXPECT_EQ(c.condition("TrainJob", "job", "Accepted"), "False/UnknownKey");
  EXPECT_THAT(c.message("TrainJob", "job", "Accepted"), HasSubstr("set[0] train.epoch"));
}

TEST(TrainJobController, OutOfMemoryIsRetriedWithASmallerBatch) {
  Pipeline c;
  c.exit_codes["train"] = 11;
  c.apply_yaml(kDataset);
  c.apply_yaml(kTrainJob);
  c.settle();
  EXPECT_EQ(c.condition("TrainJob", "job", "Succeeded"), "Unknown/Running");
  c.now += Seconds{6};
  c.settle();
  EXPECT_EQ(c.condition("TrainJob", "job", "Succeeded"), "True/Succeeded")
      << c.message("TrainJob", "job", "Succeeded");
  bool seen = false;
  for (const auto& name : c.names("ConfigMap")) {
    const Json stage =
        parse_json(c.object("ConfigMap", name)["data"]["stage.json"].get<std::string>()).value();
    if (stage["stage"] == "train" && stage["attempt"] == 2) {
      seen = true;
      EXPECT_EQ(stage["config"]["batchSize"], 64);
      EXPECT_THAT(name, HasSubstr("-a2"));
    }
  }
  EXPECT_TRUE(seen);
}

TEST(TrainJobController, RetriesAreBounded) {
  Pipeline c;
  c.run_jobs = false;
  c.apply_yaml(kDataset);
  c.settle();
  c.run_job(c.names("Job").at(0));
  c.settle();
  c.apply_yaml(kTrainJob);
  for (int i = 0; i < 10; ++i) {
    c.settle();
    for (const auto& name : c.names("Job")) {
      if (!c.object("Job", name).contains("status") && name.find("train") != std::string::npos)
        c.finish_job(name, 13);
    }
    c.now += Seconds{400};
  }
  c.settle();
  EXPECT_EQ(c.condition("TrainJob", "job", "Succeeded"), "False/DataBroken");
  EXPECT_THAT(c.message("TrainJob", "job", "Succeeded"), HasSubstr("after 4 attempts"));
  EXPECT_EQ(c.pass(), 0);
}

TEST(TrainJobController, ChangedDataIsRefused) {
  Pipeline c;
  c.apply_yaml(kDataset);
  c.apply_yaml(kTrainJob);
  c.patch_spec("TrainJob", "job", {{"datasetDigest", digest_of("older")}});
  c.settle();
  EXPECT_EQ(c.condition("TrainJob", "job", "Succeeded"), "False/DatasetChanged");
}

TEST(TrainJobController, SuspendStopsTheJobAndResumeGoesOn) {
  Pipeline c;
  c.apply_yaml(kDataset);
  c.settle();
  c.run_jobs = false;
  c.apply_yaml(kTrainJob);
  c.settle();
  ASSERT_THAT(c.names("Job"), SizeIs(2));
  c.patch_spec("TrainJob", "job", {{"suspend", true}});
  c.settle();
  EXPECT_THAT(c.names("Job"), SizeIs(1)) << "the running Job is deleted";
  EXPECT_EQ(c.condition("TrainJob", "job", "Succeeded"), "Unknown/Suspended");
  c.run_jobs = true;
  c.patch_spec("TrainJob", "job", {{"suspend", false}});
  c.settle();
  EXPECT_EQ(c.condition("TrainJob", "job", "Succeeded"), "True/Succeeded");
}

TEST(TrainJobController, ForeignServiceAccountIsRefused) {
  Pipeline c;
  c.apply_yaml(kDataset);
  c.apply_yaml(kTrainJob);
  c.patch_spec("TrainJob", "job", {{"podTemplate", {{"serviceAccountName", "root"}}}});
  c.settle();
  EXPECT_EQ(c.condition("TrainJob", "job", "Accepted"), "False/ServiceAccountNotAllowed");
}

constexpr std::string_view kBuild = R"(
apiVersion: ml-tango.io/v1alpha1
kind: ImageBuild
metadata: {name: build}
spec: {modelRef: {name: m}, profileRef: {name: linux-x86}, healthGate: {latency: 1us, memory: 500Mi, soak: 3s}}
)";
std::string model_yaml() {
  return "apiVersion: ml-tango.io/v1alpha1\nkind: Model\nmetadata: {name: m}\nspec: {task: "
         "Classification, repository: "
         "tango/default/fashion, digest: \"" +
         digest_of("m") + "\"}\n";
}

TEST(ImageBuildController, BuildsThenSigns) {
  Pipeline c;
  c.apply_yaml(kProfile);
  c.apply_yaml(model_yaml());
  c.apply_yaml(kBuild);
  c.settle();
  EXPECT_EQ(c.condition("ImageBuild", "build", "Succeeded"), "True/Succeeded")
      << c.message("ImageBuild", "build", "Succeeded");
  const Json& status = c.object("ImageBuild", "build")["status"];
  EXPECT_EQ(status["signature"]["keyIds"][0], "key1");
  EXPECT_EQ(c.count_started("signer"), 1);
  for (const auto& name : c.names("ConfigMap")) {
    const Json stage =
        parse_json(c.object("ConfigMap", name)["data"]["stage.json"].get<std::string>()).value();
    EXPECT_EQ(stage["type"], "Build");
    EXPECT_EQ(stage["inputs"]["model"], digest_of("m"));
    EXPECT_EQ(stage["config"]["healthGate"]["latencyUs"], 1);
    EXPECT_EQ(stage["config"]["healthGate"]["memoryBytes"], 500 << 20);
    EXPECT_EQ(stage["config"]["healthGate"]["soakMs"], 3000);
  }
  EXPECT_EQ(c.pass(), 0);
}

TEST(ImageBuildController, UnknownProfileAndModelAreNamed) {
  Pipeline c;
  c.apply_yaml(kBuild);
  c.settle();
  EXPECT_EQ(c.condition("ImageBuild", "build", "Succeeded"), "Unknown/ProfileNotFound");
  c.apply_yaml(kProfile);
  c.settle();
  EXPECT_EQ(c.condition("ImageBuild", "build", "Succeeded"), "Unknown/ModelNotFound");
  c.apply_yaml(model_yaml());
  c.settle();
  EXPECT_EQ(c.condition("ImageBuild", "build", "Succeeded"), "True/Succeeded");
}

TEST(ImageBuildController, RefusalOfTheSignerIsFinal) {
  Pipeline c;
  auto normal = c.answer;
  c.answer = [&](const kube::Work& w) -> std::optional<Result<Json>> {
    if (w.executor == "signer")
      return make_error(Code::kDenied, "LineageMismatch", "made of another model");
    return normal(w);
  };
  c.apply_yaml(kProfile);
  c.apply_yaml(model_yaml());
  c.apply_yaml(kBuild);
  c.settle();
  EXPECT_EQ(c.condition("ImageBuild", "build", "Succeeded"), "False/LineageMismatch");
}

TEST(ModelController, StaysWhileItIsUsed) {
  Pipeline c;
  c.apply_yaml(kProfile);
  c.apply_yaml(model_yaml());
  c.apply_yaml(kBuild);
  c.settle();
  c.mark_deleted("Model", "m");
  c.settle();
  EXPECT_EQ(c.condition("Model", "m", "Ready"), "False/InUse");
  c.erase("ImageBuild", "build");
  c.settle();
  EXPECT_FALSE(c.has("Model", "m"));
}

}  // namespace
}  // namespace tango::controllers
