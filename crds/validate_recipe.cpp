// Recipes: known stage types, connected by ports of the same type, without circles.
#include <algorithm>
#include <array>
#include <map>
#include <set>

#include "crds/rules.h"

namespace tango::crds {
namespace {

struct Port {
  std::string_view name;
  std::string_view type;
};
struct StageKind {
  std::string_view name;
  bool implemented;
  std::vector<Port> inputs;
  std::vector<Port> outputs;
};

const std::vector<StageKind>& stage_kinds() {
  static const std::vector<StageKind> kinds{
      {"Pretrain",
       false,
       {{"dataset", "Dataset"}},
       {{"backbone", "Network"}, {"trainerState", "TrainerState"}}},
      {"Train",
       true,
       {{"dataset", "Dataset"},
        {"model", "Network"},
        {"checkpoint", "Network"},
        {"resume", "TrainerState"},
        {"hyperParams", "HyperParams"}},
       {{"model", "Network"}, {"trainerState", "TrainerState"}}},
      {"SemiTrain",
       false,
       {{"dataset", "Dataset"},
        {"unlabeled", "Dataset"},
        {"checkpoint", "Network"},
        {"labels", "Labels"}},
       {{"model", "Network"}, {"trainerState", "TrainerState"}}},
      {"IncrementalTrain",
       false,
       {{"dataset", "Dataset"}, {"checkpoint", "Network"}, {"labels", "Labels"}},
       {{"model", "Network"}, {"trainerState", "TrainerState"}}},
      {"SoftLabel", false, {{"dataset", "Dataset"}, {"model", "Network"}}, {{"labels", "Labels"}}},
      {"Distill",
       true,
       {{"dataset", "Dataset"}, {"teacher", "Network"}, {"checkpoint", "Network"}},
       {{"model", "Network"}, {"trainerState", "TrainerState"}}},
      {"Prune", false, {{"dataset", "Dataset"}, {"model", "Network"}}, {{"model", "Network"}}},
      {"Quantize", false, {{"dataset", "Dataset"}, {"model", "Network"}}, {{"model", "Network"}}},
      {"Search",
       false,
       {{"dataset", "Dataset"}, {"checkpoint", "Network"}},
       {{"hyperParams", "HyperParams"}, {"model", "Network"}}},
      {"Evaluate", true, {{"dataset", "Dataset"}, {"model", "Network"}}, {{"report", "Report"}}},
      {"Infer", false, {{"dataset", "Dataset"}, {"model", "Network"}}, {{"labels", "Labels"}}},
      {"Export",
       true,
       {{"dataset", "Dataset"}, {"model", "Network"}, {"report", "Report"}},
       {{"model", "Network"}}},
      {"DriftCheck", false, {{"dataset", "Dataset"}, {"model", "Network"}}, {{"report", "Report"}}},
  };
  return kinds;
}

const StageKind* stage_kind(std::string_view name) {
  for (const auto& k : stage_kinds()) {
    if (k.name == name) return &k;
  }
  return nullptr;
}

std::string stage_type_list() {
  std::string out;
  for (const auto& k : stage_kinds()) out += (out.empty() ? "" : ", ") + std::string(k.name);
  return out;
}

const Port* find_port(const std::vector<Port>& ports, std::string_view name) {
  for (const auto& p : ports) {
    if (p.name == name) return &p;
  }
  return nullptr;
}

std::string port_list(const std::vector<Port>& ports) {
  std::string out;
  for (const auto& p : ports) out += (out.empty() ? "" : ", ") + std::string(p.name);
  return out;
}

class RecipeRules {
 public:
  RecipeRules(const Recipe& recipe, std::string path) : recipe_(recipe), path_(std::move(path)) {}

  std::vector<Violation> run() {
    if (recipe_.stages.empty()) rules_.missing(path_ / "stages", "needs at least one stage");
    for (std::size_t i = 0; i < recipe_.stages.size(); ++i) check_name_and_type(i);
    for (std::size_t i = 0; i < recipe_.stages.size(); ++i) check_inputs(i);
    check_circles();
    return std::move(rules_.found);
  }

 private:
  std::string where(std::size_t i) const { return item(path_ / "stages", i); }

