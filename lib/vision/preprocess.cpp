#include "lib/vision/preprocess.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <opencv2/imgproc.hpp>

namespace tango::vision {
namespace {

// The *_EXACT variants are bit-exact over CPUs (fixed point), so one image gives one tensor.
int cv_interpolation(Interpolation interpolation) {
  switch (interpolation) {
    case Interpolation::kNearest:
      return cv::INTER_NEAREST_EXACT;
    case Interpolation::kArea:
      return cv::INTER_AREA;
    case Interpolation::kBilinear:
      break;
  }
  return cv::INTER_LINEAR_EXACT;
}

Error invalid_size(std::string message) {
  return make_error(Code::kInvalid, "InvalidSize", std::move(message));
}

bool well_formed(const Image& image) {
  return image.width > 0 && image.height > 0 && (image.channels == 1 || image.channels == 3) &&
         image.pixels.size() == static_cast<std::size_t>(image.width) *
                                    static_cast<std::size_t>(image.height) *
                                    static_cast<std::size_t>(image.channels);
}

// Copies `source` into `target` with its upper left corner at (left, top); both may be outside.
void paste(const Image& source, Image& target, int left, int top) {
  const int x0 = std::max(0, left);
  const int x1 = std::min(target.width, left + source.width);
  if (x1 <= x0) return;
  for (int y = std::max(0, top); y < std::min(target.height, top + source.height); ++y) {
    const auto* from = source.pixels.data() + source.index(x0 - left, y - top);
    std::copy(from, from + static_cast<std::ptrdiff_t>(x1 - x0) * source.channels,
              target.pixels.data() + target.index(x0, y));
  }
}

int scaled(int length, double scale) {
  return std::max(1, static_cast<int>(std::lround(static_cast<double>(length) * scale)));
}

}  // namespace

Result<Image> resize(const Image& image, int width, int height, Interpolation interpolation) {
  if (!well_formed(image)) return invalid_size("cannot resize an image without pixels");
  if (width <= 0 || height <= 0) return invalid_size("cannot resize to a size without pixels");
  if (image.width == width && image.height == height) return image;
  Image out(width, height, image.channels);
  const int type = CV_MAKETYPE(CV_8U, image.channels);
  try {
    // The Mats are views; OpenCV neither owns nor reallocates these pixels.
    const cv::Mat from(image.height, image.width, type,
                       const_cast<std::uint8_t*>(image.pixels.data()));
    cv::Mat to(height, width, type, out.pixels.data());
    cv::resize(from, to, to.size(), 0, 0, cv_interpolation(interpolation));
  } catch (const std::exception& e) {
    return make_error(Code::kInternal, "ResizeFailed", std::string("resize failed: ") + e.what());
  }
  return out;
}

Result<Image> letterbox(const Image& image, int width, int height, Interpolation interpolation,
                        int pad_value, Letterbox* placed) {
  if (!well_formed(image)) return invalid_size("cannot letterbox an image without pixels");
  if (width <= 0 || height <= 0) return invalid_size("cannot letterbox to a size without pixels");
  const double scale = std::min(static_cast<double>(width) / image.width,
                                static_cast<double>(height) / image.height);
  const int inner_width = std::min(width, scaled(image.width, scale));
  const int inner_height = std::min(height, scaled(image.height, scale));
  TRY_ASSIGN(const Image inner, resize(image, inner_width, inner_height, interpolation));
  Image out(width, height, image.channels);
  std::fill(out.pixels.begin(), out.pixels.end(),
            static_cast<std::uint8_t>(std::clamp(pad_value, 0, 255)));
  const int left = (width - inner_width) / 2;
  const int top = (height - inner_height) / 2;
  paste(inner, out, left, top);
  if (placed != nullptr) *placed = {scale, left, top};
  return out;
}

Result<Image> center_crop(const Image& image, int width, int height, Interpolation interpolation) {
  if (!well_formed(image)) return invalid_size("cannot crop an image without pixels");
  if (width <= 0 || height <= 0) return invalid_size("cannot crop to a size without pixels");
  const double scale = std::max(static_cast<double>(width) / image.width,
                                static_cast<double>(height) / image.height);
  const int outer_width = std::max(width, scaled(image.width, scale));
  const int outer_height = std::max(height, scaled(image.height, scale));
  // A one-pixel strip scaled to a large square would need gigabytes before the cut.
  constexpr int kMaxOuterSide = 1 << 16;
  if (outer_width > kMaxOuterSide || outer_height > kMaxOuterSide) {
    return invalid_size("image of " + std::to_string(image.width) + " x " +
                        std::to_string(image.height) + " pixels is too narrow for a centre crop");
  }
  TRY_ASSIGN(const Image outer, resize(image, outer_width, outer_height, interpolation));
  Image out(width, height, image.channels);
  paste(outer, out, -((outer_width - width) / 2), -((outer_height - height) / 2));
  return out;
}

Result<Image> fit_to_input(const Image& image, const InputSpec& input) {
  if (!well_formed(image)) return invalid_size("image has no pixels");
  Image fitted = convert_channels(image, input.channels());
  if (fitted.width != input.width || fitted.height != input.height) {
    Result<Image> result = [&] {
      switch (input.resize) {
        case ResizeMode::kLetterbox:
          return letterbox(fitted, input.width, input.height, input.interpolation, input.pad_value);
        case ResizeMode::kCenterCrop:
          return center_crop(fitted, input.width, input.height, input.interpolation);
        case ResizeMode::kStretch:
          break;
      }
      return resize(fitted, input.width, input.height, input.interpolation);
    }();
    if (!result.ok()) return std::move(result).error();
    fitted = std::move(result).value();
  }
  if (input.color == ColorOrder::kBgr) {
    for (std::size_t i = 0; i + 2 < fitted.pixels.size(); i += 3) {
      std::swap(fitted.pixels[i], fitted.pixels[i + 2]);
    }
  }
  return fitted;
}

Status normalize(const Image& image, const InputSpec& input, std::span<float> out) {
  const int channels = input.channels();
  if (!well_formed(image) || image.channels != channels || image.width != input.width ||
      image.height != input.height || out.size() != image.pixels.size()) {
    return invalid_size("image does not have the input's size of " + std::to_string(input.width) +
                        " x " + std::to_string(input.height) + " x " + std::to_string(channels));
  }
  const std::size_t plane =
      static_cast<std::size_t>(image.width) * static_cast<std::size_t>(image.height);
  for (int c = 0; c < channels; ++c) {
    const auto channel = static_cast<std::size_t>(c);
    const double mean = channel < input.mean.size() ? input.mean[channel] : 0.0;
    const double std = channel < input.std.size() ? input.std[channel] : 1.0;
    // 256 values at most: the table is exact and makes the loop a look-up.
    std::array<float, 256> table;
    for (std::size_t v = 0; v < table.size(); ++v) {
      table[v] = static_cast<float>((static_cast<double>(v) / 255.0 - mean) / std);
    }
    float* to = out.data() + channel * plane;
    const std::uint8_t* from = image.pixels.data() + channel;
    for (std::size_t i = 0; i < plane; ++i)
      to[i] = table[from[i * static_cast<std::size_t>(channels)]];
  }
  return ok_status();
}

Result<FloatImage> preprocess(const Image& image, const InputSpec& input) {
  TRY_ASSIGN(const Image fitted, fit_to_input(image, input));
  FloatImage out(input.channels(), input.height, input.width);
  TRY(normalize(fitted, input, out.values));
  return out;
}

}  // namespace tango::vision
