// The API's pure semantics: selectors, JSONPath, schemas, patches, field ownership, tables.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "standalone/apply.h"
#include "standalone/auth.h"
#include "standalone/builtin_types.h"
#include "standalone/field_set.h"
#include "standalone/json_path.h"
#include "standalone/openapi.h"
#include "standalone/patch.h"
#include "standalone/resources.h"
#include "standalone/selectors.h"
#include "standalone/table.h"

namespace tango::standalone {
namespace {

Json J(const char* text) { return Json::parse(text); }
const Schema& pod_schema() { return *builtin_type("io.k8s.api.core.v1.Pod"); }
TimePoint at(int seconds) { return TimePoint{Seconds{1'700'000'000 + seconds}}; }

bool labels_match(const char* selector, const char* labels) {
  auto s = Selector::parse_labels(selector);
  EXPECT_TRUE(s.ok()) << selector;
  return s->matches_labels({{"metadata", {{"labels", J(labels)}}}});
}

TEST(Selectors, LabelOperators) {
  EXPECT_TRUE(labels_match("a=b", R"({"a":"b"})"));
  EXPECT_TRUE(labels_match("a==b,c", R"({"a":"b","c":""})"));
  EXPECT_FALSE(labels_match("a=b", R"({})"));
  EXPECT_TRUE(labels_match("a!=b", R"({})"));  // absent counts as different
  EXPECT_TRUE(labels_match("a in (x, b),!z", R"({"a":"b"})"));
  EXPECT_FALSE(labels_match("a notin (x,b)", R"({"a":"b"})"));
  EXPECT_TRUE(labels_match("a notin (x,y)", R"({})"));
  EXPECT_TRUE(labels_match("n>3", R"({"n":"4"})"));
  EXPECT_FALSE(labels_match("n<3", R"({"n":"x"})"));
  EXPECT_TRUE(labels_match("app.kubernetes.io/name=x", R"({"app.kubernetes.io/name":"x"})"));
  EXPECT_TRUE(labels_match("in=notin", R"({"in":"notin"})"));
}

TEST(Selectors, MalformedIsAnError) {
  for (const char* bad : {"a in b", "a in (b", "=x", "a,,b", "a b", "a=b,", "(x)"}) {
    EXPECT_FALSE(Selector::parse_labels(bad).ok()) << bad;
  }
  EXPECT_FALSE(Selector::parse_fields("metadata.name").ok());
}

TEST(Selectors, Fields) {
  auto s = Selector::parse_fields("metadata.name=x,status.phase!=Failed");
  ASSERT_TRUE(s.ok());
  EXPECT_TRUE(s->matches_fields(J(R"({"metadata":{"name":"x"}})")));
  EXPECT_FALSE(s->matches_fields(J(R"({"metadata":{"name":"x"},"status":{"phase":"Failed"}})")));
  EXPECT_EQ(s->equals("metadata.name"), "x");
}

std::string path_result(const char* path, const char* json) {
  auto p = JsonPath::compile(path);
  EXPECT_TRUE(p.ok()) << path;
  Json root = J(json);
  std::string out;
  for (const Json* v : p->find(root)) out += v->dump() + " ";
  return out;
}

TEST(JsonPath, Subset) {
  const char* doc =
      R"({"a":{"b.c":1,"l":[{"t":"Ready","r":"Yes","n":2},{"t":"Old","r":"No"}]},"m":{"x":1,"y":2}})";
  EXPECT_EQ(path_result(".a.l[0].r", doc), "\"Yes\" ");
  EXPECT_EQ(path_result("{.a.l[-1].r}", doc), "\"No\" ");
  EXPECT_EQ(path_result(".a['b.c']", doc), "1 ");
  EXPECT_EQ(path_result(".a.b\\.c", doc), "1 ");
  EXPECT_EQ(path_result(".a.l[*].t", doc), "\"Ready\" \"Old\" ");
  EXPECT_EQ(path_result(".a.l[?(@.t==\"Ready\")].r", doc), "\"Yes\" ");
  EXPECT_EQ(path_result(".a.l[?(@.t!='Ready')].r", doc), "\"No\" ");
  EXPECT_EQ(path_result(".a.l[?(@.n>1)].t", doc), "\"Ready\" ");
  EXPECT_EQ(path_result(".a.l[?(@.n)].t", doc), "\"Ready\" ");
  EXPECT_EQ(path_result(".nothing.here", doc), "");
  for (const char* bad : {"a", ".a[", ".a[x]", ".a[?(t==1)]", "..a", ".a..b"})
    EXPECT_FALSE(JsonPath::compile(bad).ok()) << bad;
}

SchemaPtr schema(const char* text) {
  auto s = compile_crd_schema(J(text));
  EXPECT_TRUE(s.ok()) << (s.ok() ? "" : s.error().message);
  return *s;
}
std::string first_cause(const Schema& s, const char* value) {
  std::vector<Cause> causes;
  validate(J(value), s, "", causes);
  return causes.empty() ? "" : causes[0].field + "|" + causes[0].reason;
}

TEST(Schema, ValidatesWhatACrdSays) {
  auto s = schema(
      R"({"type":"object","required":["spec"],"properties":{"spec":{"type":"object","properties":{
    "n":{"type":"integer","minimum":1,"maximum":5},"e":{"type":"string","enum":["A","B"]},"p":{"type":"string","pattern":"^x+$","maxLength":3},
    "l":{"type":"array","maxItems":2,"x-kubernetes-list-type":"set","items":{"type":"string"}},
    "m":{"type":"array","x-kubernetes-list-type":"map","x-kubernetes-list-map-keys":["k"],"items":{"type":"object","properties":{"k":{"type":"string"}}}},
    "ios":{"x-kubernetes-int-or-string":true},"nul":{"type":"string","nullable":true},
    "any":{"anyOf":[{"type":"string"},{"type":"integer"}]}}}}})");
  EXPECT_EQ(first_cause(*s, "{}"), "spec|FieldValueRequired");
  EXPECT_EQ(first_cause(*s, R"({"spec":{"n":6}})"), "spec.n|FieldValueInvalid");
  EXPECT_EQ(first_cause(*s, R"({"spec":{"n":"6"}})"), "spec.n|FieldValueTypeInvalid");
  EXPECT_EQ(first_cause(*s, R"({"spec":{"n":2.0}})"), "");
  EXPECT_EQ(first_cause(*s, R"({"spec":{"e":"C"}})"), "spec.e|FieldValueNotSupported");
  EXPECT_EQ(first_cause(*s, R"({"spec":{"p":"xy"}})"), "spec.p|FieldValueInvalid");
  EXPECT_EQ(first_cause(*s, R"({"spec":{"p":"xxxx"}})"), "spec.p|FieldValueTooLong");
  EXPECT_EQ(first_cause(*s, R"({"spec":{"l":["a","a"]}})"), "spec.l[1]|FieldValueDuplicate");
  EXPECT_EQ(first_cause(*s, R"({"spec":{"l":["a","b","c"]}})"), "spec.l|FieldValueTooMany");
  EXPECT_EQ(first_cause(*s, R"({"spec":{"m":[{"k":"a"},{"k":"a"}]}})"),
            "spec.m[1]|FieldValueDuplicate");
  EXPECT_EQ(first_cause(*s, R"({"spec":{"ios":1.5}})"), "spec.ios|FieldValueTypeInvalid");
  EXPECT_EQ(first_cause(*s, R"({"spec":{"ios":"80%","nul":null,"any":3}})"), "");
  EXPECT_EQ(first_cause(*s, R"({"spec":{"any":true}})"), "spec.any|FieldValueInvalid");
}

TEST(Schema, PrunesAndDefaults) {
  auto s = schema(
      R"({"type":"object","properties":{"spec":{"type":"object","default":{},"properties":{"a":{"type":"integer","default":7},
    "free":{"type":"object","x-kubernetes-preserve-unknown-fields":true},"list":{"type":"array","items":{"type":"object","properties":{"x":{"type":"string"}}}}}}}})");
  Json v = J(
      R"({"apiVersion":"v","kind":"K","metadata":{"name":"n"},"zz":1,"spec":{"b":1,"free":{"q":{"r":1}},"list":[{"x":"1","y":2}]}})");
  std::vector<std::string> unknown;
  prune(v, *s, "", unknown);
  EXPECT_EQ(unknown, (std::vector<std::string>{"spec.b", "spec.list[0].y", "zz"}));
  EXPECT_EQ(v["spec"]["free"]["q"]["r"], 1);
  Json empty = J(R"({"spec":{"a":null}})");
  apply_defaults(empty, *s);
  EXPECT_EQ(empty["spec"]["a"], 7);
  Json absent = Json::object();
  apply_defaults(absent, *s);
  EXPECT_EQ(absent["spec"]["a"], 7);
}

