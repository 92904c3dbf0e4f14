// Loader, stores and golden samples.
#include <gtest/gtest.h>

#include "autonn/artifact_store.h"
#include "autonn/golden.h"
#include "autonn/loader.h"
#include "lib/graph/safetensors.h"
#include "tests/autonn/tiny.h"

namespace tango::autonn {
namespace {

vision::NetworkSpec tiny_spec() {
  vision::NetworkSpec spec;
  spec.classes = {"0", "1", "2", "3"};
  spec.input.height = spec.input.width = test::kTinySide;
  spec.input.color = vision::ColorOrder::kGray;
  spec.input.mean = {0.2};
  spec.input.std = {0.3};
  return spec;
}

class Loading : public ::testing::Test {
 protected:
  void SetUp() override {
    test::write_tiny_set(dir_.path(), 65, 40);
    auto set = data::Dataset::open(dir_.path());
    ASSERT_TRUE(set.ok()) << set.error().to_string();
    set_ = *set;
  }
  std::vector<Batch> all(int threads, bool training, std::size_t first = 0) {
    const SampleSource source(set_, data::Split::kTest, tiny_spec().input);
    LoaderOptions o;
    o.batch_size = 13;
    o.threads = threads;
    o.training = training;
    o.seed = 3;
    o.epoch = 2;
    o.first_sample = first;
    Loader loader(source, o);
    std::vector<Batch> out;
    for (;;) {
      auto batch = loader.next();
      EXPECT_TRUE(batch.ok());
      if (!batch.ok() || !*batch) return out;
      out.push_back(std::move(**batch));
    }
  }
  TempDir dir_;
  std::shared_ptr<const data::Dataset> set_;
};

TEST_F(Loading, BatchesDoNotDependOnThreads) {
  const auto one = all(1, true);
  const auto three = all(3, true);
  ASSERT_EQ(one.size(), 3U);  // 13, 13, 14: the single sample left over joins the last batch
  EXPECT_EQ(one.back().size, 14);
  for (std::size_t i = 0; i < one.size(); ++i) {
    EXPECT_EQ(one[i].images, three[i].images);
    EXPECT_EQ(one[i].labels, three[i].labels);
  }
}

TEST_F(Loading, ResumingInsideAnEpochGivesTheSameRest) {
  const auto whole = all(2, true);
  const auto rest = all(2, true, 13);
  ASSERT_EQ(rest.size(), 2U);
  EXPECT_EQ(rest[0].images, whole[1].images);
  EXPECT_EQ(rest[1].images, whole[2].images);
}

TEST_F(Loading, EveryImageComesOncePerEpoch) {
  std::vector<int> counts(4, 0);
  int samples = 0;
  for (const Batch& b : all(2, true)) {
    samples += static_cast<int>(b.size);
    for (const auto label : b.labels) ++counts[static_cast<std::size_t>(label)];
  }
  EXPECT_EQ(samples, 40);
  EXPECT_EQ(counts, std::vector<int>(4, 10));
}

TEST_F(Loading, StatisticsDescribeThePixels) {
  const SampleSource source(set_, data::Split::kTrain, tiny_spec().input);
  const auto s = pixel_statistics(source, 1000);
  ASSERT_TRUE(s.ok());
  EXPECT_GT(s->mean[0], 0.1);
  EXPECT_LT(s->mean[0], 0.4);
  EXPECT_GT(s->std[0], 0.1);
  const auto shape = image_shape(*set_, data::Split::kTrain, 1000);
  EXPECT_TRUE(shape->gray);
  EXPECT_TRUE(shape->uniform);
  EXPECT_EQ(shape->height, test::kTinySide);
}

TEST_F(Loading, GoldenSamplesFollowTheirFormat) {
  const SampleSource source(set_, data::Split::kTest, tiny_spec().input);
  const vision::NetworkSpec spec = tiny_spec();
  // A made-up network: answers by the first pixels.
  const Reference reference =
      [&](const std::vector<float>& in) -> Result<std::vector<std::vector<float>>> {
    std::vector<std::vector<float>> out;
    const std::size_t pixels = test::kTinySide * test::kTinySide;
    for (std::size_t i = 0; i < in.size(); i += pixels) {
      out.push_back({in[i + 1], in[i + test::kTinySide], in[i + 4], in[i + 4 * test::kTinySide]});
    }
    return out;
  };
  const auto golden = make_golden(source, spec, 16, reference);
  ASSERT_TRUE(golden.ok()) << golden.error().to_string();
  ASSERT_EQ(golden->files.size(), 3U);
  const Json json = parse_json(golden->files[0].bytes).value();
  EXPECT_EQ(get_string(json, "format"), "tango.golden/v1");
  EXPECT_EQ(get_int(json, "samples"), 16);
  EXPECT_EQ(get_string(get(json, "image"), "file"), "golden.png");
  const auto store = graph::parse_safetensors(golden->files[1].bytes).value();
  EXPECT_EQ(store.get("inputs").value()->shape, (std::vector<std::int64_t>{16, 1, 12, 12}));
  EXPECT_EQ(store.get("outputs").value()->shape, (std::vector<std::int64_t>{16, 4}));
  EXPECT_EQ(store.get("image.input").value()->shape, (std::vector<std::int64_t>{1, 1, 12, 12}));
  EXPECT_TRUE(vision::decode_image(golden->files[2].bytes).ok());
}

TEST_F(Loading, AConstantNetworkHasNoGoldenSamples) {
  const SampleSource source(set_, data::Split::kTest, tiny_spec().input);
  const Reference constant =
      [](const std::vector<float>& in) -> Result<std::vector<std::vector<float>>> {
    return std::vector<std::vector<float>>(in.size() / 144, {1, 0, 0, 0});
  };
  EXPECT_EQ(make_golden(source, tiny_spec(), 16, constant).error().reason, "GoldenUnclear");
  const Reference broken =
      [](const std::vector<float>& in) -> Result<std::vector<std::vector<float>>> {
    return std::vector<std::vector<float>>(in.size() / 144, {NAN, 0, 0, 0});
  };
  EXPECT_EQ(make_golden(source, tiny_spec(), 16, broken).error().reason, "OutputNotFinite");
}

TEST(FolderStore, KeepsArtifactsByDigestAndTag) {
  TempDir dir;
  const auto store = make_folder_store(dir.path());
  const Artifact artifact{
      "type/x", {{"a.json", "application/json", "{}"}, {"b", "x/y", "123"}}, {{"k", "v"}}};
  const auto digest = store->push(artifact, "latest");
  ASSERT_TRUE(digest.ok()) << digest.error().to_string();
  EXPECT_EQ(store->push(artifact).value(), *digest);
  for (const std::string& reference : {std::string("latest"), digest->to_string()}) {
    const auto back = store->pull(reference);
    ASSERT_TRUE(back.ok()) << back.error().to_string();
    EXPECT_EQ(back->file("b").value()->bytes, "123");
    EXPECT_EQ(back->annotations.at("k"), "v");
  }
  EXPECT_FALSE(store->pull("absent").ok());
  EXPECT_FALSE(store->pull("../latest").ok());
  test::write(dir.path() / "artifacts" / digest->hex() / "b", "124");
  EXPECT_EQ(store->pull("latest").error().reason, "DigestMismatch");
}

}  // namespace
}  // namespace tango::autonn
