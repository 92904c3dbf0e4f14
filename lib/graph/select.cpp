#include "lib/graph/select.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "lib/base/yaml.h"
#include "lib/graph/zoo.h"

namespace tango::graph {
namespace {

struct Column {
  std::string id;
  std::optional<std::uint64_t> max_memory;
};
struct Rule {
  std::string id;
  std::string task;
  std::optional<std::int64_t> max_classes;
  std::int64_t input_size = 0;
  std::vector<std::string> networks;  // one per column
  std::string supernet;
};
struct Table {
  std::vector<Column> columns;
  std::vector<Rule> rules;
};

Result<Table> read_table(std::string_view text) {
  TRY_ASSIGN(const YamlDocument document, parse_yaml(text));
  const Json& root = document.value;
  if (get_string(root, "schema") != "tango.selection/1") {
    return make_error(Code::kInternal, "InvalidDefinition", "selection.yaml: unknown schema");
  }
  Table table;
  for (const Json& c : get(root, "columns")) {
    Column column{get_string(c, "id"), std::nullopt};
    if (c.contains("maxMemory")) {
      column.max_memory = static_cast<std::uint64_t>(get_int(c, "maxMemory"));
    }
    table.columns.push_back(std::move(column));
  }
  for (const Json& r : get(root, "rules")) {
    Rule rule{
        get_string(r, "id"),      get_string(r, "task"), std::nullopt, get_int(r, "inputSize"), {},
        get_string(r, "supernet")};
    if (r.contains("maxClasses")) rule.max_classes = get_int(r, "maxClasses");
    for (const Json& n : get(r, "networks")) rule.networks.push_back(n.get<std::string>());
    if (rule.networks.size() != table.columns.size()) {
      return make_error(Code::kInternal, "InvalidDefinition",
                        "selection.yaml: rule " + rule.id + " does not fill every column");
    }
    table.rules.push_back(std::move(rule));
  }
  return table;
}

const Result<Table>& table() {
  static const Result<Table> t = read_table(zoo_file("selection.yaml"));
  return t;
}

std::string mebibytes(std::uint64_t bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f MiB", static_cast<double>(bytes) / (1 << 20));
  return text;
}
std::string gibibytes(std::uint64_t bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3g GiB", static_cast<double>(bytes) / (1u << 30));
  return text;
}

bool has_accelerator(const SelectionTarget& t) {
  return !t.accelerator.empty() && t.accelerator != "CPU" && t.accelerator != "cpu";
}

struct Choice {
  std::vector<std::string> candidates;  // in the order in which they are tried
  std::vector<std::string> ids;         // rule id of each
  std::string why;
};

Choice choose_column(const Table& t, const Rule& rule, const SelectionInput& input) {
  Choice choice;
  std::size_t column = t.columns.size() - 1;
  bool phone = false;
  std::string limit = "no target limits the size";
  if (input.targets.empty()) {
    column = 0;
    limit = "no target is given, so the smallest size is taken";
  }
  for (const SelectionTarget& target : input.targets) {
    std::size_t own = 0;
    std::string why;
    if (target.phone) {
      phone = true;
      why = target.name + " is a phone";
    } else if (!has_accelerator(target)) {
      why = target.name + " has no accelerator, so the smallest size is taken";
    } else {
      while (t.columns[own].max_memory && target.accelerator_memory > *t.columns[own].max_memory)
        ++own;
      why = target.name + " has " + gibibytes(target.accelerator_memory) + " of accelerator memory";
    }
    if (own < column || &target == &input.targets.front()) {
      column = std::min(column, own);
      limit = why;
    }
  }
  const auto add = [&](const std::string& name, const std::string& id) {
    if (std::find(choice.candidates.begin(), choice.candidates.end(), name) ==
        choice.candidates.end()) {
      choice.candidates.push_back(name);
      choice.ids.push_back(rule.id + "/" + id);
    }
  };
  if (phone && !rule.supernet.empty()) add(rule.supernet, "NAS");
  for (std::size_t i = column + 1; i-- > 0;) add(rule.networks[i], t.columns[i].id);
  choice.why = std::to_string(input.classes) + " classes select row " + rule.id + "; " + limit;
  return choice;
}

// Nothing when the candidate is fine.
std::optional<Rejection> judge(const std::string& name, const SelectionInput& input,
                               std::int64_t input_size, std::string& facts) {
  if (!in_zoo(name)) {
    return Rejection{name, "Unsupported", "this version does not have network " + name};
  }
  const std::int64_t h = input.height > 0 ? input.height : input_size;
  const std::int64_t w = input.width > 0 ? input.width : input_size;
  const auto cost = deploy_cost(name, {input.classes, input.channels}, h, w);
  if (!cost.ok()) return Rejection{name, cost.error().reason, cost.error().to_string()};
  const auto size = static_cast<std::uint64_t>(cost->weight_bytes);
  const auto memory = size + static_cast<std::uint64_t>(cost->peak_activation_bytes);
  if (input.max_model_size && size > *input.max_model_size) {
    return Rejection{name, "ModelTooLarge",
                     "its weights need " + mebibytes(size) + ", the limit is " +
                         mebibytes(*input.max_model_size)};
  }
  if (input.max_memory && memory > *input.max_memory) {
    return Rejection{name, "OverMemory",
                     "weights and activations need " + mebibytes(memory) + " at " +
                         std::to_string(h) + " x " + std::to_string(w) + ", the limit is " +
                         mebibytes(*input.max_memory)};
  }
  bool measured = false;
  for (const MeasuredLatency& m : input.measured) {
    if (m.model != name) continue;
    measured = true;
    if (input.max_latency && m.latency > *input.max_latency) {
      return Rejection{name, "TooSlow",
                       "measured " + format_duration(m.latency) + " on " + m.target +
                           ", the limit is " + format_duration(*input.max_latency)};
    }
  }
  char text[96];
  std::snprintf(text, sizeof text, "%.2fM parameters, %.1fM FLOPs at %lld x %lld",
                static_cast<double>(cost->params) / 1e6, static_cast<double>(cost->flops) / 1e6,
                static_cast<long long>(h), static_cast<long long>(w));
  facts = text;
  if (input.max_latency && !measured) facts += "; its latency is not measured yet";
  return std::nullopt;
}

}  // namespace

Result<Selection> select_base_model(const SelectionInput& input) {
  if (!table().ok()) return table().error();
  const Table& t = table().value();
  if (input.classes < 1) {
    return make_error(Code::kInvalid, "InvalidInput", "the number of classes must be at least 1");
  }
  const Rule* rule = nullptr;
  for (const Rule& r : t.rules) {
    if (r.task == input.task && (!r.max_classes || input.classes <= *r.max_classes)) {
      rule = &r;
      break;
    }
  }
  if (rule == nullptr) {
    return make_error(Code::kUnsupported, "Unsupported",
                      "task " + input.task + " has no row in the base model table of this version");
  }
  const bool requested = !input.requested.empty() && input.requested != "Auto";
  Choice choice;
  if (requested) {
    choice = {{input.requested}, {"requested"}, "spec.baseModel.name asks for it"};
  } else {
    choice = choose_column(t, *rule, input);
  }

  Selection out;
  bool all_unsupported = true;
  for (std::size_t i = 0; i < choice.candidates.size(); ++i) {
    std::string facts;
    auto rejection = judge(choice.candidates[i], input, rule->input_size, facts);
    if (rejection) {
      all_unsupported = all_unsupported && rejection->reason == "Unsupported";
      out.rejected.push_back(std::move(*rejection));
      continue;
    }
    out.name = choice.candidates[i];
    out.rule_id = choice.ids[i];
    out.reason = choice.why + "; " + out.name + " has " + facts;
    return out;
  }
  std::string why;
  for (const Rejection& r : out.rejected) {
    why += (why.empty() ? "" : "; ") + r.name + ": " + r.reason + " (" + r.message + ")";
  }
  if (all_unsupported) {
    return make_error(Code::kUnsupported, "Unsupported",
                      "no base model for " + input.task + " exists in this version: " + why);
  }
  return make_error(Code::kInvalid, "ConstraintsUnsatisfiable",
                    "every base model breaks a limit of objective.constraints: " + why);
}

}  // namespace tango::graph