TEST(Schema, BrokenDefinitionsAreRefused) {
  EXPECT_FALSE(
      compile_crd_schema(J(R"({"type":"object","properties":{"a":{"type":"array"}}})")).ok());
  EXPECT_FALSE(compile_crd_schema(J(R"({"type":"strange"})")).ok());
  EXPECT_FALSE(compile_crd_schema(J(R"({"type":"string","pattern":"("})")).ok());
}

TEST(StrategicMerge, MergesListsByKeyAndObeysDirectives) {
  Json pod = J(
      R"({"spec":{"containers":[{"name":"a","image":"1","env":[{"name":"X","value":"1"},{"name":"Y","value":"2"}]},{"name":"b","image":"1"}],
    "volumes":[{"name":"v","emptyDir":{}}]},"metadata":{"finalizers":["one"]}})");
  Json out = strategic_merge(
      pod,
      J(R"({"spec":{"containers":[{"name":"a","image":"2","env":[{"name":"Y","$patch":"delete"},{"name":"Z","value":"3"}]}],
    "$setElementOrder/containers":[{"name":"b"},{"name":"a"}]},"metadata":{"finalizers":["two"]}})"),
      pod_schema());
  EXPECT_EQ(out["spec"]["containers"][0]["name"], "b");
  EXPECT_EQ(out["spec"]["containers"][1]["image"], "2");
  EXPECT_EQ(out["spec"]["containers"][1]["env"],
            J(R"([{"name":"X","value":"1"},{"name":"Z","value":"3"}])"));
  EXPECT_FALSE(out["spec"].contains("$setElementOrder/containers"));
  out = strategic_merge(
      pod,
      J(R"({"spec":{"containers":[{"name":"b","$patch":"delete"}],"volumes":[{"name":"v","$retainKeys":["name","hostPath"],"hostPath":{"path":"/x"}}]}})"),
      pod_schema());
  EXPECT_EQ(out["spec"]["containers"].size(), 1u);
  EXPECT_EQ(out["spec"]["volumes"], J(R"([{"name":"v","hostPath":{"path":"/x"}}])"));
  out = strategic_merge(
      pod,
      J(R"({"spec":{"volumes":[{"$patch":"replace"},{"name":"w"}]},"metadata":{"$deleteFromPrimitiveList/finalizers":["one"]}})"),
      pod_schema());
  EXPECT_EQ(out["spec"]["volumes"], J(R"([{"name":"w"}])"));
  EXPECT_EQ(out["metadata"]["finalizers"], Json::array());
  EXPECT_THROW(strategic_merge(pod, J(R"({"spec":{"containers":[{"image":"x"}]}})"), pod_schema()),
               ApiError);
}

