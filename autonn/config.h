// Configuration of the stages: what `stage.json`'s config may say, with every default in one place
// (docs/reference/training-config.md is the same table for people). Used by the stages; no torch.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "lib/base/json.h"
#include "lib/base/result.h"

namespace tango::autonn {

enum class Optimizer { kSgd, kAdam, kAdamW };
enum class Schedule { kOneCycle, kCosine, kConstant };
std::string_view to_string(Optimizer optimizer);
std::string_view to_string(Schedule schedule);

// Where the images are and how they are dealt to splits.
struct DataConfig {
  std::string path;               // below TANGO_DATA_DIR; empty: the folder itself
  Json options = Json::object();  // {format, splits, classes} for data::parse_options
};

struct AugmentConfig {
  int crop = 2;       // random shift in pixels, each side; borders are black
  double flip = 0.5;  // probability of a left-right mirror
  int cutout = 0;     // side of one erased square in pixels; 0: none
};

// Unset optionals are Auto: resolved once from the data and kept in the checkpoint.
struct TrainingConfig {
  std::string network = "Auto";
  std::optional<std::int64_t> epochs;
  std::optional<std::int64_t> batch_size;
  std::optional<std::int64_t> image_size;
  Optimizer optimizer = Optimizer::kSgd;
  std::optional<double> learning_rate;  // the peak
  double momentum = 0.9;                // SGD: Nesterov
  double weight_decay = 5e-4;  // of conv and linear weights; never of biases and batch norms
  double label_smoothing = 0.05;
  double ema = 0.995;  // 0: none
  Schedule schedule = Schedule::kOneCycle;
  double warmup_epochs = 0;  // cosine and constant; one-cycle warms up by itself
  AugmentConfig augmentation;
  std::int64_t early_stopping = 0;  // epochs without a better metric; 0: off
  std::uint64_t seed = 0;
  std::optional<std::int64_t> threads;
  std::string metric = "top1";        // top1 | loss, on the val split
  std::int64_t checkpoint_steps = 0;  // besides every epoch; 0: none
  std::int64_t limit_train = 0;       // quick checks: use only so many images; 0: all
  std::int64_t limit_val = 0;
  DataConfig data;
  // Distill only.
  double temperature = 4;
  double distill_weight = 0.7;  // of the teacher's part of the loss
};

struct EvaluateConfig {
  std::string split = "test";
  std::optional<std::int64_t> batch_size;
  std::optional<std::int64_t> threads;
  DataConfig data;
};
struct ExportConfig {
  std::vector<std::string> formats{"ONNX"};
  std::string precision = "FP32";
  std::optional<std::int64_t> threads;
  std::int64_t golden_samples = 32;
  DataConfig data;
};

// Errors: UnknownField, WrongType, OutOfRange, Unsupported; each names the path below `config`.
// Numbers may be decimal text, as in manifests.
Result<TrainingConfig> parse_training(const Json& config, bool distill);
Result<EvaluateConfig> parse_evaluate(const Json& config);
Result<ExportConfig> parse_export(const Json& config);
Result<DataConfig> parse_dataset_stage(const Json& config);

// Values of Auto, given the data.
struct Resolved {
  std::int64_t epochs = 0;
  std::int64_t batch_size = 0;
  std::int64_t threads = 0;
  double learning_rate = 0;
};
Resolved resolve_auto(const TrainingConfig& config, std::int64_t train_images, int cpus);
// CPUs this process may use (affinity mask and cgroup quota).
int available_cpus();

}  // namespace tango::autonn
