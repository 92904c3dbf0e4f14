#include "lib/graph/graph.h"

#include <gtest/gtest.h>

#include "lib/graph/zoo.h"

namespace tango::graph {
namespace {

TEST(GraphJson, EveryZooNetworkSurvivesARoundTrip) {
  for (const std::string& name : zoo_names()) {
    const Graph g = build_zoo_network(name).value();
    const auto back = parse_graph(parse_json(dump_json(encode(g))).value());
    ASSERT_TRUE(back.ok()) << back.error().to_string();
    EXPECT_EQ(back.value(), g) << name;
  }
}

Json small() {
  return parse_json(R"({"schema":"tango.graph/1","name":"g","nodes":[
    {"path":"input","op":"input","version":1,"attrs":{"channels":1}},
    {"path":"a","op":"relu","version":1,"inputs":["input"]}],
    "outputs":["a"],"taps":{"t":"a"}})")
      .value();
}

struct Bad {
  const char* what;
  const char* pointer;
  const char* value;
  const char* reason;
  const char* message;
};

TEST(GraphJson, BadDocumentsAreRefusedWithThePlace) {
  ASSERT_TRUE(parse_graph(small()).ok());
  const Bad cases[] = {
      {"unknown operator", "/nodes/1/op", "\"warp\"", "UnknownOp", "graph.nodes[1]"},
      {"unknown version", "/nodes/1/version", "2", "UnknownOp", "version 2"},
      {"unknown key", "/nodes/1/colour", "1", "UnknownField", "graph.nodes[1].colour"},
      {"unknown attribute", "/nodes/1/attrs", "{\"x\":1}", "UnknownField",
       "graph.nodes[1].attrs.x"},
      {"attribute out of range", "/nodes/0/attrs/channels", "0", "InvalidGraph", "channels"},
      {"later input", "/nodes/1/inputs", "[\"a\"]", "InvalidGraph", "\"a\" is not an earlier"},
      {"too many inputs", "/nodes/1/inputs", "[\"input\",\"input\"]", "InvalidGraph", "2 inputs"},
      {"same path twice", "/nodes/1/path", "\"input\"", "InvalidGraph", "used twice"},
      {"path that escapes", "/nodes/1/path", "\"../a\"", "InvalidGraph", "node path"},
      {"missing output", "/outputs", "[\"b\"]", "InvalidGraph", "output \"b\""},
      {"missing tap", "/taps/t", "\"b\"", "InvalidGraph", "tap t"},
      {"other schema", "/schema", "\"tango.graph/2\"", "UnsupportedSchema", "tango.graph/1"},
      {"wrong type", "/nodes", "3", "InvalidGraph", "graph.nodes"},
      {"section", "/nodes/1/section", "\"tail\"", "InvalidGraph", "backbone"},
  };
  for (const Bad& c : cases) {
    Json j = small();
    j[Json::json_pointer(c.pointer)] = parse_json(c.value).value();
    const auto r = parse_graph(j);
    ASSERT_FALSE(r.ok()) << c.what;
    EXPECT_EQ(r.error().reason, c.reason) << c.what;
    EXPECT_NE(r.error().to_string().find(c.message), std::string::npos)
        << c.what << ": " << r.error().to_string();
  }
}

TEST(GraphJson, TheTableOfOperatorsIsInEnumOrder) {
  for (int i = 0; i <= static_cast<int>(Op::kFlatten); ++i) {
    EXPECT_EQ(op_info(static_cast<Op>(i)).op, static_cast<Op>(i));
  }
}

}  // namespace
}  // namespace tango::graph
