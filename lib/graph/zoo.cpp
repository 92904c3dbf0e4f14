#include "lib/graph/zoo.h"

#include <algorithm>

#include "lib/graph/passes.h"

namespace tango::graph {

// Generated from lib/graph/zoo/*.yaml at build time.
struct ZooFile {
  std::string_view name;
  std::string_view text;
};
extern const ZooFile kZooFiles[];
extern const std::size_t kZooFileCount;

namespace {

constexpr std::string_view kSelectionFile = "selection.yaml";

// The embedded files are part of the program: one that does not parse is a bug, and
// zoo_test names it. Here it simply has no networks.
const std::vector<Definition>& definitions() {
  static const std::vector<Definition> all = [] {
    std::vector<Definition> out;
    for (std::size_t i = 0; i < kZooFileCount; ++i) {
      if (kZooFiles[i].name == kSelectionFile) continue;
      auto d = Definition::parse(kZooFiles[i].text, kZooFiles[i].name);
      if (d.ok()) out.push_back(std::move(d).value());
    }
    return out;
  }();
  return all;
}

struct Found {
  const Definition* definition = nullptr;
  const Variant* variant = nullptr;
};
Result<Found> find(std::string_view name) {
  for (const Definition& d : definitions()) {
    for (const Variant& v : d.variants()) {
      if (v.name == name) return Found{&d, &v};
    }
  }
  std::string known;
  for (const std::string& n : zoo_names()) known += (known.empty() ? "" : ", ") + n;
  return make_error(Code::kNotFound, "NotFound",
                    "there is no network \"" + std::string(name) + "\"; this build has " + known);
}

}  // namespace

std::vector<std::string> zoo_names() {
  std::vector<std::string> out;
  for (const Definition& d : definitions()) {
    for (const Variant& v : d.variants()) out.push_back(v.name);
  }
  std::sort(out.begin(), out.end());
  return out;
}

bool in_zoo(std::string_view name) { return find(name).ok(); }

Result<Graph> build_zoo_network(std::string_view name, const NetworkShape& shape) {
  TRY_ASSIGN(const Found found, find(name));
  std::map<std::string, std::int64_t> set;
  if (shape.classes != 0) set["classes"] = shape.classes;
  if (shape.channels != 0) set["channels"] = shape.channels;
  return found.definition->expand(name, set);
}

Result<std::vector<OracleRow>> zoo_oracle(std::string_view name) {
  TRY_ASSIGN(const Found found, find(name));
  return found.variant->oracle;
}

Result<Cost> deploy_cost(std::string_view name, const NetworkShape& shape, std::int64_t height,
                         std::int64_t width) {
  TRY_ASSIGN(const Graph graph, build_zoo_network(name, shape));
  TRY_ASSIGN(const Graph eval, select_mode(graph, When::kEval));
  TRY_ASSIGN(const Graph fused, fuse_conv_bn(eval));
  TRY_ASSIGN(const Graph frozen, freeze_input(fused, 1, height, width));
  return cost(frozen);
}

std::string_view zoo_file(std::string_view name) {
  for (std::size_t i = 0; i < kZooFileCount; ++i) {
    if (kZooFiles[i].name == name) return kZooFiles[i].text;
  }
  return {};
}

}  // namespace tango::graph
