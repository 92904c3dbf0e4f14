#include "lib/graph/zoo.h"

#include <gtest/gtest.h>

#include <cmath>

#include "lib/graph/passes.h"

namespace tango::graph {
namespace {

// "0.27M" -> {0.27e6, half of the last printed digit}.
struct Printed {
  double value = 0;
  double tolerance = 0;
};
Printed printed(const std::string& text) {
  std::string number = text;
  double unit = 1;
  if (number.back() == 'M') unit = 1e6;
  if (number.back() == 'G') unit = 1e9;
  if (unit != 1) number.pop_back();
  const auto dot = number.find('.');
  const double decimals =
      dot == std::string::npos ? 0 : static_cast<double>(number.size() - dot - 1);
  return {std::stod(number) * unit, 0.5 * std::pow(10.0, -decimals) * unit};
}

struct Row {
  std::string network;
  OracleRow oracle;
};
void PrintTo(const Row& r, std::ostream* out) { *out << r.network << " " << r.oracle.form; }

std::vector<Row> rows() {
  std::vector<Row> out;
  for (const std::string& name : zoo_names()) {
    const std::vector<OracleRow> oracle = zoo_oracle(name).value();
    for (const OracleRow& o : oracle) out.push_back({name, o});
  }
  return out;
}

class ZooOracle : public ::testing::TestWithParam<Row> {};

TEST_P(ZooOracle, ParametersMatchThePrintedDigitAndFlopsWithinOnePercent) {
  const Row& row = GetParam();
  const bool cifar = row.oracle.convention.find("1000") == std::string::npos &&
                     row.oracle.convention.find("224") == std::string::npos;
  const std::int64_t size = cifar ? 32 : 224;
  const Graph g = build_zoo_network(row.network).value();
  Cost c;
  if (row.oracle.form == "deploy") {
    c = deploy_cost(row.network, {}, size, size).value();
  } else {
    ASSERT_EQ(row.oracle.form, "train");
    c = cost(freeze_input(g, 1, size, size).value()).value();
  }
  const Printed params = printed(row.oracle.params);
  EXPECT_NEAR(static_cast<double>(c.params), params.value, params.tolerance) << row.oracle.source;
  if (!row.oracle.flops.empty()) {
    const double flops = printed(row.oracle.flops).value;
    EXPECT_NEAR(static_cast<double>(c.flops), flops, 0.01 * flops) << row.oracle.source;
  }
}

INSTANTIATE_TEST_SUITE_P(Zoo, ZooOracle, ::testing::ValuesIn(rows()));

TEST(Zoo, HoldsTheResnetsOfTheSelectionTable) {
  const std::vector<std::string> names = zoo_names();
  for (const char* name :
       {"resnet20", "resnet32", "resnet44", "resnet56", "resnet18", "resnet50"}) {
    EXPECT_TRUE(in_zoo(name)) << name;
    EXPECT_FALSE(zoo_oracle(name)->empty()) << name;
  }
  EXPECT_EQ(names.size(), 12U);
}

TEST(Zoo, UnknownNetworksAreNamedWithWhatExists) {
  const auto r = build_zoo_network("yolov9-s");
  ASSERT_FALSE(r.ok());
  EXPECT_EQ(r.error().reason, "NotFound");
  EXPECT_NE(r.error().message.find("resnet20"), std::string::npos);
}

TEST(Zoo, ClassesAndChannelsAreFree) {
  const Graph g = build_zoo_network("resnet50", {.classes = 3, .channels = 1}).value();
  EXPECT_EQ(g.input().as<InputAttrs>().channels, 1);
  EXPECT_EQ(g.find("fc")->as<LinearAttrs>().out, 3);
}

}  // namespace
}  // namespace tango::graph
