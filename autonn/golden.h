// Golden samples: chooses inputs whose answers are known and clear, and writes the three files of
// docs/formats/golden.md. The outputs come from the caller's reference executor. No torch.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "autonn/artifact_store.h"
#include "autonn/loader.h"

namespace tango::autonn {

using Reference = std::function<Result<std::vector<std::vector<float>>>(const std::vector<float>&)>;

struct Golden {
  std::vector<float> inputs;                // [n, C, H, W]
  std::vector<std::vector<float>> outputs;  // n rows
  std::vector<ArtifactFile> files;          // golden.json, golden.safetensors, golden.png
};

// Takes `count` samples, classes in turn, clear answers first. Errors: EmptySplit, GoldenUnclear
// (the network answers one class for everything, or without any margin: it is not trained).
Result<Golden> make_golden(const SampleSource& source, const vision::NetworkSpec& spec,
                           std::int64_t count, const Reference& reference);

}  // namespace tango::autonn
