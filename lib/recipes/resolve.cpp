#include <algorithm>

#include "lib/recipes/recipe.h"

namespace tango::recipes {
namespace {

Error invalid(std::string_view reason, std::string message) {
  return make_error(Code::kInvalid, reason, std::move(message));
}

bool is_auto(const Json& v) { return v.is_string() && v.get<std::string>() == "Auto"; }

bool fits(const KeySpec& spec, const Json& v) {
  switch (spec.type) {
    case KeyType::kInteger:
      return v.is_number_integer();
    case KeyType::kNumber:
      return v.is_number();
    case KeyType::kBoolean:
      return v.is_boolean();
    case KeyType::kString:
      return v.is_string() &&
             (spec.choices.empty() || std::find(spec.choices.begin(), spec.choices.end(),
                                                v.get<std::string>()) != spec.choices.end());
    case KeyType::kAutoInteger:
      return v.is_number_integer() || is_auto(v);
    case KeyType::kAutoNumber:
      return v.is_number() || is_auto(v);
    case KeyType::kStringList:
      return v.is_array() &&
             std::all_of(v.begin(), v.end(), [](const Json& e) { return e.is_string(); });
    case KeyType::kObject:
      return v.is_object();
  }
  return false;
}

std::string expectation(const KeySpec& spec) {
  if (spec.choices.empty()) return std::string(to_string(spec.type));
  std::string out = "one of";
  for (const auto& c : spec.choices) out += " " + c;
  return out;
}

// Nested objects as dotted keys; stops at keys that the stage type takes as a whole object.
void flatten(const StageType& type, const Json& value, const std::string& prefix,
             std::map<std::string, Json>& out) {
  for (const auto& [key, member] : value.items()) {
    const std::string dotted = prefix.empty() ? key : prefix + "." + key;
    const KeySpec* spec = type.key(dotted);
    if (member.is_object() && (spec == nullptr || spec->type != KeyType::kObject)) {
      flatten(type, member, dotted, out);
    } else {
      out[dotted] = member;
    }
  }
}

void assign(Json& config, const std::string& dotted, const Json& value) {
  Json* at = &config;
  std::size_t start = 0;
  while (true) {
    const auto dot = dotted.find('.', start);
    if (dot == std::string::npos) break;
    at = &(*at)[dotted.substr(start, dot - start)];
    start = dot + 1;
  }
  (*at)[dotted.substr(start)] = value;
}

class Resolver {
 public:
  Resolver(const StageType& type, ResolvedStage& out) : type_(type), out_(out) {}

  // `lenient`: keys which this stage type does not have are meant for others.
  Status layer(const Json& keys, const std::string& origin, const std::string& where,
               bool lenient) {
    if (keys.is_null()) return ok_status();
    if (!keys.is_object()) return invalid("WrongType", where + " must be an object");
    std::map<std::string, Json> flat;
    flatten(type_, keys, {}, flat);
    for (const auto& [key, value] : flat) TRY(set(key, value, origin, where + "." + key, lenient));
    return ok_status();
  }

  Status set(const std::string& key, const Json& value, const std::string& origin,
             const std::string& where, bool lenient) {
    const KeySpec* spec = type_.key(key);
    if (spec == nullptr) {
      if (lenient) return ok_status();
      return invalid("UnknownKey", where + ": a " + type_.name + " stage has no setting " + key);
    }
    if (!fits(*spec, value)) {
      return invalid("WrongType",
                     where + " must be " + expectation(*spec) + ", not " + dump_json(value));
    }
    assign(out_.stage.config, key, value);
    out_.origin[key] = origin;
    return ok_status();
  }

 private:
  const StageType& type_;
  ResolvedStage& out_;
};

}  // namespace

Result<std::vector<ResolvedStage>> resolve(const Recipe& recipe, const Json& project,
                                           const std::vector<Set>& sets) {
  if (sets.size() > kMaxSets) {
    return invalid("TooManySettings", "set has " + std::to_string(sets.size()) +
                                          " entries, more than " + std::to_string(kMaxSets));
  }
  std::vector<ResolvedStage> out;
  std::set<std::string> names;
  for (std::size_t i = 0; i < recipe.stages.size(); ++i) {
    const Stage& stage = recipe.stages[i];
    const StageType* type = stage_type(stage.type);
    if (type == nullptr)
      return invalid("InvalidRecipe", "stage " + stage.name + " has an unknown type");
    names.insert(stage.name);
    names.insert(stage.type);
    ResolvedStage r;
    r.stage = stage;
    r.stage.config = Json::object();
    r.type_version = type->version;
    Resolver resolver(*type, r);
    for (const KeySpec& key : type->keys) {
      if (key.fallback)
        TRY(resolver.set(key.name, *key.fallback, "stage default", key.name, false));
    }
    const std::string where = recipe.name + ".stages[" + std::to_string(i) + "].config";
    TRY(resolver.layer(stage.config, "recipe", where, false));
    TRY(resolver.layer(get(project, "*"), "project", "project.*", true));
    TRY(resolver.layer(get(project, stage.type), "project", "project." + stage.type, false));
    TRY(resolver.layer(get(project, stage.name), "project", "project." + stage.name, false));
    for (std::size_t k = 0; k < sets.size(); ++k) {
      const std::string at = "set[" + std::to_string(k) + "] " + sets[k].path;
      const auto dot = sets[k].path.find('.');
      if (dot == std::string::npos)
        return invalid("InvalidSetting", at + " must read <stage>.<key>");
      const std::string target = sets[k].path.substr(0, dot);
      if (target != "*" && target != stage.name && target != stage.type) continue;
      TRY(resolver.set(sets[k].path.substr(dot + 1), sets[k].value, "set", at, target == "*"));
    }
    out.push_back(std::move(r));
  }
  for (std::size_t k = 0; k < sets.size(); ++k) {
    const std::string target = sets[k].path.substr(0, sets[k].path.find('.'));
    if (target != "*" && !names.contains(target)) {
      return invalid("UnknownKey", "set[" + std::to_string(k) + "] names stage " + target +
                                       ", which this recipe does not have");
    }
  }
  return out;
}

std::vector<ResolvedStage> select_mode(std::vector<ResolvedStage> stages, std::string_view mode) {
  std::erase_if(stages, [&](const ResolvedStage& s) {
    return !s.stage.when.empty() && !s.stage.when.contains(std::string(mode));
  });
  return stages;
}

}  // namespace tango::recipes
