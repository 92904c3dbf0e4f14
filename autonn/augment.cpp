#include "autonn/augment.h"

#include <algorithm>
#include <cstring>
#include <numeric>

namespace tango::autonn {
namespace {

void shift(vision::Image& image, int dx, int dy) {
  if (dx == 0 && dy == 0) return;
  vision::Image out(image.width, image.height, image.channels);
  const int copy = image.width - std::abs(dx);
  const std::size_t c = static_cast<std::size_t>(image.channels);
  for (int y = 0; y < image.height && copy > 0; ++y) {
    const int from = y + dy;
    if (from < 0 || from >= image.height) continue;
    std::memcpy(out.pixels.data() + out.index(std::max(0, -dx), y),
                image.pixels.data() + image.index(std::max(0, dx), from),
                static_cast<std::size_t>(copy) * c);
  }
  image = std::move(out);
}

void mirror(vision::Image& image) {
  for (int y = 0; y < image.height; ++y) {
    for (int x = 0; x < image.width / 2; ++x) {
      for (int c = 0; c < image.channels; ++c) {
        std::swap(image.at(x, y, c), image.at(image.width - 1 - x, y, c));
      }
    }
  }
}

}  // namespace

CounterRandom random_for(std::uint64_t seed, std::int64_t epoch, std::int64_t sample,
                         Purpose purpose) {
  const auto e = static_cast<std::uint64_t>(epoch) & 0xfffff;
  const auto s = static_cast<std::uint64_t>(sample) & 0xfffffffff;
  return CounterRandom(seed, e << 44 | s << 8 | static_cast<std::uint64_t>(purpose));
}

void augment(vision::Image& image, const AugmentConfig& config, int fill, CounterRandom& random) {
  // All draws are made whatever the settings, so that switching one off leaves the others alone.
  const std::uint64_t span = static_cast<std::uint64_t>(2 * config.crop + 1);
  const int dx = static_cast<int>(random.below(span)) - config.crop;
  const int dy = static_cast<int>(random.below(span)) - config.crop;
  const bool flip = random.uniform() < config.flip;
  const int cx = static_cast<int>(random.below(static_cast<std::uint64_t>(image.width)));
  const int cy = static_cast<int>(random.below(static_cast<std::uint64_t>(image.height)));
  shift(image, dx, dy);
  if (flip) mirror(image);
  if (config.cutout > 0) {
    const int half = config.cutout / 2;
    const int x0 = std::max(0, cx - half);
    const int x1 = std::min(image.width, cx - half + config.cutout);
    for (int y = std::max(0, cy - half); y < std::min(image.height, cy - half + config.cutout);
         ++y) {
      if (x1 > x0) {
        std::memset(image.pixels.data() + image.index(x0, y), fill,
                    static_cast<std::size_t>(x1 - x0) * static_cast<std::size_t>(image.channels));
      }
    }
  }
}

std::vector<std::uint32_t> epoch_order(std::uint64_t seed, std::int64_t epoch, std::size_t n) {
  std::vector<std::uint32_t> order(n);
  std::iota(order.begin(), order.end(), 0U);
  CounterRandom random = random_for(seed, epoch, 0, Purpose::kShuffle);
  for (std::size_t i = n; i > 1; --i) std::swap(order[i - 1], order[random.below(i)]);
  return order;
}

}  // namespace tango::autonn
