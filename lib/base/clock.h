// Time as an injected dependency: wall clock for stamps, steady clock for deadlines.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <string_view>

#include "lib/base/result.h"

namespace tango {

using Nanos = std::chrono::nanoseconds;
using Millis = std::chrono::milliseconds;
using Seconds = std::chrono::seconds;
using TimePoint = std::chrono::sys_time<Nanos>;  // UTC wall time

class Clock {
 public:
  virtual ~Clock() = default;
  virtual TimePoint now() const = 0;           // wall time, may jump
  virtual Nanos monotonic() const = 0;         // since boot (CLOCK_BOOTTIME), never jumps
  virtual void sleep_for(Nanos duration) = 0;  // a fake returns at once, advanced
};
Clock& system_clock();

class FakeClock : public Clock {
 public:
  explicit FakeClock(TimePoint start = TimePoint{Seconds{1'700'000'000}}) : now_(start) {}
  TimePoint now() const override { return now_; }
  Nanos monotonic() const override { return steady_; }
  void sleep_for(Nanos d) override { advance(d); }
  void advance(Nanos d) {
    now_ += d;
    steady_ += d;
  }
  void jump_wall(Nanos d) { now_ += d; }

 private:
  TimePoint now_;
  Nanos steady_{Seconds{1000}};
};

// RFC 3339 in UTC: "2026-11-21T12:00:00Z" (whole seconds, as Kubernetes' metav1.Time).
std::string format_time(TimePoint t);
// With microseconds: "2026-11-21T12:00:00.123456Z" (metav1.MicroTime, run events).
std::string format_time_micro(TimePoint t);
Result<TimePoint> parse_time(std::string_view text);

// Go-style durations as in Kubernetes manifests: "30s", "1h30m", "15ms", "1us". Errors:
// InvalidDuration.
Result<Nanos> parse_duration(std::string_view text);
std::string format_duration(Nanos d);  // "1h30m0s" as Go prints it
std::string human_age(Nanos d);        // kubectl's AGE column: "5s", "3m20s", "4d2h"

}  // namespace tango
