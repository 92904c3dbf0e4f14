#include "autonn/optimizer.h"

#include <ATen/ATen.h>

#include <cmath>

namespace tango::autonn {
namespace {

constexpr double kBeta1 = 0.9;
constexpr double kBeta2 = 0.999;
constexpr double kAdamEps = 1e-8;

}  // namespace

FlatOptimizer::FlatOptimizer(const TrainingConfig& config, TorchNetwork& network)
    : config_(config),
      network_(network),
      states_{{"decay", Group::kDecay, {}, {}}, {"plain", Group::kPlain, {}, {}}} {
  for (State& s : states_) {
    s.first = at::zeros_like(network_.flat(s.group));
    if (config_.optimizer != Optimizer::kSgd) s.second = at::zeros_like(s.first);
  }
}

void FlatOptimizer::zero_gradients() {
  for (State& s : states_) network_.flat_gradient(s.group).zero_();
}

void FlatOptimizer::step(double learning_rate, std::int64_t step) {
  at::NoGradGuard no_grad;
  for (State& s : states_) {
    at::Tensor p = network_.flat(s.group);
    at::Tensor g = network_.flat_gradient(s.group);
    const double decay = s.group == Group::kDecay ? config_.weight_decay : 0;
    if (config_.optimizer == Optimizer::kAdamW) {
      p.mul_(1 - learning_rate * decay);
    } else if (decay > 0) {
      g.add_(p, decay);
    }
    if (config_.optimizer == Optimizer::kSgd) {
      s.first.mul_(config_.momentum).add_(g);
      p.add_(g.add_(s.first, config_.momentum), -learning_rate);
    } else {
      const double t = static_cast<double>(step);
      s.first.lerp_(g, 1 - kBeta1);
      s.second.mul_(kBeta2).addcmul_(g, g, 1 - kBeta2);
      const at::Tensor scale =
          s.second.sqrt().div_(std::sqrt(1 - std::pow(kBeta2, t))).add_(kAdamEps);
      p.addcdiv_(s.first, scale, -learning_rate / (1 - std::pow(kBeta1, t)));
    }
  }
}

void FlatOptimizer::save(graph::TensorStore& out) const {
  const auto put = [&](const std::string& name, const at::Tensor& t) {
    out.put("optimizer/" + name,
            graph::Tensor::f32({t.numel()},
                               {t.data_ptr<float>(), static_cast<std::size_t>(t.numel())}));
  };
  for (const State& s : states_) {
    put(std::string(s.name) + ".first", s.first);
    if (s.second.defined()) put(std::string(s.name) + ".second", s.second);
  }
}

Status FlatOptimizer::load(const graph::TensorStore& in) {
  const auto take = [&](const std::string& name, at::Tensor& t) -> Status {
    TRY_ASSIGN(const graph::Tensor* stored, in.get("optimizer/" + name));
    if (stored->dtype != graph::DType::kF32 || stored->count() != t.numel()) {
      return make_error(Code::kInvalid, "InvalidState", "optimizer/" + name + " has another size");
    }
    std::copy_n(stored->as_f32().data(), t.numel(), t.data_ptr<float>());
    return ok_status();
  };
  for (State& s : states_) {
    TRY(take(std::string(s.name) + ".first", s.first));
    if (s.second.defined()) TRY(take(std::string(s.name) + ".second", s.second));
  }
  return ok_status();
}

}  // namespace tango::autonn
