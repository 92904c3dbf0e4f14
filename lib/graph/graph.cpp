#include "lib/graph/graph.h"

#include <set>
#include <unordered_set>

namespace tango::graph {
namespace {

constexpr std::string_view kSchema = "tango.graph/1";
constexpr std::size_t kMaxPathBytes = 200;

Error invalid(std::string message) {
  return make_error(Code::kInvalid, "InvalidGraph", std::move(message));
}

// Paths become tensor names, ONNX names and file-free identifiers: letters, digits, '_', '-', '.'.
bool valid_path(std::string_view path) {
  if (path.empty() || path.size() > kMaxPathBytes || path.front() == '.' || path.back() == '.') {
    return false;
  }
  for (const char c : path) {
    const bool ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                    c == '_' || c == '-' || c == '.';
    if (!ok) return false;
  }
  return path.find("..") == std::string_view::npos;
}

Status check_keys(const Json& object, std::initializer_list<std::string_view> known,
                  const std::string& where) {
  if (!object.is_object()) return invalid(where + " must be an object");
  for (const auto& [key, unused] : object.items()) {
    bool found = false;
    for (const std::string_view k : known) found = found || k == key;
    if (!found) {
      return make_error(Code::kInvalid, "UnknownField", where + "." + key + " is not known");
    }
  }
  return ok_status();
}

Result<std::vector<std::string>> string_list(const Json& value, const std::string& where) {
  if (!value.is_array()) return invalid(where + " must be a list of strings");
  std::vector<std::string> out;
  for (const Json& v : value) {
    if (!v.is_string()) return invalid(where + " must be a list of strings");
    out.push_back(v.get<std::string>());
  }
  return out;
}

Result<Section> parse_section(const std::string& text, const std::string& where) {
  for (const Section s : {Section::kNone, Section::kBackbone, Section::kNeck, Section::kHead}) {
    if (to_string(s) == text) return s;
  }
  return invalid(where + ".section must be none, backbone, neck or head, not \"" + text + "\"");
}

Result<When> parse_when(const std::string& text, const std::string& where) {
  for (const When w : {When::kBoth, When::kTrain, When::kEval}) {
    if (to_string(w) == text) return w;
  }
  return invalid(where + ".when must be both, train or eval, not \"" + text + "\"");
}

Result<Node> parse_node(const Json& value, const std::string& where) {
  TRY(check_keys(value, {"path", "op", "version", "section", "when", "inputs", "attrs"}, where));
  Node node;
  TRY_ASSIGN(node.path, require_string(value, "path", where));
  TRY_ASSIGN(const std::string name, require_string(value, "op", where));
  TRY_ASSIGN(const std::int64_t version, require_int(value, "version", where));
  if (version < 1 || version > 1'000'000) return invalid(where + ".version is out of range");
  auto op = find_op(name, static_cast<int>(version));
  if (!op.ok()) return std::move(op).error().with_context("in " + where);
  node.op = op.value();
  node.version = static_cast<int>(version);
  TRY_ASSIGN(node.section, parse_section(get_string(value, "section", "none"), where));
  TRY_ASSIGN(node.when, parse_when(get_string(value, "when", "both"), where));
  TRY_ASSIGN(node.inputs, string_list(value.value("inputs", Json::array()), where + ".inputs"));
  TRY_ASSIGN(node.attrs,
             parse_attrs(node.op, value.value("attrs", Json::object()), where + ".attrs"));
  return node;
}

}  // namespace

std::string_view to_string(Section section) {
  switch (section) {
    case Section::kBackbone:
      return "backbone";
    case Section::kNeck:
      return "neck";
    case Section::kHead:
      return "head";
    case Section::kNone:
      break;
  }
  return "none";
}

std::string_view to_string(When when) {
  switch (when) {
    case When::kTrain:
      return "train";
    case When::kEval:
      return "eval";
    case When::kBoth:
      break;
  }
  return "both";
}

const Node* Graph::find(std::string_view path) const {
  for (const Node& n : nodes) {
    if (n.path == path) return &n;
  }
  return nullptr;
}

Status check(const Graph& graph) {
  if (graph.nodes.empty()) return invalid("the graph has no nodes");
  if (graph.nodes.size() > kMaxNodes) {
    return invalid("the graph has more than " + std::to_string(kMaxNodes) + " nodes");
  }
  std::unordered_set<std::string> seen;
  for (std::size_t i = 0; i < graph.nodes.size(); ++i) {
    const Node& n = graph.nodes[i];
    if (!valid_path(n.path)) {
      return invalid("node path \"" + n.path.substr(0, kMaxPathBytes) +
                     "\" is not made of letters, digits, '_', '-' and single inner dots");
    }
    if ((n.op == Op::kInput) != (i == 0)) {
      return invalid("node " + n.path + ": the input must come first, and only once");
    }
    const OpInfo& info = op_info(n.op);
    const int count = static_cast<int>(n.inputs.size());
    if (count < info.min_inputs || (info.max_inputs >= 0 && count > info.max_inputs)) {
      return invalid("node " + n.path + ": operator " + std::string(info.name) + " cannot have " +
                     std::to_string(count) + " inputs");
    }
    for (const std::string& in : n.inputs) {
      if (!seen.contains(in)) {
        return invalid("node " + n.path + ": input \"" + in + "\" is not an earlier node");
      }
    }
    if (!seen.insert(n.path).second) return invalid("node path " + n.path + " is used twice");
  }
  if (graph.outputs.empty()) return invalid("the graph has no outputs");
  for (const std::string& out : graph.outputs) {
    if (!seen.contains(out)) return invalid("output \"" + out + "\" is not a node");
  }
  for (const auto& [name, path] : graph.taps) {
    if (!seen.contains(path)) return invalid("tap " + name + ": \"" + path + "\" is not a node");
  }
  return ok_status();
}

Json encode(const Graph& graph) {
  Json nodes = Json::array();
  for (const Node& n : graph.nodes) {
    nodes.push_back({{"path", n.path},
                     {"op", op_info(n.op).name},
                     {"version", n.version},
                     {"section", to_string(n.section)},
                     {"when", to_string(n.when)},
                     {"inputs", n.inputs},
                     {"attrs", encode_attrs(n.attrs)}});
  }
  return {{"schema", kSchema},
          {"name", graph.name},
          {"nodes", std::move(nodes)},
          {"outputs", graph.outputs},
          {"taps", graph.taps}};
}

Result<Graph> parse_graph(const Json& value) {
  TRY(check_keys(value, {"schema", "name", "nodes", "outputs", "taps"}, "graph"));
  TRY_ASSIGN(const std::string schema, require_string(value, "schema", "graph"));
  if (schema != kSchema) {
    return make_error(
        Code::kUnsupported, "UnsupportedSchema",
        "graph.schema is \"" + schema + "\"; this build reads " + std::string(kSchema));
  }
  Graph graph;
  TRY_ASSIGN(graph.name, require_string(value, "name", "graph"));
  const Json& nodes = get(value, "nodes");
  if (!nodes.is_array() || nodes.size() > kMaxNodes) {
    return invalid("graph.nodes must be a list of at most " + std::to_string(kMaxNodes));
  }
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    TRY_ASSIGN(Node node, parse_node(nodes[i], "graph.nodes[" + std::to_string(i) + "]"));
    graph.nodes.push_back(std::move(node));
  }
  TRY_ASSIGN(graph.outputs, string_list(get(value, "outputs"), "graph.outputs"));
  const Json& taps = get(value, "taps");
  if (!taps.is_null()) {
    if (!taps.is_object()) return invalid("graph.taps must be an object");
    for (const auto& [name, path] : taps.items()) {
      if (!path.is_string()) return invalid("graph.taps." + name + " must be a string");
      graph.taps[name] = path.get<std::string>();
    }
  }
  TRY(check(graph));
  return graph;
}

}  // namespace tango::graph
