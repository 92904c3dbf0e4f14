// Base model selection: which network a project starts from. A pure function of its input and of
// lib/graph/zoo/selection.yaml (the table of TANGO's README); the project controller calls it and
// shows the decision with every rejected candidate.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/clock.h"
#include "lib/base/result.h"

namespace tango::graph {

struct SelectionTarget {
  std::string name;                      // for the explanation: the target or profile name
  std::string accelerator;               // "" or "CPU": none; else GPU, NPU, TPU, ...
  std::uint64_t accelerator_memory = 0;  // bytes
  bool phone = false;                    // phones take the supernet (column NAS)
};

// Measured on the real target; models without a row are not filtered by latency.
struct MeasuredLatency {
  std::string model;
  std::string target;
  Nanos latency{};
};

struct SelectionInput {
  std::string task;  // Classification | Detection | Segmentation
  std::int64_t classes = 0;
  std::string requested = "Auto";        // spec.baseModel.name
  std::vector<SelectionTarget> targets;  // the weakest decides; none: CPU only
  // Hard limits of objective.constraints.
  std::optional<Nanos> max_latency;
  std::optional<std::uint64_t> max_memory;      // bytes: f32 weights + peak activations, batch 1
  std::optional<std::uint64_t> max_model_size;  // bytes: f32 weights of the deploy form
  std::int64_t channels = 3;                    // of the images
  std::int64_t height = 0;                      // 0: the family's own input size
  std::int64_t width = 0;
  std::vector<MeasuredLatency> measured;
};

struct Rejection {
  std::string name;
  std::string reason;   // Unsupported | ModelTooLarge | OverMemory | TooSlow
  std::string message;  // one sentence with the figures
};

struct Selection {
  std::string name;     // in the zoo
  std::string rule_id;  // "classification-few/S", "requested"
  std::string reason;   // one sentence
  std::vector<Rejection> rejected;
};

// Errors: Unsupported (no family of the task exists here, or an unknown name was requested; the
// message says which candidates were rejected and why), ConstraintsUnsatisfiable (all that exist
// break a limit), InvalidInput.
Result<Selection> select_base_model(const SelectionInput& input);

}  // namespace tango::graph
