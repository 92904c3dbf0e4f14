// Network definitions in YAML: blocks with parameters, integer expressions, repeats and variants,
// expanded into a plain Graph. Grammar: docs/formats/graph-definition.md. Definitions are data; the
// expressions are integer arithmetic and nothing else.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/yaml.h"
#include "lib/graph/graph.h"

namespace tango::graph {

// A published or pinned figure that the expanded network must meet.
struct OracleRow {
  std::string form;        // train | main | deploy
  std::string source;      // paper, repository, or "derived"
  std::string params;      // as printed: "0.27M", "11689512"
  std::string flops;       // as printed: "81.6M"; empty when none is known
  std::string convention;  // how the source counts
};

struct Variant {
  std::string name;
  std::map<std::string, std::int64_t> variables;
  std::vector<OracleRow> oracle;
};

class Definition {
 public:
  // Errors: InvalidYaml, InvalidDefinition; the message has file, path and line.
  static Result<Definition> parse(std::string_view yaml, std::string_view file_name);

  const std::string& family() const { return family_; }
  const std::vector<Variant>& variants() const { return variants_; }
  const std::map<std::string, std::int64_t>& variables() const { return variables_; }
  // The graph of one variant; `set` overrides variables (classes, channels).
  // Errors: NotFound (variant), InvalidDefinition, UnknownOp, ShapeMismatch.
  Result<Graph> expand(std::string_view variant,
                       const std::map<std::string, std::int64_t>& set = {}) const;

 private:
  std::string file_;
  std::string family_;
  YamlDocument document_;
  std::map<std::string, std::int64_t> variables_;
  std::vector<Variant> variants_;
};

}  // namespace tango::graph
