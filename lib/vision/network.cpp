#include "lib/vision/network.h"

#include <array>
#include <cmath>
#include <initializer_list>
#include <optional>
#include <set>
#include <utility>

namespace tango::vision {
namespace {

constexpr int kMaxSide = 8192;
constexpr std::size_t kMaxClasses = 100'000;

template <typename T>
using Names = std::initializer_list<std::pair<std::string_view, T>>;

const Names<ColorOrder> kColors{
    {"Gray", ColorOrder::kGray}, {"RGB", ColorOrder::kRgb}, {"BGR", ColorOrder::kBgr}};
const Names<ResizeMode> kResizes{{"Stretch", ResizeMode::kStretch},
                                 {"Letterbox", ResizeMode::kLetterbox},
                                 {"CenterCrop", ResizeMode::kCenterCrop}};
const Names<Interpolation> kInterpolations{{"Nearest", Interpolation::kNearest},
                                           {"Bilinear", Interpolation::kBilinear},
                                           {"Area", Interpolation::kArea}};
const Names<OutputActivation> kActivations{{"None", OutputActivation::kNone},
                                           {"Softmax", OutputActivation::kSoftmax}};

template <typename T>
std::string name_of(const Names<T>& names, T value) {
  for (const auto& [name, v] : names) {
    if (v == value) return std::string(name);
  }
  return {};
}

Error invalid(std::string message) {
  return make_error(Code::kInvalid, "InvalidNetwork", "network.json: " + std::move(message));
}
Error wrong_type(std::string path, std::string_view wanted) {
  return make_error(Code::kInvalid, "WrongType",
                    "network.json: " + std::move(path) + " must be " + std::string(wanted));
}

template <typename T>
Result<T> choice(const Json& object, std::string_view key, std::string_view path,
                 const Names<T>& names, std::optional<T> fallback) {
  const Json& value = get(object, key);
  const std::string where = std::string(path) + "." + std::string(key);
  if (value.is_null()) {
    if (fallback) return *fallback;
    return make_error(Code::kInvalid, "MissingField", "network.json: " + where + " is missing");
  }
  if (!value.is_string()) return wrong_type(where, "a string");
  const auto& text = value.get_ref<const std::string&>();
  std::string allowed;
  for (const auto& [name, v] : names) {
    if (text == name) return v;
    allowed += (allowed.empty() ? "" : ", ") + std::string(name);
  }
  return invalid(where + " is \"" + text + "\"; it must be one of " + allowed);
}

Result<int> side(const Json& object, std::string_view key) {
  TRY_ASSIGN(const std::int64_t value, require_int(object, key, "network.json: input"));
  if (value < 1 || value > kMaxSide) {
    return invalid("input." + std::string(key) + " is " + std::to_string(value) +
                   "; it must be 1.." + std::to_string(kMaxSide));
  }
  return static_cast<int>(value);
}

Result<std::vector<double>> per_channel(const Json& object, std::string_view key, int channels,
                                        double fallback) {
  const Json& value = get(object, key);
  if (value.is_null()) return std::vector<double>(static_cast<std::size_t>(channels), fallback);
  const std::string where = "input." + std::string(key);
  if (!value.is_array()) return wrong_type(where, "a list of numbers");
  if (static_cast<int>(value.size()) != channels) {
    return invalid(where + " has " + std::to_string(value.size()) + " entries for " +
                   std::to_string(channels) + " channels");
  }
  std::vector<double> out;
  for (const Json& entry : value) {
    if (!entry.is_number()) return wrong_type(where, "a list of numbers");
    out.push_back(entry.get<double>());
    if (!std::isfinite(out.back())) return invalid(where + " holds a number that is not finite");
  }
  return out;
}

Status known_keys(const Json& object, std::string_view path,
                  std::initializer_list<std::string_view> known) {
  for (const auto& [key, value] : object.items()) {
    bool found = false;
    for (const auto name : known) found = found || key == name;
    if (!found) {
      return make_error(
          Code::kInvalid, "UnknownField",
          "network.json: unknown key " + std::string(path) + (path.empty() ? "" : ".") + key);
    }
  }
  return ok_status();
}

Result<std::string> text_or(const Json& object, std::string_view key, std::string_view path,
                            std::string_view fallback) {
  const Json& value = get(object, key);
  if (value.is_null()) return std::string(fallback);
  if (!value.is_string()) return wrong_type(std::string(path) + std::string(key), "a string");
  return value.get<std::string>();
}

Result<InputSpec> parse_input(const Json& value) {
  TRY(known_keys(
      value, "input",
      {"name", "height", "width", "color", "resize", "interpolation", "padValue", "mean", "std"}));
  InputSpec input;
  TRY_ASSIGN(input.name, text_or(value, "name", "input.", "input"));
  TRY_ASSIGN(input.height, side(value, "height"));
  TRY_ASSIGN(input.width, side(value, "width"));
  TRY_ASSIGN(input.color, choice<ColorOrder>(value, "color", "input", kColors, std::nullopt));
  TRY_ASSIGN(input.resize,
             choice<ResizeMode>(value, "resize", "input", kResizes, ResizeMode::kStretch));
  TRY_ASSIGN(input.interpolation, choice<Interpolation>(value, "interpolation", "input",
                                                        kInterpolations, Interpolation::kBilinear));
  if (const Json& pad = get(value, "padValue"); !pad.is_null()) {
    if (!pad.is_number_integer()) return wrong_type("input.padValue", "an integer");
    const auto number = pad.get<std::int64_t>();
    if (number < 0 || number > 255) return invalid("input.padValue must be 0..255");
    input.pad_value = static_cast<int>(number);
  }
  TRY_ASSIGN(input.mean, per_channel(value, "mean", input.channels(), 0.0));
  TRY_ASSIGN(input.std, per_channel(value, "std", input.channels(), 1.0));
  for (const double s : input.std) {
    if (s <= 0) return invalid("input.std must be greater than 0");
  }
  return input;
}

}  // namespace

Json encode(const NetworkSpec& spec) {
  const InputSpec& in = spec.input;
  const auto channels = static_cast<std::size_t>(in.channels());
  return Json{
      {"format", kNetworkFormat},
      {"name", spec.name},
      {"task", spec.task},
      {"classes", spec.classes},
      {"input",
       {{"name", in.name},
        {"height", in.height},
        {"width", in.width},
        {"color", name_of(kColors, in.color)},
        {"resize", name_of(kResizes, in.resize)},
        {"interpolation", name_of(kInterpolations, in.interpolation)},
        {"padValue", in.pad_value},
        {"mean", in.mean.empty() ? std::vector<double>(channels, 0.0) : in.mean},
        {"std", in.std.empty() ? std::vector<double>(channels, 1.0) : in.std}}},
      {"output",
       {{"name", spec.output.name}, {"activation", name_of(kActivations, spec.output.activation)}}},
  };
}

Result<NetworkSpec> parse_network(const Json& value) {
  if (!value.is_object()) return wrong_type("the document", "an object");
  TRY_ASSIGN(const std::string format, require_string(value, "format", "network.json"));
  if (format != kNetworkFormat) {
    return make_error(Code::kUnsupported, "Unsupported",
                      "network.json has format " + format + "; this version reads " +
                          std::string(kNetworkFormat));
  }
  TRY(known_keys(value, "", {"format", "name", "task", "classes", "input", "output"}));
  NetworkSpec spec;
  TRY_ASSIGN(spec.name, text_or(value, "name", "", ""));
  TRY_ASSIGN(spec.task, require_string(value, "task", "network.json"));
  if (spec.task != "Classification") {
    return make_error(Code::kUnsupported, "Unsupported",
                      "network.json: task " + spec.task + " is not supported yet");
  }
  const Json& classes = get(value, "classes");
  if (!classes.is_array()) return wrong_type("classes", "a list of names");
  if (classes.empty() || classes.size() > kMaxClasses) {
    return invalid("classes must hold 1.." + std::to_string(kMaxClasses) + " names");
  }
  std::set<std::string> seen;
  for (const Json& name : classes) {
    if (!name.is_string()) return wrong_type("classes", "a list of names");
    auto text = name.get<std::string>();
    if (text.empty()) return invalid("classes holds an empty name");
    if (!seen.insert(text).second) return invalid("class \"" + text + "\" is listed twice");
    spec.classes.push_back(std::move(text));
  }
  TRY_ASSIGN(const Json input, require_object(value, "input", "network.json"));
  TRY_ASSIGN(spec.input, parse_input(input));
  if (const Json& output = get(value, "output"); !output.is_null()) {
    if (!output.is_object()) return wrong_type("output", "an object");
    TRY(known_keys(output, "output", {"name", "activation"}));
    TRY_ASSIGN(spec.output.name, text_or(output, "name", "output.", "logits"));
    TRY_ASSIGN(spec.output.activation,
               choice<OutputActivation>(output, "activation", "output", kActivations,
                                        OutputActivation::kSoftmax));
  }
  return spec;
}

Result<std::string> network_json(const NetworkSpec& spec) {
  // What we write must be readable: the parser is the one place that knows the rules.
  const Json value = encode(spec);
  TRY(parse_network(value));
  return canonical_json(value);
}

Result<NetworkSpec> parse_network_text(std::string_view text) {
  TRY_ASSIGN(const Json value, parse_json(text));
  return parse_network(value);
}

}  // namespace tango::vision
