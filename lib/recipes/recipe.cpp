#include "lib/recipes/recipe.h"

#include <algorithm>
#include <array>

#include "lib/base/yaml.h"

namespace tango::recipes {
namespace {

Error invalid(std::string_view reason, std::string message) {
  return make_error(Code::kInvalid, reason, std::move(message));
}

std::string join(const std::vector<std::string>& names) {
  std::string out;
  for (const auto& n : names) out += (out.empty() ? "" : ", ") + n;
  return out;
}

Status check_keys(const Json& object, std::initializer_list<std::string_view> allowed,
                  const std::string& where) {
  if (!object.is_object()) return invalid("WrongType", where + " must be an object");
  for (const auto& [key, value] : object.items()) {
    if (std::find(allowed.begin(), allowed.end(), key) == allowed.end()) {
      std::vector<std::string> names(allowed.begin(), allowed.end());
      return invalid("UnknownKey", where + "." + key + " is not known; allowed are " + join(names));
    }
  }
  return ok_status();
}

bool valid_name(std::string_view name) {
  if (name.empty() || name.size() > 40) return false;
  return std::all_of(
             name.begin(), name.end(),
             [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; }) &&
         name.front() != '-' && name.back() != '-';
}

Result<InputRef> parse_input(const Json& value, const std::string& where) {
  TRY(check_keys(value, {"from", "modelRef", "datasetRef", "split"}, where));
  const int given = static_cast<int>(value.contains("from")) +
                    static_cast<int>(value.contains("modelRef")) +
                    static_cast<int>(value.contains("datasetRef"));
  if (given != 1)
    return invalid("InvalidRecipe", where + " needs exactly one of from, modelRef, datasetRef");
  InputRef ref;
  if (value.contains("from")) {
    TRY_ASSIGN(const std::string text, require_string(value, "from", where));
    const auto dot = text.find('.');
    if (dot == std::string::npos || dot == 0 || dot + 1 == text.size()) {
      return invalid("InvalidRecipe", where + ".from must read <stage>.<port>, not " + text);
    }
    ref.stage = text.substr(0, dot);
    ref.port = text.substr(dot + 1);
  } else {
    const bool model = value.contains("modelRef");
    ref.kind = model ? InputRef::Kind::kModelRef : InputRef::Kind::kDatasetRef;
    const std::string key = model ? "modelRef" : "datasetRef";
    TRY(check_keys(value[key], {"name"}, where + "." + key));
    TRY_ASSIGN(ref.name, require_string(value[key], "name", where + "." + key));
  }
  if (value.contains("split")) {
    if (ref.kind != InputRef::Kind::kDatasetRef) {
      return invalid("InvalidRecipe", where + ".split belongs to a datasetRef");
    }
    TRY_ASSIGN(ref.split, require_string(value, "split", where));
  }
  return ref;
}

Result<Stage> parse_stage(const Json& value, const std::string& where) {
  TRY(check_keys(value, {"name", "type", "when", "inputs", "config"}, where));
  Stage stage;
  TRY_ASSIGN(stage.name, require_string(value, "name", where));
  if (!valid_name(stage.name)) {
    return invalid("InvalidRecipe",
                   where + ".name must be lower-case letters, digits and '-', at most 40");
  }
  TRY_ASSIGN(stage.type, require_string(value, "type", where));
  if (stage_type(stage.type) == nullptr) {
    if (known_but_unsupported(stage.type)) {
      return make_error(Code::kUnsupported, "Unsupported",
                        where + ".type " + stage.type +
                            " is not implemented by this version; it runs " +
                            join(stage_type_names()));
    }
    return invalid("InvalidRecipe", where + ".type " + stage.type + " is not known; known are " +
                                        join(stage_type_names()));
  }
  if (value.contains("when")) {
    static constexpr std::array kModes{"train", "eval", "infer", "export"};
    if (!value["when"].is_array()) return invalid("WrongType", where + ".when must be a list");
    for (std::size_t i = 0; i < value["when"].size(); ++i) {
      const Json& mode = value["when"][i];
      if (!mode.is_string() ||
          std::find(kModes.begin(), kModes.end(), mode.get<std::string>()) == kModes.end()) {
        return invalid("InvalidRecipe", where + ".when[" + std::to_string(i) +
                                            "] must be train, eval, infer or export");
      }
      stage.when.insert(mode.get<std::string>());
    }
  }
  if (value.contains("inputs")) {
    if (!value["inputs"].is_object())
      return invalid("WrongType", where + ".inputs must be an object");
    for (const auto& [port, ref] : value["inputs"].items()) {
      TRY_ASSIGN(stage.inputs[port], parse_input(ref, where + ".inputs." + port));
    }
  }
  if (value.contains("config")) {
    if (!value["config"].is_object())
      return invalid("WrongType", where + ".config must be an object");
    stage.config = value["config"];
  }
  return stage;
}

Status check_inputs(const Stage& stage, const std::map<std::string, const Stage*>& by_name,
                    const std::string& where) {
  const StageType& type = *stage_type(stage.type);
  for (const auto& [port, ref] : stage.inputs) {
    const std::string at = where + ".inputs." + port;
    const PortSpec* spec = type.input(port);
    if (spec == nullptr) {
      std::vector<std::string> names;
      for (const PortSpec& p : type.inputs) names.push_back(p.name);
      return invalid("UnknownKey",
                     at + ": a " + stage.type + " stage has no such input; it has " + join(names));
    }
    PortType got = ref.kind == InputRef::Kind::kDatasetRef ? PortType::kDataset : PortType::kModel;
    if (ref.kind == InputRef::Kind::kFrom) {
      auto source = by_name.find(ref.stage);
      if (source == by_name.end()) {
        return invalid("InvalidRecipe",
                       at + ".from names stage " + ref.stage + ", which does not exist");
      }
      const PortSpec* output = stage_type(source->second->type)->output(ref.port);
      if (output == nullptr) {
        return invalid("InvalidRecipe", at + ".from: stage " + ref.stage + " (" +
                                            source->second->type + ") has no output " + ref.port);
      }
      got = output->type;
    }
    if (got != spec->type) {
      return invalid("WrongType", at + " takes a " + std::string(to_string(spec->type)) +
                                      ", not a " + std::string(to_string(got)));
    }
  }
  for (const PortSpec& p : type.inputs) {
    if (p.required && !stage.inputs.contains(p.name)) {
      return invalid("InvalidRecipe",
                     where + ".inputs." + p.name + " is required by a " + stage.type + " stage");
    }
  }
  return ok_status();
}

// Kahn's algorithm; keeps the written order where it can.
Result<std::vector<Stage>> sort_stages(std::vector<Stage> stages, const std::string& where) {
  std::vector<Stage> sorted;
  std::set<std::string> done;
  while (!stages.empty()) {
    auto next = std::find_if(stages.begin(), stages.end(), [&](const Stage& s) {
      return std::all_of(s.inputs.begin(), s.inputs.end(), [&](const auto& in) {
        return in.second.kind != InputRef::Kind::kFrom || done.contains(in.second.stage);
      });
    });
    if (next == stages.end()) {
      std::vector<std::string> names;
      for (const Stage& s : stages) names.push_back(s.name);
      return invalid("RecipeCycle",
                     where + ".stages wait for each other in a circle: " + join(names));
    }
    done.insert(next->name);
    sorted.push_back(std::move(*next));
    stages.erase(next);
  }
  return sorted;
}

}  // namespace

Result<Recipe> parse_recipe(const Json& value, std::string_view where_view) {
  const std::string where(where_view);
  TRY(check_keys(value, {"name", "task", "stages"}, where));
  Recipe recipe;
  recipe.name = get_string(value, "name");
  recipe.task = get_string(value, "task");
  if (!value.contains("stages") || !value["stages"].is_array() || value["stages"].empty()) {
    return invalid("InvalidRecipe", where + ".stages must be a list with at least one stage");
  }
  if (value["stages"].size() > kMaxStages) {
    return invalid("InvalidRecipe", where + ".stages has " +
                                        std::to_string(value["stages"].size()) +
                                        " entries, more than " + std::to_string(kMaxStages));
  }
  std::vector<Stage> stages;
  std::set<std::string> names;
  for (std::size_t i = 0; i < value["stages"].size(); ++i) {
    const std::string at = where + ".stages[" + std::to_string(i) + "]";
    TRY_ASSIGN(Stage stage, parse_stage(value["stages"][i], at));
    if (!names.insert(stage.name).second) {
      return invalid("InvalidRecipe", at + ".name " + stage.name + " is used twice");
    }
    stages.push_back(std::move(stage));
  }
  std::map<std::string, const Stage*> by_name;
  for (const Stage& s : stages) by_name[s.name] = &s;
  for (std::size_t i = 0; i < stages.size(); ++i) {
    TRY(check_inputs(stages[i], by_name, where + ".stages[" + std::to_string(i) + "]"));
  }
  TRY_ASSIGN(recipe.stages, sort_stages(std::move(stages), where));
  return recipe;
}

Result<Recipe> parse_recipe_yaml(std::string_view text, std::string_view where) {
  TRY_ASSIGN(YamlDocument document, parse_yaml(text));
  return parse_recipe(document.value, where);
}

std::vector<std::string> catalogue_names() {
  std::vector<std::string> names;
  for (const auto& [name, text] : catalogue_files()) names.emplace_back(name);
  return names;
}

Result<Recipe> catalogue_recipe(std::string_view name) {
  for (const auto& [key, text] : catalogue_files()) {
    if (key == name) return parse_recipe_yaml(text, name);
  }
  return make_error(
      Code::kNotFound, "RecipeNotFound",
      "there is no recipe " + std::string(name) + "; the catalogue has " + join(catalogue_names()));
}

}  // namespace tango::recipes
