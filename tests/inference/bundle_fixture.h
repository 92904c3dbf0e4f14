// A small but real bundle for tests: an ONNX network written byte by byte (no exporter involved)
// and golden samples computed by plain loops here, so that an engine has an independent reference.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "lib/base/file.h"
#include "lib/base/random.h"
#include "lib/vision/classify.h"
#include "lib/vision/codec.h"
#include "lib/vision/golden.h"
#include "lib/vision/preprocess.h"

namespace tango::test {

// ---- Just enough protobuf to write ONNX.

inline std::string varint(std::uint64_t v) {
  std::string out;
  for (; v >= 0x80; v >>= 7) out += static_cast<char>((v & 0x7f) | 0x80);
  return out + static_cast<char>(v);
}
inline std::string field(int number, std::uint64_t value) {
  return varint(static_cast<std::uint64_t>(number) << 3) + varint(value);
}
inline std::string field(int number, const std::string& bytes) {
  return varint((static_cast<std::uint64_t>(number) << 3) | 2) + varint(bytes.size()) + bytes;
}
inline std::string onnx_value(const std::string& name, const std::vector<std::uint64_t>& shape) {
  std::string dims;
  for (const auto d : shape) dims += field(1, field(1, d));
  return field(1, name) + field(2, field(1, field(1, 1) + field(2, dims)));
}
inline std::string onnx_tensor(const std::string& name, const std::vector<std::uint64_t>& shape,
                               const std::vector<float>& values) {
  std::string raw(values.size() * 4, '\0');
  std::memcpy(raw.data(), values.data(), raw.size());
  std::string out;
  for (const auto d : shape) out += field(1, d);
  return out + field(2, std::uint64_t{1}) + field(8, name) + field(9, raw);
}
inline std::string onnx_int(const std::string& name, std::uint64_t value) {
  return field(5, field(1, name) + field(3, value) + field(20, std::uint64_t{2}));
}
inline std::string onnx_ints(const std::string& name, const std::vector<std::uint64_t>& values) {
  std::string out = field(1, name);
  for (const auto v : values) out += field(8, v);
  return field(5, out + field(20, std::uint64_t{7}));
}
inline std::string onnx_node(const std::string& op, const std::vector<std::string>& inputs,
                             const std::string& output, const std::string& attributes = {}) {
  std::string out;
  for (const auto& input : inputs) out += field(1, input);
  return out + field(2, output) + field(3, op + "_" + output) + field(4, op) + attributes;
}

// ---- The network: 3x3 convolution (a light blur), ReLU, flatten, fully connected. It says which
// quadrant of an 8x8 grey picture is brightest.

inline constexpr int kSide = 8;
inline constexpr int kClasses = 4;

// Class c is quadrant kOrder[c] (0 upper left, 1 upper right, 2 lower left, 3 lower right). Not the
// identity: that network would be its own reversal, and damage by reversal would go unnoticed.
using QuadrantOrder = std::array<int, 4>;
inline constexpr QuadrantOrder kOrder{1, 0, 2, 3};

inline std::vector<float> quadrant_weights(const QuadrantOrder& order = kOrder) {
  std::vector<float> w(static_cast<std::size_t>(kClasses * kSide * kSide));
  for (int c = 0; c < kClasses; ++c) {
    for (int y = 0; y < kSide; ++y) {
      for (int x = 0; x < kSide; ++x) {
        const int quadrant = (y >= kSide / 2 ? 2 : 0) + (x >= kSide / 2 ? 1 : 0);
        w[static_cast<std::size_t>((c * kSide + y) * kSide + x)] =
            quadrant == order[static_cast<std::size_t>(c)] ? 0.5F : -0.15F;
      }
    }
  }
  return w;
}

struct QuadrantNet {
  std::vector<float> kernel{0.02F, 0.05F, 0.02F, 0.05F, 0.72F, 0.05F, 0.02F, 0.05F, 0.02F};
  std::vector<float> weights = quadrant_weights();
  std::vector<float> bias{0.1F, 0.0F, -0.1F, 0.05F};

  std::string onnx() const {
    const std::string graph =
        field(1, onnx_node("Conv", {"input", "kernel"}, "blurred",
                           onnx_ints("kernel_shape", {3, 3}) + onnx_ints("pads", {1, 1, 1, 1}) +
                               onnx_ints("strides", {1, 1}))) +
        field(1, onnx_node("Relu", {"blurred"}, "active")) +
        field(1, onnx_node("Flatten", {"active"}, "flat", onnx_int("axis", 1))) +
        field(1, onnx_node("Gemm", {"flat", "weights", "bias"}, "logits", onnx_int("transB", 1))) +
        field(2, std::string("quadrant")) + field(5, onnx_tensor("kernel", {1, 1, 3, 3}, kernel)) +
        field(5, onnx_tensor("weights", {kClasses, kSide * kSide}, weights)) +
        field(5, onnx_tensor("bias", {kClasses}, bias)) +
        field(11, onnx_value("input", {1, 1, kSide, kSide})) +
        field(12, onnx_value("logits", {1, kClasses}));
    return field(1, std::uint64_t{7}) + field(2, std::string("tango-test")) + field(7, graph) +
           field(8, field(1, std::string()) + field(2, std::uint64_t{13}));
  }

