// network.json: what goes into a network and what comes out, as data, so that trainer, runtime and
// tests share one pre- and post-processing. The trainer writes it, tango-infer and the gate read
// it; docs/formats/network.md has the exact bytes. Nothing here knows about weights or engines.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "lib/base/json.h"
#include "lib/base/result.h"

namespace tango::vision {

enum class ColorOrder { kGray, kRgb, kBgr };  // "Gray" | "RGB" | "BGR"
enum class ResizeMode {
  kStretch,
  kLetterbox,
  kCenterCrop
};                                                        // "Stretch" | "Letterbox" | "CenterCrop"
enum class Interpolation { kNearest, kBilinear, kArea };  // "Nearest" | "Bilinear" | "Area"
enum class OutputActivation { kNone, kSoftmax };  // what post-processing applies to the raw output

// Input of one image, float32 NCHW, batch 1. value = (pixel / 255 - mean[c]) / std[c].
struct InputSpec {
  std::string name = "input";  // of the graph input in every exported format
  int height = 0;
  int width = 0;
  ColorOrder color = ColorOrder::kRgb;  // Gray has 1 channel, RGB and BGR have 3
  ResizeMode resize = ResizeMode::kStretch;
  Interpolation interpolation = Interpolation::kBilinear;
  int pad_value = 114;       // 0..255, of letterbox borders
  std::vector<double> mean;  // one per channel, in 0..1 units
  std::vector<double> std;   // one per channel, > 0
  int channels() const { return color == ColorOrder::kGray ? 1 : 3; }
};

struct OutputSpec {
  std::string name = "logits";  // of the graph output: [1, classes]
  OutputActivation activation = OutputActivation::kSoftmax;
};

struct NetworkSpec {
  std::string name;  // of the architecture, for people: "resnet8-w16"
  std::string task = "Classification";
  std::vector<std::string> classes;  // index = output channel
  InputSpec input;
  OutputSpec output;
};

inline constexpr std::string_view kNetworkFormat = "tango.network/v1";

Json encode(const NetworkSpec& spec);
// Errors: MissingField, WrongType, InvalidNetwork (values out of range, mean/std of the wrong
// length, duplicate classes), UnknownField, Unsupported (task or format version).
Result<NetworkSpec> parse_network(const Json& value);
// Text form, canonical JSON: equal specs give equal bytes.
Result<std::string> network_json(const NetworkSpec& spec);
Result<NetworkSpec> parse_network_text(std::string_view text);

}  // namespace tango::vision
