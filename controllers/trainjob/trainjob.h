// Decides for a TrainJob: resolves its recipe, runs the stages one after the other as Jobs and ends
// with a Model object. What a stage needs is pinned by digest before it starts.
#pragma once

#include "controllers/common/settings.h"
#include "lib/base/result.h"
#include "lib/kube-types/outcome.h"
#include "lib/recipes/recipe.h"

namespace tango::crds {
struct Dataset;
struct TrainJob;
}  // namespace tango::crds

namespace tango::controllers {

kube::Outcome reconcile_trainjob(const crds::TrainJob& self, const kube::Observed& world,
                                 TimePoint now, const Settings& settings);

// The stages of this job with their resolved configuration. Errors: RecipeNotFound, UnknownKey, ...
Result<std::vector<recipes::ResolvedStage>> resolve_stages(const crds::TrainJob& job,
                                                           const crds::Dataset& dataset,
                                                           const kube::Observed& world);
// "train.epochs=3" -> {path, value}; numbers, true/false and JSON are typed. Errors:
// InvalidSetting.
Result<recipes::Set> parse_set(std::string_view text);

}  // namespace tango::controllers
