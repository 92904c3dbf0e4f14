// Runs a graph with libtorch and holds its parameters in flat buffers: one update of the optimizer
// or of a moving average is a handful of operations on two long vectors. Torch types stay behind
// forward declarations; only the few torch translation units include them.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "lib/base/result.h"
#include "lib/graph/graph.h"
#include "lib/graph/passes.h"
#include "lib/graph/tensor_store.h"

namespace at {
class Tensor;
}

namespace tango::autonn {

// Weights of convolutions and linear layers decay; biases and batch norms do not; running
// statistics are no parameters.
enum class Group { kDecay = 0, kPlain = 1, kBuffers = 2 };
inline constexpr int kGroups = 3;

class TorchNetwork {
 public:
  // The graph's nodes of both modes run in training; nodes `when: train` are skipped otherwise.
  // Errors: those of graph::check_weights, Unsupported (an operator without an implementation).
  static Result<std::unique_ptr<TorchNetwork>> create(const graph::Graph& graph,
                                                      const graph::TensorStore& weights);
  ~TorchNetwork();
  TorchNetwork(const TorchNetwork&) = delete;
  TorchNetwork& operator=(const TorchNetwork&) = delete;

  // [N, C, H, W] float -> first output. `training` selects batch statistics; gradients follow
  // torch's own grad mode and make_trainable().
  at::Tensor forward(const at::Tensor& input, bool training);

  // Gradients are collected into flat_gradient() from now on.
  void make_trainable();
  at::Tensor flat(Group group) const;
  at::Tensor flat_gradient(Group group) const;

  const graph::Graph& graph() const;
  graph::TensorStore weights() const;              // copies, named by node path + role
  Status load(const graph::TensorStore& weights);  // same names and shapes

 private:
  struct Impl;
  explicit TorchNetwork(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Kaiming-normal (fan out) convolutions, uniform linear layers (1/sqrt(fan in)), unit batch norms;
// every tensor from its own counter-based stream. No torch.
Result<graph::TensorStore> initial_weights(const graph::Graph& graph, std::uint64_t seed);

// Threads of one operation; call once, before the first operation.
void set_compute_threads(int threads);

}  // namespace tango::autonn
