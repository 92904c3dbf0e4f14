#include "lib/base/json.h"

#include <gtest/gtest.h>

#include <cmath>

namespace tango {
namespace {

TEST(Json, ParsesAndKeepsTypes) {
  auto j = parse_json(R"({"a":[1,2.5,"x",null,true],"b":{"c":-7}})");
  ASSERT_TRUE(j.ok());
  EXPECT_EQ(get_int(at_path(*j, "b"), "c"), -7);
  EXPECT_TRUE((*j)["a"][1].is_number_float());
  EXPECT_EQ(dump_json(*j), R"({"a":[1,2.5,"x",null,true],"b":{"c":-7}})");
}

TEST(Json, RefusesBadInputWithPosition) {
  auto j = parse_json("{\"a\": 1,}");
  ASSERT_FALSE(j.ok());
  EXPECT_EQ(j.error().reason, "InvalidJson");
  EXPECT_NE(j.error().message.find("byte"), std::string::npos);
}

TEST(Json, RefusesDuplicateKeysDepthAndSize) {
  EXPECT_EQ(parse_json(R"({"a":1,"a":2})").error().reason, "DuplicateKey");
  EXPECT_EQ(parse_json(R"([{"b":{"a":1,"a":2}}])").error().reason, "DuplicateKey");
  EXPECT_EQ(parse_json(std::string(100, '[') + std::string(100, ']')).error().reason,
            "JsonTooDeep");
  JsonLimits small;
  small.max_bytes = 4;
  EXPECT_EQ(parse_json("[1,2,3]", small).error().reason, "JsonTooLarge");
}

// Number and ordering examples of RFC 8785, sections 3.2.2 and 3.2.3 and appendix B.
TEST(Json, CanonicalFormFollowsRfc8785) {
  Json j = {{"numbers", {333333333.33333329, 1e30, 4.50, 2e-3, 0.000000000000000000000000001}},
            {"literals", {nullptr, true, false}}};
  EXPECT_EQ(
      *canonical_json(j),
      R"({"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27]})");
  EXPECT_EQ(*canonical_json(Json(1e21)), "1e+21");
  EXPECT_EQ(*canonical_json(Json(1e20)), "100000000000000000000");
  EXPECT_EQ(*canonical_json(Json(1e-7)), "1e-7");
  EXPECT_EQ(*canonical_json(Json(1e-6)), "0.000001");
  EXPECT_EQ(*canonical_json(Json(-0.0)), "0");
  EXPECT_EQ(*canonical_json(Json(9007199254740993.0)), "9007199254740992");
  EXPECT_EQ(*canonical_json(Json(5e-324)), "5e-324");
  Json keys = {{"\u20ac", 1},     {"\r", 2},     {"\ufb33", 3}, {"1", 4},
               {"\U0001f600", 5}, {"\u0080", 6}, {"\u00f6", 7}};
  std::string text = *canonical_json(keys);
  // Expected order: \r 1 U+0080 U+00F6 U+20AC U+1F600 (surrogates) U+FB33
  EXPECT_EQ(
      text,
      "{\"\\r\":2,\"1\":4,\"\u0080\":6,\"\u00f6\":7,\"\u20ac\":1,\"\U0001f600\":5,\"\ufb33\":3}");
}

TEST(Json, CanonicalFormRefusesNanAndBadUtf8) {
  EXPECT_EQ(canonical_json(Json(std::nan(""))).error().reason, "InvalidNumber");
  EXPECT_EQ(canonical_json(Json(std::string("\xff\xfe"))).error().reason, "InvalidUtf8");
}

TEST(Json, RequireNamesThePath) {
  Json j = {{"a", 1}};
  EXPECT_EQ(require_string(j, "a", "spec").error().message,
            "spec.a must be a string, but is number");
  EXPECT_EQ(require_string(j, "b", "spec").error().message, "spec.b is missing");
}

TEST(Json, MergePatchFollowsRfc7386) {
  Json target = {{"a", "b"}, {"c", {{"d", "e"}, {"f", "g"}}}};
  merge_patch(target, {{"a", "z"}, {"c", {{"f", nullptr}}}});
  EXPECT_EQ(target, (Json{{"a", "z"}, {"c", {{"d", "e"}}}}));
}

}  // namespace
}  // namespace tango