TEST(JsonPatch, FailuresAreTyped) {
  EXPECT_EQ(
      json_patch(
          J(R"({"a":1})"),
          J(R"([{"op":"test","path":"/a","value":1},{"op":"replace","path":"/a","value":2}])"))
          ["a"],
      2);
  auto code = [](const char* patch) {
    try {
      json_patch(J(R"({"a":1})"), J(patch));
    } catch (const ApiError& e) {
      return e.code;
    }
    return 0;
  };
  EXPECT_EQ(code(R"([{"op":"test","path":"/a","value":2}])"), 422);
  EXPECT_EQ(code(R"([{"op":"remove","path":"/nope"}])"), 422);
  EXPECT_EQ(code(R"([{"op":"dance","path":"/a"}])"), 400);
  EXPECT_EQ(code(R"({"a":1})"), 400);
}

const char* kWidget =
    R"({"type":"object","properties":{"spec":{"type":"object","properties":{"size":{"type":"integer"},"color":{"type":"string"},
  "atoms":{"type":"array","items":{"type":"string"}},"tags":{"type":"array","x-kubernetes-list-type":"set","items":{"type":"string"}},
  "parts":{"type":"array","x-kubernetes-list-type":"map","x-kubernetes-list-map-keys":["name"],"items":{"type":"object","properties":{"name":{"type":"string"},"n":{"type":"integer"}}}}}}}})";

