// A bundle's network ready to answer: network.json, engine, pre- and post-processing in one object.
// Used by every verb of tango-infer; it opens no ports and writes no files.
#pragma once

#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "inference/engine.h"
#include "lib/base/json.h"
#include "lib/vision/classify.h"
#include "lib/vision/image.h"

namespace tango::inference {

// Places inside a bundle.
inline constexpr std::string_view kModelFolder = "model";
inline constexpr std::string_view kNetworkFile = "network.json";
inline constexpr std::string_view kOnnxFile = "model.onnx";

struct Answer {
  vision::Score best;
  std::vector<vision::Score> top;  // best first
  double latency_ms = 0;           // pre-processing and network
};

class Model {
 public:
  // `bundle`/model/{network.json, model.onnx}. Errors: NotFound, as parse_network and the engine.
  static Result<std::unique_ptr<Model>> load(const fs::path& bundle, const EngineOptions& options);

  const vision::NetworkSpec& network() const { return network_; }
  const fs::path& folder() const { return folder_; }  // <bundle>/model
  std::string engine_name() const { return engine_->name(); }

  // Raw output of one pre-processed sample. Thread-safe: callers take turns.
  Result<std::vector<float>> run(std::span<const float> input);
  // Errors: InvalidSize, EngineFailed, NotFinite (the network answered NaN or infinity).
  Result<Answer> classify(const vision::Image& image, int top);
  // {class, index, score, top: [{class, index, score}], latencyMs}
  Json to_json(const Answer& answer) const;

 private:
  Model(fs::path folder, vision::NetworkSpec network, std::unique_ptr<Engine> engine)
      : folder_(std::move(folder)), network_(std::move(network)), engine_(std::move(engine)) {}
  fs::path folder_;
  vision::NetworkSpec network_;
  std::unique_ptr<Engine> engine_;
  std::mutex mutex_;
};

}  // namespace tango::inference
