// Second opinion on an export: runs the ONNX file with OpenCV DNN and compares with the reference
// executor. No torch.
#pragma once

#include <string>
#include <vector>

#include "lib/base/result.h"
#include "lib/vision/network.h"

namespace tango::autonn {

struct Parity {
  double max_abs_diff = 0;
  double limit = 0;  // 1e-5 * max(1, |reference| inf), the smallest over the samples
  std::size_t samples = 0;
};

// `inputs` are pre-processed [n, C, H, W]; one reference row per sample. Errors: ParityFailed (with
// the figures), OnnxInvalid (OpenCV refuses the file).
Result<Parity> check_parity(const std::string& onnx, const vision::NetworkSpec& spec,
                            const std::vector<float>& inputs,
                            const std::vector<std::vector<float>>& reference);

}  // namespace tango::autonn