  std::vector<float> run(std::span<const float> input) const {
    std::vector<float> active(input.size());
    for (int y = 0; y < kSide; ++y) {
      for (int x = 0; x < kSide; ++x) {
        float sum = 0;
        for (int dy = -1; dy <= 1; ++dy) {
          for (int dx = -1; dx <= 1; ++dx) {
            if (y + dy < 0 || y + dy >= kSide || x + dx < 0 || x + dx >= kSide) continue;
            sum += kernel[static_cast<std::size_t>((dy + 1) * 3 + dx + 1)] *
                   input[static_cast<std::size_t>((y + dy) * kSide + x + dx)];
          }
        }
        active[static_cast<std::size_t>(y * kSide + x)] = std::max(0.0F, sum);
      }
    }
    std::vector<float> out = bias;
    for (std::size_t c = 0; c < out.size(); ++c) {
      for (std::size_t i = 0; i < active.size(); ++i) {
        out[c] += weights[c * active.size() + i] * active[i];
      }
    }
    return out;
  }
};

inline vision::NetworkSpec quadrant_network() {
  vision::NetworkSpec spec;
  spec.name = "quadrant";
  spec.classes = {"upper-right", "upper-left", "lower-left", "lower-right"};
  spec.input.width = spec.input.height = kSide;
  spec.input.color = vision::ColorOrder::kGray;
  spec.input.mean = {0.25};
  spec.input.std = {0.5};
  return spec;
}

// A noisy picture whose bright quadrant makes it one of class `label`.
inline vision::Image quadrant_image(int label, std::uint64_t seed) {
  const int quadrant = kOrder[static_cast<std::size_t>(label)];
  vision::Image image(kSide, kSide, 1);
  CounterRandom random(seed, 11);
  for (int y = 0; y < kSide; ++y) {
    for (int x = 0; x < kSide; ++x) {
      const bool bright = (y >= kSide / 2 ? 2 : 0) + (x >= kSide / 2 ? 1 : 0) == quadrant;
      image.at(x, y) = static_cast<std::uint8_t>((bright ? 150 : 40) + random.below(80));
    }
  }
  return image;
}

inline vision::GoldenSet quadrant_golden(const QuadrantNet& net = {}) {
  const auto spec = quadrant_network();
  constexpr std::size_t kSamples = 16;
  std::vector<float> inputs;
  std::vector<float> outputs;
  for (std::size_t i = 0; i < kSamples; ++i) {
    const auto input =
        vision::preprocess(quadrant_image(static_cast<int>(i % kClasses), i), spec.input)->values;
    const auto output = net.run(input);
    inputs.insert(inputs.end(), input.begin(), input.end());
    outputs.insert(outputs.end(), output.begin(), output.end());
  }
  vision::GoldenSet golden;
  golden.spec.samples = kSamples;
  golden.inputs = graph::Tensor::f32({kSamples, 1, kSide, kSide}, inputs);
  golden.outputs = graph::Tensor::f32({kSamples, kClasses}, outputs);
  const vision::Image image = quadrant_image(3, 99);
  golden.image_bytes = *vision::encode_png(image);
  const auto input = vision::preprocess(image, spec.input)->values;
  golden.image_input = graph::Tensor::f32({1, 1, kSide, kSide}, input);
  golden.image_output = graph::Tensor::f32({1, kClasses}, net.run(input));
  return golden;
}

// title -> bytes of the files of a Model artifact that a bundle carries.
inline std::map<std::string, std::string> quadrant_model_files(const QuadrantNet& net = {}) {
  const auto golden = quadrant_golden();
  const auto files = vision::encode_golden(golden, quadrant_network());
  return {{"model.onnx", net.onnx()},
          {"network.json", *vision::network_json(quadrant_network())},
          {"golden.json", files->json},
          {"golden.safetensors", files->tensors},
          {"golden.png", golden.image_bytes}};
}

// Writes <root>/model/*; the golden samples are always those of the intact network.
inline void write_bundle(const fs::path& root, const QuadrantNet& net = {}) {
  if (!make_dirs(root / "model").ok()) throw std::runtime_error("cannot make the bundle");
  for (const auto& [name, bytes] : quadrant_model_files(net)) {
    if (!write_file_atomic(root / "model" / name, bytes).ok()) {
      throw std::runtime_error("cannot write " + name);
    }
  }
}

}  // namespace tango::test
