// Golden samples: known answers that travel with a model (docs/formats/golden.md), and the
// judgement over what an engine answers to them. The trainer writes them, `tango-infer selftest`
// reads them; judging is a pure function so that the gate's rules are tested without an engine.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/json.h"
#include "lib/base/result.h"
#include "lib/graph/tensor_store.h"
#include "lib/vision/image.h"
#include "lib/vision/network.h"

namespace tango::vision {

inline constexpr std::string_view kGoldenFormat = "tango.golden/v1";
inline constexpr std::string_view kGoldenFile = "golden.json";
inline constexpr std::string_view kGoldenTensors = "golden.safetensors";
inline constexpr std::string_view kGoldenImage = "golden.png";
inline constexpr int kMinGoldenSamples = 8;
inline constexpr int kMaxGoldenSamples = 1024;

struct GoldenSpec {
  std::string task = "Classification";
  std::string model = "ONNX";
  std::string precision = "FP32";
  int samples = 0;
  double min_agreement = 0.95;   // 0.5..1
  double margin_epsilon = 0.02;  // softmax units
  std::string image_file = std::string(kGoldenImage);
  double max_input_diff = 0.05;  // mean absolute, normalised units
};
Json encode(const GoldenSpec& spec);
// Errors: MissingField, WrongType, UnknownField, Unsupported, InvalidGolden.
Result<GoldenSpec> parse_golden_spec(const Json& value);

struct GoldenSet {
  GoldenSpec spec;
  graph::Tensor inputs;        // F32 [n, C, H, W]
  graph::Tensor outputs;       // F32 [n, classes]
  graph::Tensor image_input;   // F32 [1, C, H, W]
  graph::Tensor image_output;  // F32 [1, classes]
  std::string image_bytes;     // encoded PNG or JPEG

  std::size_t input_size() const;  // C * H * W
  std::size_t classes() const;
  std::span<const float> input(std::size_t i) const;
  std::span<const float> output(std::size_t i) const;
};

// Shapes, counts, finite values, at least two different reference answers, enough samples above the
// margin. Run before writing and after reading. Errors: InvalidGolden.
Status check_golden(const GoldenSet& set, const NetworkSpec& network);

// The three files. Errors: InvalidGolden; as check_golden, IoError.
struct GoldenFiles {
  std::string json;
  std::string tensors;
};
Result<GoldenFiles> encode_golden(const GoldenSet& set, const NetworkSpec& network);
Status write_golden(const std::filesystem::path& folder, const GoldenSet& set,
                    const NetworkSpec& network);
Result<GoldenSet> read_golden(const std::filesystem::path& folder, const NetworkSpec& network);

// What an engine answered.
struct GoldenAnswers {
  std::vector<std::vector<float>> outputs;  // raw, one per sample
  FloatImage image_input;                   // the encoded image through the engine's pre-processing
  std::vector<float> image_output;
};
struct GoldenVerdict {
  bool passed = false;
  std::string reason;  // CamelCase; empty when passed: NotFinite, ConstantAnswer, TooFewAgree,
                       // PreprocessingDiffers, ImageAnswerDiffers, WrongShape
  int samples = 0;
  int counted = 0;  // margin at least epsilon
  int agreed = 0;   // of the counted ones
  double max_abs_diff = 0;
  double image_input_diff = 0;
  bool image_agrees = false;
};
GoldenVerdict judge(const GoldenSet& set, const GoldenAnswers& answers);
Json to_json(const GoldenVerdict& verdict);

}  // namespace tango::vision
