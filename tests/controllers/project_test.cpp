#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/controllers/pipeline.h"

namespace tango::controllers {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

void everything(Pipeline& c) {
  c.apply_yaml(kProfile);
  c.apply_yaml(kDataset);
  c.apply_yaml(kProject);
  for (const char* n : {"a", "b", "c"})
    c.apply_yaml(device_yaml(std::string("dev-") + n, std::string("10.0.0.") + n[0]));
}

TEST(ProjectController, FromImagesToDevices) {
  Pipeline c;
  everything(c);
  for (int i = 0; i < 40; ++i) {
    c.settle();
    c.now += Seconds{1};
  }
  EXPECT_EQ(c.condition("TangoProject", "fashion", "Ready"), "True/Ready")
      << c.message("TangoProject", "fashion", "Ready");
  const Json& status = c.object("TangoProject", "fashion")["status"];
  ASSERT_THAT(status["stages"], SizeIs(7));
  for (const Json& s : status["stages"]) EXPECT_EQ(s["state"], "Completed") << s.dump();
  EXPECT_EQ(status["baseModel"]["name"], "resnet20");
  EXPECT_EQ(status["model"]["metrics"]["top1"], 0.91);
  EXPECT_EQ(status["targets"][0]["desired"], 3);
  EXPECT_EQ(status["targets"][0]["updated"], 3);
  EXPECT_EQ(status["targets"][0]["ready"], 3);
  EXPECT_EQ(status["targets"][0]["latency"]["p50"], 1.5);
  for (const auto& [address, device] : c.devices) EXPECT_FALSE(device.current.empty()) << address;
  EXPECT_EQ(c.jobs_run, 5) << "data, train, evaluate, export, build";
}

TEST(ProjectController, RestsWhenNothingChanges) {
  Pipeline c;
  everything(c);
  for (int i = 0; i < 40; ++i) {
    c.settle();
    c.now += Seconds{1};
  }
  c.settle();
  const int before = c.writes;
  for (int i = 0; i < 20; ++i) {  // probes go on, writes do not
    c.now += Seconds{31};
    c.settle();
  }
  EXPECT_EQ(c.writes, before);
}

TEST(ProjectController, WipedStatusesRetrainNothing) {
  Pipeline c;
  everything(c);
  for (int i = 0; i < 40; ++i) {
    c.settle();
    c.now += Seconds{1};
  }
  for (const char* kind : {"TangoProject", "TrainJob", "Dataset", "ImageBuild"}) {
    for (const auto& n : c.names(kind)) c.object(kind, n).erase("status");
  }
  c.works.clear();
  for (int i = 0; i < 10; ++i) {
    c.settle();
    c.now += Seconds{1};
  }
  EXPECT_EQ(c.condition("TangoProject", "fashion", "Ready"), "True/Ready");
  EXPECT_EQ(c.jobs_run, 5);
}

TEST(ProjectController, SaysWhatIsMissing) {
  Pipeline c;
  c.apply_yaml(kProject);
  c.settle();
  EXPECT_EQ(c.condition("TangoProject", "fashion", "DatasetReady"), "False/DatasetNotFound");
  EXPECT_THAT(c.message("TangoProject", "fashion", "Ready"),
              HasSubstr("there is no Dataset fashion"));
  c.apply_yaml(kDataset);
  c.settle();
  EXPECT_EQ(c.condition("TangoProject", "fashion", "BaseModelSelected"), "False/ProfileNotFound");
  EXPECT_THAT(c.message("TangoProject", "fashion", "Ready"), HasSubstr("TargetProfile linux-x86"));
  c.apply_yaml(kProfile);
  c.settle();
  EXPECT_EQ(c.condition("TangoProject", "fashion", "BaseModelSelected"), "True/Selected");
}

TEST(ProjectController, ShowsTheFailedStage) {
  Pipeline c;
  c.exit_codes["train"] = 10;
  everything(c);
  c.settle();
  EXPECT_EQ(c.condition("TangoProject", "fashion", "Ready"), "False/DataBroken");
  EXPECT_EQ(c.condition("TangoProject", "fashion", "Trained"), "False/DataBroken");
  EXPECT_EQ(c.object("TangoProject", "fashion")["status"]["stage"], "Train");
}

TEST(ProjectController, ManualWorkflowWaitsForEachStage) {
  Pipeline c;
  everything(c);
  c.patch_spec("TangoProject", "fashion", {{"workflow", "Manual"}});
  c.settle();
  EXPECT_EQ(c.condition("TangoProject", "fashion", "Ready"), "False/AwaitingApproval");
  EXPECT_EQ(c.object("TangoProject", "fashion")["status"]["stage"], "Data");
  c.patch_spec("TangoProject", "fashion",
               {{"approvals", Json::array({{{"stage", "Data"}, {"version", 1}},
                                           {{"stage", "Select"}, {"version", 1}}})}});
  c.settle();
  EXPECT_EQ(c.object("TangoProject", "fashion")["status"]["stage"], "Train");
  EXPECT_THAT(c.names("TrainJob"), IsEmpty());
  EXPECT_THAT(c.message("TangoProject", "fashion", "Ready"),
              HasSubstr("{stage: Train, version: 1}"));
}

TEST(ProjectController, ApprovalsDoNotCarryOverToAnotherVersion) {
  Pipeline c;
  everything(c);
  c.patch_spec("TangoProject", "fashion",
               {{"workflow", "Manual"},
                {"version", 2},
                {"approvals", Json::array({{{"stage", "Data"}, {"version", 1}}})}});
  c.settle();
  EXPECT_EQ(c.object("TangoProject", "fashion")["status"]["stage"], "Data");
}

TEST(ProjectController, SuspendReachesTheTrainJob) {
  Pipeline c;
  c.run_jobs = false;
  everything(c);
  c.settle();
  c.run_job(c.names("Job").at(0));
  c.settle();
  ASSERT_THAT(c.names("TrainJob"), SizeIs(1));
  c.patch_spec("TangoProject", "fashion", {{"suspend", true}});
  c.settle();
  EXPECT_EQ(c.object("TrainJob", c.names("TrainJob")[0])["spec"]["suspend"], true);
  EXPECT_EQ(c.condition("TangoProject", "fashion", "Ready"), "False/Suspended");
}

TEST(ProjectController, WhatIsNotImplementedIsUnsupportedWithItsPath) {
  const std::vector<std::pair<Json, std::string>> cases{
      {{{"task", "Detection"}}, "spec.task"},
      {{{"search", {{"nas", "On"}}}}, "spec.search.nas"},
      {{{"learning", {{"mode", "SemiSupervised"}}}}, "spec.learning.mode"},
      {{{"objective", {{"metric", "f1"}}}}, "spec.objective.metric"},
  };
  for (const auto& [patch, path] : cases) {
    Pipeline c;
    everything(c);
    c.patch_spec("TangoProject", "fashion", patch);
    c.settle();
    EXPECT_EQ(c.condition("TangoProject", "fashion", "Accepted"), "False/Unsupported") << path;
    EXPECT_THAT(c.message("TangoProject", "fashion", "Accepted"), HasSubstr(path));
  }
}

TEST(ProjectController, ModelsAreKeptUnlessThePolicySaysDelete) {
  for (const bool remove : {false, true}) {
    Pipeline c;
    everything(c);
    for (int i = 0; i < 5; ++i) {
      c.settle();
      c.now += Seconds{1};
    }
    if (remove)
      c.patch_spec("TangoProject", "fashion", {{"deletionPolicy", {{"models", "Delete"}}}});
    c.mark_deleted("TangoProject", "fashion");
    c.settle();
    EXPECT_FALSE(c.has("TangoProject", "fashion"));
    EXPECT_EQ(c.names("Model").empty(), remove);
  }
}

}  // namespace
}  // namespace tango::controllers
