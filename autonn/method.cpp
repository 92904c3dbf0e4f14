#include "autonn/method.h"

#include <ATen/ATen.h>

#include "autonn/schedule.h"
#include "autonn/step_tensors.h"

namespace tango::autonn {
namespace {

constexpr std::int64_t kIgnoreNothing = -100;

at::Tensor cross_entropy(const at::Tensor& logits, const at::Tensor& labels, double smoothing) {
  return at::cross_entropy_loss(logits, labels, {}, at::Reduction::Mean, kIgnoreNothing, smoothing);
}

class Supervised : public TrainingMethod {
 public:
  explicit Supervised(const TrainingConfig& config) : TrainingMethod(config) {}
  std::string_view name() const override { return "supervised"; }
  std::vector<NetworkSlot> networks() const override {
    std::vector<NetworkSlot> out{{"model", Role::kTrained, ""}};
    if (config_.ema > 0) out.push_back({"average", Role::kEma, "model"});
    return out;
  }
  std::string result() const override { return config_.ema > 0 ? "average" : "model"; }
  void loss(Networks& networks, StepTensors& step) override {
    step.logits = networks.find("model")->second->forward(step.images, true);
    step.loss = cross_entropy(step.logits, step.labels, config_.label_smoothing);
  }
};

class Distillation : public TrainingMethod {
 public:
  Distillation(const TrainingConfig& config, bool frozen)
      : TrainingMethod(config), frozen_(frozen) {}
  std::string_view name() const override { return frozen_ ? "distillation" : "mean-teacher"; }
  std::vector<NetworkSlot> networks() const override {
    std::vector<NetworkSlot> out{{"model", Role::kTrained, ""}};
    if (config_.ema > 0) out.push_back({"average", Role::kEma, "model"});
    if (frozen_) out.push_back({"teacher", Role::kFrozen, ""});
    return out;
  }
  std::string result() const override { return config_.ema > 0 ? "average" : "model"; }
  void loss(Networks& networks, StepTensors& step) override {
    at::Tensor target;
    {
      at::NoGradGuard no_grad;
      TorchNetwork& teacher = *networks.find(frozen_ ? "teacher" : "average")->second;
      target = at::softmax(teacher.forward(step.images, false) / config_.temperature, 1);
    }
    step.logits = networks.find("model")->second->forward(step.images, true);
    const at::Tensor student = at::log_softmax(step.logits / config_.temperature, 1);
    // Mean over the batch of KL(teacher || student); T^2 keeps its gradients comparable.
    const at::Tensor divergence =
        (target * (at::log(target.clamp_min(1e-12)) - student)).sum(1).mean() *
        (config_.temperature * config_.temperature);
    const double w = config_.distill_weight;
    step.loss =
        (1 - w) * cross_entropy(step.logits, step.labels, config_.label_smoothing) + w * divergence;
  }

 private:
  bool frozen_;
};

}  // namespace

void TrainingMethod::after_step(Networks& networks, std::int64_t step) {
  at::NoGradGuard no_grad;
  for (const NetworkSlot& slot : this->networks()) {
    if (slot.role != Role::kEma) continue;
    TorchNetwork& average = *networks.find(slot.name)->second;
    TorchNetwork& source = *networks.find(slot.follows)->second;
    const double weight = 1 - ema_decay_at(config_.ema, step);
    for (const Group g : {Group::kDecay, Group::kPlain, Group::kBuffers}) {
      average.flat(g).lerp_(source.flat(g), weight);
    }
  }
}

std::unique_ptr<TrainingMethod> make_supervised(const TrainingConfig& config) {
  return std::make_unique<Supervised>(config);
}

std::unique_ptr<TrainingMethod> make_distillation(const TrainingConfig& config,
                                                  bool frozen_teacher) {
  return std::make_unique<Distillation>(config, frozen_teacher);
}

}  // namespace tango::autonn
