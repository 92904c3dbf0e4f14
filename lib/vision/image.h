// The two image types every room shares: `Image` (8-bit pixels as decoded) and `FloatImage` (the
// planar tensor a network eats). Used by loaders, the runtime and tests; it never does I/O.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace tango::vision {

// 8-bit pixels, rows top to bottom, interleaved channels (HWC): 1 = grey, 3 = RGB in this order.
// Invariant: pixels.size() == width * height * channels.
struct Image {
  int width = 0;
  int height = 0;
  int channels = 0;
  std::vector<std::uint8_t> pixels;

  Image() = default;
  Image(int w, int h, int c)
      : width(w),
        height(h),
        channels(c),
        pixels(static_cast<std::size_t>(w) * static_cast<std::size_t>(h) *
               static_cast<std::size_t>(c)) {}
  bool empty() const { return pixels.empty(); }
  std::size_t index(int x, int y, int c = 0) const {
    return (static_cast<std::size_t>(y) * static_cast<std::size_t>(width) +
            static_cast<std::size_t>(x)) *
               static_cast<std::size_t>(channels) +
           static_cast<std::size_t>(c);
  }
  std::uint8_t& at(int x, int y, int c = 0) { return pixels[index(x, y, c)]; }
  std::uint8_t at(int x, int y, int c = 0) const { return pixels[index(x, y, c)]; }
  bool operator==(const Image&) const = default;
};

// 32-bit floats, planar (CHW): one sample of an NCHW batch.
struct FloatImage {
  int channels = 0;
  int height = 0;
  int width = 0;
  std::vector<float> values;

  FloatImage() = default;
  FloatImage(int c, int h, int w)
      : channels(c),
        height(h),
        width(w),
        values(static_cast<std::size_t>(c) * static_cast<std::size_t>(h) *
               static_cast<std::size_t>(w)) {}
  std::size_t index(int c, int y, int x) const {
    return (static_cast<std::size_t>(c) * static_cast<std::size_t>(height) +
            static_cast<std::size_t>(y)) *
               static_cast<std::size_t>(width) +
           static_cast<std::size_t>(x);
  }
  float& at(int c, int y, int x) { return values[index(c, y, x)]; }
  float at(int c, int y, int x) const { return values[index(c, y, x)]; }
};

// Grey <-> RGB. Grey is round(0.299 R + 0.587 G + 0.114 B) (ITU-R BT.601) in 16-bit fixed point, so
// the result is the same on every machine. `channels` is 1 or 3; equal channels give a copy.
Image convert_channels(const Image& image, int channels);

}  // namespace tango::vision
