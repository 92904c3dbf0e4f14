// The one training loop: batches, loss, step, moving averages, validation, best and last state,
// early stop, exact resume, run events. Used by the stages Train and Distill and by the benchmark.
#pragma once

#include <atomic>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "autonn/config.h"
#include "autonn/loader.h"
#include "autonn/method.h"
#include "lib/base/clock.h"
#include "lib/graph/passes.h"
#include "lib/run/events.h"

namespace tango::autonn {

struct TrainJob {
  graph::Graph graph;  // of the trained network, training form
  TrainingConfig config;
  Resolved resolved;
  std::shared_ptr<const data::Dataset> dataset;
  vision::NetworkSpec network;  // input and classes
  std::unique_ptr<TrainingMethod> method;
  std::optional<graph::TensorStore> initial;     // weights to start from; none: by config.seed
  std::map<std::string, graph::Network> frozen;  // networks of role kFrozen by slot name
  std::filesystem::path state_file;              // last state; read when it is there
  std::function<void()> state_saved;             // after each epoch's state was written
  std::int64_t max_steps = 0;                    // benchmark: end after so many steps; 0: no
};

struct TrainOutcome {
  graph::TensorStore weights;  // of the best epoch
  Json metrics;                // {top1, top5, loss, epochs, bestEpoch}: equal runs, equal bytes
  Json timing;                 // {imagesPerSecond, seconds, steps}
};

// Errors: LossNotFinite, Interrupted (`stop` was set; the state is saved), OutOfMemory,
// InvalidDataset, errors of loading samples and of the state file's folder.
Result<TrainOutcome> train(TrainJob job, run::EventWriter& events, Clock& clock,
                           const std::atomic<bool>& stop);

struct EvaluationOptions {
  std::int64_t batch_size = 256;
  int loader_threads = 1;
};
// {samples, top1, top5, f1, loss, perClass, confusion (up to 100 classes)}.
Result<Json> evaluate(TorchNetwork& network, const SampleSource& source,
                      const std::vector<std::string>& classes, const EvaluationOptions& options);

// Raw outputs of the reference executor for pre-processed inputs [n, C, H, W], one row per sample.
Result<std::vector<std::vector<float>>> reference_outputs(TorchNetwork& network,
                                                          const std::vector<float>& inputs,
                                                          const vision::InputSpec& input);

}  // namespace tango::autonn
