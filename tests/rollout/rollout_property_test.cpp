#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <map>

#include "lib/rollout/rollout.h"

namespace tango::rollout {
namespace {

// A fleet that is moved on by random steps: devices start, finish, fail, go and come back.
struct World {
  Strategy strategy;
  std::vector<DeviceView> devices;
};

World arbitrary_world() {
  World w;
  w.strategy.max_parallel = *rc::gen::inRange(1, 6);
  w.strategy.max_unavailable = *rc::gen::inRange(0, 4);
  w.strategy.success_percent = *rc::gen::inRange(1, 101);
  w.strategy.failure_percent = *rc::gen::inRange(0, 101);
  w.strategy.min_samples = *rc::gen::inRange(1, 4);
  const int phases = *rc::gen::inRange(0, 4);
  for (int i = 0; i < phases; ++i) {
    Phase p;
    if (*rc::gen::arbitrary<bool>()) {
      p.count = *rc::gen::inRange(1, 5);
    } else {
      p.percent = *rc::gen::inRange(1, 101);
    }
    w.strategy.phases.push_back(p);
  }
  const int count = *rc::gen::inRange(0, 24);
  for (int i = 0; i < count; ++i) {
    DeviceView d;
    d.name = "d" + std::to_string(i);
    d.uid = "u" + std::to_string(i);
    d.order = order_key("dep", d.uid);
    d.group = std::to_string(i % 3);
    d.phases = *rc::gen::arbitrary<std::uint32_t>() | 4u;
    w.devices.push_back(d);
  }
  return w;
}

void step(World& w, const Cursor& cursor) {
  for (DeviceView& d : w.devices) {
    const int dice = *rc::gen::inRange(0, 10);
    const bool may = admitted(cursor, cursor.release, d.name);
    switch (d.state) {
      case DeviceState::kPending:
        if (dice == 0) d.state = DeviceState::kDeferred;
        if (dice > 4 && may) {
          d.state = DeviceState::kUpdating;
          d.available = false;
        }
        break;
      case DeviceState::kUpdating:
        if (dice < 5) {
          d.state = dice == 0 ? DeviceState::kFailed : DeviceState::kSucceeded;
          d.available = true;
        }
        break;
      case DeviceState::kDeferred:
        if (dice < 3) d.state = DeviceState::kPending;
        break;
      default:
        break;
    }
  }
}

int working(const World& w, const Cursor& c, const std::string& group) {
  return static_cast<int>(std::count_if(
      w.devices.begin(), w.devices.end(),
      [&](const DeviceView& d) { return d.group == group && admitted(c, c.release, d.name); }));
}

RC_GTEST_PROP(RolloutProperty, NeverExceedsItsLimitsAndNeverGoesBack, ()) {
  World w = arbitrary_world();
  Cursor cursor;
  TimePoint now{Seconds{1'700'000'000}};
  for (int i = 0; i < 30; ++i) {
    const Decision d = decide(w.strategy, w.devices, cursor, "r", now);
    RC_ASSERT(static_cast<int>(d.cursor.admitted.size()) <= w.strategy.max_parallel);
    if (w.strategy.max_unavailable > 0) {
      for (const char* group : {"0", "1", "2"}) {
        RC_ASSERT(working(w, d.cursor, group) <= w.strategy.max_unavailable);
      }
    }
    RC_ASSERT(d.cursor.phase >= cursor.phase);
    RC_ASSERT(d.cursor.failed || !cursor.failed);
    cursor = d.cursor;
    step(w, cursor);
    now += Seconds{1};
  }
}

RC_GTEST_PROP(RolloutProperty, DecidingAgainChangesNothing, ()) {
  World w = arbitrary_world();
  Cursor cursor;
  TimePoint now{Seconds{1'700'000'000}};
  const int steps = *rc::gen::inRange(0, 12);
  for (int i = 0; i < steps; ++i) {
    cursor = decide(w.strategy, w.devices, cursor, "r", now).cursor;
    step(w, cursor);
  }
  const Decision first = decide(w.strategy, w.devices, cursor, "r", now);
  const Decision second = decide(w.strategy, w.devices, first.cursor, "r", now + Seconds{100});
  RC_ASSERT(first.cursor == second.cursor);
  RC_ASSERT(first.counts == second.counts);
  RC_ASSERT(first.reason == second.reason);
  RC_ASSERT(first.message == second.message);
}

RC_GTEST_PROP(RolloutProperty, OrderOfTheInputDoesNotMatter, ()) {
  World w = arbitrary_world();
  for (DeviceView& d : w.devices) {
    d.state = static_cast<DeviceState>(*rc::gen::inRange(0, 6));
  }
  const Decision a = decide(w.strategy, w.devices, {}, "r", TimePoint{});
  std::reverse(w.devices.begin(), w.devices.end());
  const Decision b = decide(w.strategy, w.devices, {}, "r", TimePoint{});
  RC_ASSERT(a.cursor == b.cursor);
  RC_ASSERT(a.message == b.message);
}

RC_GTEST_PROP(RolloutProperty, AHealthyFleetIsAlwaysFinished, ()) {
  World w = arbitrary_world();
  w.strategy.phases.push_back(Phase{{}, {}, 100, false, false});
  for (DeviceView& d : w.devices) d.phases = ~0u;
  Cursor cursor;
  Decision d;
  for (int i = 0; i < 200; ++i) {
    d = decide(w.strategy, w.devices, cursor, "r", TimePoint{});
    cursor = d.cursor;
    if (d.reason == "RolloutComplete") break;
    for (DeviceView& v : w.devices) {
      if (admitted(cursor, "r", v.name)) v.state = DeviceState::kSucceeded;
    }
  }
  RC_ASSERT(w.devices.empty() || d.reason == "RolloutComplete");
}

}  // namespace
}  // namespace tango::rollout
