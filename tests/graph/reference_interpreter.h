// Runs a graph in double precision by plain loops: slow, obvious, and independent of every product
// code path. Tests compare passes and executors with it.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "lib/graph/graph.h"
#include "lib/graph/tensor_store.h"

namespace tango::graph::testing {

struct Value {
  std::vector<std::int64_t> shape;
  std::vector<double> data;
};

// Eval mode; `input` is [N, C, H, W]. Returns every node's value by path.
std::map<std::string, Value> interpret(const Graph& graph, const TensorStore& weights,
                                       const Value& input);

// One of every operator, with a batch norm that can be folded, one after a biased convolution, one
// behind an addition (not foldable), and one whose convolution is used twice (not foldable).
// Output "fc" [N, 5].
Graph all_operators(std::int64_t channels);

// Deterministic values in [-1, 1); running variances are positive.
TensorStore random_weights(const Graph& graph, std::uint64_t seed);
Value random_input(std::vector<std::int64_t> shape, std::uint64_t seed);

}  // namespace tango::graph::testing
