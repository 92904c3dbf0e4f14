#include "lib/graph/definition.h"

#include <gtest/gtest.h>

#include "lib/graph/expression.h"

namespace tango::graph {
namespace {

constexpr const char* kGood = R"(schema: tango.graph-definition/1
family: test
variables: {classes: 3, channels: 1, width: 8}
defaults:
  batch_norm: {eps: 0.001, momentum: 0.1}
input: {channels: =channels}
blocks:
  unit:
    parameters: [out]
    nodes:
    - {name: conv, op: conv, out: =out, kernel: [3, 1], pad: [1, 0]}
    - {name: bn, op: batch_norm}
network:
- section: backbone
  nodes:
  - {name: u, block: unit, repeat: 2, with: {out: =width*2}}
  - {name: aux, op: relu, when: train}
  - {name: both, op: concat, from: [u.0, u.1], tap: mid}
- section: head
  nodes:
  - {name: pool, op: global_avg_pool}
  - {name: flat, op: flatten}
  - {name: fc, op: linear, out: =classes}
outputs: [fc]
variants:
- {name: small}
- {name: wide, set: {width: 32}}
)";

TEST(Definition, ExpandsBlocksRepeatsAndVariants) {
  const auto d = Definition::parse(kGood, "test.yaml");
  ASSERT_TRUE(d.ok()) << d.error().to_string();
  const auto g = d->expand("wide", {{"classes", 5}});
  ASSERT_TRUE(g.ok()) << g.error().to_string();
  EXPECT_EQ(g->name, "wide");
  const Node* conv = g->find("u.1.conv");
  ASSERT_NE(conv, nullptr);
  EXPECT_EQ(conv->as<ConvAttrs>().out, 64);
  EXPECT_EQ(conv->as<ConvAttrs>().kernel, (Pair{3, 1}));
  EXPECT_EQ(conv->section, Section::kBackbone);
  EXPECT_EQ(conv->inputs, std::vector<std::string>{"u.0.bn"});
  EXPECT_EQ(g->find("aux")->when, When::kTrain);
  EXPECT_EQ(g->find("fc")->as<LinearAttrs>().out, 5);
  EXPECT_EQ(g->find("both")->inputs, (std::vector<std::string>{"u.0.bn", "u.1.bn"}));
  EXPECT_EQ(g->taps.at("mid"), "both");
}

TEST(Definition, ErrorsNameFilePathAndLine) {
  struct Case {
    const char* from;
    const char* to;
    const char* reason;
    const char* message;
  };
  const Case cases[] = {
      {"op: relu", "op: rlu", "UnknownOp", "test.yaml:17: network[0].nodes[1].op"},
      {"out: =width*2", "out: =width*", "InvalidDefinition",
       "test.yaml:16: network[0].nodes[0].with.out"},
      {"out: =width*2", "out: =hight", "InvalidDefinition", "no variable \"hight\""},
      {"out: =width*2", "outs: 8", "InvalidDefinition",
       "parameter \"out\" of block unit is missing"},
      {"kernel: [3, 1]", "kernel: 3, kernels: 3", "UnknownField",
       "test.yaml:11: blocks.unit.nodes[0]"},
      {"from: [u.0, u.1]", "from: [u.0, u.9]", "InvalidDefinition", "no earlier node \"u.9\""},
      {"repeat: 2", "repeat: 5000", "InvalidDefinition", "repeat and start must be"},
      {"block: unit", "block: unti", "InvalidDefinition", "no block \"unti\""},
      {"name: aux", "name: u.1", "InvalidDefinition", "is used twice"},
      {"outputs: [fc]", "outputs: [f]", "InvalidDefinition", "outputs"},
      {"section: head", "section: tail", "InvalidDefinition", "backbone, neck or head"},
      {"{eps: 0.001, momentum: 0.1}", "{eps: 0.001}", "InvalidGraph", "momentum is missing"},
  };
  for (const Case& c : cases) {
    std::string text = kGood;
    const auto at = text.find(c.from);
    ASSERT_NE(at, std::string::npos) << c.from;
    text.replace(at, std::string(c.from).size(), c.to);
    const auto d = Definition::parse(text, "test.yaml");
    const auto g = d.ok() ? d->expand("small") : Result<Graph>(d.error());
    ASSERT_FALSE(g.ok()) << c.to;
    EXPECT_EQ(g.error().reason, c.reason) << c.to;
    EXPECT_NE(g.error().to_string().find(c.message), std::string::npos) << g.error().to_string();
  }
}

TEST(Definition, ABlockThatUsesItselfIsRefused) {
  std::string text = kGood;
  const std::string from = "- {name: bn, op: batch_norm}";
  text.replace(text.find(from), from.size(), "- {name: again, block: unit, with: {out: =out}}");
  const auto g = Definition::parse(text, "test.yaml")->expand("small");
  ASSERT_FALSE(g.ok());
  EXPECT_NE(g.error().message.find("nested too deeply"), std::string::npos) << g.error().message;
}

TEST(Definition, UnknownVariableInTheOverridesIsRefused) {
  const auto g = Definition::parse(kGood, "test.yaml")->expand("small", {{"depth", 2}});
  ASSERT_FALSE(g.ok());
  EXPECT_NE(g.error().message.find("\"depth\""), std::string::npos);
}

TEST(Expression, ComputesIntegersExactly) {
  const std::map<std::string, std::int64_t> vars{{"a", 6}, {"b_2", 4}};
  EXPECT_EQ(evaluate_expression("a * (b_2 + 1) - 2*3", vars).value(), 24);
  EXPECT_EQ(evaluate_expression("20-2-3", vars).value(), 15);
  EXPECT_EQ(evaluate_expression("a/3", vars).value(), 2);
  EXPECT_EQ(evaluate_expression("7%4", vars).value(), 3);
}

TEST(Expression, RefusesEverythingElse) {
  const std::map<std::string, std::int64_t> vars{{"a", 6}};
  for (const char* text :
       {"", "a/4", "a/0", "1+", "(1", "1)", "1 2", "-1", "a.b", "f(1)", "9223372036854775807+1",
        "99999999999999999999", "((((((((((((((((((1))))))))))))))))))"}) {
    const auto r = evaluate_expression(text, vars);
    ASSERT_FALSE(r.ok()) << text;
    EXPECT_EQ(r.error().reason, "InvalidDefinition");
  }
}

}  // namespace
}  // namespace tango::graph
