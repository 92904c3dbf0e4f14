// Optimizers over the flat buffers of a network. Included by torch sources only.
#pragma once

#include <ATen/core/Tensor.h>

#include "autonn/config.h"
#include "autonn/torch_network.h"

namespace tango::autonn {

// SGD with Nesterov momentum (weight decay added to the gradient), Adam (the same) or AdamW
// (decoupled decay; betas 0.9 and 0.999). Only Group::kDecay decays.
class FlatOptimizer {
 public:
  FlatOptimizer(const TrainingConfig& config, TorchNetwork& network);
  void zero_gradients();
  // `step` counts from 1.
  void step(double learning_rate, std::int64_t step);
  // Under "optimizer/": flat vectors in the network's parameter order.
  void save(graph::TensorStore& out) const;
  Status load(const graph::TensorStore& in);

 private:
  struct State {
    const char* name;
    Group group;
    at::Tensor first;   // momentum, or Adam's first moment
    at::Tensor second;  // Adam only
  };
  TrainingConfig config_;
  TorchNetwork& network_;
  State states_[2];
};

}  // namespace tango::autonn
