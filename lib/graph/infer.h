// What can be known of a graph without weights: shapes, parameter shapes, cost. Pure functions.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "lib/graph/graph.h"

namespace tango::graph {

// Shape of every node's value. Errors: ShapeMismatch (with the node's path), InvalidGraph.
Result<std::map<std::string, Shape>> infer_shapes(const Graph& graph);

// A graph whose input has the given extents. Errors: InvalidGraph, ShapeMismatch (an extent below 1
// somewhere in the network).
Result<Graph> freeze_input(Graph graph, std::int64_t n, std::int64_t h, std::int64_t w);

struct ParamSpec {
  std::string key;  // node path + "." + role
  std::string path;
  std::string role;  // weight, bias, running_mean, running_var
  std::vector<std::int64_t> shape;
  bool trainable = true;  // false: a buffer (running statistics)
};
// In node order; the names and shapes a TensorStore must hold for this graph.
Result<std::vector<ParamSpec>> param_specs(const Graph& graph);

struct Cost {
  std::int64_t params = 0;        // trainable parameters
  std::int64_t flops = 0;         // 2 x multiply-accumulates of conv and linear, whole batch
  std::int64_t weight_bytes = 0;  // parameters and buffers as f32
  std::int64_t peak_activation_bytes = 0;  // largest sum of live f32 values at any node
};
// Of a graph with a frozen input. Errors: as infer_shapes, InputNotFrozen.
Result<Cost> cost(const Graph& graph);

}  // namespace tango::graph
