// The stage types that tango-trainer runs: Dataset, Train, Distill, Evaluate, Export. Each takes
// the resolved configuration and input digests of stage.json and answers a StageResult; main.cpp
// wraps them with paths, store, events and exit codes.
#pragma once

#include <atomic>
#include <string>

#include "autonn/artifact_store.h"
#include "lib/base/clock.h"
#include "lib/run/events.h"
#include "lib/run/stage.h"

namespace tango::autonn {

struct StageContext {
  run::StageSpec spec;
  run::RunPaths paths;
  std::string input_hash;
  ArtifactStore& store;
  run::EventWriter& events;
  Clock& clock;
  const std::atomic<bool>& stop;
};

// Errors: BadInput reasons (MissingInput, DatasetChanged, UnknownField, ...), Unsupported (stage
// type or version), Interrupted, OutOfMemory, LossNotFinite, and those of store and dataset.
Result<run::StageResult> run_stage(StageContext& context);

}  // namespace tango::autonn
