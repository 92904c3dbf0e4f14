// Exponential back-off with jitter; pure given its Random.
#pragma once

#include "lib/base/clock.h"
#include "lib/base/random.h"

namespace tango {

struct BackoffOptions {
  Nanos initial = Millis{800};
  double factor = 2.0;
  double jitter = 1.0;  // delay is multiplied by 1 + uniform[0, jitter)
  Nanos cap = Seconds{30};
};

class Backoff {
 public:
  Backoff(const BackoffOptions& options, Random& random) : options_(options), random_(random) {}
  Nanos next();
  void reset() { attempts_ = 0; }
  int attempts() const { return attempts_; }

 private:
  BackoffOptions options_;
  Random& random_;
  int attempts_ = 0;
};

}  // namespace tango
