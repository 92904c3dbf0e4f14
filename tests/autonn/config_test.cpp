#include "autonn/config.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>

#include "autonn/augment.h"
#include "autonn/schedule.h"
#include "lib/base/file.h"

namespace tango::autonn {
namespace {

Json j(const char* text) { return parse_json(text).value(); }

TEST(TrainingConfig, UnknownKeysAndBadValuesAreErrorsWithThePath) {
  const struct {
    const char* config;
    const char* reason;
    const char* message;
  } cases[] = {
      {R"({"epoch": 3})", "UnknownField", "config.epoch is not a known setting"},
      {R"({"augmentation": {"flop": 1}})", "UnknownField", "config.augmentation.flop"},
      {R"({"data": {"folder": "x"}})", "UnknownField", "config.data.folder"},
      {R"({"epochs": 0})", "OutOfRange", "config.epochs must be between 1"},
      {R"({"epochs": 2.5})", "WrongType", "config.epochs must be a whole number"},
      {R"({"batchSize": "many"})", "WrongType", "config.batchSize must be a number"},
      {R"({"optimizer": "lamb"})", "WrongType",
       "config.optimizer must be one of Auto, sgd, adam, adamw"},
      {R"({"labelSmoothing": 1})", "OutOfRange", "config.labelSmoothing"},
      {R"({"metric": "mAP50"})", "Unsupported", "config.metric"},
      {R"({"temperature": 2})", "UnknownField", "config.temperature"},
      {R"({"augmentation": 3})", "WrongType", "config.augmentation must be an object"},
  };
  for (const auto& c : cases) {
    const auto r = parse_training(j(c.config), false);
    ASSERT_FALSE(r.ok()) << c.config;
    EXPECT_EQ(r.error().reason, c.reason) << c.config;
    EXPECT_NE(r.error().message.find(c.message), std::string::npos) << r.error().message;
  }
  EXPECT_TRUE(parse_training(j(R"({"temperature": 2})"), true).ok());
  EXPECT_EQ(parse_export(j(R"({"formats": ["TFLite"]})")).error().reason, "Unsupported");
  EXPECT_EQ(parse_export(j(R"({"precision": "INT8"})")).error().reason, "Unsupported");
  EXPECT_EQ(parse_evaluate(j(R"({"splits": "test"})")).error().reason, "UnknownField");
}

TEST(TrainingConfig, NumbersMayBeDecimalTextAndAutoIsAbsent) {
  const auto c = parse_training(
      j(R"({"learningRate": "0.05", "epochs": "Auto", "batchSize": "64", "optimizer": "Auto"})"),
      false);
  ASSERT_TRUE(c.ok()) << c.error().to_string();
  EXPECT_EQ(c->learning_rate, 0.05);
  EXPECT_FALSE(c->epochs.has_value());
  EXPECT_EQ(c->batch_size, 64);
  EXPECT_EQ(c->optimizer, Optimizer::kSgd);
}

TEST(TrainingConfig, EverySettingIsInTheReferencePage) {
  const std::string page =
      read_file(fs::path(std::getenv("TANGO_SOURCE_DIR")) / "docs/reference/training-config.md")
          .value();
  const std::string source =
      read_file(fs::path(std::getenv("TANGO_SOURCE_DIR")) / "autonn/config.cpp").value();
  int found = 0;
  for (const char* call : {"integer(\"", "number(\"", "text(\"", "choice(\"", "raw(\""}) {
    for (auto at = source.find(call); at != std::string::npos; at = source.find(call, at + 1)) {
      const auto begin = source.find('"', at) + 1;
      const std::string key = source.substr(begin, source.find('"', begin) - begin);
      EXPECT_NE(page.find("`" + key + "`"), std::string::npos) << key << " is not documented";
      ++found;
    }
  }
  EXPECT_GT(found, 25);
}

TEST(Resolve, AutoDependsOnTheDataOnly) {
  const TrainingConfig c;
  EXPECT_EQ(resolve_auto(c, 60'000, 2).epochs, 16);
  EXPECT_EQ(resolve_auto(c, 60'000, 2).batch_size, 128);
  EXPECT_EQ(resolve_auto(c, 60'000, 2).learning_rate, 0.2);
  EXPECT_EQ(resolve_auto(c, 100, 2).epochs, 200);
  EXPECT_EQ(resolve_auto(c, 100, 2).batch_size, 12);
  EXPECT_EQ(resolve_auto(c, 100'000'000, 2).epochs, 4);
  EXPECT_GE(available_cpus(), 1);
}

TEST(Schedule, OneCycleRisesAndFallsContinuously) {
  EXPECT_NEAR(learning_rate_at(Schedule::kOneCycle, 1, 0, 0), 0.04, 1e-12);
  EXPECT_NEAR(learning_rate_at(Schedule::kOneCycle, 1, 0.3, 0), 1, 1e-12);
  EXPECT_LT(learning_rate_at(Schedule::kOneCycle, 1, 1, 0), 1e-5);
  for (double t = 0; t < 1; t += 0.001) {
    EXPECT_LT(std::abs(learning_rate_at(Schedule::kOneCycle, 1, t, 0) -
                       learning_rate_at(Schedule::kOneCycle, 1, t + 0.001, 0)),
              0.006);
  }
  EXPECT_NEAR(learning_rate_at(Schedule::kCosine, 2, 0.05, 0.1), 1, 1e-12);
  EXPECT_NEAR(learning_rate_at(Schedule::kCosine, 2, 0.55, 0.1), 1, 1e-12);
  EXPECT_NEAR(learning_rate_at(Schedule::kConstant, 2, 0.99, 0.1), 2, 1e-12);
  EXPECT_LT(ema_decay_at(0.999, 0), 0.2);
  EXPECT_EQ(ema_decay_at(0.999, 1'000'000), 0.999);
}

TEST(Augment, DependsOnSeedEpochSampleAndPurposeOnly) {
  vision::Image image(9, 7, 3);
  for (std::size_t i = 0; i < image.pixels.size(); ++i)
    image.pixels[i] = static_cast<std::uint8_t>(i);
  const AugmentConfig config{.crop = 2, .flip = 0.5, .cutout = 3};
  const auto run = [&](std::uint64_t seed, std::int64_t epoch, std::int64_t sample) {
    vision::Image copy = image;
    CounterRandom random = random_for(seed, epoch, sample, Purpose::kAugment);
    augment(copy, config, 128, random);
    return copy.pixels;
  };
  EXPECT_EQ(run(1, 2, 3), run(1, 2, 3));
  int different = 0;
  for (std::int64_t i = 0; i < 20; ++i) different += run(1, 2, i) != run(1, 3, i) ? 1 : 0;
  EXPECT_GT(different, 15);
}

TEST(Augment, OffIsTheIdentityAndEachPartDoesWhatItSays) {
  vision::Image image(6, 6, 1);
  image.at(1, 2) = 200;
  const auto count_bright = [](const vision::Image& i) {
    return std::count(i.pixels.begin(), i.pixels.end(), 200);
  };
  for (std::int64_t i = 0; i < 50; ++i) {
    vision::Image copy = image;
    CounterRandom random = random_for(0, 0, i, Purpose::kAugment);
    augment(copy, {.crop = 0, .flip = 0, .cutout = 0}, 0, random);
    EXPECT_EQ(copy, image);
    CounterRandom again = random_for(0, 0, i, Purpose::kAugment);
    augment(copy, {.crop = 0, .flip = 1, .cutout = 0}, 0, again);
    EXPECT_EQ(copy.at(4, 2), 200);
    copy = image;
    CounterRandom third = random_for(0, 0, i, Purpose::kAugment);
    augment(copy, {.crop = 1, .flip = 0, .cutout = 0}, 0, third);
    EXPECT_EQ(count_bright(copy), 1);
    copy = image;
    CounterRandom fourth = random_for(0, 0, i, Purpose::kAugment);
    augment(copy, {.crop = 0, .flip = 0, .cutout = 6}, 77, fourth);
    EXPECT_GT(std::count(copy.pixels.begin(), copy.pixels.end(), 77), 8);
  }
}

TEST(Order, EveryEpochIsAPermutationOfItsOwn) {
  auto a = epoch_order(5, 0, 100);
  const auto b = epoch_order(5, 1, 100);
  EXPECT_NE(a, b);
  EXPECT_EQ(a, epoch_order(5, 0, 100));
  std::sort(a.begin(), a.end());
  for (std::uint32_t i = 0; i < 100; ++i) EXPECT_EQ(a[i], i);
}

}  // namespace
}  // namespace tango::autonn
