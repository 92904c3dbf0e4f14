// Defaults, unknown fields and structural errors, each with its path.
#include <gtest/gtest.h>

#include "crds/validate.h"

namespace tango::crds {
namespace {

Json project() {
  return Json::parse(
      R"({"apiVersion":"ml-tango.io/v1alpha1","kind":"TangoProject","metadata":{"name":"p"},
    "spec":{"task":"Classification","datasetRef":{"name":"d"},
            "targets":[{"name":"t","profileRef":{"name":"linux-x86"},"deviceSelector":{"all":true}}]}})");
}

// The one violation of `object`; fails the test when there are none or more.
Violation only(const Json& object) {
  auto found = structural_errors(get_string(object, "kind"), object);
  EXPECT_EQ(found.size(), 1u) << summary(found);
  return found.empty() ? Violation{} : found[0];
}

TEST(Defaults, FillNestedObjectsAndListItems) {
  Json o = *apply_defaults("TangoProject", project());
  EXPECT_EQ(o["spec"]["workflow"], "Auto");
  EXPECT_EQ(o["spec"]["objective"]["metric"], "Auto");
  EXPECT_EQ(o["spec"]["export"]["engines"], Json::array({"Auto"}));
  EXPECT_EQ(o["spec"]["targets"][0]["rollout"]["strategy"]["maxParallel"], 32);
  EXPECT_FALSE(o["spec"].contains("podTemplate"));
  EXPECT_EQ(*apply_defaults("tangoprojects.ml-tango.io", o), o);  // once is enough
  EXPECT_FALSE(apply_defaults("Nonsense", o).ok());
}

TEST(Defaults, NullCountsAsNotSet) {
  Json o = project();
  o["spec"]["workflow"] = nullptr;
  o["spec"]["podTemplate"] = nullptr;
  o = *apply_defaults("TangoProject", o);
  EXPECT_EQ(o["spec"]["workflow"], "Auto");
  EXPECT_FALSE(o["spec"].contains("podTemplate"));
}

TEST(Prune, RemovesAndNamesUnknownFields) {
  Json o = project();
  o["spec"]["taks"] = 1;
  o["spec"]["targets"][0]["colour"] = "red";
  o["extra"] = true;
  auto dropped = prune("TangoProject", o);
  EXPECT_EQ(dropped, (std::vector<std::string>{"extra", "spec.taks", "spec.targets[0].colour"}));
  EXPECT_EQ(o, project());
  Json job{{"spec",
            {{"recipe",
              {{"stages",
                Json::array({{{"name", "a"}, {"type", "Train"}, {"config", {{"free", 1}}}}})}}}}}};
  EXPECT_TRUE(prune("TrainJob", job).empty());  // free-form parts are kept
}

TEST(Structure, GoodObjectHasNoErrors) {
  EXPECT_TRUE(structural_errors("TangoProject", project()).empty());
}

TEST(Structure, UnknownFieldIsNamedWithASuggestion) {
  Json o = project();
  o["spec"]["targets"][0]["devceSelector"] = Json::object();
  Violation v = only(o);
  EXPECT_EQ(v.path, "spec.targets[0].devceSelector");
  EXPECT_EQ(v.reason, "UnknownField");
  EXPECT_EQ(v.remedy, "did you mean \"deviceSelector\"?");
}

TEST(Structure, WrongEnumListsTheChoices) {
  Json o = project();
  o["spec"]["task"] = "classification";
  Violation v = only(o);
  EXPECT_EQ(v.to_string(),
            "spec.task: \"classification\" must be one of Classification, Detection, Segmentation; "
            "did you mean "
            "\"Classification\"?");
}

struct Case {
  const char* pointer;
  const char* value;
  const char* path;
  const char* rule;
};
class Structural : public ::testing::TestWithParam<Case> {};
TEST_P(Structural, IsRefusedWithItsPath) {
  Json o = project();
  o[Json::json_pointer(GetParam().pointer)] = Json::parse(GetParam().value);
  Violation v = only(o);
  EXPECT_EQ(v.path, GetParam().path);
  EXPECT_NE(v.rule.find(GetParam().rule), std::string::npos) << v.rule;
}
INSTANTIATE_TEST_SUITE_P(
    Rules, Structural,
    ::testing::Values(
        Case{"/spec", "{\"task\":\"Classification\"}", "spec.datasetRef", "is required"},
        Case{"/spec/datasetRef", "{\"name\":null}", "spec.datasetRef.name", "is required"},
        Case{"/spec/datasetRef", "\"d\"", "spec.datasetRef", "must be an object"},
        Case{"/spec/suspend", "\"no\"", "spec.suspend", "must be true or false"},
        Case{"/spec/version", "0", "spec.version", "must be at least 1"},
        Case{"/spec/version", "1.5", "spec.version", "must be a whole number"},
        Case{"/spec/train", "{\"epochs\":-3}", "spec.train.epochs", "does not match"},
        Case{"/spec/train", "{\"epochs\":\"many\"}", "spec.train.epochs", "does not match"},
        Case{"/spec/train", "{\"epochs\":true}", "spec.train.epochs",
             "must be a string or a whole number"},
        Case{"/spec/objective", "{\"constraints\":{\"latency\":\"fast\"}}",
             "spec.objective.constraints.latency", "does not match"},
        Case{"/spec/objective", "{\"constraints\":{\"memory\":\"300 MB\"}}",
             "spec.objective.constraints.memory", "does not match"},
        Case{"/spec/targets/0/name", "\"\"", "spec.targets[0].name", "must not be empty"},
        Case{"/spec/targets/0/deviceSelector/matchLabels", "{\"a\":1}",
             "spec.targets[0].deviceSelector.matchLabels.a", "must be a string"},
        Case{"/spec/targets", "{}", "spec.targets", "must be a list"},
        Case{"/metadata/name", "\"Has_Capitals\"", "metadata.name", "is not a DNS name"},
        Case{"/apiVersion", "\"ml-tango.io/v9\"", "apiVersion", "is not served"}));

TEST(Structure, DuplicateListKeys) {
  Json o = project();
  o["spec"]["targets"].push_back(o["spec"]["targets"][0]);
  Violation v = only(o);
  EXPECT_EQ(v.path, "spec.targets[1].name");
  EXPECT_NE(v.rule.find("twice"), std::string::npos);
}

TEST(Structure, BoundsHoldForListsTextsAndTheNumberOfErrors) {
  Json o = project();
  o["spec"]["approvals"] = Json::array();
  for (int i = 0; i < 17; ++i)
    o["spec"]["approvals"].push_back({{"stage", "Data"}, {"version", 1}});
  EXPECT_EQ(only(o).path, "spec.approvals");
  o = project();
  o["spec"]["baseModel"]["name"] = std::string(64, 'x');
  EXPECT_EQ(only(o).path, "spec.baseModel.name");
  o["spec"]["baseModel"]["name"] = "";
  for (int i = 0; i < 63; ++i)
    o["spec"]["baseModel"]["name"] = o["spec"]["baseModel"]["name"].get<std::string>() + "é";
  EXPECT_TRUE(structural_errors("TangoProject", o).empty());  // characters, not bytes
  for (int i = 0; i < 1000; ++i) o["spec"]["bad" + std::to_string(i)] = 1;
  EXPECT_LE(structural_errors("TangoProject", o).size(), 1001u);
  EXPECT_LT(summary(structural_errors("TangoProject", o)).size(), 4096u);
}

TEST(Structure, StatusIsCheckedOnlyWhenAsked) {
  Json o = project();
  o["status"] = {{"stage", 7}};
  EXPECT_TRUE(structural_errors("TangoProject", o).empty());
  EXPECT_EQ(structural_errors("TangoProject", o, true).size(), 1u);
}

TEST(Kinds, AreFoundByEveryName) {
  for (const char* name :
       {"TangoProject", "tangoprojects", "tp", "tangoproject", "tangoprojects.ml-tango.io"}) {
    ASSERT_NE(find_kind(name), nullptr) << name;
    EXPECT_EQ(find_kind(name)->info.kind, "TangoProject");
  }
  EXPECT_EQ(find_kind("deployments")->cpp_name, "TangoDeployment");
  EXPECT_EQ(find_kind("pods"), nullptr);
  EXPECT_TRUE(schema_of("pods").is_null());
}

}  // namespace
}  // namespace tango::crds
