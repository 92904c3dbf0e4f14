#include "lib/graph/definition.h"

#include <functional>
#include <set>

#include "lib/graph/expression.h"
#include "lib/graph/infer.h"

namespace tango::graph {
namespace {

using Variables = std::map<std::string, std::int64_t>;

constexpr std::string_view kSchema = "tango.graph-definition/1";
constexpr int kMaxBlockDepth = 16;
constexpr std::int64_t kMaxRepeat = 1000;

std::string index(const std::string& path, std::size_t i) {
  return path + "[" + std::to_string(i) + "]";
}

// Walks the network of one variant, appending nodes to a graph.
class Expander {
 public:
  Expander(const YamlDocument& document, std::string file, Graph& graph)
      : document_(document), file_(std::move(file)), graph_(graph) {}

  Error fail(const std::string& path, const std::string& what,
             std::string_view reason = "InvalidDefinition") const {
    std::string place = file_;
    if (const int line = document_.line_of(path); line > 0) place += ":" + std::to_string(line);
    return make_error(Code::kInvalid, reason, place + ": " + path + ": " + what);
  }
  Error wrap(const std::string& path, const Error& error) const {
    return fail(path, error.to_string(), error.reason);
  }

  Status known_keys(const Json& object, const std::string& path,
                    const std::set<std::string>& keys) const {
    if (!object.is_object()) return fail(path, "must be a mapping");
    for (const auto& [key, unused] : object.items()) {
      if (!keys.contains(key)) return fail(path + "." + key, "is not a known key");
    }
    return ok_status();
  }

  // Integers, "=expressions" and (elsewhere) anything else unchanged, recursively.
  Result<Json> resolve(const Json& value, const std::string& path, const Variables& vars) const {
    if (value.is_string()) {
      const auto& text = value.get_ref<const std::string&>();
      if (text.empty() || text.front() != '=') return value;
      auto number = evaluate_expression(std::string_view(text).substr(1), vars);
      if (!number.ok()) return wrap(path, number.error());
      return Json(number.value());
    }
    if (value.is_array()) {
      Json out = Json::array();
      for (std::size_t i = 0; i < value.size(); ++i) {
        TRY_ASSIGN(Json item, resolve(value[i], index(path, i), vars));
        out.push_back(std::move(item));
      }
      return out;
    }
    return value;
  }
  Result<std::int64_t> integer(const Json& value, const std::string& path,
                               const Variables& vars) const {
    TRY_ASSIGN(const Json v, resolve(value, path, vars));
    if (!v.is_number_integer()) return fail(path, "must be an integer or an =expression");
    return v.get<std::int64_t>();
  }

  struct Scope {
    std::string prefix;                        // of paths, with the dot
    std::map<std::string, std::string> names;  // local name -> full path
    std::string last;                          // default input
    Section section = Section::kNone;
    int depth = 0;
  };

  Result<std::vector<std::string>> inputs(const Json& item, const std::string& path,
                                          const Scope& scope) const {
    const Json& from = get(item, "from");
    if (from.is_null()) return std::vector<std::string>{scope.last};
    Json list = from.is_array() ? from : Json::array({from});
    std::vector<std::string> out;
    for (const Json& name : list) {
      if (!name.is_string()) return fail(path + ".from", "must be a name or a list of names");
      auto it = scope.names.find(name.get<std::string>());
      if (it == scope.names.end()) {
        return fail(path + ".from",
                    "there is no earlier node \"" + name.get<std::string>() + "\" here");
      }
      out.push_back(it->second);
    }
    return out;
  }

  Status nodes(const Json& list, const std::string& path, const Variables& vars, Scope& scope) {
    if (!list.is_array()) return fail(path, "must be a list of nodes");
    for (std::size_t i = 0; i < list.size(); ++i) {
      const std::string at = index(path, i);
      if (!list[i].is_object()) return fail(at, "must be a mapping");
      const bool use = list[i].contains("block");
      TRY(use ? block_use(list[i], at, vars, scope) : op_node(list[i], at, vars, scope));
    }
    return ok_status();
  }

