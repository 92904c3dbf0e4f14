// A graph as an ONNX file (IR 8, opset 13, static shapes): what OpenCV 4.6, ONNX Runtime and
// libonnx 1.12 all read. The result has passed ONNX's checker and shape inference. No torch.
#pragma once

#include <string>

#include "lib/base/result.h"
#include "lib/graph/passes.h"

namespace tango::autonn {

// The network's input must be frozen; names of its input and first output in the file are given.
// Errors: InputNotFrozen, Unsupported, OnnxInvalid (checker or shape inference, with its message).
Result<std::string> export_onnx(const graph::Network& network, const std::string& input_name,
                                const std::string& output_name);

}  // namespace tango::autonn