Json widget(const char* spec) {
  return {{"apiVersion", "t/v1"}, {"kind", "W"}, {"metadata", {{"name", "w"}}}, {"spec", J(spec)}};
}

TEST(ServerSideApply, OwnershipConflictForceAndGivingUp) {
  auto s = schema(kWidget);
  Json live =
      apply_config(Json(), widget(R"({"size":1,"color":"red","parts":[{"name":"a","n":1}]})"), *s,
                   {"one", "t/v1", ""}, false, at(0));
  // Another manager may set the same value, and becomes co-owner.
  live = apply_config(live, widget(R"({"size":1})"), *s, {"two", "t/v1", ""}, false, at(1));
  try {
    apply_config(live, widget(R"({"size":2,"parts":[{"name":"b","n":2}]})"), *s,
                 {"two", "t/v1", ""}, false, at(2));
    FAIL() << "no conflict";
  } catch (const ApiError& e) {
    EXPECT_EQ(e.code, 409);
    ASSERT_EQ(e.causes.size(), 1u);
    EXPECT_EQ(e.causes[0].reason, "FieldManagerConflict");
    EXPECT_EQ(e.causes[0].field, ".spec.size");
    EXPECT_NE(e.causes[0].message.find("\"one\""), std::string::npos);
  }
  live = apply_config(live, widget(R"({"size":2,"parts":[{"name":"b","n":2}]})"), *s,
                      {"two", "t/v1", ""}, true, at(3));
  EXPECT_EQ(live["spec"]["size"], 2);
  EXPECT_EQ(live["spec"]["parts"].size(), 2u);  // each manager its own item
  // "one" gives up color and its part; size is no longer its own, so it stays.
  live = apply_config(live, widget(R"({})"), *s, {"one", "t/v1", ""}, false, at(4));
  EXPECT_FALSE(live["spec"].contains("color"));
  EXPECT_EQ(live["spec"]["size"], 2);
  EXPECT_EQ(live["spec"]["parts"], J(R"([{"name":"b","n":2}])"));
}

TEST(ServerSideApply, AtomicListsAreReplacedSetsAreMerged) {
  auto s = schema(kWidget);
  Json live = apply_config(Json(), widget(R"({"atoms":["a","b"],"tags":["x"]})"), *s,
                           {"one", "t/v1", ""}, false, at(0));
  Json next =
      apply_config(live, widget(R"({"tags":["y"]})"), *s, {"two", "t/v1", ""}, false, at(1));
  EXPECT_EQ(next["spec"]["tags"], J(R"(["y","x"])"));
  EXPECT_THROW(
      apply_config(next, widget(R"({"atoms":["c"]})"), *s, {"two", "t/v1", ""}, false, at(2)),
      ApiError);
}

