// What crdgen makes of the YAML: types, defaults, readers, encoders.
#include <gtest/gtest.h>

#include "crds/crds.h"
#include "crds/types.h"

namespace tango::crds {
namespace {

constexpr std::string_view kProject = R"({
  "apiVersion":"ml-tango.io/v1alpha1","kind":"TangoProject",
  "metadata":{"name":"parts","namespace":"vision","uid":"u1"},
  "spec":{"task":"Classification","datasetRef":{"name":"parts"},
    "objective":{"constraints":{"latency":"15ms","memory":"300Mi"}},
    "baseModel":{"name":"resnet20"},
    "train":{"epochs":4,"batchSize":"Auto"},
    "podTemplate":{"resources":{"limits":{"cpu":2,"memory":"1Gi"}}},
    "targets":[{"name":"line-a","profileRef":{"name":"linux-x86"},
      "deviceSelector":{"matchLabels":{"site":"seoul"}},
      "io":{"output":{"http":{"port":0}}}}]},
  "status":{"stages":[{"name":"Train","state":"Running","startedAt":"2026-11-21T12:00:00Z"}],
    "model":{"name":"m","metrics":{"top1":0.91}},
    "conditions":[{"type":"Ready","status":"False","reason":"Training","message":"","lastTransitionTime":"2026-11-21T12:00:00Z"}]}})";

TEST(Generated, ReadsATangoProject) {
  auto p = kube::Codec<TangoProject>::parse(kProject);
  ASSERT_TRUE(p.ok()) << p.error().to_string();
  EXPECT_EQ(p->metadata.key(), "vision/parts");
  EXPECT_EQ(p->spec.task, Task::kClassification);
  EXPECT_EQ(p->spec.train.epochs, "4");
  EXPECT_EQ(p->spec.train.image_size, "Auto");  // default
  EXPECT_EQ(p->spec.version, 1);
  EXPECT_EQ(p->spec.workflow, TangoProjectWorkflow::kAuto);
  EXPECT_EQ(p->spec.export_.engines, std::vector<std::string>{"Auto"});
  ASSERT_EQ(p->spec.targets.size(), 1u);
  ASSERT_TRUE(p->spec.targets[0].device_selector.has_value());
  EXPECT_EQ(p->spec.targets[0].device_selector->match_labels.at("site"), "seoul");
  EXPECT_EQ(p->spec.targets[0].io->output->http->port, 0);
  EXPECT_EQ(p->spec.targets[0].rollout.strategy.max_parallel, 32);
  EXPECT_EQ(p->spec.pod_template->resources->limits.at("cpu"), "2");
  EXPECT_EQ(p->status.stages[0].state, StageState::kRunning);
  EXPECT_DOUBLE_EQ(p->status.model->metrics.at("top1"), 0.91);
  EXPECT_EQ(p->status.conditions[0].reason, "Training");
}

TEST(Generated, EncodeKeepsWhatWasRead) {
  auto p = kube::Codec<TangoProject>::parse(kProject);
  ASSERT_TRUE(p.ok());
  Json encoded = kube::Codec<TangoProject>::encode(*p);
  auto again = kube::Codec<TangoProject>::parse(encoded.dump());
  ASSERT_TRUE(again.ok()) << again.error().to_string();
  EXPECT_EQ(again->spec, p->spec);
  EXPECT_EQ(again->status, p->status);
  EXPECT_EQ(encoded["spec"]["train"]["epochs"], 4);  // a number stays a number
  EXPECT_EQ(encoded["spec"]["podTemplate"]["resources"]["limits"]["cpu"], 2);
  // What was defaulted on reading is what the schema's defaults give.
  Json defaulted = *apply_defaults("TangoProject", Json::parse(kProject));
  EXPECT_EQ(encoded["spec"], defaulted["spec"]);
}

TEST(Generated, WrongInputNamesThePath) {
  Json j = Json::parse(kProject);
  j["spec"]["targets"][0]["name"] = 7;
  auto wrong_type = kube::Codec<TangoProject>::parse(j.dump());
  ASSERT_FALSE(wrong_type.ok());
  EXPECT_EQ(wrong_type.error().message, "spec.targets[0].name must be a string");
  j = Json::parse(kProject);
  j["spec"]["task"] = "Dancing";
  auto wrong_enum = kube::Codec<TangoProject>::parse(j.dump());
  ASSERT_FALSE(wrong_enum.ok());
  EXPECT_EQ(wrong_enum.error().reason, "UnknownEnumValue");
  EXPECT_EQ(wrong_enum.error().message,
            "spec.task is \"Dancing\", but must be one of Classification, Detection, Segmentation");
}

TEST(Generated, UnknownFieldsAreSkippedByReaders) {
  Json j = Json::parse(kProject);
  j["spec"]["future"] = {{"deep", Json::array({1, 2, nullptr})}};
  j["spec"]["search"] = nullptr;
  EXPECT_TRUE(kube::Codec<TangoProject>::parse(j.dump()).ok());
}

}  // namespace
}  // namespace tango::crds
