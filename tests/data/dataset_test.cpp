#include "lib/data/dataset.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <thread>

#include "lib/data/merkle.h"
#include "tests/data/fixtures.h"

namespace tango::data {
namespace {

using test::write;
using test::write_png;

const Json& finding(const Dataset& set, const std::string& split, const std::string& kind) {
  return set.report()["splits"][split][kind];
}

class FolderTest : public testing::Test {
 protected:
  void fill(const std::string& prefix, int per_class, std::uint64_t seed) {
    for (const char* name : {"cat", "dog"}) {
      for (int i = 0; i < per_class; ++i) {
        write_png(root_ / prefix / name / (std::to_string(i) + ".png"), seed++);
      }
    }
  }
  TempDir dir_;
  fs::path root_ = dir_ / "set";
};

TEST_F(FolderTest, SplitFoldersAreKeptAndValComesFromTrain) {
  fill("train", 100, 1);
  fill("test", 10, 5000);
  const auto set = Dataset::open(root_);
  ASSERT_TRUE(set.ok()) << set.error().to_string();
  EXPECT_EQ((*set)->format(), Format::kImageFolder);
  EXPECT_EQ((*set)->classes(), (std::vector<std::string>{"cat", "dog"}));
  EXPECT_EQ((*set)->size(Split::kTest), 20U);
  EXPECT_EQ((*set)->size(Split::kTrain) + (*set)->size(Split::kVal), 200U);
  EXPECT_GT((*set)->size(Split::kVal), 5U);
  EXPECT_LT((*set)->size(Split::kVal), 45U);
  const auto sample = (*set)->load(Split::kTest, 15);
  ASSERT_TRUE(sample.ok());
  EXPECT_EQ(sample->label, 1);
  EXPECT_EQ((*set)->name(Split::kTest, 15), "test/dog/5.png");
  EXPECT_EQ(sample->image, test::noise(8, 8, 3, 5015));
}

TEST_F(FolderTest, ClassFoldersAreDealtByHash) {
  fill("", 100, 1);
  const auto set = Dataset::open(root_);
  ASSERT_TRUE(set.ok()) << set.error().to_string();
  EXPECT_GT((*set)->size(Split::kTrain), 130U);
  EXPECT_GT((*set)->size(Split::kTest), 4U);
  EXPECT_GT((*set)->size(Split::kVal), 4U);
}

TEST_F(FolderTest, HealthReportNamesEveryKindOfBadFile) {
  fill("train", 30, 1);
  fill("val", 3, 700);
  fill("test", 3, 900);
  const std::string good = *vision::encode_png(test::noise(8, 8, 3, 1));
  write(root_ / "train/cat/truncated.png", std::string_view(good).substr(0, good.size() / 2));
  write(root_ / "train/cat/text.jpg", "this is not a picture");
  write(root_ / "train/dog/animation.gif", "GIF89a");
  write(root_ / "train/dog/nothing.png", "");
  write(root_ / "train/orphan.png", good);
  write(root_ / "notes.txt", "hello");
  write(root_ / ".hidden.png", good);
  fs::create_symlink("/nonexistent/a.png", root_ / "train/cat/dangling.png");
  write(dir_ / "outside.png", good);
  fs::create_symlink(dir_ / "outside.png", root_ / "train/cat/escape.png");

  const auto opened = Dataset::open(root_);
  ASSERT_TRUE(opened.ok()) << opened.error().to_string();
  const Dataset& set = **opened;
  EXPECT_EQ(finding(set, "train", "corrupt")["names"],
            Json({"train/cat/text.jpg", "train/cat/truncated.png", "train/dog/animation.gif"}));
  EXPECT_EQ(finding(set, "train", "empty")["names"], Json({"train/dog/nothing.png"}));
  EXPECT_EQ(finding(set, "train", "unlabelled")["names"], Json({"train/orphan.png"}));
  EXPECT_EQ(finding(set, "train", "missing")["names"],
            Json({"train/cat/dangling.png", "train/cat/escape.png"}));
  EXPECT_EQ(set.report()["ignoredFiles"], 1);
  EXPECT_EQ(set.size(Split::kTrain), 60U);  // bad files never reach a loader
  EXPECT_EQ(set.size(Split::kVal), 6U);
  EXPECT_EQ(set.report()["size"]["width"]["p50"], 8);
  EXPECT_EQ(set.report()["channels"]["3"], 72);
}

TEST_F(FolderTest, BadFilesAreNamedUpToTheLimitButCountedInFull) {
  fill("train", 5, 1);
  for (int i = 0; i < 30; ++i) write(root_ / "train/cat" / ("x" + std::to_string(i) + ".png"), "");
  const auto set = Dataset::open(root_);
  ASSERT_TRUE(set.ok());
  EXPECT_EQ(finding(**set, "train", "empty")["count"], 30);
  EXPECT_EQ(finding(**set, "train", "empty")["names"].size(), 20U);
}

TEST_F(FolderTest, DuplicatesAndImbalanceAreWarned) {
  fill("train", 2, 1);
  fill("test", 2, 100);
  for (int i = 0; i < 40; ++i) {
    write_png(root_ / "train/cat" / ("m" + std::to_string(i) + ".png"),
              1000 + static_cast<std::uint64_t>(i));
  }
  fs::copy_file(root_ / "train/cat/0.png", root_ / "train/dog/copy.png");
  fs::copy_file(root_ / "train/cat/0.png", root_ / "test/cat/leak.png");
  OpenOptions options;
  options.splits.val = 0;
  const auto set = Dataset::open(root_, options);
  ASSERT_TRUE(set.ok());
  const Json& copies = (*set)->report()["duplicates"];
  EXPECT_EQ(copies["groups"], 1);
  EXPECT_EQ(copies["copies"], 2);
  EXPECT_EQ(copies["crossSplit"], 1);
  EXPECT_EQ(copies["conflictingLabels"], 1);
  std::vector<std::string> reasons;
  for (const Json& w : (*set)->report()["warnings"]) reasons.push_back(w["reason"]);
  EXPECT_THAT(reasons, testing::IsSupersetOf({"EmptySplit", "ClassImbalance",
                                              "DuplicatesAcrossSplits", "ConflictingLabels"}));
}

TEST_F(FolderTest, ValidationRewritesNothing) {
  fill("train", 3, 1);
  write(root_ / "train/cat/bad.png", "junk");
  std::map<std::string, fs::file_time_type> before;
  for (const auto& e : fs::recursive_directory_iterator(root_)) {
    before[e.path().string()] = e.last_write_time();
  }
  ASSERT_TRUE(Dataset::open(root_).ok());
  std::map<std::string, fs::file_time_type> after;
  for (const auto& e : fs::recursive_directory_iterator(root_)) {
    after[e.path().string()] = e.last_write_time();
  }
  EXPECT_EQ(before, after);
}

TEST_F(FolderTest, AFileThatChangesWhileInUseIsNoticed) {
  fill("train", 3, 1);
  const auto set = Dataset::open(root_);
  ASSERT_TRUE(set.ok());
  const std::string name = (*set)->name(Split::kTrain, 0);
  write_png(root_ / name, 4242);
  EXPECT_EQ((*set)->load(Split::kTrain, 0).error().reason, "DatasetChanged");
}

TEST_F(FolderTest, ThreadsGiveTheSameResult) {
  fill("train", 40, 1);
  write(root_ / "train/cat/bad.png", "junk");
  OpenOptions many;
  many.threads = 4;
  const auto a = Dataset::open(root_);
  const auto b = Dataset::open(root_, many);
  ASSERT_TRUE(a.ok() && b.ok());
  EXPECT_EQ((*a)->report(), (*b)->report());
  std::vector<std::jthread> readers;
  for (int t = 0; t < 4; ++t) {
    readers.emplace_back([&] {
      for (std::size_t i = 0; i < (*a)->size(Split::kTrain); ++i) {
        EXPECT_TRUE((*a)->load(Split::kTrain, i).ok());
      }
    });
  }
}

TEST_F(FolderTest, EmptyAndAbsentSetsAreErrors) {
  EXPECT_EQ(Dataset::open(root_).error().reason, "NotFound");
  fs::create_directories(root_);
  EXPECT_EQ(Dataset::open(root_).error().reason, "InvalidDataset");
  write(root_ / "train/cat/a.png", "junk");
  const auto broken = Dataset::open(root_);
  ASSERT_FALSE(broken.ok());
  EXPECT_NE(broken.error().message.find("train/cat/a.png"), std::string::npos);
}

TEST_F(FolderTest, GivenClassesFixTheOrder) {
  fill("train", 5, 1);
  OpenOptions options;
  options.classes = {"dog", "cat", "bird"};
  const auto set = Dataset::open(root_, options);
  ASSERT_TRUE(set.ok());
  EXPECT_EQ((*set)->classes(), options.classes);
  options.classes = {"dog"};
  EXPECT_EQ(Dataset::open(root_, options).error().reason, "InvalidDataset");
}

TEST_F(FolderTest, DigestIsThatOfTheDocumentedTree) {
  fill("train", 2, 1);
  std::vector<Digest> leaves;
  for (const char* path :
       {"train/cat/0.png", "train/cat/1.png", "train/dog/0.png", "train/dog/1.png"}) {
    leaves.push_back(file_leaf(path, *read_file(root_ / path)));
  }
  const MerklePart part{"files", 0, 0, 0, leaves};
  OpenOptions options;
  options.splits.seed = 99;  // splits are not part of the digest
  const auto set = Dataset::open(root_, options);
  ASSERT_TRUE(set.ok());
  EXPECT_EQ((*set)->digest(), dataset_digest("ImageFolder", std::span(&part, 1)));
  const Digest before = (*set)->digest();
  fs::rename(root_ / "train/cat/0.png", root_ / "train/dog/9.png");  // same bytes, other label
  EXPECT_NE((*Dataset::open(root_))->digest(), before);
}

TEST(Options, ParsesEveryForm) {
  auto parse = [](const char* text) { return parse_options(Json::parse(text)); };
  EXPECT_TRUE(parse("{}").ok());
  EXPECT_TRUE(parse(R"({"format":"Idx","splits":"ByFolder"})").ok());
  const auto full = parse(R"({"splits":{"train":"0.7","val":0.2,"test":0.1,"seed":3}})");
  ASSERT_TRUE(full.ok()) << full.error().to_string();
  EXPECT_TRUE(full->splits.by_fraction);
  EXPECT_EQ(full->splits.seed, 3U);
  const auto val = parse(R"({"splits":{"val":0.2}})");
  ASSERT_TRUE(val.ok());
  EXPECT_FALSE(val->splits.by_fraction);
  for (const auto& [text, reason] :
       {std::pair{R"({"format":"COCO"})", "Unsupported"},
        {R"({"format":"Foo"})", "InvalidFormat"},
        {R"({"splits":{"groupBy":"x"}})", "Unsupported"},
        {R"({"splits":["a"]})", "Unsupported"},
        {R"({"splits":{"train":0.5,"val":0.1,"test":0.1}})", "InvalidSplits"},
        {R"({"splits":{"train":0.9}})", "InvalidSplits"},
        {R"({"splits":{"val":2}})", "InvalidSplits"},
        {R"({"splits":{"vall":0.1}})", "UnknownField"},
        {R"({"colour":1})", "UnknownField"},
        {R"({"splits":{"seed":-1}})", "WrongType"},
        {R"({"classes":["a","a"]})", "InvalidDataset"}}) {
    const auto bad = parse(text);
    ASSERT_FALSE(bad.ok()) << text;
    EXPECT_EQ(bad.error().reason, reason) << text;
  }
}

}  // namespace
}  // namespace tango::data
