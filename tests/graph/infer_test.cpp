#include "lib/graph/infer.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include "lib/graph/zoo.h"

namespace tango::graph {
namespace {

TEST(Dim, KeepsOneNormalForm) {
  const Dim h = Dim::symbol(Symbol::kH);
  EXPECT_EQ(h.affine(1, 1, 2), h.affine(1, -1, 2).affine(1, 1, 1));
  EXPECT_EQ(h.affine(2, 0, 2), h);
  EXPECT_EQ(h.affine(1, 1, 2).to_string(), "(H+1)/2");
  EXPECT_EQ(h.affine(1, 1, 2).affine(1, 1, 2).to_string(), "(H+3)/4");
  EXPECT_EQ(Dim(7).affine(1, 1, 2), Dim(4));
  EXPECT_NE(h, Dim::symbol(Symbol::kW));
}

TEST(Dim, ChainsEqualStepByStepArithmetic) {
  rc::check("a chain of windows has the value of its steps", [] {
    const auto steps = *rc::gen::container<std::vector<std::tuple<int, int, int>>>(
        rc::gen::tuple(rc::gen::inRange(1, 4), rc::gen::inRange(-3, 6), rc::gen::inRange(1, 5)));
    const std::int64_t x = *rc::gen::inRange<std::int64_t>(100, 2000);
    Dim d = Dim::symbol(Symbol::kW);
    Dim constant(x);
    for (const auto& [mul, add, div] : steps) {
      if (constant.value() > 1'000'000'000) break;
      d = d.affine(mul, add, div);
      constant = constant.affine(mul, add, div);
    }
    RC_ASSERT(d.evaluate(1, 1, x) == constant.value());
  });
}

TEST(Infer, ShapesStaySymbolicUntilTheInputIsFrozen) {
  const Graph g = build_zoo_network("resnet20", {.classes = 7, .channels = 1}).value();
  const auto shapes = infer_shapes(g).value();
  EXPECT_EQ(to_string(shapes.at("layer3.2.relu2")), "[N, 64, (H+3)/4, (W+3)/4]");
  EXPECT_EQ(to_string(shapes.at("fc")), "[N, 7]");
  EXPECT_EQ(cost(g).error().reason, "InputNotFrozen");

  const Graph frozen = freeze_input(g, 2, 28, 28).value();
  EXPECT_EQ(to_string(infer_shapes(frozen)->at("layer3.2.relu2")), "[2, 64, 7, 7]");
}

TEST(Infer, TooSmallAnImageIsRefused) {
  Graph g;
  g.name = "g";
  g.nodes = {{.path = "input", .attrs = InputAttrs{.channels = 1, .n = {}, .h = {}, .w = {}}},
             {.path = "c",
              .op = Op::kConv,
              .inputs = {"input"},
              .attrs = ConvAttrs{.out = 1, .kernel = {5, 5}}}};
  g.outputs = {"c"};
  EXPECT_TRUE(freeze_input(g, 1, 5, 5).ok());
  const auto bad = freeze_input(g, 1, 4, 5);
  ASSERT_FALSE(bad.ok());
  EXPECT_EQ(bad.error().reason, "ShapeMismatch");
}

TEST(Infer, AddingDifferentShapesNamesTheNode) {
  Graph g;
  g.name = "g";
  g.nodes = {
      {.path = "input", .attrs = InputAttrs{.channels = 3, .n = {}, .h = {}, .w = {}}},
      {.path = "down", .op = Op::kSubsample, .inputs = {"input"}, .attrs = SubsampleAttrs{2}},
      {.path = "sum", .op = Op::kAdd, .inputs = {"input", "down"}}};
  g.outputs = {"sum"};
  const auto r = infer_shapes(g);
  ASSERT_FALSE(r.ok());
  EXPECT_EQ(r.error().reason, "ShapeMismatch");
  EXPECT_NE(r.error().message.find("node sum (add)"), std::string::npos) << r.error().message;
}

TEST(Infer, PeakMemoryFollowsTheLivesOfValues) {
  Graph g;
  g.name = "g";
  g.nodes = {{.path = "input", .attrs = InputAttrs{.channels = 2, .n = 1, .h = 4, .w = 4}},
             {.path = "a", .op = Op::kRelu, .inputs = {"input"}},
             {.path = "b", .op = Op::kRelu, .inputs = {"a"}},
             {.path = "c", .op = Op::kAdd, .inputs = {"input", "b"}}};
  g.outputs = {"c"};
  // At "b" the input, a and b are alive; at "c" the input, b and c.
  EXPECT_EQ(cost(g)->peak_activation_bytes, 3 * 2 * 16 * 4);
}

}  // namespace
}  // namespace tango::graph
