// What passes between the loop and a method at each step. Included by torch sources only.
#pragma once

#include <ATen/core/Tensor.h>

namespace tango::autonn {

struct StepTensors {
  at::Tensor images;  // [N, C, H, W]
  at::Tensor labels;  // [N], int64
  at::Tensor loss;    // scalar
  at::Tensor logits;  // [N, classes]
};

}  // namespace tango::autonn
