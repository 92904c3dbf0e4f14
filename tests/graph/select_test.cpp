#include "lib/graph/select.h"

#include <gtest/gtest.h>

#include "lib/graph/infer.h"
#include "lib/graph/zoo.h"

namespace tango::graph {
namespace {

constexpr std::uint64_t kGi = 1ull << 30;

SelectionInput classify(std::int64_t classes, std::uint64_t gib) {
  SelectionInput in;
  in.task = "Classification";
  in.classes = classes;
  in.targets = {
      {.name = "edge", .accelerator = gib == 0 ? "" : "GPU", .accelerator_memory = gib * kGi}};
  return in;
}

TEST(Select, FollowsTheReadmeTable) {
  const struct {
    std::int64_t classes;
    std::uint64_t gib;
    const char* name;
    const char* rule;
  } rows[] = {
      {10, 0, "resnet20", "classification-few/T"},
      {10, 2, "resnet20", "classification-few/T"},
      {10, 4, "resnet32", "classification-few/S"},
      {2, 6, "resnet44", "classification-few/MS"},
      {10, 8, "resnet56", "classification-few/M"},
      {10, 10, "resnet110", "classification-few/L"},
      {10, 12, "resnetc152", "classification-few/XL"},
      {10, 13, "resnetc200", "classification-few/XXL"},
      {11, 0, "resnet18", "classification-many/T"},
      {1000, 3, "resnet34", "classification-many/S"},
      {100, 8, "resnet50", "classification-many/M"},
      {100, 10, "resnet101", "classification-many/L"},
      {100, 64, "resnet152", "classification-many/XXL"},
  };
  for (const auto& row : rows) {
    const auto s = select_base_model(classify(row.classes, row.gib));
    ASSERT_TRUE(s.ok()) << s.error().to_string();
    EXPECT_EQ(s->name, row.name) << row.classes << " classes, " << row.gib << " GiB";
    EXPECT_EQ(s->rule_id, row.rule);
    EXPECT_TRUE(s->rejected.empty());
    EXPECT_NE(s->reason.find("edge"), std::string::npos) << s->reason;
  }
}

TEST(Select, TheWeakestTargetDecides) {
  SelectionInput in = classify(10, 64);
  in.targets.push_back({.name = "pi", .accelerator = "CPU", .accelerator_memory = 0});
  const auto s = select_base_model(in);
  EXPECT_EQ(s->name, "resnet20");
  EXPECT_NE(s->reason.find("pi has no accelerator"), std::string::npos) << s->reason;
  in.targets.clear();
  EXPECT_EQ(select_base_model(in)->name, "resnet20");
}

TEST(Select, UnsupportedFamiliesAreRejectedWithAReason) {
  SelectionInput in = classify(10, 8);
  in.task = "Detection";
  auto s = select_base_model(in);
  ASSERT_FALSE(s.ok());
  EXPECT_EQ(s.error().reason, "Unsupported");
  EXPECT_NE(s.error().message.find("yolov7-w6"), std::string::npos) << s.error().message;
  in.task = "Segmentation";
  EXPECT_EQ(select_base_model(in).error().reason, "Unsupported");
  in.task = "Classification";
  in.requested = "vgg16";
  s = select_base_model(in);
  EXPECT_EQ(s.error().reason, "Unsupported");
  EXPECT_NE(s.error().message.find("vgg16"), std::string::npos);
}

TEST(Select, PhonesTryTheSupernetFirst) {
  SelectionInput in = classify(60, 0);
  in.task = "Detection";
  in.targets[0].phone = true;
  const auto s = select_base_model(in);
  ASSERT_FALSE(s.ok());
  EXPECT_LT(s.error().message.find("yolov7-supernet"), s.error().message.find("yolov9-t"));
}

TEST(Select, ConstraintsFilterAndAreExplained) {
  SelectionInput in = classify(10, 8);
  in.height = in.width = 28;
  in.channels = 1;
  const Cost r32 = deploy_cost("resnet32", {10, 1}, 28, 28).value();
  in.max_model_size = static_cast<std::uint64_t>(r32.weight_bytes);
  auto s = select_base_model(in);
  ASSERT_TRUE(s.ok()) << s.error().to_string();
  EXPECT_EQ(s->name, "resnet32");
  EXPECT_EQ(s->rule_id, "classification-few/S");
  ASSERT_EQ(s->rejected.size(), 2U);
  EXPECT_EQ(s->rejected[0].name, "resnet56");
  EXPECT_EQ(s->rejected[0].reason, "ModelTooLarge");

  in.max_model_size.reset();
  in.max_latency = Millis{5};
  in.measured = {{"resnet56", "edge", Millis{9}}, {"resnet44", "edge", Millis{6}}};
  s = select_base_model(in);
  EXPECT_EQ(s->name, "resnet32");
  EXPECT_EQ(s->rejected[1].reason, "TooSlow");
  EXPECT_NE(s->reason.find("not measured"), std::string::npos) << s->reason;

  in.max_memory = 1000;
  s = select_base_model(in);
  ASSERT_FALSE(s.ok());
  EXPECT_EQ(s.error().reason, "ConstraintsUnsatisfiable");
  EXPECT_NE(s.error().message.find("resnet20"), std::string::npos);
}

TEST(Select, ARequestedNetworkIsTakenOrExplained) {
  SelectionInput in = classify(10, 0);
  in.requested = "resnet50";
  const auto s = select_base_model(in);
  ASSERT_TRUE(s.ok()) << s.error().to_string();
  EXPECT_EQ(s->name, "resnet50");
  EXPECT_EQ(s->rule_id, "requested");
}

TEST(Select, RefusesNonsense) {
  EXPECT_EQ(select_base_model(classify(0, 0)).error().reason, "InvalidInput");
}

}  // namespace
}  // namespace tango::graph
