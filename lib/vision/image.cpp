#include "lib/vision/image.h"

namespace tango::vision {

Image convert_channels(const Image& image, int channels) {
  if (image.channels == channels) return image;
  Image out(image.width, image.height, channels);
  const std::size_t n =
      static_cast<std::size_t>(image.width) * static_cast<std::size_t>(image.height);
  if (image.channels == 1) {
    for (std::size_t i = 0; i < n; ++i) {
      out.pixels[3 * i] = out.pixels[3 * i + 1] = out.pixels[3 * i + 2] = image.pixels[i];
    }
    return out;
  }
  for (std::size_t i = 0; i < n; ++i) {
    const std::uint32_t r = image.pixels[3 * i];
    const std::uint32_t g = image.pixels[3 * i + 1];
    const std::uint32_t b = image.pixels[3 * i + 2];
    // BT.601 weights scaled by 2^16; they sum to exactly 65536, so white stays white.
    out.pixels[i] = static_cast<std::uint8_t>((19595u * r + 38470u * g + 7471u * b + 32768u) >> 16);
  }
  return out;
}

}  // namespace tango::vision
