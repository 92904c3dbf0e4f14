// Post-processing and metrics of classification: softmax, top-k, confusion matrix. Pure functions
// and one accumulator; used by trainer (validation), tango-infer (answers, eval) and reports.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "lib/base/json.h"
#include "lib/vision/network.h"

namespace tango::vision {

// Numerically stable; sums to 1. Empty in, empty out; any NaN in gives all NaN.
std::vector<float> softmax(std::span<const float> logits);

struct Score {
  int index = 0;
  float score = 0;
};
// The k highest, highest first; ties go to the lower index.
std::vector<Score> top_k(std::span<const float> scores, int k);
int argmax(std::span<const float> scores);  // -1 when empty

// Raw output -> scores by the network's activation.
std::vector<float> to_scores(std::span<const float> raw, const OutputSpec& output);

// Counts of (true class, predicted class) and top-5 hits.
class ClassificationMeter {
 public:
  explicit ClassificationMeter(int classes);
  // `scores` in any monotonic scale, one per class. A NaN anywhere counts as a wrong answer.
  void add(std::span<const float> scores, int label);
  std::uint64_t samples() const { return samples_; }
  double top1() const;  // 0 when there is no sample
  double top5() const;
  double macro_f1() const;  // mean over classes that occur; 0/0 counts as 0
  std::uint64_t confusion(int truth, int predicted) const;
  // {samples, top1, top5, f1, perClass: [{class, samples, precision, recall}] (first 100)}
  Json report(const std::vector<std::string>& class_names) const;

 private:
  int classes_;
  std::uint64_t samples_ = 0;
  std::uint64_t top1_hits_ = 0;
  std::uint64_t top5_hits_ = 0;
  std::vector<std::uint64_t> matrix_;  // classes_ x classes_, row = truth
};

}  // namespace tango::vision
