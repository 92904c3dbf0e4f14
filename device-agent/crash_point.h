// Named places where the agent may die: one before and one after every write that survives a
// reboot. In the product passing one costs a null check; the crash tests install a hook that kills
// the process there. The list is complete: a test walks it and kills at each entry.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace tango::agent {

using CrashHook = void (*)(std::string_view point);
// Process-wide; installed by test programs only, before any thread starts.
void install_crash_hook(CrashHook hook);
void crash_point(std::string_view point);

// Every name that crash_point() is ever called with: those of the transition table
// ("Staged.Activate.before", "Staged.Activate.after", ...) and those of the store.
std::vector<std::string> crash_points();

namespace point {
inline constexpr std::string_view kPlanSaved = "store.plan-saved";
inline constexpr std::string_view kStagingAllocated = "store.staging-allocated";
inline constexpr std::string_view kBitmapDurable = "store.bitmap-durable";
inline constexpr std::string_view kFileLinked = "store.file-linked";
inline constexpr std::string_view kReleaseBuilt = "store.release-built";
inline constexpr std::string_view kReleaseRenamed = "store.release-renamed";
inline constexpr std::string_view kCurrentReplaced = "store.current-replaced";
inline constexpr std::string_view kStagingRemoved = "store.staging-removed";
inline constexpr std::string_view kCollected = "store.collected";
}  // namespace point

}  // namespace tango::agent
