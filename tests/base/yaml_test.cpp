#include "lib/base/yaml.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

namespace tango {
namespace {

TEST(Yaml, TypesScalarsAsKubernetesDoes) {
  auto d = parse_yaml("a: 1\nb: \"1\"\nc: yes\nd: true\ne: 1.5\nf: null\ng: 010\nh: 1e3\ni: ''\n");
  ASSERT_TRUE(d.ok()) << d.error().message;
  EXPECT_EQ(d->value["a"], 1);
  EXPECT_EQ(d->value["b"], "1");
  EXPECT_EQ(d->value["c"], "yes");
  EXPECT_EQ(d->value["d"], true);
  EXPECT_EQ(d->value["e"], 1.5);
  EXPECT_TRUE(d->value["f"].is_null());
  EXPECT_EQ(d->value["g"], "010");
  EXPECT_EQ(d->value["i"], "");
}

TEST(Yaml, KeepsLines) {
  auto d = parse_yaml("spec:\n  targets:\n  - name: a\n  - name: b\n    io: 1\n");
  ASSERT_TRUE(d.ok());
  EXPECT_EQ(d->line_of("spec.targets[1].io"), 5);
  EXPECT_EQ(d->line_of("spec.targets[1].missing"), 4);
}

TEST(Yaml, RefusesWhatTheLibraryAccepts) {
  auto dup = parse_yaml("a: 1\nb: 2\na: 3\n");
  ASSERT_FALSE(dup.ok());
  EXPECT_EQ(dup.error().reason, "DuplicateKey");
  EXPECT_NE(dup.error().message.find("line 3"), std::string::npos);
  auto open = parse_yaml("a: 1\nb: \"never closed\nc: 2\n");
  ASSERT_FALSE(open.ok());
  EXPECT_NE(open.error().message.find("line 2"), std::string::npos);
}

TEST(Yaml, QuotesInsideOtherTextAreNoStrings) {
  for (const char* text :
       {"a: it's fine\nb: 5\" pipe\n", "a: |\n  don't 'panic\n  \"x\nb: 1\n", "# it's\na: 1 # \"\n",
        "a: 'it''s'\nb: \"x\\\"y\"\n", "a: [\"x\", 'y']\n", "a: >-\n  'open\nb: 1\n"}) {
    auto d = parse_yaml(text);
    EXPECT_TRUE(d.ok()) << text << (d.ok() ? "" : d.error().message);
  }
}

TEST(Yaml, BoundsAliasBombs) {
  std::string text = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n";
  for (int i = 1; i < 9; ++i) {
    std::string p = "*a" + std::to_string(i - 1);
    text += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [";
    for (int k = 0; k < 10; ++k) text += (k ? "," : "") + p;
    text += "]\n";
  }
  EXPECT_EQ(parse_yaml(text).error().reason, "YamlTooLarge");
}

TEST(Yaml, SplitsStreams) {
  auto docs = parse_yaml_stream("---\na: 1\n---\n---\nb: 2\n");
  ASSERT_TRUE(docs.ok());
  ASSERT_EQ(docs->size(), 2u);
  EXPECT_EQ((*docs)[1].line_of("b"), 5);
}

TEST(Yaml, WritesStringsThatReadBackAsStrings) {
  for (const char* s : {"yes",
                        "123",
                        "true",
                        "1.10",
                        "null",
                        "~",
                        "- x",
                        "a: b",
                        "x #y",
                        "",
                        " lead",
                        "line1\nline2\n",
                        "line1\nline2",
                        "1e3",
                        "0x1F",
                        "2026-11-21",
                        "12:30",
                        "*x",
                        "&x",
                        "!x",
                        "%x",
                        "@x",
                        "`x",
                        "{",
                        "[",
                        "a\tb",
                        "---",
                        "é",
                        "two\n\n"}) {
    Json j = {{"k", s}, {"list", {s, 1}}};
    auto back = parse_yaml(to_yaml(j));
    ASSERT_TRUE(back.ok()) << s << "\n" << to_yaml(j) << back.error().message;
    EXPECT_EQ(back->value, j) << to_yaml(j);
  }
}

RC_GTEST_PROP(Yaml, RoundTripsAnyStrings, ()) {
  auto text =
      rc::gen::container<std::string>(rc::gen::elementOf(std::string("ab1 :-#'\"\n.{[|>&*y\t%")));
  auto map = *rc::gen::container<std::map<std::string, std::vector<std::string>>>(
      text, rc::gen::container<std::vector<std::string>>(text));
  Json j = {{"root", map}, {"nested", {{{"deep", map}}, 1}}};
  auto back = parse_yaml(to_yaml(j));
  RC_ASSERT(back.ok());
  RC_ASSERT(dump_json(back->value) == dump_json(j));
}

}  // namespace
}  // namespace tango
