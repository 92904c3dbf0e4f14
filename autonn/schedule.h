// Learning rates as pure functions of the share of the work that is done (images seen of all images
// to be seen), so that a resumed run continues exactly, also with another batch size.
#pragma once

#include <cstdint>

#include "autonn/config.h"

namespace tango::autonn {

// One-cycle (Smith and Topin, "Super-Convergence", 2018) with cosine legs: from peak/25 up to the
// peak over the first 30 %, then down to peak/250,000. Cosine and constant: linear
// warm-up from zero over the share `warmup`, then a half cosine to zero, or flat.
double learning_rate_at(Schedule schedule, double peak, double done, double warmup);

// Decay of the moving average at a step: it grows to `decay`, so that early averages are not stuck
// at the initial weights.
double ema_decay_at(double decay, std::int64_t step);

}  // namespace tango::autonn
