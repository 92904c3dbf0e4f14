#include "inference/checks.h"

#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <numeric>

#include "lib/data/dataset.h"
#include "lib/vision/codec.h"
#include "lib/vision/golden.h"
#include "lib/vision/preprocess.h"

namespace tango::inference {
namespace {

double elapsed_ms(std::chrono::steady_clock::time_point since) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - since)
      .count();
}

}  // namespace

std::uint64_t peak_rss_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::uint64_t>(usage.ru_maxrss) * 1024u;  // Linux counts KiB
}

double percentile(std::vector<double>& values, double q) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const auto rank = static_cast<std::size_t>(q * static_cast<double>(values.size() - 1) + 0.5);
  return values[std::min(rank, values.size() - 1)];
}

Result<Json> self_test(Model& model) {
  TRY_ASSIGN(const vision::GoldenSet golden, vision::read_golden(model.folder(), model.network()));
  vision::GoldenAnswers answers;
  for (std::size_t i = 0; i < static_cast<std::size_t>(golden.spec.samples); ++i) {
    TRY_ASSIGN(auto output, model.run(golden.input(i)));
    answers.outputs.push_back(std::move(output));
  }
  TRY_ASSIGN(const vision::Image image, vision::decode_image(golden.image_bytes));
  TRY_ASSIGN(answers.image_input, vision::preprocess(image, model.network().input));
  TRY_ASSIGN(answers.image_output, model.run(answers.image_input.values));
  Json out = vision::to_json(vision::judge(golden, answers));
  out["engine"] = model.engine_name();
  return out;
}

Result<Json> bench(Model& model, const BenchOptions& options, int threads) {
  const auto& in = model.network().input;
  const std::size_t size = static_cast<std::size_t>(in.channels()) *
                           static_cast<std::size_t>(in.height) * static_cast<std::size_t>(in.width);
  std::vector<std::vector<float>> inputs;
  if (const auto golden = vision::read_golden(model.folder(), model.network()); golden.ok()) {
    for (std::size_t i = 0; i < static_cast<std::size_t>(golden->spec.samples); ++i) {
      const auto sample = golden->input(i);
      inputs.emplace_back(sample.begin(), sample.end());
    }
  } else {
    inputs.emplace_back(size, 0.5F);
  }
  for (int i = 0; i < options.warmup; ++i) {
    TRY(model.run(inputs[static_cast<std::size_t>(i) % inputs.size()]));
  }
  std::vector<double> times;
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < std::max(1, options.iterations); ++i) {
    const auto begin = std::chrono::steady_clock::now();
    TRY(model.run(inputs[static_cast<std::size_t>(i) % inputs.size()]));
    times.push_back(elapsed_ms(begin));
    if (std::chrono::steady_clock::now() - start > options.max_time) break;
  }
  const double mean =
      std::accumulate(times.begin(), times.end(), 0.0) / static_cast<double>(times.size());
  return Json{{"p50Ms", percentile(times, 0.5)},
              {"p95Ms", percentile(times, 0.95)},
              {"meanMs", mean},
              {"iterations", times.size()},
              {"threads", threads},
              {"peakRssBytes", peak_rss_bytes()},
              {"engine", model.engine_name()}};
}

Result<Json> evaluate(Model& model, const EvalOptions& options) {
  data::OpenOptions open;
  if (options.format == "idx" || options.format == "Idx") {
    open.format = data::Format::kIdx;
  } else if (options.format == "folder" || options.format == "ImageFolder") {
    open.format = data::Format::kImageFolder;
  } else {
    TRY_ASSIGN(open.format, data::parse_format(options.format));
  }
  open.classes = model.network().classes;
  open.require_train = false;
  // An undivided set is evaluated as a whole.
  if (options.split.empty()) open.splits.val = open.splits.test = 0;
  TRY_ASSIGN(const auto set, data::Dataset::open(options.data, open));
  data::Split split = data::Split::kTest;
  if (!options.split.empty()) {
    TRY_ASSIGN(split, data::parse_split(options.split));
  } else if (set->size(split) == 0) {
    split = data::Split::kTrain;
  }
  std::size_t count = set->size(split);
  if (options.max_samples > 0) {
    count = std::min(count, static_cast<std::size_t>(options.max_samples));
  }
  if (count == 0) {
    return make_error(Code::kInvalid, "InvalidDataset",
                      "split " + std::string(data::to_string(split)) + " of " +
                          options.data.string() + " has no images");
  }
  vision::ClassificationMeter meter(static_cast<int>(model.network().classes.size()));
  std::vector<double> times;
  times.reserve(count);
  for (std::size_t i = 0; i < count; ++i) {
    TRY_ASSIGN(const data::Sample sample, set->load(split, i));
    const auto begin = std::chrono::steady_clock::now();
    TRY_ASSIGN(const auto input, vision::preprocess(sample.image, model.network().input));
    TRY_ASSIGN(const auto raw, model.run(input.values));
    times.push_back(elapsed_ms(begin));
    meter.add(raw, sample.label);
  }
  std::uint64_t left_out = 0;
  for (const auto& [name, health] : set->report()["splits"].items()) {
    for (const char* kind : {"missing", "empty", "corrupt", "unlabelled"}) {
      left_out += health[kind]["count"].get<std::uint64_t>();
    }
  }
  return Json{{"accuracy", meter.top1()},
              {"top5", meter.top5()},
              {"f1", meter.macro_f1()},
              {"samples", meter.samples()},
              {"leftOut", left_out},
              {"split", data::to_string(split)},
              {"latencyMs", {{"p50", percentile(times, 0.5)}, {"p95", percentile(times, 0.95)}}},
              {"digest", set->digest().to_string()},
              {"engine", model.engine_name()}};
}

}  // namespace tango::inference