TEST(ServerSideApply, AnUpdateTakesOwnershipOfWhatItChanged) {
  auto s = schema(kWidget);
  Json live = apply_config(Json(), widget(R"({"size":1,"color":"red"})"), *s, {"one", "t/v1", ""},
                           false, at(0));
  Json next = live;
  next["spec"]["size"] = 5;
  track_update(live, next, *s, {"kubectl-edit", "t/v1", ""}, at(1));
  try {
    apply_config(next, widget(R"({"size":1,"color":"red"})"), *s, {"one", "t/v1", ""}, false,
                 at(2));
    FAIL() << "no conflict";
  } catch (const ApiError& e) {
    EXPECT_NE(e.message.find("kubectl-edit"), std::string::npos);
  }
}

TEST(ServerSideApply, ApplyingTheSameTwiceChangesNothing) {
  auto s = schema(kWidget);
  Json config =
      widget(R"({"size":1,"tags":["b","a"],"parts":[{"name":"a","n":1},{"name":"b","n":2}]})");
  Json live = apply_config(Json(), config, *s, {"one", "t/v1", ""}, false, at(0));
  EXPECT_EQ(apply_config(live, config, *s, {"one", "t/v1", ""}, false, at(60)), live);
}

Json random_spec() {
  Json spec = Json::object();
  if (*rc::gen::arbitrary<bool>()) spec["size"] = *rc::gen::inRange(0, 3);
  if (*rc::gen::arbitrary<bool>()) spec["color"] = *rc::gen::element<std::string>("r", "g");
  if (*rc::gen::arbitrary<bool>()) {
    spec["parts"] = Json::array();
    for (const char* name : {"a", "b", "c"}) {
      if (*rc::gen::arbitrary<bool>())
        spec["parts"].push_back({{"name", name}, {"n", *rc::gen::inRange(0, 3)}});
    }
  }
  return spec;
}

RC_GTEST_PROP(ServerSideApplyProperty, AForcedApplyAlwaysWinsAndIsIdempotent, ()) {
  auto s = schema(kWidget);
  Json live = apply_config(Json(), widget(random_spec().dump().c_str()), *s, {"one", "t/v1", ""},
                           true, at(0));
  live = apply_config(live, widget(random_spec().dump().c_str()), *s, {"two", "t/v1", ""}, true,
                      at(1));
  Json config = widget(random_spec().dump().c_str());
  Json next = apply_config(live, config, *s, {"one", "t/v1", ""}, true, at(2));
  // Every applied field has the applied value, and a second apply is a no-op.
  RC_ASSERT(merge_typed(next, config, *s)["spec"] == next["spec"]);
  RC_ASSERT(apply_config(next, config, *s, {"one", "t/v1", ""}, true, at(3)) == next);
  // A manager that gives everything up leaves only what others own.
  Json empty = apply_config(next, widget("{}"), *s, {"one", "t/v1", ""}, true, at(4));
  Json both = apply_config(empty, widget("{}"), *s, {"two", "t/v1", ""}, true, at(5));
  RC_ASSERT(!both.contains("spec") || both["spec"].empty());
}

RC_GTEST_PROP(FieldSetProperty, SetAlgebra, ()) {
  auto s = schema(kWidget);
  FieldSet a = fields_of(widget(random_spec().dump().c_str()), *s),
           b = fields_of(widget(random_spec().dump().c_str()), *s);
  RC_ASSERT(FieldSet::from_json(a.to_json()) == a);
  RC_ASSERT(set_union(a, b) == set_union(b, a));
  RC_ASSERT(set_intersection(set_difference(a, b), b).empty());
  RC_ASSERT(set_union(set_difference(a, b), set_intersection(a, b)) == a);
}

