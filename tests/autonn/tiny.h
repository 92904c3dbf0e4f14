// Tiny image sets that a small network can learn: one bright bar per class on a noisy ground.
#pragma once

#include <algorithm>

#include "tests/data/fixtures.h"

namespace tango::test {

inline constexpr int kTinySide = 12;

// Class k of `classes`: a vertical bar (even k) or a horizontal one (odd k) at a place of its own.
inline vision::Image bar_image(int k, std::uint64_t seed) {
  vision::Image image = noise(kTinySide, kTinySide, 1, seed);
  for (auto& p : image.pixels) p = static_cast<std::uint8_t>(p / 3);
  const int place = 1 + (k / 2) * 3;
  for (int i = 0; i < kTinySide; ++i) {
    if (k % 2 == 0) {
      image.at(place, i) = 250;
    } else {
      image.at(i, place) = 250;
    }
  }
  return image;
}

inline void write_bars(const fs::path& root, const std::string& part, int count, int classes,
                       std::uint64_t seed) {
  std::vector<vision::Image> images;
  std::vector<int> labels;
  for (int i = 0; i < count; ++i) {
    images.push_back(bar_image(i % classes, seed * 100'003 + static_cast<std::uint64_t>(i)));
    labels.push_back(i % classes);
  }
  write(root / (part + "-images-idx3-ubyte"), idx_images(images));
  write(root / (part + "-labels-idx1-ubyte"), idx_labels(labels));
}

inline void write_tiny_set(const fs::path& root, int train = 240, int test = 60, int classes = 4) {
  write_bars(root, "train", train, classes, 1);
  write_bars(root, "t10k", test, classes, 2);
}

}  // namespace tango::test
