#include "autonn/config.h"

#include <sched.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <fstream>
#include <set>

namespace tango::autonn {
namespace {

// Reads one object; the first error sticks, unknown keys are refused at the end.
class Reader {
 public:
  Reader(const Json& value, std::string path) : value_(value), path_(std::move(path)) {
    if (!value_.is_object() && !value_.is_null()) fail("", "WrongType", "must be an object");
  }
  Reader(Json&&, std::string) = delete;  // the object is read in place and must outlive the reader

  double number(const char* key, double low, double high, double fallback) {
    return optional_number(key, low, high).value_or(fallback);
  }
  std::optional<double> optional_number(const char* key, double low, double high) {
    const Json* v = take(key);
    if (v == nullptr) return std::nullopt;
    double x = 0;
    if (v->is_number()) {
      x = v->get<double>();
    } else if (!v->is_string() || !decimal(v->get_ref<const std::string&>(), x)) {
      fail(key, "WrongType", "must be a number");
      return std::nullopt;
    }
    if (!(x >= low && x <= high)) {
      fail(key, "OutOfRange",
           "must be between " + dump_json(Json(low)) + " and " + dump_json(Json(high)));
      return std::nullopt;
    }
    return x;
  }
  std::int64_t integer(const char* key, std::int64_t low, std::int64_t high,
                       std::int64_t fallback) {
    return optional_integer(key, low, high).value_or(fallback);
  }
  std::optional<std::int64_t> optional_integer(const char* key, std::int64_t low,
                                               std::int64_t high) {
    const auto x = optional_number(key, static_cast<double>(low), static_cast<double>(high));
    if (!x) return std::nullopt;
    if (*x != std::floor(*x)) {
      fail(key, "WrongType", "must be a whole number");
      return std::nullopt;
    }
    return static_cast<std::int64_t>(*x);
  }
  std::string text(const char* key, std::string fallback) {
    const Json* v = take(key);
    if (v == nullptr) return fallback;
    if (!v->is_string()) {
      fail(key, "WrongType", "must be a string");
      return fallback;
    }
    return v->get<std::string>();
  }
  template <typename E>
  E choice(const char* key, std::initializer_list<E> values, E fallback) {
    const Json* v = take(key);
    if (v == nullptr) return fallback;
    std::string known = "Auto";
    for (const E e : values) {
      if (v->is_string() && v->get_ref<const std::string&>() == to_string(e)) return e;
      known += ", " + std::string(to_string(e));
    }
    fail(key, "WrongType", "must be one of " + known);
    return fallback;
  }
  const Json& raw(const char* key) {
    static const Json null;
    const Json* v = take(key);
    return v == nullptr ? null : *v;
  }
  std::string at(const char* key) const { return *key == 0 ? path_ : path_ + "." + key; }

  void fail(const char* key, std::string_view reason, const std::string& what) {
    if (error_) return;
    error_ = make_error(reason == "Unsupported" ? Code::kUnsupported : Code::kInvalid, reason,
                        at(key) + " " + what);
  }
  void keep(const Error& error) {
    if (!error_) error_ = error;
  }
  std::optional<Error> finish() {
    if (!error_ && value_.is_object()) {
      for (const auto& [key, unused] : value_.items()) {
        if (!known_.contains(key)) {
          fail(key.c_str(), "UnknownField", "is not a known setting");
          break;
        }
      }
    }
    return error_;
  }

 private:
  // Nothing when absent, null or "Auto".
  const Json* take(const char* key) {
    known_.insert(key);
    if (!value_.is_object()) return nullptr;
    auto it = value_.find(key);
    if (it == value_.end() || it->is_null() || *it == "Auto") return nullptr;
    return &*it;
  }
  static bool decimal(const std::string& text, double& out) {
    const char* end = text.data() + text.size();
    const auto r = std::from_chars(text.data(), end, out);
    return r.ec == std::errc() && r.ptr == end && !text.empty();
  }

