#include "lib/vision/draw.h"

#include <algorithm>
#include <opencv2/imgproc.hpp>
#include <string>

namespace tango::vision {
namespace {

constexpr int kBarHeight = 18;
constexpr int kMargin = 4;
constexpr double kFontScale = 0.9;
constexpr int kMaxSide = 4096;  // of the enlarged picture

}  // namespace

Image draw_caption(const Image& image, std::string_view caption, int min_width) {
  const Image rgb = convert_channels(image, 3);
  if (rgb.empty()) return rgb;
  int factor = std::max(1, (min_width + rgb.width - 1) / rgb.width);
  factor = std::max(1, std::min(factor, kMaxSide / std::max(rgb.width, rgb.height)));
  Image out(rgb.width * factor, rgb.height * factor + kBarHeight, 3);
  for (int y = 0; y < rgb.height * factor; ++y) {
    for (int x = 0; x < out.width; ++x) {
      for (int c = 0; c < 3; ++c) out.at(x, y, c) = rgb.at(x / factor, y / factor, c);
    }
  }
  std::string text;
  for (const char c : caption) text += (c >= ' ' && c <= '~') ? c : '?';
  try {
    cv::Mat canvas(out.height, out.width, CV_8UC3, out.pixels.data());
    auto width = [&] {
      int baseline = 0;
      return cv::getTextSize(text, cv::FONT_HERSHEY_PLAIN, kFontScale, 1, &baseline).width;
    };
    while (!text.empty() && width() > out.width - 2 * kMargin) text.pop_back();
    cv::putText(canvas, text, cv::Point(kMargin, out.height - kMargin - 1), cv::FONT_HERSHEY_PLAIN,
                kFontScale, cv::Scalar(255, 255, 255), 1, cv::LINE_8);
  } catch (const std::exception&) {
    // A picture without its caption is still the right answer for a person.
  }
  return out;
}

}  // namespace tango::vision
