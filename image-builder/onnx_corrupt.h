// Deliberate damage to an ONNX file: the builder proves with it that the gate of a bundle can fail.
// Works on the protobuf wire format alone; the result is the same size and still a valid ONNX file.
#pragma once

#include <string>
#include <string_view>

#include "lib/base/result.h"

namespace tango::builder {

enum class Corruption {
  kZeroed,    // all weights are zero: one constant answer
  kReversed,  // the numbers of every weight tensor in reverse order: plausible but wrong
};
std::string_view to_string(Corruption corruption);

// Changes every float32 initializer of two or more dimensions. Errors: InvalidOnnx (damaged, or no
// such weights in it).
Result<std::string> corrupt_weights(std::string_view onnx, Corruption corruption);

}  // namespace tango::builder
