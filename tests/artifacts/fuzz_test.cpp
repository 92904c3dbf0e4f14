// Every parser of foreign bytes gets 10,000 mutations of a valid input: it must answer, not crash,
// hang or allocate without bound; and what it accepts must encode to the same bytes again.
#include <gtest/gtest.h>

#include "lib/artifacts/bundle.h"
#include "lib/artifacts/chunk.h"
#include "lib/artifacts/failure.h"
#include "lib/artifacts/frame.h"
#include "lib/artifacts/signature.h"
#include "lib/base/random.h"
#include "tests/artifacts/vectors.h"

namespace tango::artifacts {
namespace {

constexpr int kRounds = 10'000;

std::string mutate(std::string s, Random& random) {
  static constexpr std::string_view kTokens[] = {"\"",
                                                 "{",
                                                 "}",
                                                 "[",
                                                 "]",
                                                 ":",
                                                 ",",
                                                 "null",
                                                 "-1",
                                                 "1e999",
                                                 "../",
                                                 "\\u0000",
                                                 "18446744073709551616",
                                                 "\xff\xff\xff\xff",
                                                 "true"};
  for (auto edits = 1 + random.below(4); edits > 0; --edits) {
    std::size_t at = s.empty() ? 0 : random.below(s.size());
    switch (random.below(6)) {
      case 0:
        if (!s.empty())
          s[at] = static_cast<char>(static_cast<unsigned char>(s[at]) ^ (1u << random.below(8)));
        break;
      case 1:
        s.insert(at, kTokens[random.below(std::size(kTokens))]);
        break;
      case 2:
        s.erase(at, random.below(20));
        break;
      case 3:
        s.resize(at);
        break;
      case 4:
        s.insert(at, s.substr(at, random.below(50)));
        break;
      default:
        if (!s.empty()) s[at] = static_cast<char>(random.below(256));
        break;
    }
  }
  return s;
}

template <typename Parse, typename Encode>
void hammer(const std::string& valid, Parse parse, Encode encode) {
  {
    auto good = parse(valid);
    ASSERT_TRUE(good.ok()) << good.error().to_string();
    ASSERT_EQ(encode(*good), valid);
  }
  CounterRandom random(20261121, valid.size());
  for (int i = 0; i < kRounds; ++i) {
    std::string bytes = mutate(valid, random);
    auto value = parse(bytes);
    if (value.ok()) {
      ASSERT_EQ(encode(*value), bytes) << "round " << i;
    }
  }
}

template <typename T>
std::string plain(Result<T> r) {
  EXPECT_TRUE(r.ok());
  return r.ok() ? *r : "";
}

TEST(RandomBytes, Index) {
  Json v = testing::load_vectors("trust.json");
  hammer(
      v["index"]["document"].get<std::string>(), [](auto& b) { return parse_index(b); },
      [](auto& x) { return plain(encode_index(x)); });
}

TEST(RandomBytes, RootAssignmentEnvelopeAndConfig) {
  Json v = testing::load_vectors("trust.json");
  hammer(
      v["root1"]["document"].get<std::string>(), [](auto& b) { return parse_root(b); },
      [](auto& x) { return plain(encode_root(x)); });
  hammer(
      v["assignment"]["document"].get<std::string>(), [](auto& b) { return parse_assignment(b); },
      [](auto& x) { return plain(encode_assignment(x)); });
  hammer(
      v["root2"]["envelope"].get<std::string>(), [](auto& b) { return parse_envelope(b); },
      [](auto& x) { return encode_envelope(x); });
  hammer(
      v["epoch"]["document"].get<std::string>(), [](auto& b) { return parse_epoch(b); },
      [](auto& x) { return encode_epoch(x); });
  hammer(
      v["agent"]["document"].get<std::string>(), [](auto& b) { return parse_agent_release(b); },
      [](auto& x) { return encode_agent_release(x); });
}

TEST(RandomBytes, Configuration) {
  CounterRandom random(1, 2);
  std::string valid = testing::load_vectors("trust.json")["config"];
  for (int i = 0; i < kRounds; ++i) (void)parse_config(mutate(valid, random));
}

TEST(RandomBytes, ChunkList) {
  std::string valid = testing::unhex(testing::load_vectors("chunklist.json")["valid"][1]["bytes"]);
  hammer(
      valid, [](auto& b) { return parse_chunk_list(b); },
      [](auto& x) { return encode_chunk_list(x); });
}

TEST(RandomBytes, Frames) {
  std::string valid;
  const Json all_frames = testing::load_vectors("frames.json")["frames"];
  for (const Json& f : all_frames) {
    valid += testing::unhex(f["bytes"]);
  }
  CounterRandom random(7, 7);
  for (int i = 0; i < kRounds; ++i) {
    FrameDecoder decoder;
    std::string bytes = mutate(valid, random);
    decoder.feed(bytes);
    std::size_t taken = 0;
    for (;;) {
      auto frame = decoder.next();
      if (!frame.ok() || !*frame) break;
      taken += kFrameHeaderBytes + (**frame).payload.size();
      if ((**frame).type == FrameType::kData) (void)decode_data(*parse_data((**frame).payload));
    }
    ASSERT_LE(taken, bytes.size());
  }
}

TEST(RandomBytes, Failures) {
  Failure f = make_failure(code::kDiskFull, "plan", "agent", "12 bytes are missing", "main");
  f.at = TimePoint{Seconds{1'700'000'000}};
  EXPECT_EQ(*parse_failure(encode(f)), f);
  CounterRandom random(8, 8);
  for (int i = 0; i < kRounds; ++i) {
    if (auto json = parse_json(mutate(dump_json(encode(f)), random)); json.ok()) {
      (void)parse_failure(*json);
    }
  }
}

TEST(FailureCodes, AreDocumentedAndKeepUnknownOnes) {
  const char* root = std::getenv("TANGO_SOURCE_DIR");
  auto page = read_file(fs::path(root == nullptr ? "." : root) / "docs/formats/failure-codes.md");
  ASSERT_TRUE(page.ok());
  EXPECT_EQ(*page, failure_codes_markdown()) << failure_codes_markdown();
  auto odd = parse_failure(Json{{"code", "FromTheFuture"}, {"message", "x"}, {"retryable", true}});
  ASSERT_TRUE(odd.ok());
  EXPECT_EQ(odd->code, "FromTheFuture");
  EXPECT_EQ(to_error(*odd).code, Code::kUnavailable);
  EXPECT_EQ(failure_from(make_error(Code::kInvalid, "UnsafePath", "x"), "plan", "agent").code,
            "PathUnsafe");
  EXPECT_EQ(failure_from(make_error(Code::kInvalid, "Odd", "x"), "plan", "agent").code, "Internal");
}

}  // namespace
}  // namespace tango::artifacts
