// Learning rates as pure functions of the step, so that a resumed run continues exactly.
#pragma once

#include <cstdint>

#include "autonn/config.h"

namespace tango::autonn {

// One-cycle (Smith and Topin, "Super-Convergence", 2018) with cosine legs: from peak/25 up to the
// peak over the first 30 % of the steps, then down to peak/250,000. Cosine and constant: linear
// warm-up from zero over `warmup_steps`, then a half cosine to zero, or flat.
double learning_rate_at(Schedule schedule, double peak, std::int64_t step, std::int64_t total_steps,
                        std::int64_t warmup_steps);

// Decay of the moving average at a step: it grows to `decay`, so that early averages are not stuck
// at the initial weights.
double ema_decay_at(double decay, std::int64_t step);

}  // namespace tango::autonn