RC_GTEST_PROP(StrategicMergeProperty, AnEmptyPatchChangesNothing, ()) {
  Json pod = {{"spec", {{"containers", Json::array()}}}};
  for (const char* name : {"a", "b"}) {
    if (*rc::gen::arbitrary<bool>())
      pod["spec"]["containers"].push_back({{"name", name}, {"image", "i"}});
  }
  RC_ASSERT(strategic_merge(pod, Json::object(), pod_schema()) == pod);
  RC_ASSERT(strategic_merge(pod, pod, pod_schema()) == pod);
}

TEST(BuiltInTypes, EveryBuiltInResourceHasAType) {
  for (const ResourcePtr& r : builtin_resources()) EXPECT_TRUE(r->schema) << r->kind;
  EXPECT_EQ(pod_schema().member("spec")->member("containers")->merge_key, "name");
  EXPECT_EQ(type_mismatch(J(R"({"spec":{"containers":[{"name":1}]}})"), pod_schema(), ""),
            "spec.containers[0].name: cannot use integer as string");
  EXPECT_EQ(
      type_mismatch(
          J(R"({"spec":{"containers":[{"resources":{"limits":{"cpu":0.5,"memory":"1Gi"}}}]}})"),
          pod_schema(), ""),
      "");
}

TEST(OpenApi, DescribesKindsForOldAndNewClients) {
  ResourceTable table(builtin_resources());
  Json v2 = openapi_v2(table);
  EXPECT_EQ(
      v2["definitions"]["io.k8s.api.core.v1.Pod"]["x-kubernetes-group-version-kind"][0]["kind"],
      "Pod");
  EXPECT_EQ(v2["definitions"]["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"]
              ["x-kubernetes-patch-merge-key"],
            "name");
  Json v3 = openapi_v3(table, "batch", "v1");
  EXPECT_TRUE(v3["paths"].contains("/apis/batch/v1/namespaces/{namespace}/jobs/{name}"));
  EXPECT_TRUE(openapi_v3(table, "nope", "v1").is_null());
  std::string proto = openapi_v2_protobuf(v2);
  EXPECT_EQ(proto.substr(0, 5), std::string("\x0a\x03"
                                            "2.0",
                                            5));
  EXPECT_NE(proto.find("io.k8s.api.core.v1.Pod"), std::string::npos);
}

TEST(Tokens, AreBoundToKeyTimeAndAudience) {
  TokenIssuer issuer(Secret<std::string>("key-of-thirty-two-bytes-xxxxxxxx"), "iss"),
      other(Secret<std::string>("another"), "iss");
  std::string token =
      issuer.issue({"system:serviceaccount:a:b", "u", {"g"}, {"iss"}, at(60)}, at(0));
  auto claims = issuer.verify(token, at(1));
  ASSERT_TRUE(claims);
  EXPECT_EQ(claims->subject, "system:serviceaccount:a:b");
  EXPECT_FALSE(issuer.verify(token, at(60)));
  EXPECT_FALSE(other.verify(token, at(1)));
  token[token.size() / 2] = token[token.size() / 2] == 'A' ? 'B' : 'A';
  EXPECT_FALSE(issuer.verify(token, at(1)));
  EXPECT_FALSE(issuer.verify("", at(1)));
  EXPECT_FALSE(issuer.verify("...", at(1)));
}

TEST(Identity, FromCertificateSubject) {
  auto id = identity_of_subject("CN=tango-admin,O=system:masters");
  ASSERT_TRUE(id);
  EXPECT_EQ(id->user, "tango-admin");
  EXPECT_TRUE(id->admin());
  EXPECT_EQ(identity_of_subject("CN=a\\,O=system:masters")->user, "a,O=system:masters");
  EXPECT_FALSE(identity_of_subject("CN=a\\,O=system:masters")->admin());
  EXPECT_FALSE(identity_of_subject("O=system:masters"));
}

}  // namespace
}  // namespace tango::standalone
