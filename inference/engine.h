// One exported network that can be run: the interface every engine plug-in answers, and the OpenCV
// DNN engine. Used by Model; an engine knows tensors only, no images and no classes.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "lib/base/file.h"
#include "lib/base/result.h"
#include "lib/vision/network.h"

namespace tango::inference {

struct EngineOptions {
  int threads = 1;  // of one forward pass
};

class Engine {
 public:
  virtual ~Engine() = default;
  virtual std::string name() const = 0;  // "opencv-dnn 4.6.0"
  // `input`: one pre-processed sample, channels*height*width floats; answers the raw output, one
  // float per class. Not thread-safe. Errors: EngineFailed, InvalidSize.
  virtual Result<std::vector<float>> run(std::span<const float> input) = 0;
};

// Loads an ONNX file (static shapes, opset 13, float32) and runs it once to check that it answers
// one float per class. The thread count is process-wide in OpenCV: the last engine loaded decides.
// Errors: NotFound, EngineFailed (names what the engine says), InvalidSize.
Result<std::unique_ptr<Engine>> load_opencv_engine(const fs::path& onnx,
                                                   const vision::NetworkSpec& network,
                                                   const EngineOptions& options);

}  // namespace tango::inference
