#include "lib/graph/safetensors.h"

#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <cstdlib>

#include "lib/base/digest.h"
#include "lib/base/file.h"
#include "lib/base/json.h"

namespace tango::graph {
namespace {

std::string file(std::string header, std::string_view data) {
  std::string out;
  for (int i = 0; i < 8; ++i) out.push_back(static_cast<char>((header.size() >> (8 * i)) & 0xff));
  return out + header + std::string(data);
}

TensorStore sample() {
  TensorStore s;
  s.put("b", Tensor::f32({2, 2}, std::vector<float>{1, -2, 3.5F, 0}));
  s.put("a", Tensor::i64({1}, std::vector<std::int64_t>{-7}));
  s.put("empty", Tensor::f32({0, 3}, std::vector<float>{}));
  s.metadata()["format"] = "tango";
  return s;
}

TEST(Safetensors, WritesTheCommittedVector) {
  const fs::path dir =
      fs::path(std::getenv("TANGO_SOURCE_DIR")) / "docs/formats/vectors/safetensors";
  const Json vector = parse_json(read_file(dir / "sample.json").value()).value();
  const std::string bytes = encode_safetensors(sample());
  EXPECT_EQ(to_hex({reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()}),
            get_string(vector, "hex"));
  const auto back = parse_safetensors(from_hex(get_string(vector, "hex")).value());
  ASSERT_TRUE(back.ok()) << back.error().to_string();
  EXPECT_EQ(back.value(), sample());
}

TEST(Safetensors, AnyStoreSurvivesARoundTrip) {
  rc::check("encode then parse is the identity", [] {
    TensorStore s;
    const int count = *rc::gen::inRange(0, 6);
    for (int i = 0; i < count; ++i) {
      const auto values = *rc::gen::container<std::vector<float>>(
          rc::gen::map(rc::gen::arbitrary<int>(), [](int x) { return static_cast<float>(x) / 8; }));
      s.put("t" + std::to_string(*rc::gen::inRange(0, 100)),
            Tensor::f32({static_cast<std::int64_t>(values.size())}, values));
    }
    const std::string bytes = encode_safetensors(s);
    RC_ASSERT(parse_safetensors(bytes).value() == s);
    RC_ASSERT(encode_safetensors(s) == bytes);
  });
}

TEST(Safetensors, EveryTruncationIsRefused) {
  const std::string bytes = encode_safetensors(sample());
  for (std::size_t n = 0; n < bytes.size(); ++n) {
    EXPECT_FALSE(parse_safetensors(std::string_view(bytes).substr(0, n)).ok()) << n;
  }
  EXPECT_FALSE(parse_safetensors(bytes + "x").ok());
}

TEST(Safetensors, HostileHeadersAreRefused) {
  const struct {
    const char* what;
    std::string bytes;
  } cases[] = {
      {"huge header length", std::string("\xff\xff\xff\xff\xff\xff\xff\x7f{}", 10)},
      {"not JSON", file("{oops", "")},
      {"not an object", file("[]", "")},
      {"does not start with a brace", file(" {}", "")},
      {"unknown dtype", file(R"({"a":{"dtype":"F8","shape":[1],"data_offsets":[0,1]}})", "x")},
      {"size differs from shape",
       file(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", "xxxx")},
      {"end before begin", file(R"({"a":{"dtype":"U8","shape":[0],"data_offsets":[1,0]}})", "x")},
      {"outside the file", file(R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})", "x")},
      {"gap", file(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})", "xy")},
      {"left over", file(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", "xy")},
      {"overlap",
       file(
           R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})",
           "xyz")},
      {"negative extent", file(R"({"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}})", "x")},
      {"product overflows",
       file(R"({"a":{"dtype":"F64","shape":[4294967296,4294967296,16],"data_offsets":[0,0]}})",
            "")},
      {"same name twice",
       file(
           R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
           "xy")},
      {"extra member", file(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"x":1}})", "x")},
      {"metadata of another type", file(R"({"__metadata__":{"k":1}})", "")},
      {"fractional extent",
       file(R"({"a":{"dtype":"U8","shape":[1.0],"data_offsets":[0,1]}})", "x")},
  };
  for (const auto& c : cases) {
    const auto r = parse_safetensors(c.bytes);
    ASSERT_FALSE(r.ok()) << c.what;
    EXPECT_TRUE(r.error().reason == "InvalidSafetensors" ||
                r.error().reason == "SafetensorsTooLarge")
        << c.what << ": " << r.error().reason;
  }
}

TEST(Safetensors, LimitsHold) {
  const std::string bytes = encode_safetensors(sample());
  EXPECT_EQ(parse_safetensors(bytes, {.max_header_bytes = 16}).error().reason,
            "SafetensorsTooLarge");
  EXPECT_EQ(parse_safetensors(bytes, {.max_tensors = 1}).error().reason, "SafetensorsTooLarge");
  EXPECT_EQ(parse_safetensors(bytes, {.max_file_bytes = 16}).error().reason, "SafetensorsTooLarge");
}

TEST(Safetensors, FilesAreWrittenWholeAndNamedInErrors) {
  TempDir dir;
  ASSERT_TRUE(write_safetensors(dir / "w.safetensors", sample()).ok());
  EXPECT_EQ(read_safetensors(dir / "w.safetensors").value(), sample());
  ASSERT_TRUE(write_file_atomic(dir / "bad", "short").ok());
  const auto r = read_safetensors(dir / "bad");
  ASSERT_FALSE(r.ok());
  EXPECT_NE(r.error().to_string().find("bad"), std::string::npos);
}

}  // namespace
}  // namespace tango::graph
