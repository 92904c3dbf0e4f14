// Recipes: typed graphs of stages, checked before anything runs, and the one override order that
// turns a recipe into the configuration of every stage. Used by the TrainJob controller and by
// `tangoctl recipe`; pure, no files, no Kubernetes.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/base/json.h"
#include "lib/base/result.h"

namespace tango::recipes {

// Limits of this room.
inline constexpr std::size_t kMaxStages = 32;
inline constexpr std::size_t kMaxSets = 128;

enum class PortType { kDataset, kModel, kTrainerState, kReport };
std::string_view to_string(PortType type);

enum class KeyType {
  kInteger,
  kNumber,
  kBoolean,
  kString,
  kAutoInteger,
  kAutoNumber,
  kStringList,
  kObject
};
std::string_view to_string(KeyType type);

// One configuration key of a stage type; `name` is dotted ("optimizer.momentum").
struct KeySpec {
  std::string name;
  KeyType type = KeyType::kString;
  std::optional<Json> fallback;      // the stage default; nullopt: absent unless somebody sets it
  std::vector<std::string> choices;  // of kString; empty: free
};
struct PortSpec {
  std::string name;
  PortType type = PortType::kModel;
  bool required = true;
};
struct StageType {
  std::string name;
  int version = 1;
  std::vector<PortSpec> inputs, outputs;
  std::vector<KeySpec> keys;
  const PortSpec* input(std::string_view port) const;
  const PortSpec* output(std::string_view port) const;
  const KeySpec* key(std::string_view dotted) const;
};
// nullptr: not implemented by this version.
const StageType* stage_type(std::string_view name);
std::vector<std::string> stage_type_names();
// Names that the design knows but this version does not run; they are answered with Unsupported.
bool known_but_unsupported(std::string_view stage_type);

// Where an input comes from: exactly one of the three.
struct InputRef {
  enum class Kind { kFrom, kModelRef, kDatasetRef } kind = Kind::kFrom;
  std::string stage, port;  // kFrom
  std::string name;         // of the object; "Auto": the one of the job
  std::string split;        // kDatasetRef
};
struct Stage {
  std::string name;
  std::string type;
  std::set<std::string> when;  // train, eval, infer, export; empty: always
  std::map<std::string, InputRef> inputs;
  Json config = Json::object();
};
struct Recipe {
  std::string name;
  std::string task;
  std::vector<Stage> stages;  // in an order in which they can run
};

// Parses and checks: unknown keys, duplicate names, unknown types, missing or type-mismatched
// inputs, cycles. Errors: InvalidRecipe, RecipeCycle, UnknownKey, WrongType, Unsupported; the
// message names the path below `where` ("spec.recipe.stages[1].inputs.model").
Result<Recipe> parse_recipe(const Json& value, std::string_view where = "recipe");
Result<Recipe> parse_recipe_yaml(std::string_view text, std::string_view where = "recipe");

// Recipes that come with the house. Errors: NotFound (names what exists).
Result<Recipe> catalogue_recipe(std::string_view name);
std::vector<std::string> catalogue_names();
const std::vector<std::pair<std::string_view, std::string_view>>& catalogue_files();

struct ResolvedStage {
  Stage stage;  // config: as resolved
  int type_version = 1;
  std::map<std::string, std::string>
      origin;  // dotted key -> "stage default" | "recipe" | "project" | "set"
};
struct Set {
  std::string path;  // "train.epochs": stage name, then the dotted key; "*" names every stage
  Json value;
};
// Applies `stage defaults < recipe < project < set`. `project` holds dotted or nested keys by stage
// name, by stage type, or under "*" (weakest); a key there that a stage type does not have is
// skipped for "*", and refused for a named stage. Errors: UnknownKey, WrongType, TooManySettings.
Result<std::vector<ResolvedStage>> resolve(const Recipe& recipe, const Json& project,
                                           const std::vector<Set>& sets = {});

// The stages that run in this mode ("train" | "eval" | "infer" | "export").
std::vector<ResolvedStage> select_mode(std::vector<ResolvedStage> stages, std::string_view mode);

}  // namespace tango::recipes
