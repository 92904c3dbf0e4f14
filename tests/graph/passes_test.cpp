#include "lib/graph/passes.h"

#include <gtest/gtest.h>

#include <cmath>

#include "lib/graph/infer.h"
#include "lib/graph/zoo.h"
#include "tests/graph/reference_interpreter.h"

namespace tango::graph {
namespace {

using testing::all_operators;
using testing::interpret;
using testing::random_input;
using testing::random_weights;

void expect_same(const Network& a, const Network& b, std::vector<std::int64_t> shape) {
  const auto input = random_input(std::move(shape), 9);
  const auto x = interpret(a.graph, a.weights, input);
  const auto y = interpret(b.graph, b.weights, input);
  ASSERT_EQ(a.graph.outputs.size(), b.graph.outputs.size());
  for (std::size_t i = 0; i < a.graph.outputs.size(); ++i) {
    const auto& p = x.at(a.graph.outputs[i]).data;
    const auto& q = y.at(b.graph.outputs[i]).data;
    ASSERT_EQ(p.size(), q.size());
    double peak = 1;
    for (const double v : p) peak = std::max(peak, std::abs(v));
    // The fused weights are rounded to f32 once: that is the whole difference.
    for (std::size_t k = 0; k < p.size(); ++k) EXPECT_NEAR(p[k], q[k], 2e-6 * peak);
  }
}

TEST(FuseConvBn, KeepsTheOutputsOfEveryOperator) {
  const Graph g = all_operators(4);
  const Network network{g, random_weights(g, 3)};
  const auto fused = fuse_conv_bn(network);
  ASSERT_TRUE(fused.ok()) << fused.error().to_string();
  expect_same(network, *fused, {2, 4, 9, 7});
  EXPECT_EQ(fused->graph.find("b1"), nullptr);
  EXPECT_EQ(fused->graph.find("b2"), nullptr);
  EXPECT_NE(fused->graph.find("b3"), nullptr);
  EXPECT_NE(fused->graph.find("b4"), nullptr);
  EXPECT_EQ(fused->graph.taps.at("b1"), "c1");
  EXPECT_FALSE(fused->weights.contains("b1.running_var"));
  EXPECT_EQ(encode(fused->graph), encode(fuse_conv_bn(g).value()));
}

TEST(FuseConvBn, KeepsTheOutputsOfResnet20) {
  const Graph g = build_zoo_network("resnet20", {.classes = 4, .channels = 1}).value();
  const Network network{g, random_weights(g, 5)};
  const auto fused = fuse_conv_bn(network);
  ASSERT_TRUE(fused.ok()) << fused.error().to_string();
  for (const Node& n : fused->graph.nodes) EXPECT_NE(n.op, Op::kBatchNorm);
  expect_same(network, *fused, {1, 1, 8, 8});
}

TEST(FuseConvBn, RefusesWeightsThatDoNotFit) {
  const Graph g = all_operators(4);
  TensorStore w = random_weights(g, 1);
  w.erase("b1.bias");
  EXPECT_EQ(fuse_conv_bn(Network{g, w}).error().reason, "MissingTensor");
  w.put("b1.bias", Tensor::f32({2}, std::vector<float>{1, 2}));
  EXPECT_EQ(fuse_conv_bn(Network{g, w}).error().reason, "ShapeMismatch");
  w = random_weights(g, 1);
  w.put("stray", Tensor::f32({1}, std::vector<float>{1}));
  EXPECT_EQ(fuse_conv_bn(Network{g, w}).error().reason, "UnknownTensor");
}

TEST(SelectMode, DropsTheAuxiliaryBranchAndItsTrunk) {
  Graph g;
  g.name = "g";
  const auto add = [&](std::string path, Op op, std::vector<std::string> in,
                       When when = When::kBoth) {
    g.nodes.push_back({.path = std::move(path), .op = op, .when = when, .inputs = std::move(in)});
  };
  g.nodes.push_back(
      {.path = "input", .attrs = InputAttrs{.channels = 1, .n = {}, .h = {}, .w = {}}});
  add("trunk", Op::kRelu, {"input"});
  add("only_aux", Op::kRelu, {"trunk"});
  add("aux", Op::kRelu, {"only_aux"}, When::kTrain);
  add("aux2", Op::kRelu, {"aux"});
  add("main", Op::kRelu, {"trunk"});
  g.outputs = {"main", "aux2"};
  g.taps["side"] = "only_aux";
  const Graph eval = select_mode(g, When::kEval).value();
  EXPECT_EQ(eval.outputs, std::vector<std::string>{"main"});
  EXPECT_EQ(eval.nodes.size(), 3U);
  EXPECT_TRUE(eval.taps.empty());
  EXPECT_EQ(select_mode(g, When::kTrain)->nodes.size(), 6U);
}

}  // namespace
}  // namespace tango::graph
