#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lib/base/yaml.h"
#include "lib/recipes/recipe.h"

namespace tango::recipes {
namespace {

using ::testing::HasSubstr;

constexpr std::string_view kTwo = R"(
name: two
stages:
- {name: evaluate, type: Evaluate, inputs: {dataset: {datasetRef: {name: Auto}}, model: {from: train.model}}}
- {name: train, type: Train, inputs: {dataset: {datasetRef: {name: Auto}}}, config: {epochs: 3}}
)";

Error error_of(std::string_view text) {
  auto r = parse_recipe_yaml(text, "spec.recipe");
  EXPECT_FALSE(r.ok());
  return r.ok() ? Error{} : r.error();
}

TEST(Recipe, CatalogueParsesAndResolves) {
  ASSERT_FALSE(catalogue_names().empty());
  for (const auto& name : catalogue_names()) {
    auto recipe = catalogue_recipe(name);
    ASSERT_TRUE(recipe.ok()) << recipe.error().to_string();
    EXPECT_EQ(recipe->name, name);
    auto stages = resolve(*recipe, Json::object());
    ASSERT_TRUE(stages.ok()) << stages.error().to_string();
  }
  EXPECT_EQ(catalogue_recipe("nope").error().reason, "RecipeNotFound");
}

TEST(Recipe, StagesAreSortedByTheirInputs) {
  auto r = parse_recipe_yaml(kTwo);
  ASSERT_TRUE(r.ok()) << r.error().to_string();
  ASSERT_EQ(r->stages.size(), 2u);
  EXPECT_EQ(r->stages[0].name, "train");
  EXPECT_EQ(r->stages[1].name, "evaluate");
}

TEST(Recipe, CycleIsRefused) {
  const Error e = error_of(R"(
stages:
- {name: a, type: Train, inputs: {dataset: {datasetRef: {name: Auto}}, model: {from: b.model}}}
- {name: b, type: Train, inputs: {dataset: {datasetRef: {name: Auto}}, model: {from: a.model}}}
)");
  EXPECT_EQ(e.reason, "RecipeCycle");
  EXPECT_THAT(e.message, HasSubstr("a, b"));
}

TEST(Recipe, MistakesAreNamedWithTheirPath) {
  EXPECT_THAT(error_of("stages: [{name: a, type: Train, inputz: {}}]").message,
              HasSubstr("spec.recipe.stages[0].inputz"));
  EXPECT_THAT(error_of("stages: [{name: a, type: Nope}]").message,
              HasSubstr("stages[0].type Nope"));
  EXPECT_EQ(error_of("stages: [{name: a, type: Quantize}]").code, Code::kUnsupported);
  EXPECT_THAT(error_of("stages: [{name: a, type: Train}]").message,
              HasSubstr("stages[0].inputs.dataset is required"));
  EXPECT_THAT(error_of("stages: [{name: a, type: Train, inputs: {dataset: {modelRef: {name: x}}}}]")
                  .message,
              HasSubstr("takes a Dataset, not a Model"));
  EXPECT_THAT(
      error_of("stages: [{name: a, type: Train, inputs: {dataset: {from: b.model}}}]").message,
      HasSubstr("stage b, which does not exist"));
  EXPECT_THAT(error_of("stages: [{name: A, type: Train}]").message, HasSubstr("stages[0].name"));
  EXPECT_THAT(error_of("stages: []").message, HasSubstr("at least one stage"));
  const std::string train = "{name: a, type: Train, inputs: {dataset: {datasetRef: {name: Auto}}}}";
  EXPECT_THAT(error_of("stages: [" + train + ", " + train + "]").message,
              HasSubstr("stages[1].name a is used twice"));
}

TEST(Resolve, OverrideOrderIsDocumentedOne) {
  auto recipe = parse_recipe_yaml(kTwo);
  ASSERT_TRUE(recipe.ok());
  auto epochs = [&](const Json& project, const std::vector<Set>& sets) {
    auto r = resolve(*recipe, project, sets);
    EXPECT_TRUE(r.ok()) << r.error().to_string();
    return std::pair((*r)[0].stage.config["epochs"], (*r)[0].origin["epochs"]);
  };
  EXPECT_EQ(epochs(Json::object(), {}), std::pair(Json(3), std::string("recipe")));
  EXPECT_EQ(epochs({{"*", {{"epochs", 4}}}}, {}), std::pair(Json(4), std::string("project")));
  EXPECT_EQ(epochs({{"*", {{"epochs", 4}}}, {"train", {{"epochs", 5}}}}, {}),
            std::pair(Json(5), std::string("project")));
  EXPECT_EQ(epochs({{"train", {{"epochs", 5}}}}, {{"train.epochs", 6}}),
            std::pair(Json(6), std::string("set")));
  auto r = resolve(*recipe, Json::object());
  EXPECT_EQ((*r)[0].stage.config["batchSize"], Json("Auto"));
  EXPECT_EQ((*r)[0].origin["batchSize"], "stage default");
}

TEST(Resolve, UnknownKeysAndWrongTypesAreRefused) {
  auto recipe = parse_recipe_yaml(kTwo);
  ASSERT_TRUE(recipe.ok());
  EXPECT_EQ(resolve(*recipe, {{"train", {{"epoch", 4}}}}).error().reason, "UnknownKey");
  EXPECT_EQ(resolve(*recipe, {{"train", {{"epochs", "many"}}}}).error().reason, "WrongType");
  EXPECT_THAT(resolve(*recipe, Json::object(), {{"train.optimizer", "sdg"}}).error().message,
              HasSubstr("one of Auto sgd adam adamw"));
  EXPECT_EQ(resolve(*recipe, Json::object(), {{"trian.epochs", 3}}).error().reason, "UnknownKey");
  EXPECT_TRUE(resolve(*recipe, {{"*", {{"split", "val"}}}}).ok())
      << "only the stages that know it take it";
}

TEST(Resolve, ModesSelectStages) {
  auto recipe = catalogue_recipe("cls-supervised");
  ASSERT_TRUE(recipe.ok());
  auto stages = resolve(*recipe, Json::object());
  ASSERT_TRUE(stages.ok());
  EXPECT_EQ(select_mode(*stages, "train").size(), 3u);
  EXPECT_EQ(select_mode(*stages, "eval").size(), 1u);
}

}  // namespace
}  // namespace tango::recipes
