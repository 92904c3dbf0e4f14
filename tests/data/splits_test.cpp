// Properties of the split rule and vectors of the Merkle tree.
#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <cstdlib>
#include <map>

#include "lib/base/json.h"
#include "lib/data/dataset.h"
#include "lib/data/merkle.h"
#include "tests/data/fixtures.h"

namespace tango::data {
namespace {

Digest digest_of(std::uint64_t n) { return sha256(std::string_view(std::to_string(n))); }

RC_GTEST_PROP(Splits, FollowTheFractionsInExpectation, ()) {
  const auto seed = *rc::gen::arbitrary<std::uint64_t>();
  std::array<int, 3> counts{};
  for (std::uint64_t i = 0; i < 2000; ++i) {
    ++counts[static_cast<std::size_t>(hashed_split(seed, digest_of(i), 0.1, 0.2))];
  }
  RC_ASSERT(std::abs(counts[1] - 200) < 90);
  RC_ASSERT(std::abs(counts[2] - 400) < 120);
}

// Adding, removing or reordering other images never moves one: the rule sees one image at a time.
TEST(Splits, AddingDataNeverMovesAnImage) {
  TempDir dir;
  std::map<std::string, Split> before;
  auto fill = [&](int from, int to) {
    for (int i = from; i < to; ++i) {
      test::write_png(dir / ("class" + std::to_string(i % 3)) / (std::to_string(i) + ".png"),
                      static_cast<std::uint64_t>(i));
    }
  };
  auto read = [&] {
    std::map<std::string, Split> out;
    const auto set = Dataset::open(dir.path());
    EXPECT_TRUE(set.ok());
    for (const Split split : kSplits) {
      for (std::size_t i = 0; i < (*set)->size(split); ++i) out[(*set)->name(split, i)] = split;
    }
    return out;
  };
  fill(10, 90);
  before = read();
  fill(0, 10);  // sorts before everything
  fill(90, 150);
  test::write_png(dir / "another" / "1.png", 777);
  const auto after = read();
  EXPECT_EQ(after.size(), before.size() + 71);
  for (const auto& [name, split] : before) EXPECT_EQ(after.at(name), split) << name;
}

RC_GTEST_PROP(Splits, DuplicatesShareOneAndWideningKeepsMembers, ()) {
  const auto seed = *rc::gen::arbitrary<std::uint64_t>();
  const Digest content = digest_of(*rc::gen::arbitrary<std::uint64_t>());
  RC_ASSERT(hashed_split(seed, content, 0.1, 0.1) == hashed_split(seed, content, 0.1, 0.1));
  if (hashed_split(seed, content, 0.1, 0.1) == Split::kTest) {
    RC_ASSERT(hashed_split(seed, content, 0.1, 0.3) == Split::kTest);
  }
}

RC_GTEST_PROP(Merkle, EveryLeafAndItsPlaceMatter, ()) {
  const auto count = *rc::gen::inRange<std::size_t>(2, 40);
  std::vector<Digest> leaves;
  for (std::size_t i = 0; i < count; ++i) leaves.push_back(digest_of(i));
  const Digest root = merkle_root(leaves);
  const auto a = *rc::gen::inRange<std::size_t>(0, count);
  auto changed = leaves;
  changed[a] = digest_of(1000);
  RC_ASSERT(merkle_root(changed) != root);
  auto shorter = leaves;
  shorter.pop_back();
  RC_ASSERT(merkle_root(shorter) != root);
  const auto b = *rc::gen::inRange<std::size_t>(0, count);
  std::swap(leaves[a], leaves[b]);
  RC_ASSERT((merkle_root(leaves) == root) == (a == b));
}

TEST(Merkle, CommittedVectorsHold) {
  const char* source = std::getenv("TANGO_SOURCE_DIR");
  ASSERT_NE(source, nullptr);
  const auto text = read_file(fs::path(source) / "docs/formats/vectors/dataset.json");
  ASSERT_TRUE(text.ok());
  const auto vectors = parse_json(*text);
  ASSERT_TRUE(vectors.ok());
  for (const Json& v : (*vectors)["leaves"]) {
    if (v["kind"] == "file") {
      EXPECT_EQ(file_leaf(v["path"].get<std::string>(), v["content"].get<std::string>()).hex(),
                v["leaf"]);
    } else {
      const std::string image = *from_hex(v["image"].get<std::string>());
      const std::vector<std::uint8_t> bytes(image.begin(), image.end());
      EXPECT_EQ(
          idx_leaf(v["index"].get<std::uint64_t>(), bytes, v["label"].get<std::uint8_t>()).hex(),
          v["leaf"]);
    }
  }
  for (const Json& v : (*vectors)["roots"]) {
    std::vector<Digest> leaves;
    for (std::size_t i = 0; i < v["leaves"].get<std::size_t>(); ++i) {
      leaves.push_back(digest_of(i));
    }
    EXPECT_EQ(merkle_root(leaves).hex(), v["root"]) << v;
    const MerklePart part{"files", 0, 0, 0, leaves};
    EXPECT_EQ(dataset_digest("ImageFolder", std::span(&part, 1)).hex(), v["digest"]) << v;
  }
  for (const Json& v : (*vectors)["splits"]) {
    EXPECT_EQ(to_string(hashed_split(v["seed"].get<std::uint64_t>(),
                                     digest_of(v["content"].get<std::uint64_t>()), 0.1, 0.1)),
              v["split"].get<std::string>())
        << v;
  }
}

}  // namespace
}  // namespace tango::data
