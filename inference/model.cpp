#include "inference/model.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "lib/vision/preprocess.h"

namespace tango::inference {
namespace {

constexpr std::uint64_t kMaxNetworkBytes = 16u << 20;

}  // namespace

Result<std::unique_ptr<Model>> Model::load(const fs::path& bundle, const EngineOptions& options) {
  const fs::path folder = bundle / kModelFolder;
  TRY_ASSIGN(const std::string text, read_file(folder / kNetworkFile, kMaxNetworkBytes));
  TRY_ASSIGN(vision::NetworkSpec network, vision::parse_network_text(text));
  TRY_ASSIGN(auto engine, load_opencv_engine(folder / kOnnxFile, network, options));
  return std::unique_ptr<Model>(new Model(folder, std::move(network), std::move(engine)));
}

Result<std::vector<float>> Model::run(std::span<const float> input) {
  const std::lock_guard lock(mutex_);
  return engine_->run(input);
}

Result<Answer> Model::classify(const vision::Image& image, int top) {
  const auto start = std::chrono::steady_clock::now();
  TRY_ASSIGN(const vision::FloatImage input, vision::preprocess(image, network_.input));
  TRY_ASSIGN(const std::vector<float> raw, run(input.values));
  if (!std::all_of(raw.begin(), raw.end(), [](float v) { return std::isfinite(v); })) {
    return make_error(Code::kInternal, "NotFinite", "the network answered NaN or infinity");
  }
  const std::vector<float> scores = vision::to_scores(raw, network_.output);
  Answer answer;
  answer.top = vision::top_k(scores, std::max(1, top));
  answer.best = answer.top.front();
  answer.latency_ms =
      std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  return answer;
}

Json Model::to_json(const Answer& answer) const {
  const auto entry = [&](const vision::Score& score) {
    return Json{{"class", network_.classes[static_cast<std::size_t>(score.index)]},
                {"index", score.index},
                {"score", score.score}};
  };
  Json out = entry(answer.best);
  out["top"] = Json::array();
  for (const vision::Score& score : answer.top) out["top"].push_back(entry(score));
  out["latencyMs"] = answer.latency_ms;
  return out;
}

}  // namespace tango::inference
