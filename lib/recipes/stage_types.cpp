#include <algorithm>
#include <array>

#include "lib/recipes/recipe.h"

namespace tango::recipes {

std::string_view to_string(PortType type) {
  switch (type) {
    case PortType::kDataset:
      return "Dataset";
    case PortType::kModel:
      return "Model";
    case PortType::kTrainerState:
      return "TrainerState";
    case PortType::kReport:
      return "Report";
  }
  return "Model";
}

std::string_view to_string(KeyType type) {
  switch (type) {
    case KeyType::kInteger:
      return "an integer";
    case KeyType::kNumber:
      return "a number";
    case KeyType::kBoolean:
      return "true or false";
    case KeyType::kString:
      return "a string";
    case KeyType::kAutoInteger:
      return "an integer or Auto";
    case KeyType::kAutoNumber:
      return "a number or Auto";
    case KeyType::kStringList:
      return "a list of strings";
    case KeyType::kObject:
      return "an object";
  }
  return "a string";
}

const PortSpec* StageType::input(std::string_view port) const {
  auto it =
      std::find_if(inputs.begin(), inputs.end(), [&](const PortSpec& p) { return p.name == port; });
  return it == inputs.end() ? nullptr : &*it;
}
const PortSpec* StageType::output(std::string_view port) const {
  auto it = std::find_if(outputs.begin(), outputs.end(),
                         [&](const PortSpec& p) { return p.name == port; });
  return it == outputs.end() ? nullptr : &*it;
}
const KeySpec* StageType::key(std::string_view dotted) const {
  auto it =
      std::find_if(keys.begin(), keys.end(), [&](const KeySpec& k) { return k.name == dotted; });
  return it == keys.end() ? nullptr : &*it;
}

namespace {

using enum KeyType;

// What every stage that reads images knows about them.
std::vector<KeySpec> data_keys() {
  return {{"data.format", kString, {}, {"Auto", "ImageFolder", "Idx"}},
          {"data.path", kString, {}, {}},
          {"data.classes", kStringList, {}, {}},
          {"data.splits", kObject, {}, {}}};
}

std::vector<KeySpec> training_keys() {
  std::vector<KeySpec> keys = data_keys();
  const std::vector<KeySpec> own{
      {"network", kString, {}, {}},
      {"epochs", kAutoInteger, Json("Auto"), {}},
      {"batchSize", kAutoInteger, Json("Auto"), {}},
      {"imageSize", kAutoInteger, Json("Auto"), {}},
      {"optimizer", kString, Json("Auto"), {"Auto", "sgd", "adam", "adamw"}},
      {"learningRate", kAutoNumber, Json("Auto"), {}},
      {"momentum", kNumber, {}, {}},
      {"weightDecay", kNumber, {}, {}},
      {"labelSmoothing", kNumber, {}, {}},
      {"ema", kNumber, {}, {}},
      {"schedule", kString, {}, {"Auto", "onecycle", "cosine", "constant"}},
      {"warmupEpochs", kNumber, {}, {}},
      {"augmentation", kObject, {}, {}},
      {"earlyStopping", kInteger, Json(0), {}},
      {"seed", kInteger, Json(0), {}},
      {"threads", kAutoInteger, {}, {}},
      {"metric", kString, {}, {"Auto", "top1", "loss"}},
      {"checkpointSteps", kInteger, {}, {}},
      {"limitTrain", kInteger, {}, {}},
      {"limitVal", kInteger, {}, {}},
  };
  keys.insert(keys.end(), own.begin(), own.end());
  return keys;
}

std::vector<KeySpec> with(std::vector<KeySpec> keys, std::vector<KeySpec> more) {
  keys.insert(keys.end(), more.begin(), more.end());
  return keys;
}

const std::vector<StageType>& table() {
  static const std::vector<StageType> kTypes{
      {"Train",
       1,
       {{"dataset", PortType::kDataset, true}, {"model", PortType::kModel, false}},
       {{"model", PortType::kModel, true}, {"trainerState", PortType::kTrainerState, true}},
       training_keys()},
      {"Distill",
       1,
       {{"dataset", PortType::kDataset, true}, {"teacher", PortType::kModel, true}},
       {{"model", PortType::kModel, true}, {"trainerState", PortType::kTrainerState, true}},
       with(training_keys(),
            {{"temperature", kNumber, {}, {}}, {"distillWeight", kNumber, {}, {}}})},
      {"Evaluate",
       1,
       {{"dataset", PortType::kDataset, true}, {"model", PortType::kModel, true}},
       {{"report", PortType::kReport, true}},
       with(data_keys(), {{"batchSize", kAutoInteger, {}, {}},
                          {"threads", kAutoInteger, {}, {}},
                          {"split", kString, Json("test"), {"train", "val", "test"}}})},
      {"Export",
       1,
       {{"dataset", PortType::kDataset, true}, {"model", PortType::kModel, true}},
       {{"model", PortType::kModel, true}},
       with(data_keys(), {{"threads", kAutoInteger, {}, {}},
                          {"goldenSamples", kInteger, {}, {}},
                          {"formats", kStringList, Json::array({"ONNX"}), {}},
                          {"precision", kString, Json("FP32"), {"FP32"}}})},
  };
  return kTypes;
}

}  // namespace

const StageType* stage_type(std::string_view name) {
  auto it = std::find_if(table().begin(), table().end(),
                         [&](const StageType& t) { return t.name == name; });
  return it == table().end() ? nullptr : &*it;
}

std::vector<std::string> stage_type_names() {
  std::vector<std::string> names;
  for (const StageType& t : table()) names.push_back(t.name);
  return names;
}

bool known_but_unsupported(std::string_view type) {
  static constexpr std::array kNames{"Pretrain",  "SemiTrain", "IncrementalTrain",
                                     "SoftLabel", "Prune",     "Quantize",
                                     "Search",    "Infer",     "DriftCheck"};
  return std::find(kNames.begin(), kNames.end(), type) != kNames.end();
}

}  // namespace tango::recipes