 private:
  Status op_node(const Json& item, const std::string& path, const Variables& vars, Scope& scope) {
    auto name = require_string(item, "name", path);
    if (!name.ok()) return fail(path, "\"name\" is missing or not a string");
    auto op_name = require_string(item, "op", path);
    if (!op_name.ok()) return fail(path, "\"op\" (or \"block\") is missing or not a string");
    if (scope.names.contains(*name)) return fail(path + ".name", "\"" + *name + "\" is used twice");
    auto op = find_op(*op_name, static_cast<int>(get_int(item, "version", 1)));
    if (!op.ok()) return wrap(path + ".op", op.error());

    Json attrs = get(get(document_.value, "defaults"), *op_name);
    if (attrs.is_null()) attrs = Json::object();
    static const std::set<std::string> kOwn{"name", "op", "version", "from", "when", "tap"};
    for (const auto& [key, value] : item.items()) {
      if (kOwn.contains(key)) continue;
      TRY_ASSIGN(attrs[key], resolve(value, path + "." + key, vars));
    }
    Node node;
    node.path = scope.prefix + *name;
    node.op = *op;
    node.section = scope.section;
    if (const Json& when = get(item, "when"); !when.is_null()) {
      if (when == "train") {
        node.when = When::kTrain;
      } else if (when == "eval") {
        node.when = When::kEval;
      } else if (when != "both") {
        return fail(path + ".when", "must be train, eval or both");
      }
    }
    TRY_ASSIGN(node.inputs, inputs(item, path, scope));
    auto parsed = parse_attrs(*op, attrs, *op_name);
    if (!parsed.ok()) return wrap(path, parsed.error());
    node.attrs = std::move(parsed).value();
    if (const Json& tap = get(item, "tap"); !tap.is_null()) {
      if (!tap.is_string()) return fail(path + ".tap", "must be a name");
      graph_.taps[tap.get<std::string>()] = node.path;
    }
    if (graph_.nodes.size() >= kMaxNodes) return fail(path, "the network has too many nodes");
    scope.last = node.path;
    scope.names[*name] = node.path;
    graph_.nodes.push_back(std::move(node));
    return ok_status();
  }

  Status block_use(const Json& item, const std::string& path, const Variables& vars, Scope& scope) {
    TRY(known_keys(item, path, {"name", "block", "with", "repeat", "start", "from"}));
    auto name = require_string(item, "name", path);
    if (!name.ok()) return fail(path, "\"name\" is missing or not a string");
    const std::string block_name = get_string(item, "block");
    const Json& block = get(get(document_.value, "blocks"), block_name);
    const std::string block_path = "blocks." + block_name;
    if (!block.is_object())
      return fail(path + ".block", "there is no block \"" + block_name + "\"");
    TRY(known_keys(block, block_path, {"parameters", "nodes"}));
    if (scope.depth >= kMaxBlockDepth) return fail(path + ".block", "blocks are nested too deeply");

    // A block sees the variables of the definition and its own parameters, not its caller's.
    Variables inner = globals_;
    const Json& with = get(item, "with");
    if (!with.is_null() && !with.is_object()) return fail(path + ".with", "must be a mapping");
    std::set<std::string> parameters;
    const Json& declared = get(block, "parameters");
    for (const Json& p : declared) {
      if (!p.is_string()) return fail(block_path + ".parameters", "must be a list of names");
      const std::string& key = p.get_ref<const std::string&>();
      parameters.insert(key);
      if (!with.is_object() || !with.contains(key)) {
        return fail(path + ".with",
                    "parameter \"" + key + "\" of block " + block_name + " is missing");
      }
      TRY_ASSIGN(inner[key], integer(with[key], path + ".with." + key, vars));
    }
    if (with.is_object()) {
      for (const auto& [key, unused] : with.items()) {
        if (!parameters.contains(key)) {
          return fail(path + ".with." + key, "block " + block_name + " has no such parameter");
        }
      }
    }

    const bool repeated = item.contains("repeat");
    std::int64_t repeat = 1;
    std::int64_t start = 0;
    if (repeated) {
      TRY_ASSIGN(repeat, integer(item["repeat"], path + ".repeat", vars));
    }
    if (item.contains("start")) {
      TRY_ASSIGN(start, integer(item["start"], path + ".start", vars));
    }
    if (repeat < 0 || repeat > kMaxRepeat || start < 0 || start > kMaxRepeat) {
      return fail(path, "repeat and start must be between 0 and " + std::to_string(kMaxRepeat));
    }
    TRY_ASSIGN(const std::vector<std::string> from, inputs(item, path, scope));
    if (from.size() != 1) return fail(path + ".from", "a block has one input");
    std::string last = from[0];
    for (std::int64_t i = 0; i < repeat; ++i) {
      const std::string full = repeated ? *name + "." + std::to_string(start + i) : *name;
      if (scope.names.contains(full)) return fail(path + ".name", "\"" + full + "\" is used twice");
      Scope local{scope.prefix + full + ".", {{"in", last}}, last, scope.section, scope.depth + 1};
      TRY(nodes(get(block, "nodes"), block_path + ".nodes", inner, local));
      last = local.last;
      scope.names[full] = last;
    }
    scope.last = last;
    return ok_status();
  }

 public:
  Variables globals_;

