#include "lib/vision/golden.h"

#include <gtest/gtest.h>

#include <limits>

#include "lib/base/file.h"
#include "lib/base/random.h"
#include "lib/vision/codec.h"
#include "lib/vision/preprocess.h"

namespace tango::vision {
namespace {

NetworkSpec network() {
  NetworkSpec spec;
  spec.classes = {"a", "b", "c"};
  spec.input.width = spec.input.height = 4;
  spec.input.color = ColorOrder::kGray;
  spec.input.mean = {0.5};
  spec.input.std = {0.5};
  return spec;
}

// A made-up reference: answer i % 3 with a clear margin, except sample 9, which is a tie.
GoldenSet golden() {
  GoldenSet set;
  set.spec.samples = 12;
  CounterRandom random(1, 1);
  std::vector<float> inputs(12 * 16);
  for (auto& v : inputs) v = static_cast<float>(random.uniform());
  std::vector<float> outputs(12 * 3, 0.0F);
  for (std::size_t i = 0; i < 12; ++i) outputs[i * 3 + i % 3] = 4.0F;
  outputs[9 * 3 + 1] = 4.0F;
  set.inputs = graph::Tensor::f32({12, 1, 4, 4}, inputs);
  set.outputs = graph::Tensor::f32({12, 3}, outputs);
  Image image(4, 4, 1);
  for (auto& p : image.pixels) p = static_cast<std::uint8_t>(random.next());
  set.image_bytes = *encode_png(image);
  set.image_input = graph::Tensor::f32({1, 1, 4, 4}, preprocess(image, network().input)->values);
  const std::vector<float> image_output{0, 5, 0};
  set.image_output = graph::Tensor::f32({1, 3}, image_output);
  return set;
}

GoldenAnswers right(const GoldenSet& set) {
  GoldenAnswers answers;
  for (std::size_t i = 0; i < 12; ++i) {
    const auto out = set.output(i);
    answers.outputs.emplace_back(out.begin(), out.end());
  }
  answers.image_input = *preprocess(*decode_image(set.image_bytes), network().input);
  answers.image_output = {0, 5, 0};
  return answers;
}

TEST(Golden, RoundTripsThroughFilesAndPasses) {
  TempDir dir;
  const GoldenSet set = golden();
  ASSERT_TRUE(write_golden(dir.path(), set, network()).ok());
  const auto back = read_golden(dir.path(), network());
  ASSERT_TRUE(back.ok()) << back.error().to_string();
  EXPECT_EQ(back->outputs, set.outputs);
  const GoldenVerdict verdict = judge(*back, right(set));
  EXPECT_TRUE(verdict.passed) << verdict.reason;
  EXPECT_EQ(verdict.counted, 11);  // the tie is left out
  EXPECT_EQ(verdict.image_input_diff, 0);
}

TEST(Golden, AnAmbiguousSampleMayFlip) {
  const GoldenSet set = golden();
  GoldenAnswers answers = right(set);
  answers.outputs[9] = {0, 4, 0};
  EXPECT_TRUE(judge(set, answers).passed);
}

TEST(Golden, NaNFails) {
  const GoldenSet set = golden();
  GoldenAnswers answers = right(set);
  answers.outputs[9][2] = std::numeric_limits<float>::quiet_NaN();  // even in an uncounted sample
  EXPECT_EQ(judge(set, answers).reason, "NotFinite");
}

TEST(Golden, OneConstantAnswerFails) {
  const GoldenSet set = golden();
  GoldenAnswers answers = right(set);
  for (std::size_t i = 0; i < 12; ++i) answers.outputs[i] = {3.0F + static_cast<float>(i), 0, 0};
  EXPECT_EQ(judge(set, answers).reason, "ConstantAnswer");
}

TEST(Golden, TooFewAgreeingAnswersFail) {
  const GoldenSet set = golden();
  GoldenAnswers answers = right(set);
  answers.outputs[0] = {0, 4, 0};
  EXPECT_EQ(judge(set, answers).reason, "TooFewAgree");
}

TEST(Golden, OtherPreprocessingFails) {
  const GoldenSet set = golden();
  GoldenAnswers answers = right(set);
  for (auto& v : answers.image_input.values) v *= 0.5F;
  EXPECT_EQ(judge(set, answers).reason, "PreprocessingDiffers");
  answers = right(set);
  answers.image_output = {5, 0, 0};
  EXPECT_EQ(judge(set, answers).reason, "ImageAnswerDiffers");
}

TEST(Golden, WrongShapesFail) {
  const GoldenSet set = golden();
  GoldenAnswers answers = right(set);
  answers.outputs.pop_back();
  EXPECT_EQ(judge(set, answers).reason, "WrongShape");
}

TEST(Golden, AReferenceThatProvesNothingIsRefused) {
  GoldenSet set = golden();
  std::vector<float> same(12 * 3, 0.0F);
  for (std::size_t i = 0; i < 12; ++i) same[i * 3] = 4.0F;
  set.outputs = graph::Tensor::f32({12, 3}, same);
  EXPECT_EQ(check_golden(set, network()).error().reason, "InvalidGolden");
  set.outputs = graph::Tensor::f32({12, 3}, std::vector<float>(12 * 3, 1.0F));
  EXPECT_EQ(check_golden(set, network()).error().reason, "InvalidGolden");
}

TEST(Golden, DamagedFilesAreErrors) {
  TempDir dir;
  ASSERT_TRUE(write_golden(dir.path(), golden(), network()).ok());
  const std::string json = *read_file(dir / "golden.json");
  ASSERT_TRUE(write_file_atomic(dir / "golden.json", "{}").ok());
  EXPECT_EQ(read_golden(dir.path(), network()).error().reason, "MissingField");
  Json escape = Json::parse(json);
  escape["image"]["file"] = "../golden.png";
  ASSERT_TRUE(write_file_atomic(dir / "golden.json", escape.dump()).ok());
  EXPECT_FALSE(read_golden(dir.path(), network()).ok());
  ASSERT_TRUE(write_file_atomic(dir / "golden.json", json).ok());
  NetworkSpec other = network();
  other.classes.push_back("d");
  EXPECT_EQ(read_golden(dir.path(), other).error().reason, "InvalidGolden");
  fs::remove(dir / "golden.png");
  EXPECT_FALSE(read_golden(dir.path(), network()).ok());
}

}  // namespace
}  // namespace tango::vision
