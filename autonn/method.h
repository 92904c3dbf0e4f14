// Training methods: which networks there are, what the loss is, and what happens after a step. The
// one loop (trainer.h) runs any of them; torch types stay behind forward declarations.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "autonn/config.h"
#include "autonn/torch_network.h"

namespace tango::autonn {

enum class Role { kTrained, kFrozen, kEma };

struct NetworkSlot {
  std::string name;
  Role role = Role::kTrained;
  std::string follows;  // kEma: the network whose moving average this is
};

// The networks of a method by name.
using Networks = std::map<std::string, std::unique_ptr<TorchNetwork>, std::less<>>;

struct StepTensors;  // images, labels -> loss, logits (method.cpp, trainer.cpp)

class TrainingMethod {
 public:
  virtual ~TrainingMethod() = default;
  virtual std::string_view name() const = 0;
  // The first trained slot is what is learned; `result()` names the one that is kept.
  virtual std::vector<NetworkSlot> networks() const = 0;
  virtual std::string result() const = 0;
  // Fills in loss (a scalar with gradient) and logits of the trained network.
  virtual void loss(Networks& networks, StepTensors& step) = 0;
  // Moves every kEma slot towards the one it follows: parameters and running statistics.
  virtual void after_step(Networks& networks, std::int64_t step);

 protected:
  explicit TrainingMethod(const TrainingConfig& config) : config_(config) {}
  TrainingConfig config_;
};

// Cross-entropy with label smoothing; a moving average when config.ema > 0.
std::unique_ptr<TrainingMethod> make_supervised(const TrainingConfig& config);

// Knowledge distillation (Hinton, Vinyals, Dean, 2015): cross-entropy and temperature-softened KL
// against a second network: the frozen `teacher`, or, without one, the student's own moving average
// (mean teacher). config.ema must be > 0 in the second case.
std::unique_ptr<TrainingMethod> make_distillation(const TrainingConfig& config,
                                                  bool frozen_teacher);

}  // namespace tango::autonn
