#include "device-agent/crash_point.h"

#include "device-agent/transitions.h"

namespace tango::agent {
namespace {
CrashHook g_hook = nullptr;
}

void install_crash_hook(CrashHook hook) { g_hook = hook; }

void crash_point(std::string_view point) {
  if (g_hook != nullptr) g_hook(point);
}

std::vector<std::string> crash_points() {
  std::vector<std::string> out;
  for (const Transition& row : transition_table()) {
    // A start-up or deadline that leaves the state as it is writes nothing.
    if (row.from == row.to && row.event != SlotEvent::kPlan) continue;
    const std::string name = transition_name(row.from, row.event);
    out.push_back(name + ".before");
    out.push_back(name + ".after");
  }
  for (const std::string_view p :
       {point::kPlanSaved, point::kStagingAllocated, point::kBitmapDurable, point::kFileLinked,
        point::kReleaseBuilt, point::kReleaseRenamed, point::kCurrentReplaced,
        point::kStagingRemoved, point::kCollected}) {
    out.emplace_back(p);
  }
  return out;
}

}  // namespace tango::agent
