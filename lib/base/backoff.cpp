#include "lib/base/backoff.h"

#include <algorithm>
#include <cmath>

namespace tango {

Nanos Backoff::next() {
  double base =
      static_cast<double>(options_.initial.count()) * std::pow(options_.factor, attempts_);
  base = std::min(base, static_cast<double>(options_.cap.count()));
  if (attempts_ < 1000) ++attempts_;
  base *= 1.0 + random_.uniform() * options_.jitter;
  return Nanos{static_cast<std::int64_t>(
      std::min(base, static_cast<double>(options_.cap.count()) * (1.0 + options_.jitter)))};
}

}  // namespace tango
