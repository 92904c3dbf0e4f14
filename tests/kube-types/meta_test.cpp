#include "lib/kube-types/meta.h"

#include <gtest/gtest.h>

#include "lib/kube-types/core.h"
#include "lib/kube-types/outcome.h"

namespace tango::kube {
namespace {

TEST(Quantity, ReadsEverySuffixAndRoundsUp) {
  EXPECT_EQ(*parse_quantity("300Mi"), 300ll << 20);
  EXPECT_EQ(*parse_quantity("1.5Gi"), (3ll << 30) / 2);
  EXPECT_EQ(*parse_quantity("2k"), 2000);
  EXPECT_EQ(*parse_quantity("1e3"), 1000);
  EXPECT_EQ(*parse_quantity("100m"), 1);
  EXPECT_EQ(*parse_quantity("0"), 0);
  EXPECT_EQ(*parse_quantity("-1500m"), -1);
  EXPECT_EQ(*parse_quantity_milli("1.5"), 1500);
  EXPECT_EQ(*parse_quantity_milli("100m"), 100);
  EXPECT_EQ(*parse_quantity_milli("1u"), 1);
  EXPECT_EQ(*parse_quantity("7Ei"), 7ll << 60);
}

TEST(Quantity, RefusesWhatIsNotOne) {
  for (const char* text : {"", "-", ".", "Mi", "1.2.3", "1Xi", "1 Mi", "0x10", "1e", "1e99", "8Ei",
                           "99999999999999999999", "NaN", "1mi"}) {
    auto q = parse_quantity(text);
    ASSERT_FALSE(q.ok()) << text;
    EXPECT_EQ(q.error().reason, "InvalidQuantity");
  }
}

TEST(Selector, EmptySelectorMatchesNothingUnlessAll) {
  LabelSelector s;
  EXPECT_FALSE(matches(s, {{"a", "b"}}));
  s.all = true;
  EXPECT_TRUE(matches(s, {}));
  s.match_labels["a"] = "b";  // terms still count beside all
  EXPECT_FALSE(matches(s, {{"a", "c"}}));
}

TEST(Selector, TextFormOfKubectl) {
  auto s = parse_selector_string("site=seoul, line!=b,env in (prod,dev),tier notin (x),gpu,!old");
  ASSERT_TRUE(s.ok()) << s.error().to_string();
  std::map<std::string, std::string> labels{
      {"site", "seoul"}, {"line", "a"}, {"env", "dev"}, {"gpu", ""}};
  EXPECT_TRUE(matches(*s, labels));
  for (auto [key, value] : std::map<std::string, std::string>{
           {"site", "busan"}, {"line", "b"}, {"env", "test"}, {"tier", "x"}, {"old", "1"}}) {
    auto changed = labels;
    changed[key] = value;
    EXPECT_FALSE(matches(*s, changed)) << key;
  }
  EXPECT_EQ(parse_label_selector(encode(*s)), *s);
  EXPECT_TRUE(parse_selector_string("").value().all);
  for (const char* bad : {",", "a=b,", "a in b", "a in (b", "a foo (b)", "=b", "a=b c", "!"}) {
    EXPECT_FALSE(parse_selector_string(bad).ok()) << bad;
  }
}

TEST(Condition, TransitionTimeMovesOnlyWithStatus) {
  std::vector<Condition> list;
  TimePoint t0{Seconds{1000}}, t1{Seconds{2000}}, t2{Seconds{3000}};
  set_condition(list, {"Ready", "False", "Starting", "", 1, {}}, t0);
  set_condition(list, {"Ready", "False", "Waiting", "for data", 2, {}}, t1);
  ASSERT_EQ(list.size(), 1u);
  EXPECT_EQ(list[0].last_transition_time, t0);
  EXPECT_EQ(list[0].reason, "Waiting");
  set_condition(list, {"Ready", "True", "Up", "", 2, {}}, t2);
  EXPECT_EQ(list[0].last_transition_time, t2);
  EXPECT_TRUE(is_true(list, "Ready"));
  EXPECT_EQ(parse_condition(encode(list[0])), list[0]);
  EXPECT_EQ(find_condition(list, "Other"), nullptr);
}

TEST(ChildName, StaysShortUniqueAndValid) {
  EXPECT_EQ(child_name("parts", "train", "0123456789abcdef"), "parts-train-01234567");
  std::string long_a = std::string(80, 'a') + "x", long_b = std::string(80, 'a') + "y";
  std::string a = child_name(long_a, "train", "0123456789"),
              b = child_name(long_b, "train", "0123456789");
  EXPECT_LE(a.size(), 63u);
  EXPECT_NE(a, b);
  EXPECT_EQ(
      child_name(std::string(44, 'a') + "-.-" + std::string(30, 'b'), "s", "01234567").find("-."),
      std::string::npos);
}

TEST(ObjectMeta, JsonAndTextReadersAgree) {
  Json j =
      Json::parse(R"({"name":"n","namespace":"s","uid":"u","resourceVersion":"7","generation":3,
    "creationTimestamp":"2026-11-21T12:00:00Z","labels":{"a":"b"},"annotations":{"c/d":"e"},
    "finalizers":["f"],"managedFields":[{"manager":"x"}],
    "ownerReferences":[{"apiVersion":"v1","kind":"K","name":"o","uid":"ou","controller":true}]})");
  ObjectMeta m = parse_object_meta(j);
  EXPECT_EQ(m.key(), "s/n");
  EXPECT_EQ(m.annotation("c/d"), "e");
  ASSERT_NE(m.controller_owner(), nullptr);
  auto sa = Codec<ServiceAccount>::parse(Json{{"metadata", j}}.dump());
  ASSERT_TRUE(sa.ok());
  EXPECT_EQ(encode(sa->metadata), encode(m));
  j.erase("managedFields");
  EXPECT_EQ(encode(m), j);
}

TEST(MapObserved, FindsByNameNamespaceAndOwner) {
  MapObserved world;
  ConfigMap a, b;
  a.metadata.ns = "x";
  a.metadata.name = "one";
  a.metadata.owner_references.push_back({"v1", "K", "o", "uid-1", true, true});
  b.metadata.ns = "y";
  b.metadata.name = "two";
  world.put(a);
  world.put(b);
  world.put_work("k", {WorkState::Phase::kSucceeded, Json{{"v", 1}}, {}, {}, {}});
  EXPECT_NE(world.get<ConfigMap>("x", "one"), nullptr);
  EXPECT_EQ(world.get<ConfigMap>("x", "two"), nullptr);
  EXPECT_EQ(world.get<Pod>("x", "one"), nullptr);
  EXPECT_EQ(world.list<ConfigMap>("").size(), 2u);
  EXPECT_EQ(world.list<ConfigMap>("y").size(), 1u);
  EXPECT_EQ(world.owned<ConfigMap>("uid-1").size(), 1u);
  EXPECT_TRUE(world.owned<ConfigMap>("").empty());
  ASSERT_NE(world.work("k"), nullptr);
  EXPECT_EQ(world.work("z"), nullptr);
}

}  // namespace
}  // namespace tango::kube
