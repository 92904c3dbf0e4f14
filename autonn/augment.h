// Augmentation of 8-bit images and the addresses of randomness: every draw depends only on (seed,
// epoch, sample, purpose), never on the thread or on what was drawn before.
#pragma once

#include <cstdint>
#include <vector>

#include "autonn/config.h"
#include "lib/base/random.h"
#include "lib/vision/image.h"

namespace tango::autonn {

enum class Purpose : std::uint8_t { kShuffle = 1, kAugment = 2, kWeights = 3, kPick = 4 };
// Epochs up to 2^20, samples up to 2^36.
CounterRandom random_for(std::uint64_t seed, std::int64_t epoch, std::int64_t sample,
                         Purpose purpose);

// Shift, mirror, erase; size and channels stay. `fill` is the grey of the erased square (0..255).
void augment(vision::Image& image, const AugmentConfig& config, int fill, CounterRandom& random);

// The order of an epoch: a permutation of 0..n-1 (Fisher-Yates).
std::vector<std::uint32_t> epoch_order(std::uint64_t seed, std::int64_t epoch, std::size_t n);

}  // namespace tango::autonn
