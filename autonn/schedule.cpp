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

double learning_rate_at(Schedule schedule, double peak, double done, double warmup) {
  if (schedule == Schedule::kOneCycle) {
    constexpr double kRise = 0.3;
    constexpr double kStartDivisor = 25;
    constexpr double kEndDivisor = 25 * 1e4;
    if (done < kRise) return cosine_between(peak / kStartDivisor, peak, done / kRise);
    return cosine_between(peak, peak / kEndDivisor, (done - kRise) / (1 - kRise));
  }
  if (done < warmup) return peak * done / warmup;
  if (schedule == Schedule::kConstant) return peak;
  return cosine_between(peak, 0, (done - warmup) / std::max(1e-9, 1 - warmup));
}

double ema_decay_at(double decay, std::int64_t step) {
  const double s = static_cast<double>(step);
  return std::min(decay, (1 + s) / (10 + s));
}

}  // namespace tango::autonn
