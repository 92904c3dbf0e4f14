#include "autonn/schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace tango::autonn {
namespace {

double cosine_between(double from, double to, double t) {
  return to + (from - to) * 0.5 * (1 + std::cos(std::numbers::pi * std::clamp(t, 0.0, 1.0)));
}

}  // namespace

double learning_rate_at(Schedule schedule, double peak, std::int64_t step, std::int64_t total_steps,
                        std::int64_t warmup_steps) {
  const double last = static_cast<double>(std::max<std::int64_t>(1, total_steps - 1));
  const double s = static_cast<double>(step);
  if (schedule == Schedule::kOneCycle) {
    constexpr double kRise = 0.3;
    constexpr double kStartDivisor = 25;
    constexpr double kEndDivisor = 25 * 1e4;
    const double t = s / last;
    if (t < kRise) return cosine_between(peak / kStartDivisor, peak, t / kRise);
    return cosine_between(peak, peak / kEndDivisor, (t - kRise) / (1 - kRise));
  }
  const double warm = static_cast<double>(warmup_steps);
  if (s < warm) return peak * (s + 1) / warm;
  if (schedule == Schedule::kConstant) return peak;
  return cosine_between(peak, 0, (s - warm) / std::max(1.0, last - warm));
}

double ema_decay_at(double decay, std::int64_t step) {
  const double s = static_cast<double>(step);
  return std::min(decay, (1 + s) / (10 + s));
}

}  // namespace tango::autonn
