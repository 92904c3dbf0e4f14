#include "autonn/golden.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "lib/graph/safetensors.h"
#include "lib/vision/classify.h"
#include "lib/vision/codec.h"
#include "lib/vision/preprocess.h"

namespace tango::autonn {
namespace {

constexpr double kMinAgreement = 0.95;
constexpr double kMaxInputDiff = 0.05;
// The first that at least half of the samples exceed is used: a barely trained network has small
// margins, but its answers are still exact.
constexpr double kMargins[] = {0.02, 0.005, 0.001, 0.0002};
constexpr std::int64_t kCandidatesPerSample = 8;

struct Candidate {
  std::size_t index = 0;
  std::vector<float> input;
  std::vector<float> output;
  int answer = 0;
  double margin = 0;
};

double margin_of(const std::vector<float>& raw, const vision::OutputSpec& output) {
  const auto best = vision::top_k(vision::to_scores(raw, output), 2);
  return best.size() < 2 ? 1.0 : static_cast<double>(best[0].score - best[1].score);
}

Result<std::vector<Candidate>> candidates(const SampleSource& source,
                                          const vision::NetworkSpec& spec, std::int64_t count,
                                          const Reference& reference) {
  const auto wanted = static_cast<std::size_t>(count * kCandidatesPerSample);
  const std::size_t stride =
      std::max<std::size_t>(1, source.size() / std::max<std::size_t>(1, wanted));
  std::vector<Candidate> out;
  std::vector<float> inputs;
  for (std::size_t i = 0; i < source.size() && out.size() < wanted; i += stride) {
    TRY_ASSIGN(const data::Sample sample, source.dataset().load(source.split(), i));
    TRY_ASSIGN(vision::FloatImage image, vision::preprocess(sample.image, spec.input));
    inputs.insert(inputs.end(), image.values.begin(), image.values.end());
    out.push_back({i, std::move(image.values), {}, 0, 0});
  }
  TRY_ASSIGN(std::vector<std::vector<float>> outputs, reference(inputs));
  for (std::size_t i = 0; i < out.size(); ++i) {
    for (const float v : outputs[i]) {
      if (!std::isfinite(v)) {
        return make_error(Code::kInvalid, "OutputNotFinite",
                          "the network answers values that are not finite");
      }
    }
    out[i].answer = vision::argmax(outputs[i]);
    out[i].margin = margin_of(outputs[i], spec.output);
    out[i].output = std::move(outputs[i]);
  }
  return out;
}

// Answers in turn, in each the clearest first; deterministic.
std::vector<Candidate> pick(std::vector<Candidate> all, std::size_t count) {
  std::stable_sort(all.begin(), all.end(),
                   [](const Candidate& a, const Candidate& b) { return a.margin > b.margin; });
  std::map<int, std::vector<Candidate>> by_answer;
  for (Candidate& c : all) by_answer[c.answer].push_back(std::move(c));
  std::vector<Candidate> out;
  for (std::size_t turn = 0; out.size() < count; ++turn) {
    bool any = false;
    for (auto& [answer, list] : by_answer) {
      if (turn >= list.size() || out.size() >= count) continue;
      out.push_back(std::move(list[turn]));
      any = true;
    }
    if (!any) break;
  }
  return out;
}

}  // namespace

Result<Golden> make_golden(const SampleSource& source, const vision::NetworkSpec& spec,
                           std::int64_t count, const Reference& reference) {
  constexpr std::size_t kLeast = 8;
  if (source.size() < kLeast) {
    return make_error(Code::kInvalid, "EmptySplit",
                      "golden samples need at least 8 images, the " +
                          std::string(data::to_string(source.split())) + " split has " +
                          std::to_string(source.size()));
  }
  TRY_ASSIGN(std::vector<Candidate> all, candidates(source, spec, count, reference));
  const std::vector<Candidate> chosen = pick(std::move(all), static_cast<std::size_t>(count));
  std::set<int> answers;
  for (const Candidate& c : chosen) answers.insert(c.answer);
  double epsilon = -1;
  for (const double margin : kMargins) {
    const auto clear = std::count_if(chosen.begin(), chosen.end(),
                                     [&](const Candidate& c) { return c.margin >= margin; });
    if (2 * static_cast<std::size_t>(clear) >= chosen.size()) {
      epsilon = margin;
      break;
    }
  }
  if (answers.size() < 2 || epsilon < 0) {
    return make_error(Code::kInvalid, "GoldenUnclear",
                      "no golden samples can be made: the network gives " +
                          std::to_string(answers.size()) +
                          " different answers or no clear ones; train it longer");
  }

  Golden golden;
  const auto n = static_cast<std::int64_t>(chosen.size());
  const std::int64_t c = spec.input.channels();
  const std::int64_t h = spec.input.height;
  const std::int64_t w = spec.input.width;
  const auto classes = static_cast<std::int64_t>(spec.classes.size());
  std::vector<float> outputs;
  for (const Candidate& s : chosen) {
    golden.inputs.insert(golden.inputs.end(), s.input.begin(), s.input.end());
    golden.outputs.push_back(s.output);
    outputs.insert(outputs.end(), s.output.begin(), s.output.end());
  }
  // The image is the clearest sample, as a device would receive it.
  const Candidate& clearest =
      *std::max_element(chosen.begin(), chosen.end(),
                        [](const Candidate& a, const Candidate& b) { return a.margin < b.margin; });
  TRY_ASSIGN(const data::Sample original, source.dataset().load(source.split(), clearest.index));
  TRY_ASSIGN(std::string png, vision::encode_png(original.image));

  graph::TensorStore store;
  store.put("inputs", graph::Tensor::f32({n, c, h, w}, golden.inputs));
  store.put("outputs", graph::Tensor::f32({n, classes}, outputs));
  store.put("image.input", graph::Tensor::f32({1, c, h, w}, clearest.input));
  store.put("image.output", graph::Tensor::f32({1, classes}, clearest.output));
  TRY_ASSIGN(
      std::string json,
      canonical_json({{"format", "tango.golden/v1"},
                      {"task", spec.task},
                      {"model", "ONNX"},
                      {"precision", "FP32"},
                      {"samples", n},
                      {"minAgreement", kMinAgreement},
                      {"marginEpsilon", epsilon},
                      {"image", {{"file", "golden.png"}, {"maxInputDiff", kMaxInputDiff}}}}));
  golden.files = {
      {"golden.json", std::string(kJsonType), std::move(json)},
      {"golden.safetensors", std::string(kSafetensorsType), graph::encode_safetensors(store)},
      {"golden.png", std::string(kPngType), std::move(png)}};
  return golden;
}

}  // namespace tango::autonn
