// The networks that come with the house (lib/graph/zoo/*.yaml, embedded at build time).
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "lib/graph/definition.h"
#include "lib/graph/infer.h"

namespace tango::graph {

// Every variant of every definition, sorted by name.
std::vector<std::string> zoo_names();
bool in_zoo(std::string_view name);

struct NetworkShape {
  std::int64_t classes = 0;   // 0: the definition's own number
  std::int64_t channels = 0;  // of the input image; 0: the definition's own number
};
// Errors: NotFound (names what exists).
Result<Graph> build_zoo_network(std::string_view name, const NetworkShape& shape = {});
Result<std::vector<OracleRow>> zoo_oracle(std::string_view name);
// Cost of the deploy form (eval nodes, conv + bn fused) at batch 1 and this input size.
Result<Cost> deploy_cost(std::string_view name, const NetworkShape& shape, std::int64_t height,
                         std::int64_t width);

// The embedded text of a file of lib/graph/zoo; empty when there is none.
std::string_view zoo_file(std::string_view name);

}  // namespace tango::graph
