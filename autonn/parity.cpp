#include "autonn/parity.h"

#include <cmath>
#include <cstdio>
#include <opencv2/dnn.hpp>

namespace tango::autonn {

constexpr double kRelativeLimit = 1e-5;

Result<Parity> check_parity(const std::string& onnx, const vision::NetworkSpec& spec,
                            const std::vector<float>& inputs,
                            const std::vector<std::vector<float>>& reference) {
  const int sizes[4] = {1, spec.input.channels(), spec.input.height, spec.input.width};
  const std::size_t pixels = static_cast<std::size_t>(sizes[1]) *
                             static_cast<std::size_t>(sizes[2]) *
                             static_cast<std::size_t>(sizes[3]);
  Parity out;
  try {
    cv::dnn::Net net = cv::dnn::readNetFromONNX(onnx.data(), onnx.size());
    net.setPreferableBackend(cv::dnn::DNN_BACKEND_OPENCV);
    for (std::size_t i = 0; i < reference.size(); ++i) {
      const cv::Mat blob(4, sizes, CV_32F, const_cast<float*>(inputs.data() + i * pixels));
      net.setInput(blob, spec.input.name);
      const cv::Mat y = net.forward(spec.output.name);
      if (y.total() != reference[i].size()) {
        return make_error(Code::kInternal, "ParityFailed",
                          "the exported network answers " + std::to_string(y.total()) +
                              " values instead of " + std::to_string(reference[i].size()));
      }
      const float* answer = y.ptr<float>();
      double peak = 1;
      double diff = 0;
      for (std::size_t k = 0; k < reference[i].size(); ++k) {
        peak = std::max(peak, std::abs(static_cast<double>(reference[i][k])));
        const double d = std::abs(static_cast<double>(reference[i][k]) - answer[k]);
        if (!(d <= diff)) diff = d;  // also takes NaN
      }
      const double limit = kRelativeLimit * peak;
      if (!(diff <= limit)) {
        char text[160];
        std::snprintf(text, sizeof text,
                      "sample %zu: the exported network differs by %.3g from the trained one, the "
                      "limit is %.3g",
                      i, diff, limit);
        return make_error(Code::kInternal, "ParityFailed", text);
      }
      out.max_abs_diff = std::max(out.max_abs_diff, diff);
      out.limit = out.samples == 0 ? limit : std::min(out.limit, limit);
      ++out.samples;
    }
  } catch (const cv::Exception& e) {
    return make_error(Code::kInternal, "OnnxInvalid",
                      "OpenCV DNN cannot run the exported network: " + e.err);
  }
  return out;
}

}  // namespace tango::autonn