 private:
  const YamlDocument& document_;
  std::string file_;
  Graph& graph_;
};

Result<Variables> read_variables(const Json& value, const std::string& path, const Expander& e) {
  Variables out;
  if (value.is_null()) return out;
  if (!value.is_object()) return e.fail(path, "must be a mapping");
  for (const auto& [key, v] : value.items()) {
    if (!v.is_number_integer()) return e.fail(path + "." + key, "must be an integer");
    out[key] = v.get<std::int64_t>();
  }
  return out;
}

}  // namespace

Result<Definition> Definition::parse(std::string_view yaml, std::string_view file_name) {
  Definition d;
  d.file_ = std::string(file_name);
  auto document = parse_yaml(yaml);
  if (!document.ok()) return std::move(document).error().with_context("in " + d.file_);
  d.document_ = std::move(document).value();
  const Json& root = d.document_.value;
  Graph unused;
  const Expander e(d.document_, d.file_, unused);
  TRY(e.known_keys(root, "",
                   {"schema", "family", "description", "variables", "defaults", "input", "blocks",
                    "network", "outputs", "variants"}));
  if (get_string(root, "schema") != kSchema) {
    return e.fail("schema", "must be " + std::string(kSchema), "UnsupportedSchema");
  }
  d.family_ = get_string(root, "family");
  if (d.family_.empty()) return e.fail("family", "is missing");
  TRY_ASSIGN(d.variables_, read_variables(get(root, "variables"), "variables", e));
  const Json& variants = get(root, "variants");
  if (!variants.is_array() || variants.empty()) return e.fail("variants", "must be a list");
  for (std::size_t i = 0; i < variants.size(); ++i) {
    const std::string path = index("variants", i);
    TRY(e.known_keys(variants[i], path, {"name", "set", "oracle"}));
    Variant v;
    v.name = get_string(variants[i], "name");
    if (v.name.empty()) return e.fail(path + ".name", "is missing");
    TRY_ASSIGN(v.variables, read_variables(get(variants[i], "set"), path + ".set", e));
    for (const auto& [key, ignored] : v.variables) {
      if (!d.variables_.contains(key)) {
        return e.fail(path + ".set." + key, "is not in \"variables\"");
      }
    }
    const Json& oracle = get(variants[i], "oracle");
    for (std::size_t k = 0; k < oracle.size(); ++k) {
      const std::string at = index(path + ".oracle", k);
      TRY(e.known_keys(oracle[k], at, {"form", "source", "params", "flops", "convention"}));
      v.oracle.push_back({get_string(oracle[k], "form"), get_string(oracle[k], "source"),
                          get_string(oracle[k], "params"), get_string(oracle[k], "flops"),
                          get_string(oracle[k], "convention")});
    }
    d.variants_.push_back(std::move(v));
  }
  return d;
}

Result<Graph> Definition::expand(std::string_view variant,
                                 const std::map<std::string, std::int64_t>& set) const {
  const Variant* found = nullptr;
  for (const Variant& v : variants_) {
    if (v.name == variant) found = &v;
  }
  if (found == nullptr) {
    return make_error(Code::kNotFound, "NotFound",
                      file_ + " has no variant \"" + std::string(variant) + "\"");
  }
  Graph graph;
  graph.name = found->name;
  Expander e(document_, file_, graph);
  Variables vars = variables_;
  for (const auto& [key, value] : found->variables) vars[key] = value;
  for (const auto& [key, value] : set) {
    if (!vars.contains(key)) return e.fail("variables", "there is no variable \"" + key + "\"");
    vars[key] = value;
  }
  e.globals_ = vars;

  const Json& root = document_.value;
  const Json& input = get(root, "input");
  TRY(e.known_keys(input, "input", {"channels"}));
  Node first;
  first.path = "input";
  InputAttrs attrs;
  TRY_ASSIGN(attrs.channels, e.integer(get(input, "channels"), "input.channels", vars));
  if (attrs.channels < 1) return e.fail("input.channels", "must be at least 1");
  first.attrs = attrs;
  graph.nodes.push_back(first);

  Expander::Scope scope{"", {{"input", "input"}}, "input", Section::kNone, 0};
  const Json& network = get(root, "network");
  if (!network.is_array() || network.empty())
    return e.fail("network", "must be a list of sections");
  for (std::size_t i = 0; i < network.size(); ++i) {
    const std::string path = index("network", i);
    TRY(e.known_keys(network[i], path, {"section", "nodes"}));
    const std::string section = get_string(network[i], "section");
    scope.section = Section::kNone;
    for (const Section s : {Section::kBackbone, Section::kNeck, Section::kHead}) {
      if (to_string(s) == section) scope.section = s;
    }
    if (scope.section == Section::kNone) {
      return e.fail(path + ".section", "must be backbone, neck or head");
    }
    TRY(e.nodes(get(network[i], "nodes"), path + ".nodes", vars, scope));
  }
  const Json& outputs = get(root, "outputs");
  if (!outputs.is_array() || outputs.empty()) return e.fail("outputs", "must be a list of names");
  for (const Json& name : outputs) {
    auto it = name.is_string() ? scope.names.find(name.get<std::string>()) : scope.names.end();
    if (it == scope.names.end()) return e.fail("outputs", "names a node that does not exist");
    graph.outputs.push_back(it->second);
  }
  auto shapes = infer_shapes(graph);
  if (!shapes.ok())
    return std::move(shapes).error().with_context("in " + file_ + ", variant " + found->name);
  return graph;
}

}  // namespace tango::graph
