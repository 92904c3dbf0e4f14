#include "lib/vision/golden.h"

#include <algorithm>
#include <cmath>
#include <initializer_list>
#include <set>

#include "lib/base/file.h"
#include "lib/graph/safetensors.h"
#include "lib/vision/classify.h"

namespace tango::vision {
namespace {

constexpr double kMinCountedShare = 0.5;  // of the samples must have a clear reference answer
constexpr std::uint64_t kMaxTensorBytes = 1ull << 30;
constexpr std::uint64_t kMaxJsonBytes = 64u << 10;
constexpr std::uint64_t kMaxImageBytes = 16u << 20;

Error invalid(std::string message) {
  return make_error(Code::kInvalid, "InvalidGolden", "golden samples: " + std::move(message));
}

bool finite(std::span<const float> values) {
  return std::all_of(values.begin(), values.end(), [](float v) { return std::isfinite(v); });
}

// Best minus second softmax score.
double margin(std::span<const float> raw) {
  const auto best = top_k(softmax(raw), 2);
  return best.size() < 2 ? 1.0 : static_cast<double>(best[0].score) - best[1].score;
}

Result<double> number(const Json& object, std::string_view key, double fallback, double low,
                      double high) {
  const Json& value = get(object, key);
  if (value.is_null()) return fallback;
  if (!value.is_number()) {
    return make_error(Code::kInvalid, "WrongType",
                      "golden.json: " + std::string(key) + " must be a number");
  }
  const double out = value.get<double>();
  if (!(out >= low && out <= high)) return invalid(std::string(key) + " is out of range");
  return out;
}

Status known(const Json& object, std::initializer_list<std::string_view> keys) {
  for (const auto& [key, value] : object.items()) {
    if (std::find(keys.begin(), keys.end(), key) == keys.end()) {
      return make_error(Code::kInvalid, "UnknownField", "golden.json: unknown key " + key);
    }
  }
  return ok_status();
}

Status check_shape(const graph::Tensor& tensor, std::string_view name,
                   const std::vector<std::int64_t>& shape) {
  if (tensor.dtype != graph::DType::kF32) return invalid(std::string(name) + " is not F32");
  if (tensor.shape != shape) return invalid(std::string(name) + " has the wrong shape");
  if (!finite(tensor.as_f32())) return invalid(std::string(name) + " holds NaN or infinity");
  return ok_status();
}

}  // namespace

Json encode(const GoldenSpec& spec) {
  return Json{{"format", kGoldenFormat},
              {"task", spec.task},
              {"model", spec.model},
              {"precision", spec.precision},
              {"samples", spec.samples},
              {"minAgreement", spec.min_agreement},
              {"marginEpsilon", spec.margin_epsilon},
              {"image", {{"file", spec.image_file}, {"maxInputDiff", spec.max_input_diff}}}};
}

Result<GoldenSpec> parse_golden_spec(const Json& value) {
  if (!value.is_object()) {
    return make_error(Code::kInvalid, "WrongType", "golden.json must be an object");
  }
  TRY_ASSIGN(const std::string format, require_string(value, "format", "golden.json"));
  if (format != kGoldenFormat) {
    return make_error(
        Code::kUnsupported, "Unsupported",
        "golden.json has format " + format + "; this version reads " + std::string(kGoldenFormat));
  }
  TRY(known(value, {"format", "task", "model", "precision", "samples", "minAgreement",
                    "marginEpsilon", "image"}));
  GoldenSpec spec;
  TRY_ASSIGN(spec.task, require_string(value, "task", "golden.json"));
  if (spec.task != "Classification") {
    return make_error(Code::kUnsupported, "Unsupported",
                      "golden.json: task " + spec.task + " is not supported yet");
  }
  TRY_ASSIGN(spec.model, require_string(value, "model", "golden.json"));
  TRY_ASSIGN(spec.precision, require_string(value, "precision", "golden.json"));
  TRY_ASSIGN(const std::int64_t samples, require_int(value, "samples", "golden.json"));
  if (samples < kMinGoldenSamples || samples > kMaxGoldenSamples) {
    return invalid("samples must be " + std::to_string(kMinGoldenSamples) + ".." +
                   std::to_string(kMaxGoldenSamples));
  }
  spec.samples = static_cast<int>(samples);
  TRY_ASSIGN(spec.min_agreement, number(value, "minAgreement", spec.min_agreement, 0.5, 1.0));
  TRY_ASSIGN(spec.margin_epsilon, number(value, "marginEpsilon", spec.margin_epsilon, 0.0, 0.5));
  TRY_ASSIGN(const Json image, require_object(value, "image", "golden.json"));
  TRY(known(image, {"file", "maxInputDiff"}));
  TRY_ASSIGN(spec.image_file, require_string(image, "file", "golden.json: image"));
  TRY(check_relative_path(spec.image_file));
  if (spec.image_file.find('/') != std::string::npos) {
    return invalid("image.file must be a plain file name");
  }
  TRY_ASSIGN(spec.max_input_diff, number(image, "maxInputDiff", spec.max_input_diff, 0.0, 10.0));
  return spec;
}

std::size_t GoldenSet::input_size() const {
  return inputs.shape.empty() || inputs.shape[0] == 0
             ? 0
             : static_cast<std::size_t>(inputs.count() / inputs.shape[0]);
}
std::size_t GoldenSet::classes() const {
  return outputs.shape.size() == 2 ? static_cast<std::size_t>(outputs.shape[1]) : 0;
}
std::span<const float> GoldenSet::input(std::size_t i) const {
  return inputs.as_f32().subspan(i * input_size(), input_size());
}
std::span<const float> GoldenSet::output(std::size_t i) const {
  return outputs.as_f32().subspan(i * classes(), classes());
}

Status check_golden(const GoldenSet& set, const NetworkSpec& network) {
  const std::int64_t n = set.spec.samples;
  const auto classes = static_cast<std::int64_t>(network.classes.size());
  const std::int64_t c = network.input.channels();
  const std::int64_t h = network.input.height;
  const std::int64_t w = network.input.width;
  if (n < kMinGoldenSamples || n > kMaxGoldenSamples) return invalid("wrong number of samples");
  TRY(check_shape(set.inputs, "inputs", {n, c, h, w}));
  TRY(check_shape(set.outputs, "outputs", {n, classes}));
  TRY(check_shape(set.image_input, "image.input", {1, c, h, w}));
  TRY(check_shape(set.image_output, "image.output", {1, classes}));
  if (set.image_bytes.empty()) return invalid("the encoded image is missing");
  std::set<int> answers;
  int counted = 0;
  for (std::size_t i = 0; i < static_cast<std::size_t>(n); ++i) {
    answers.insert(argmax(set.output(i)));
    if (margin(set.output(i)) >= set.spec.margin_epsilon) ++counted;
  }
  // One answer for everything could not tell a working network from a dead one.
  if (answers.size() < 2) return invalid("the reference gives one answer to all samples");
  if (counted < kMinCountedShare * static_cast<double>(n)) {
    return invalid("only " + std::to_string(counted) + " of " + std::to_string(n) +
                   " samples have a clear reference answer");
  }
  return ok_status();
}

Result<GoldenFiles> encode_golden(const GoldenSet& set, const NetworkSpec& network) {
  TRY(check_golden(set, network));
  TRY(parse_golden_spec(encode(set.spec)));
  graph::TensorStore store;
  store.put("inputs", set.inputs);
  store.put("outputs", set.outputs);
  store.put("image.input", set.image_input);
  store.put("image.output", set.image_output);
  GoldenFiles files;
  TRY_ASSIGN(files.json, canonical_json(encode(set.spec)));
  files.tensors = graph::encode_safetensors(store);
  return files;
}

Status write_golden(const std::filesystem::path& folder, const GoldenSet& set,
                    const NetworkSpec& network) {
  TRY_ASSIGN(const GoldenFiles files, encode_golden(set, network));
  TRY(write_file_atomic(folder / kGoldenFile, files.json));
  TRY(write_file_atomic(folder / kGoldenTensors, files.tensors));
  return write_file_atomic(folder / set.spec.image_file, set.image_bytes);
}

Result<GoldenSet> read_golden(const std::filesystem::path& folder, const NetworkSpec& network) {
  GoldenSet set;
  TRY_ASSIGN(const std::string text, read_file(folder / kGoldenFile, kMaxJsonBytes));
  TRY_ASSIGN(const Json value, parse_json(text));
  TRY_ASSIGN(set.spec, parse_golden_spec(value));
  graph::SafetensorsLimits limits;
  limits.max_file_bytes = kMaxTensorBytes;
  TRY_ASSIGN(const graph::TensorStore store,
             graph::read_safetensors(folder / kGoldenTensors, limits));
  const auto take = [&](std::string_view key, graph::Tensor& into) -> Status {
    TRY_ASSIGN(const graph::Tensor* tensor, store.get(key));
    into = *tensor;
    return ok_status();
  };
  TRY(take("inputs", set.inputs));
  TRY(take("outputs", set.outputs));
  TRY(take("image.input", set.image_input));
  TRY(take("image.output", set.image_output));
  TRY_ASSIGN(set.image_bytes, read_file(folder / set.spec.image_file, kMaxImageBytes));
  TRY(check_golden(set, network));
  return set;
}

GoldenVerdict judge(const GoldenSet& set, const GoldenAnswers& answers) {
  GoldenVerdict verdict;
  verdict.samples = set.spec.samples;
  const auto n = static_cast<std::size_t>(set.spec.samples);
  const auto fail = [&](std::string_view reason) {
    if (verdict.reason.empty()) verdict.reason = reason;
  };
  const auto right_size = [&](const std::vector<float>& v) { return v.size() == set.classes(); };
  if (answers.outputs.size() != n || !right_size(answers.image_output) ||
      answers.image_input.values.size() != set.input_size() ||
      !std::all_of(answers.outputs.begin(), answers.outputs.end(), right_size)) {
    fail("WrongShape");
    return verdict;
  }
  bool all_finite = finite(answers.image_output);
  for (const auto& output : answers.outputs) all_finite = all_finite && finite(output);
  if (!all_finite) {
    fail("NotFinite");
    return verdict;
  }
  std::set<int> classes;
  bool same_output = true;
  for (std::size_t i = 0; i < n; ++i) {
    const auto& got = answers.outputs[i];
    const auto want = set.output(i);
    classes.insert(argmax(got));
    same_output = same_output && got == answers.outputs.front();
    for (std::size_t k = 0; k < got.size(); ++k) {
      verdict.max_abs_diff = std::max(verdict.max_abs_diff, std::abs(static_cast<double>(got[k]) -
                                                                     static_cast<double>(want[k])));
    }
    if (margin(want) < set.spec.margin_epsilon) continue;
    ++verdict.counted;
    if (argmax(got) == argmax(want)) ++verdict.agreed;
  }
  double sum = 0;
  const auto image_input = set.image_input.as_f32();
  for (std::size_t i = 0; i < image_input.size(); ++i) {
    sum += std::abs(static_cast<double>(answers.image_input.values[i]) -
                    static_cast<double>(image_input[i]));
  }
  verdict.image_input_diff =
      sum / static_cast<double>(std::max<std::size_t>(1, image_input.size()));
  const auto image_want = set.image_output.as_f32();
  verdict.image_agrees = argmax(answers.image_output) == argmax(image_want);

  if (classes.size() < 2 || same_output) fail("ConstantAnswer");
  if (verdict.agreed < set.spec.min_agreement * verdict.counted) fail("TooFewAgree");
  if (!(verdict.image_input_diff <= set.spec.max_input_diff)) fail("PreprocessingDiffers");
  if (!verdict.image_agrees && margin(image_want) >= set.spec.margin_epsilon) {
    fail("ImageAnswerDiffers");
  }
  verdict.passed = verdict.reason.empty();
  return verdict;
}

Json to_json(const GoldenVerdict& verdict) {
  Json out{{"passed", verdict.passed},           {"samples", verdict.samples},
           {"counted", verdict.counted},         {"agreed", verdict.agreed},
           {"maxAbsDiff", verdict.max_abs_diff}, {"imageInputDiff", verdict.image_input_diff},
           {"imageAgrees", verdict.image_agrees}};
  if (!verdict.reason.empty()) out["reason"] = verdict.reason;
  return out;
}

}  // namespace tango::vision
