#include "lib/vision/classify.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace tango::vision {
namespace {

constexpr std::size_t kMaxReportedClasses = 100;

double ratio(std::uint64_t part, std::uint64_t whole) {
  return whole == 0 ? 0.0 : static_cast<double>(part) / static_cast<double>(whole);
}

}  // namespace

std::vector<float> softmax(std::span<const float> logits) {
  std::vector<float> out(logits.size());
  if (logits.empty()) return out;
  if (std::any_of(logits.begin(), logits.end(), [](float v) { return std::isnan(v); })) {
    std::fill(out.begin(), out.end(), std::numeric_limits<float>::quiet_NaN());
    return out;
  }
  const double peak = *std::max_element(logits.begin(), logits.end());
  std::vector<double> terms(logits.size());
  double sum = 0;
  for (std::size_t i = 0; i < logits.size(); ++i) {
    // inf - inf: an infinite peak takes everything.
    const double shifted = static_cast<double>(logits[i]) - peak;
    terms[i] = std::isnan(shifted) ? 1.0 : std::exp(shifted);
    sum += terms[i];
  }
  for (std::size_t i = 0; i < out.size(); ++i) out[i] = static_cast<float>(terms[i] / sum);
  return out;
}

std::vector<Score> top_k(std::span<const float> scores, int k) {
  std::vector<int> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  const std::size_t n = std::min(order.size(), static_cast<std::size_t>(std::max(0, k)));
  auto at = [&](int i) {
    const float v = scores[static_cast<std::size_t>(i)];
    // NaN would break the strict weak order; it sorts last.
    return std::isnan(v) ? -std::numeric_limits<float>::infinity() : v;
  };
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(n), order.end(),
                    [&](int a, int b) { return at(a) != at(b) ? at(a) > at(b) : a < b; });
  std::vector<Score> out;
  out.reserve(n);
  for (std::size_t i = 0; i < n; ++i) {
    out.push_back({order[i], scores[static_cast<std::size_t>(order[i])]});
  }
  return out;
}

int argmax(std::span<const float> scores) {
  const auto best = top_k(scores, 1);
  return best.empty() ? -1 : best.front().index;
}

std::vector<float> to_scores(std::span<const float> raw, const OutputSpec& output) {
  if (output.activation == OutputActivation::kSoftmax) return softmax(raw);
  return {raw.begin(), raw.end()};
}

ClassificationMeter::ClassificationMeter(int classes)
    : classes_(std::max(1, classes)),
      matrix_(static_cast<std::size_t>(classes_) * static_cast<std::size_t>(classes_)) {}

void ClassificationMeter::add(std::span<const float> scores, int label) {
  if (label < 0 || label >= classes_) return;
  ++samples_;
  const bool broken =
      static_cast<int>(scores.size()) != classes_ ||
      std::any_of(scores.begin(), scores.end(), [](float v) { return std::isnan(v); });
  if (broken) return;  // counted as a sample, never as a hit
  const auto best = top_k(scores, 5);
  if (best.front().index == label) ++top1_hits_;
  if (std::any_of(best.begin(), best.end(), [&](const Score& s) { return s.index == label; })) {
    ++top5_hits_;
  }
  ++matrix_[static_cast<std::size_t>(label) * static_cast<std::size_t>(classes_) +
            static_cast<std::size_t>(best.front().index)];
}

double ClassificationMeter::top1() const { return ratio(top1_hits_, samples_); }
double ClassificationMeter::top5() const { return ratio(top5_hits_, samples_); }

std::uint64_t ClassificationMeter::confusion(int truth, int predicted) const {
  if (truth < 0 || truth >= classes_ || predicted < 0 || predicted >= classes_) return 0;
  return matrix_[static_cast<std::size_t>(truth) * static_cast<std::size_t>(classes_) +
                 static_cast<std::size_t>(predicted)];
}

double ClassificationMeter::macro_f1() const {
  double sum = 0;
  int occurring = 0;
  for (int c = 0; c < classes_; ++c) {
    std::uint64_t truth = 0;
    std::uint64_t predicted = 0;
    for (int other = 0; other < classes_; ++other) {
      truth += confusion(c, other);
      predicted += confusion(other, c);
    }
    if (truth == 0) continue;
    ++occurring;
    sum += ratio(2 * confusion(c, c), truth + predicted);
  }
  return occurring == 0 ? 0.0 : sum / occurring;
}

Json ClassificationMeter::report(const std::vector<std::string>& class_names) const {
  Json rows = Json::array();
  for (int c = 0; c < classes_ && static_cast<std::size_t>(c) < kMaxReportedClasses; ++c) {
    std::uint64_t truth = 0;
    std::uint64_t predicted = 0;
    for (int other = 0; other < classes_; ++other) {
      truth += confusion(c, other);
      predicted += confusion(other, c);
    }
    const auto index = static_cast<std::size_t>(c);
    Json row{{"class", index < class_names.size() ? class_names[index] : std::to_string(c)},
             {"samples", truth}};
    // Absent, not zero, when nothing was there to measure.
    if (predicted > 0) row["precision"] = ratio(confusion(c, c), predicted);
    if (truth > 0) row["recall"] = ratio(confusion(c, c), truth);
    rows.push_back(std::move(row));
  }
  Json out{{"samples", samples_}, {"perClass", std::move(rows)}};
  if (samples_ > 0) {
    out["top1"] = top1();
    out["top5"] = top5();
    out["f1"] = macro_f1();
  }
  return out;
}

}  // namespace tango::vision
