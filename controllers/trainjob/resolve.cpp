#include "controllers/dataset/dataset.h"
#include "controllers/trainjob/trainjob.h"
#include "crds/dataset.h"
#include "crds/train_job.h"
#include "lib/kube-types/core.h"
#include "lib/kube-types/writer.h"

namespace tango::controllers {
namespace {

constexpr std::string_view kRecipeLabel = "ml-tango.io/recipe";

Result<recipes::Recipe> find_recipe(const crds::TrainJob& job, const kube::Observed& world) {
  if (job.spec.recipe)
    return recipes::parse_recipe(kube::to_value(*job.spec.recipe), "spec.recipe");
  if (!job.spec.recipe_ref) {
    return make_error(Code::kInvalid, "InvalidRecipe",
                      "the job has neither spec.recipe nor spec.recipeRef");
  }
  const std::string& name = job.spec.recipe_ref->name;
  if (const auto* map = world.get<kube::ConfigMap>(job.metadata.ns, name);
      map != nullptr && map->metadata.labels.contains(std::string(kRecipeLabel))) {
    for (const char* key : {"recipe.yaml", "recipe"}) {
      if (auto it = map->data.find(key); it != map->data.end()) {
        return recipes::parse_recipe_yaml(it->second, "configmap/" + name);
      }
    }
    return make_error(Code::kInvalid, "InvalidRecipe",
                      "ConfigMap " + name + " has no entry recipe.yaml");
  }
  auto found = recipes::catalogue_recipe(name);
  if (found.ok()) return found;
  Error e = std::move(found).error();
  e.message += "; a recipe of your own is a ConfigMap with the label " + std::string(kRecipeLabel);
  return e;
}

// "Auto", "12" and "0.1" as the trainer reads them.
Json scalar(const std::string& text) {
  auto parsed = parse_json(text);
  return parsed.ok() && parsed->is_number() ? *parsed : Json(text);
}

// Settings of the job that several stages share; each stage type takes those that it knows.
Json project_layer(const crds::TrainJob& job, const crds::Dataset& dataset) {
  const auto& t = job.spec.train;
  Json all{{"epochs", scalar(t.epochs)},
           {"batchSize", scalar(t.batch_size)},
           {"imageSize", scalar(t.image_size)},
           {"optimizer", t.optimizer},
           {"learningRate", scalar(t.learning_rate)},
           {"seed", t.seed},
           {"earlyStopping", t.early_stopping}};
  // An Auto of the job does not cover what the recipe says.
  for (auto it = all.begin(); it != all.end();) {
    it = *it == Json("Auto") ? all.erase(it) : std::next(it);
  }
  if (t.seed == 0) all.erase("seed");
  if (t.early_stopping == 0) all.erase("earlyStopping");
  if (!job.spec.base_model.name.empty() && job.spec.base_model.name != "Auto") {
    all["network"] = job.spec.base_model.name;
  }
  all["data"] = data_config(dataset);
  const std::string precision(to_string(job.spec.export_.precision));
  if (precision != "Auto") all["precision"] = precision;
  return Json{{"*", std::move(all)}};
}

}  // namespace

Result<recipes::Set> parse_set(std::string_view text) {
  const auto equal = text.find('=');
  if (equal == std::string_view::npos || equal == 0) {
    return make_error(Code::kInvalid, "InvalidSetting",
                      "a setting reads path=value, not " + std::string(text));
  }
  const std::string value(text.substr(equal + 1));
  auto parsed = parse_json(value);
  return recipes::Set{std::string(text.substr(0, equal)), parsed.ok() ? *parsed : Json(value)};
}

Result<std::vector<recipes::ResolvedStage>> resolve_stages(const crds::TrainJob& job,
                                                           const crds::Dataset& dataset,
                                                           const kube::Observed& world) {
  TRY_ASSIGN(const recipes::Recipe recipe, find_recipe(job, world));
  std::vector<recipes::Set> sets;
  for (const std::string& text : job.spec.set) {
    TRY_ASSIGN(recipes::Set set, parse_set(text));
    sets.push_back(std::move(set));
  }
  TRY_ASSIGN(auto stages, recipes::resolve(recipe, project_layer(job, dataset), sets));
  return recipes::select_mode(std::move(stages), to_string(job.spec.mode));
}

}  // namespace tango::controllers
