// Passes: (Graph, TensorStore) -> (Graph, TensorStore), without torch. Each keeps the meaning of
// the outputs in eval mode; node paths that survive keep their names.
#pragma once

#include <utility>

#include "lib/graph/graph.h"
#include "lib/graph/tensor_store.h"

namespace tango::graph {

struct Network {
  Graph graph;
  TensorStore weights;
};

// Every parameter of the graph is present with its shape and dtype F32, and nothing else.
// Errors: MissingTensor, ShapeMismatch, UnknownTensor.
Status check_weights(const Graph& graph, const TensorStore& weights);

// Drops nodes of the other mode and whatever only they used. Errors: InvalidGraph.
Result<Graph> select_mode(const Graph& graph, When mode);

// Folds each batch norm whose only input is a convolution used by nothing else into that
// convolution (which gets a bias). Errors: as check_weights.
Result<Network> fuse_conv_bn(const Network& network);
// The same on the structure alone, for cost.
Result<Graph> fuse_conv_bn(const Graph& graph);

}  // namespace tango::graph