  const Json& value_;
  std::string path_;
  std::set<std::string> known_;
  std::optional<Error> error_;
};

DataConfig read_data(const Json& value, const std::string& path, Reader& parent) {
  DataConfig out;
  Reader r(value, path);
  out.path = r.text("path", "");
  for (const char* key : {"format", "splits", "classes"}) {
    const Json& v = r.raw(key);
    if (!v.is_null()) out.options[key] = v;
  }
  if (const auto error = r.finish()) parent.keep(*error);
  return out;
}

constexpr std::int64_t kMaxSamples = 1'000'000'000;
constexpr std::int64_t kMaxThreads = 1024;

}  // namespace

std::string_view to_string(Optimizer optimizer) {
  switch (optimizer) {
    case Optimizer::kAdam:
      return "adam";
    case Optimizer::kAdamW:
      return "adamw";
    case Optimizer::kSgd:
      break;
  }
  return "sgd";
}

std::string_view to_string(Schedule schedule) {
  switch (schedule) {
    case Schedule::kCosine:
      return "cosine";
    case Schedule::kConstant:
      return "constant";
    case Schedule::kOneCycle:
      break;
  }
  return "onecycle";
}

Result<TrainingConfig> parse_training(const Json& config, bool distill) {
  TrainingConfig c;
  Reader r(config, "config");
  c.network = r.text("network", c.network);
  c.epochs = r.optional_integer("epochs", 1, 100'000);
  c.batch_size = r.optional_integer("batchSize", 2, 65'536);
  c.image_size = r.optional_integer("imageSize", 8, 4096);
  c.optimizer =
      r.choice("optimizer", {Optimizer::kSgd, Optimizer::kAdam, Optimizer::kAdamW}, c.optimizer);
  c.learning_rate = r.optional_number("learningRate", 1e-9, 100);
  c.momentum = r.number("momentum", 0, 0.9999, c.momentum);
  c.weight_decay = r.number("weightDecay", 0, 1, c.weight_decay);
  c.label_smoothing = r.number("labelSmoothing", 0, 0.99, c.label_smoothing);
  c.ema = r.number("ema", 0, 0.999999, c.ema);
  c.schedule = r.choice("schedule", {Schedule::kOneCycle, Schedule::kCosine, Schedule::kConstant},
                        c.schedule);
  c.warmup_epochs = r.number("warmupEpochs", 0, 1000, c.warmup_epochs);
  const Json& augmentation = r.raw("augmentation");
  Reader a(augmentation, r.at("augmentation"));
  c.augmentation.crop = static_cast<int>(a.integer("crop", 0, 512, c.augmentation.crop));
  c.augmentation.flip = a.number("flip", 0, 1, c.augmentation.flip);
  c.augmentation.cutout = static_cast<int>(a.integer("cutout", 0, 2048, c.augmentation.cutout));
  if (const auto error = a.finish()) r.keep(*error);
  c.early_stopping = r.integer("earlyStopping", 0, 100'000, c.early_stopping);
  c.seed = static_cast<std::uint64_t>(r.integer("seed", 0, 1ll << 53, 0));
  c.threads = r.optional_integer("threads", 1, kMaxThreads);
  c.metric = r.text("metric", c.metric);
  if (c.metric != "top1" && c.metric != "loss") {
    r.fail("metric", "Unsupported",
           "must be top1 or loss in this version, not \"" + c.metric + "\"");
  }
  c.checkpoint_steps = r.integer("checkpointSteps", 0, kMaxSamples, 0);
  c.limit_train = r.integer("limitTrain", 0, kMaxSamples, 0);
  c.limit_val = r.integer("limitVal", 0, kMaxSamples, 0);
  c.data = read_data(r.raw("data"), "config.data", r);
  if (distill) {
    c.temperature = r.number("temperature", 0.1, 100, c.temperature);
    c.distill_weight = r.number("distillWeight", 0, 1, c.distill_weight);
  }
  if (auto error = r.finish()) return *std::move(error);
  return c;
}

Result<EvaluateConfig> parse_evaluate(const Json& config) {
  EvaluateConfig c;
  Reader r(config, "config");
  c.split = r.text("split", c.split);
  c.batch_size = r.optional_integer("batchSize", 1, 65'536);
  c.threads = r.optional_integer("threads", 1, kMaxThreads);
  c.data = read_data(r.raw("data"), "config.data", r);
  if (auto error = r.finish()) return *std::move(error);
  return c;
}

Result<ExportConfig> parse_export(const Json& config) {
  ExportConfig c;
  Reader r(config, "config");
  const Json& formats = r.raw("formats");
  if (!formats.is_null()) {
    c.formats.clear();
    for (const Json& f : formats) {
      if (!f.is_string()) {
        r.fail("formats", "WrongType", "must be a list of names");
      } else if (f != "ONNX") {
        r.fail("formats", "Unsupported", "can only be [ONNX] in this version, not " + dump_json(f));
      } else {
        c.formats.push_back("ONNX");
      }
    }
    if (c.formats.size() != 1) r.fail("formats", "WrongType", "must be [ONNX]");
  }
  c.precision = r.text("precision", c.precision);
  if (c.precision != "FP32") {
    r.fail("precision", "Unsupported", "can only be FP32 in this version, not " + c.precision);
  }
  c.threads = r.optional_integer("threads", 1, kMaxThreads);
  c.golden_samples = r.integer("goldenSamples", 8, 1024, c.golden_samples);
  c.data = read_data(r.raw("data"), "config.data", r);
  if (auto error = r.finish()) return *std::move(error);
  return c;
}

Result<DataConfig> parse_dataset_stage(const Json& config) {
  // The Dataset stage has the data settings at the top level.
  const Json none = Json::object();
  Reader r(none, "config");
  DataConfig c = read_data(config, "config", r);
  if (auto error = r.finish()) return *std::move(error);
  return c;
}

Resolved resolve_auto(const TrainingConfig& config, std::int64_t train_images, int cpus) {
  constexpr std::int64_t kImagesSeen = 1'000'000;
  constexpr std::int64_t kMinEpochs = 4;
  constexpr std::int64_t kMaxEpochs = 200;
  constexpr std::int64_t kMaxBatch = 128;
  constexpr double kSgdRate = 0.2;  // at batch 128, scaled linearly
  constexpr double kAdamRate = 2e-3;
  Resolved r;
  const std::int64_t images = std::max<std::int64_t>(1, train_images);
  r.epochs = config.epochs.value_or(std::clamp(kImagesSeen / images, kMinEpochs, kMaxEpochs));
  // At least eight steps an epoch, so that small sets train too.
  r.batch_size = config.batch_size.value_or(std::clamp<std::int64_t>(images / 8, 2, kMaxBatch));
  r.threads = config.threads.value_or(cpus);
  const double rate = config.optimizer == Optimizer::kSgd ? kSgdRate : kAdamRate;
  r.learning_rate = config.learning_rate.value_or(
      rate * std::min(1.0, static_cast<double>(r.batch_size) / static_cast<double>(kMaxBatch)));
  return r;
}

int available_cpus() {
  int cpus = 1;
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) cpus = std::max(1, CPU_COUNT(&set));
  // cgroup v2: "max 100000" or "<quota> <period>".
  std::ifstream file("/sys/fs/cgroup/cpu.max");
  std::string quota;
  double period = 0;
  if (file >> quota >> period && quota != "max" && period > 0) {
    double q = 0;
    const auto r = std::from_chars(quota.data(), quota.data() + quota.size(), q);
    if (r.ec == std::errc()) cpus = std::clamp(static_cast<int>(q / period), 1, cpus);
  }
  return cpus;
}

}  // namespace tango::autonn
