// The measuring verbs: selftest (known answers), bench (latency and memory) and eval (accuracy on a
// labelled set). Each answers one JSON object; main prints it. They open no ports.
#pragma once

#include <string>

#include "inference/model.h"
#include "lib/base/clock.h"
#include "lib/base/json.h"
#include "lib/base/result.h"

namespace tango::inference {

// {passed, reason?, samples, counted, agreed, maxAbsDiff, imageInputDiff, imageAgrees, engine}.
// A failed gate is a value with passed = false; an Error means the check could not be made at all.
Result<Json> self_test(Model& model);

struct BenchOptions {
  int warmup = 10;
  int iterations = 200;
  Nanos max_time = Seconds{10};  // measuring ends at whichever comes first
};
// {p50Ms, p95Ms, meanMs, iterations, threads, peakRssBytes, engine}: the network alone, batch 1, on
// golden inputs where the bundle has them.
Result<Json> bench(Model& model, const BenchOptions& options, int threads);

struct EvalOptions {
  fs::path data;
  std::string format = "Auto";    // idx | folder | Auto
  std::string split;              // train | val | test; empty: the test images, or all if undivided
  std::uint64_t max_samples = 0;  // 0: all
};
// {accuracy, top5, f1, samples, leftOut (bad files), split, latencyMs: {p50, p95}, digest, engine}.
Result<Json> evaluate(Model& model, const EvalOptions& options);

std::uint64_t peak_rss_bytes();
// Nearest-rank percentile, q in 0..1; 0 when empty. Sorts `values`.
double percentile(std::vector<double>& values, double q);

}  // namespace tango::inference