  void check_name_and_type(std::size_t i) {
    const auto& stage = recipe_.stages[i];
    if (!by_name_.emplace(stage.name, i).second) {
      rules_.invalid(where(i) / "name", stage.name, "names two stages", "give each its own");
    }
    const StageKind* kind = stage_kind(stage.type);
    if (kind == nullptr) {
      rules_.invalid(where(i) / "type", stage.type, "is not a stage type",
                     "use one of " + stage_type_list());
    } else if (!kind->implemented) {
      rules_.unsupported(where(i) / "type", stage.type);
    }
  }

  void check_inputs(std::size_t i) {
    const auto& stage = recipe_.stages[i];
    const StageKind* kind = stage_kind(stage.type);
    for (const auto& [port_name, input] : stage.inputs) {
      std::string at = where(i) / "inputs" / port_name;
      const Port* port = kind == nullptr ? nullptr : find_port(kind->inputs, port_name);
      if (kind != nullptr && port == nullptr) {
        rules_.invalid(at, nullptr, "is not an input of " + stage.type,
                       "it has " + port_list(kind->inputs));
      }
      rules_.exactly_one(at, {{"from", !input.from.empty()},
                              {"modelRef", input.model_ref.has_value()},
                              {"datasetRef", input.dataset_ref.has_value()}});
      if (!input.from.empty()) {
        check_from(at, input.from, i, port);
      } else if (port != nullptr && input.model_ref && port->type != "Network") {
        rules_.invalid(at / "modelRef", input.model_ref->name, mismatch("Network", *port));
      } else if (port != nullptr && input.dataset_ref && port->type != "Dataset") {
        rules_.invalid(at / "datasetRef", input.dataset_ref->name, mismatch("Dataset", *port));
      }
      if (input.split && !input.dataset_ref) {
        rules_.invalid(at / "split", std::string(to_string(*input.split)),
                       "is for datasetRef only");
      }
    }
  }

  static std::string mismatch(std::string_view got, const Port& port) {
    return "gives " + std::string(got) + ", but the input needs " + std::string(port.type);
  }

  void check_from(const std::string& at, const std::string& from, std::size_t i, const Port* port) {
    std::size_t dot = from.find('.');
    std::string stage_name = from.substr(0, dot);
    std::string output = dot == std::string::npos ? std::string() : from.substr(dot + 1);
    auto source = by_name_.find(stage_name);
    if (output.empty()) {
      return rules_.invalid(at / "from", from, "is not an output", "write stage.port");
    }
    if (source == by_name_.end()) {
      return rules_.invalid(at / "from", from, "names no stage of this recipe");
    }
    edges_[i].insert(source->second);
    const StageKind* kind = stage_kind(recipe_.stages[source->second].type);
    if (kind == nullptr) return;  // reported at its own place
    const Port* given = find_port(kind->outputs, output);
    if (given == nullptr) {
      return rules_.invalid(at / "from", from, "names no output of " + std::string(kind->name),
                            "it has " + port_list(kind->outputs));
    }
    if (port != nullptr && given->type != port->type) {
      rules_.invalid(at / "from", from, mismatch(given->type, *port));
    }
  }

  void check_circles() {
    std::vector<int> state(recipe_.stages.size(), 0);  // 0 new, 1 on the way, 2 done
    std::vector<std::size_t> way;
    for (std::size_t i = 0; i < recipe_.stages.size(); ++i) {
      if (visit(i, state, way)) return;  // one circle is enough to read
    }
  }

  bool visit(std::size_t i, std::vector<int>& state, std::vector<std::size_t>& way) {
    if (state[i] == 2) return false;
    way.push_back(i);
    if (state[i] == 1) {
      std::string circle;
      for (auto it = std::find(way.begin(), way.end(), i); it != way.end(); ++it) {
        circle += (circle.empty() ? "" : " → ") + recipe_.stages[*it].name;
      }
      rules_.invalid(path_ / "stages", circle, "is a circle of stages", "break it");
      return true;
    }
    state[i] = 1;
    for (std::size_t next : edges_[i]) {
      if (visit(next, state, way)) return true;
    }
    state[i] = 2;
    way.pop_back();
    return false;
  }

  const Recipe& recipe_;
  std::string path_;
  Rules rules_;
  std::map<std::string, std::size_t> by_name_;
  std::map<std::size_t, std::set<std::size_t>> edges_;
};

}  // namespace

std::vector<Violation> validate(const Recipe& recipe, const std::string& path) {
  return RecipeRules(recipe, path).run();
}

}  // namespace tango::crds
