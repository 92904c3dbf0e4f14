#include <algorithm>
#include <opencv2/core.hpp>
#include <opencv2/core/utils/logger.hpp>
#include <opencv2/dnn.hpp>

#include "inference/engine.h"

namespace tango::inference {
namespace {

constexpr std::uint64_t kMaxModelBytes = 2ull << 30;

Error engine_failed(std::string what) {
  return make_error(Code::kInvalid, "EngineFailed", std::move(what));
}

class OpenCvEngine : public Engine {
 public:
  OpenCvEngine(cv::dnn::Net net, const vision::NetworkSpec& network)
      : net_(std::move(net)),
        input_name_(network.input.name),
        shape_{1, network.input.channels(), network.input.height, network.input.width},
        classes_(network.classes.size()) {}

  std::string name() const override { return std::string("opencv-dnn ") + CV_VERSION; }

  Result<std::vector<float>> run(std::span<const float> input) override {
    std::size_t expected = 1;
    for (const int d : shape_) expected *= static_cast<std::size_t>(d);
    if (input.size() != expected) {
      return make_error(Code::kInvalid, "InvalidSize",
                        "input has " + std::to_string(input.size()) +
                            " values, the network takes " + std::to_string(expected));
    }
    try {
      // A view: setInput copies, so the caller's memory is only read.
      const cv::Mat blob(static_cast<int>(shape_.size()), shape_.data(), CV_32F,
                         const_cast<float*>(input.data()));
      net_.setInput(blob, input_name_);
      const cv::Mat out = net_.forward();
      if (out.type() != CV_32F || !out.isContinuous() || out.total() != classes_) {
        return make_error(Code::kInvalid, "InvalidSize",
                          "the network answers " + std::to_string(out.total()) + " values for " +
                              std::to_string(classes_) + " classes");
      }
      const auto* data = out.ptr<float>();
      return std::vector<float>(data, data + out.total());
    } catch (const std::exception& e) {
      return engine_failed(std::string("the engine could not run the network: ") + e.what());
    }
  }

 private:
  cv::dnn::Net net_;
  std::string input_name_;
  std::vector<int> shape_;
  std::size_t classes_;
};

}  // namespace

Result<std::unique_ptr<Engine>> load_opencv_engine(const fs::path& onnx,
                                                   const vision::NetworkSpec& network,
                                                   const EngineOptions& options) {
  TRY_ASSIGN(const std::string bytes, read_file(onnx, kMaxModelBytes));
  std::unique_ptr<OpenCvEngine> engine;
  try {
    cv::utils::logging::setLogLevel(cv::utils::logging::LOG_LEVEL_ERROR);
    cv::setNumThreads(std::max(1, options.threads));
    cv::dnn::Net net = cv::dnn::readNetFromONNX(bytes.data(), bytes.size());
    if (net.empty()) return engine_failed(onnx.filename().string() + " holds no network");
    net.setPreferableBackend(cv::dnn::DNN_BACKEND_OPENCV);
    net.setPreferableTarget(cv::dnn::DNN_TARGET_CPU);
    engine = std::make_unique<OpenCvEngine>(std::move(net), network);
  } catch (const std::exception& e) {
    return engine_failed("the engine does not read " + onnx.filename().string() + ": " + e.what());
  }
  const std::vector<float> zeros(static_cast<std::size_t>(network.input.channels()) *
                                 static_cast<std::size_t>(network.input.height) *
                                 static_cast<std::size_t>(network.input.width));
  TRY(engine->run(zeros));
  return std::unique_ptr<Engine>(std::move(engine));
}

}  // namespace tango::inference
