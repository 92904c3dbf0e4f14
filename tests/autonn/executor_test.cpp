// The torch executor and the ONNX export against the reference interpreter: one of every operator.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "autonn/onnx_export.h"
#include "autonn/parity.h"
#include "autonn/torch_network.h"
#include "lib/graph/infer.h"
#include "lib/graph/zoo.h"
#include "tests/graph/reference_interpreter.h"

namespace tango::autonn {
namespace {

using graph::testing::all_operators;
using graph::testing::interpret;
using graph::testing::random_input;
using graph::testing::random_weights;

std::vector<float> floats(const std::vector<double>& v) { return {v.begin(), v.end()}; }

void expect_close(const std::vector<double>& expected, const float* got, double relative) {
  double peak = 1;
  for (const double v : expected) peak = std::max(peak, std::abs(v));
  for (std::size_t i = 0; i < expected.size(); ++i) {
    EXPECT_NEAR(expected[i], got[i], relative * peak) << i;
  }
}

TEST(TorchNetwork, AgreesWithTheReferenceOnEveryOperator) {
  const graph::Graph g = all_operators(4);
  const graph::TensorStore weights = random_weights(g, 3);
  const auto input = random_input({2, 4, 9, 7}, 5);
  const auto network = TorchNetwork::create(g, weights);
  ASSERT_TRUE(network.ok()) << network.error().to_string();
  const std::vector<float> x = floats(input.data);
  at::NoGradGuard no_grad;
  const at::Tensor t = at::from_blob(const_cast<float*>(x.data()), {2, 4, 9, 7}, at::kFloat)
                           .contiguous(at::MemoryFormat::ChannelsLast);
  const at::Tensor y = (*network)->forward(t, false).contiguous();
  expect_close(interpret(g, weights, input).at("fc").data, y.data_ptr<float>(), 2e-5);
  EXPECT_EQ((*network)->weights(), weights);
}

TEST(TorchNetwork, RefusesWeightsThatDoNotFit) {
  const graph::Graph g = all_operators(4);
  graph::TensorStore weights = random_weights(g, 3);
  weights.erase("c1.weight");
  EXPECT_EQ(TorchNetwork::create(g, weights).error().reason, "MissingTensor");
}

TEST(TorchNetwork, GradientsArriveInTheFlatBuffers) {
  const graph::Graph g =
      graph::build_zoo_network("resnet20", {.classes = 3, .channels = 1}).value();
  auto network = TorchNetwork::create(g, initial_weights(g, 1).value()).value();
  network->make_trainable();
  const at::Tensor x = at::rand({4, 1, 12, 12}, at::kFloat);
  network->forward(x, true).sum().backward();
  EXPECT_GT(network->flat_gradient(Group::kDecay).abs().sum().item<double>(), 0);
  EXPECT_GT(network->flat_gradient(Group::kPlain).abs().sum().item<double>(), 0);
}

TEST(Initial, WeightsDependOnSeedAndNameOnly) {
  const graph::Graph a =
      graph::build_zoo_network("resnet20", {.classes = 3, .channels = 1}).value();
  const graph::Graph b =
      graph::build_zoo_network("resnet32", {.classes = 3, .channels = 1}).value();
  const auto x = initial_weights(a, 7).value();
  const auto y = initial_weights(b, 7).value();
  EXPECT_EQ(*x.get("layer1.2.conv1.weight").value(), *y.get("layer1.2.conv1.weight").value());
  EXPECT_FALSE(x == initial_weights(a, 8).value());
  // Kaiming normal: variance 2 / fan out.
  const auto w = x.get("layer3.2.conv2.weight").value()->as_f32();
  double squares = 0;
  for (const float v : w) squares += static_cast<double>(v) * v;
  EXPECT_NEAR(squares / static_cast<double>(w.size()), 2.0 / (64 * 9), 2e-4);
}

vision::NetworkSpec spec_of(int h, int w) {
  vision::NetworkSpec spec;
  spec.classes = {"a", "b", "c", "d", "e"};
  spec.input.height = h;
  spec.input.width = w;
  spec.input.mean = {0, 0, 0};
  spec.input.std = {1, 1, 1};
  return spec;
}

struct Exported {
  std::string onnx;
  std::vector<float> inputs;
  std::vector<std::vector<float>> outputs;
};

Exported exported(std::uint64_t seed) {
  const graph::Graph g = all_operators(3);
  const graph::TensorStore weights = random_weights(g, seed);
  graph::Network network{graph::freeze_input(g, 1, 9, 7).value(), weights};
  auto onnx = export_onnx(network, "input", "logits");
  EXPECT_TRUE(onnx.ok()) << onnx.error().to_string();
  Exported out;
  if (!onnx.ok()) return out;
  out.onnx = *onnx;
  for (std::uint64_t i = 0; i < 3; ++i) {
    const auto input = random_input({1, 3, 9, 7}, i);
    const auto values = interpret(g, weights, input);
    const auto x = floats(input.data);
    out.inputs.insert(out.inputs.end(), x.begin(), x.end());
    out.outputs.push_back(floats(values.at("fc").data));
  }
  return out;
}

TEST(OnnxExport, EveryOperatorHasTheReferencesAnswerInOpenCv) {
  const Exported e = exported(11);
  const auto parity = check_parity(e.onnx, spec_of(9, 7), e.inputs, e.outputs);
  ASSERT_TRUE(parity.ok()) << parity.error().to_string();
  EXPECT_EQ(parity->samples, 3U);
}

TEST(OnnxExport, IsReproducible) { EXPECT_EQ(exported(4).onnx, exported(4).onnx); }

TEST(OnnxExport, ParityFindsOneChangedWeight) {
  const Exported good = exported(11);
  const Exported other = exported(12);
  const auto parity = check_parity(other.onnx, spec_of(9, 7), good.inputs, good.outputs);
  ASSERT_FALSE(parity.ok());
  EXPECT_EQ(parity.error().reason, "ParityFailed");
  EXPECT_EQ(check_parity("not a network", spec_of(9, 7), good.inputs, good.outputs).error().reason,
            "OnnxInvalid");
}

TEST(OnnxExport, NeedsStaticShapes) {
  const graph::Graph g = all_operators(3);
  EXPECT_EQ(export_onnx({g, random_weights(g, 1)}, "input", "logits").error().reason,
            "InputNotFrozen");
}

}  // namespace
}  // namespace tango::autonn
