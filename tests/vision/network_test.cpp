#include "lib/vision/network.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "lib/vision/classify.h"

namespace tango::vision {
namespace {

NetworkSpec sample() {
  NetworkSpec spec;
  spec.name = "resnet8-w16";
  spec.classes = {"0", "1", "2"};
  spec.input.width = spec.input.height = 28;
  spec.input.color = ColorOrder::kGray;
  spec.input.mean = {0.286};
  spec.input.std = {0.353};
  return spec;
}

TEST(Network, RoundTripHasTheDocumentedBytes) {
  const auto text = network_json(sample());
  ASSERT_TRUE(text.ok()) << text.error().to_string();
  EXPECT_EQ(
      *text,
      R"({"classes":["0","1","2"],"format":"tango.network/v1","input":{"color":"Gray","height":28,)"
      R"("interpolation":"Bilinear","mean":[0.286],"name":"input","padValue":114,"resize":"Stretch",)"
      R"("std":[0.353],"width":28},"name":"resnet8-w16","output":{"activation":"Softmax","name":"logits"},)"
      R"("task":"Classification"})");
  const auto back = parse_network_text(*text);
  ASSERT_TRUE(back.ok()) << back.error().to_string();
  EXPECT_EQ(*network_json(*back), *text);
}

TEST(Network, DefaultsAreFilledIn) {
  const auto spec =
      parse_network_text(R"({"format":"tango.network/v1","task":"Classification","classes":["a"],)"
                         R"("input":{"height":4,"width":5,"color":"RGB"}})");
  ASSERT_TRUE(spec.ok()) << spec.error().to_string();
  EXPECT_EQ(spec->input.std, (std::vector<double>{1, 1, 1}));
  EXPECT_EQ(spec->output.name, "logits");
}

struct BadCase {
  const char* path;  // JSON pointer to set
  const char* value;
  const char* reason;
};

class BadNetwork : public testing::TestWithParam<BadCase> {};

TEST_P(BadNetwork, IsRefusedWithItsReason) {
  Json value = encode(sample());
  value[Json::json_pointer(GetParam().path)] = Json::parse(GetParam().value);
  const auto spec = parse_network(value);
  ASSERT_FALSE(spec.ok());
  EXPECT_EQ(spec.error().reason, GetParam().reason) << spec.error().to_string();
}

INSTANTIATE_TEST_SUITE_P(All, BadNetwork,
                         testing::Values(BadCase{"/format", "\"tango.network/v9\"", "Unsupported"},
                                         BadCase{"/task", "\"Detection\"", "Unsupported"},
                                         BadCase{"/surprise", "1", "UnknownField"},
                                         BadCase{"/input/scale", "1", "UnknownField"},
                                         BadCase{"/classes", "[]", "InvalidNetwork"},
                                         BadCase{"/classes", "[\"a\",\"a\"]", "InvalidNetwork"},
                                         BadCase{"/classes", "[1]", "WrongType"},
                                         BadCase{"/input/height", "0", "InvalidNetwork"},
                                         BadCase{"/input/height", "100000", "InvalidNetwork"},
                                         BadCase{"/input/width", "\"28\"", "WrongType"},
                                         BadCase{"/input/color", "\"HSV\"", "InvalidNetwork"},
                                         BadCase{"/input/std", "[0]", "InvalidNetwork"},
                                         BadCase{"/input/mean", "[0.1,0.2]", "InvalidNetwork"},
                                         BadCase{"/input/padValue", "300", "InvalidNetwork"},
                                         BadCase{"/output/activation", "\"Sigmoid\"",
                                                 "InvalidNetwork"}));

TEST(Classify, SoftmaxIsStableAndSumsToOne) {
  const std::vector<float> logits{1000.0F, 1001.0F, 999.0F};
  const auto p = softmax(logits);
  EXPECT_NEAR(p[0] + p[1] + p[2], 1.0, 1e-6);
  EXPECT_NEAR(p[1] / p[0], std::exp(1.0), 1e-4);
  EXPECT_TRUE(softmax({}).empty());
  const std::vector<float> broken{1.0F, std::numeric_limits<float>::quiet_NaN()};
  EXPECT_TRUE(std::isnan(softmax(broken)[0]));
}

TEST(Classify, TopKBreaksTiesByIndex) {
  const std::vector<float> scores{0.1F, 0.4F, 0.4F, 0.1F};
  const auto best = top_k(scores, 3);
  ASSERT_EQ(best.size(), 3U);
  EXPECT_EQ(best[0].index, 1);
  EXPECT_EQ(best[1].index, 2);
  EXPECT_EQ(best[2].index, 0);
  EXPECT_EQ(top_k(scores, 99).size(), 4U);
  EXPECT_EQ(argmax({}), -1);
}

TEST(Classify, MeterMatchesHandCount) {
  ClassificationMeter meter(3);
  auto one_hot = [](int c) {
    std::vector<float> v(3, 0.0F);
    v[static_cast<std::size_t>(c)] = 1.0F;
    return v;
  };
  for (const auto& [truth, said] : {std::pair{0, 0}, {0, 1}, {1, 1}, {2, 2}, {2, 2}, {2, 0}}) {
    meter.add(one_hot(said), truth);
  }
  EXPECT_NEAR(meter.top1(), 4.0 / 6, 1e-12);
  EXPECT_EQ(meter.confusion(2, 0), 1U);
  // F1: class 0 = 2*1/(2+2), class 1 = 2*1/(1+2), class 2 = 2*2/(3+2).
  EXPECT_NEAR(meter.macro_f1(), (0.5 + 2.0 / 3 + 0.8) / 3, 1e-12);
  const std::vector<float> broken(3, std::numeric_limits<float>::quiet_NaN());
  meter.add(broken, 0);
  EXPECT_EQ(meter.samples(), 7U);
  EXPECT_NEAR(meter.top1(), 4.0 / 7, 1e-12);
  EXPECT_FALSE(ClassificationMeter(3).report({}).contains("top1"));  // absent, not zero
}

}  // namespace
}  // namespace tango::vision
