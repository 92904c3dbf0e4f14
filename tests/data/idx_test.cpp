#include <gtest/gtest.h>

#include <cstdlib>

#include "lib/data/dataset.h"
#include "lib/data/merkle.h"
#include "tests/data/fixtures.h"

namespace tango::data {
namespace {

using test::write;
using test::write_idx;

class IdxTest : public testing::Test {
 protected:
  TempDir dir_;
  const fs::path& root_ = dir_.path();
};

TEST_F(IdxTest, RawAndGzipAreTheSameDataset) {
  TempDir packed;
  write_idx(root_, "train", 200, 5, 1);
  write_idx(root_, "t10k", 50, 5, 2);
  write_idx(packed.path(), "train", 200, 5, 1, true);
  write_idx(packed.path(), "t10k", 50, 5, 2, true);
  const auto a = Dataset::open(root_);
  const auto b = Dataset::open(packed.path());
  ASSERT_TRUE(a.ok()) << a.error().to_string();
  ASSERT_TRUE(b.ok()) << b.error().to_string();
  EXPECT_EQ((*a)->format(), Format::kIdx);
  EXPECT_EQ((*a)->report(), (*b)->report());
  EXPECT_EQ((*a)->size(Split::kTest), 50U);
  EXPECT_GT((*a)->size(Split::kVal), 4U);
  EXPECT_EQ((*a)->classes(), (std::vector<std::string>{"0", "1", "2", "3", "4"}));
  const auto sample = (*a)->load(Split::kTest, 7);
  ASSERT_TRUE(sample.ok());
  EXPECT_EQ(sample->label, 2);
  EXPECT_EQ(sample->image, test::noise(4, 4, 1, 2 * 1'000'003 + 7));
  EXPECT_EQ((*a)->name(Split::kTest, 7), "t10k[7]");
  EXPECT_EQ((*a)->load(Split::kTest, 50).error().reason, "IndexOutOfRange");
}

TEST_F(IdxTest, GivenNamesAndLabelsOutsideThem) {
  write_idx(root_, "train", 40, 4, 1);
  OpenOptions options;
  options.classes = {"shirt", "bag", "boot"};
  const auto set = Dataset::open(root_, options);
  ASSERT_TRUE(set.ok());
  EXPECT_EQ((*set)->classes(), options.classes);
  EXPECT_EQ((*set)->report()["splits"]["train"]["unlabelled"]["count"], 10);
}

TEST_F(IdxTest, DamagedFilesAreNamed) {
  write_idx(root_, "train", 40, 4, 1);
  const std::string images = *read_file(root_ / "train-images-idx3-ubyte");
  const std::string labels = *read_file(root_ / "train-labels-idx1-ubyte");
  auto expect_bad = [&](std::string_view why) {
    const auto set = Dataset::open(root_);
    ASSERT_FALSE(set.ok()) << why;
    EXPECT_EQ(set.error().reason, "InvalidDataset") << why << ": " << set.error().to_string();
    EXPECT_NE(set.error().message.find("train"), std::string::npos);
  };
  write(root_ / "train-images-idx3-ubyte", std::string_view(images).substr(0, images.size() - 3));
  expect_bad("truncated");
  write(root_ / "train-images-idx3-ubyte", images + "x");
  expect_bad("too long");
  write(root_ / "train-images-idx3-ubyte", "");
  expect_bad("empty");
  write(root_ / "train-images-idx3-ubyte", std::string("\0\0\x0d\x03", 4) + images.substr(4));
  expect_bad("floats");
  std::string huge = images;
  for (std::size_t i = 4; i < 16; ++i) huge[i] = '\xff';
  write(root_ / "train-images-idx3-ubyte", huge);
  expect_bad("overflowing header");
  write(root_ / "train-images-idx3-ubyte", images);
  write(root_ / "train-labels-idx1-ubyte", test::idx_labels({1, 2, 3}));
  expect_bad("count mismatch");
  fs::remove(root_ / "train-labels-idx1-ubyte");
  expect_bad("no labels file");
  const std::string packed = test::gzip(labels);
  write(root_ / "train-labels-idx1-ubyte.gz",
        std::string_view(packed).substr(0, packed.size() - 9));
  expect_bad("truncated gzip");
}

TEST_F(IdxTest, UnpackingStopsAtTheLimit) {
  write(root_ / "train-images-idx3-ubyte.gz", test::gzip(std::string(8u << 20, '\0')));
  write(root_ / "train-labels-idx1-ubyte", test::idx_labels({1}));
  OpenOptions options;
  options.limits.max_idx_bytes = 1u << 20;
  EXPECT_EQ(Dataset::open(root_, options).error().reason, "DatasetTooLarge");
}

TEST_F(IdxTest, TestFilesAloneAreNotADataset) {
  write_idx(root_, "t10k", 10, 2, 1);
  EXPECT_EQ(Dataset::open(root_).error().reason, "InvalidDataset");
  OpenOptions evaluation;
  evaluation.require_train = false;
  const auto set = Dataset::open(root_, evaluation);
  ASSERT_TRUE(set.ok()) << set.error().to_string();
  EXPECT_EQ((*set)->size(Split::kTest), 10U);
}

TEST_F(IdxTest, ReportIsStampedAndCut) {
  write_idx(root_, "train", 600, 150, 1);
  const auto report = dataset_report(root_);
  ASSERT_TRUE(report.ok());
  EXPECT_EQ((*report)["perClass"].size(), 100U);
  EXPECT_EQ((*report)["classCount"], 150);
  EXPECT_TRUE((*report)["reportDigest"].get<std::string>().starts_with("sha256:"));
}

// Real data where the package is installed: the counts everybody knows.
TEST(FashionMnist, HasItsPublishedCounts) {
  const char* folder = std::getenv("TANGO_FASHION_MNIST");
  const fs::path root = folder != nullptr ? folder : "/usr/share/datasets/fashion-mnist";
  if (!fs::exists(root)) GTEST_SKIP() << "package dataset-fashion-mnist is not installed";
  fs::path found;
  for (const auto& e : fs::recursive_directory_iterator(root)) {
    if (e.path().filename().string().starts_with("t10k-images")) found = e.path().parent_path();
  }
  if (found.empty()) GTEST_SKIP() << "no Idx files below " << root;
  const auto set = Dataset::open(found);
  ASSERT_TRUE(set.ok()) << set.error().to_string();
  EXPECT_EQ((*set)->size(Split::kTest), 10000U);
  EXPECT_EQ((*set)->size(Split::kTrain) + (*set)->size(Split::kVal), 60000U);
  EXPECT_NEAR(static_cast<double>((*set)->size(Split::kVal)), 6000, 300);
  EXPECT_EQ((*set)->classes().size(), 10U);
}

}  // namespace
}  // namespace tango::data
