#include "device-agent/transitions.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <set>

#include "device-agent/crash_point.h"
#include "lib/base/file.h"

namespace tango::agent {
namespace {

constexpr SlotState kAll[] = {SlotState::kIdle,   SlotState::kStaging,   SlotState::kStaged,
                              SlotState::kTrial,  SlotState::kCommitted, SlotState::kRollingBack,
                              SlotState::kBroken, SlotState::kRemoving};

std::set<SlotState> reachable_from(SlotState start) {
  std::set<SlotState> seen = {start};
  for (bool grew = true; grew;) {
    grew = false;
    for (const Transition& row : transition_table()) {
      if (!seen.contains(row.from)) continue;
      for (const bool current : {false, true}) {
        grew |= seen.insert(*next_state(row.from, row.event, current)).second;
      }
    }
  }
  return seen;
}

TEST(Transitions, EveryStateHasARuleAndAStartUpRow) {
  for (const SlotState state : kAll) {
    EXPECT_EQ(rule_of(state).state, state);
    EXPECT_TRUE(next_state(state, SlotEvent::kStartUp, true)) << to_string(state);
  }
}

TEST(Transitions, EveryStateWithADeadlineHasADeadlineRow) {
  for (const SlotState state : kAll) {
    EXPECT_EQ(rule_of(state).deadline > Nanos{0},
              next_state(state, SlotEvent::kDeadline, true).has_value())
        << to_string(state);
  }
}

TEST(Transitions, EveryStateReachesRestAndEveryStateIsReachable) {
  for (const SlotState state : kAll) {
    const auto seen = reachable_from(state);
    EXPECT_TRUE(seen.contains(SlotState::kCommitted) || seen.contains(SlotState::kIdle))
        << to_string(state);
  }
  EXPECT_EQ(reachable_from(SlotState::kIdle).size(), std::size(kAll));
}

TEST(Transitions, NoRowIsGivenTwice) {
  std::set<std::pair<SlotState, SlotEvent>> rows;
  for (const Transition& row : transition_table()) {
    EXPECT_TRUE(rows.emplace(row.from, row.event).second) << transition_name(row.from, row.event);
  }
}

TEST(Transitions, AnUnrequestedStartUpInTrialRollsBack) {
  EXPECT_EQ(next_state(SlotState::kTrial, SlotEvent::kStartUp, true), SlotState::kRollingBack);
}

TEST(Transitions, OnlyAPassedGateCommitsATrial) {
  for (const Transition& row : transition_table()) {
    if (row.from == SlotState::kTrial && row.to == SlotState::kCommitted) {
      EXPECT_EQ(row.event, SlotEvent::kPass);
    }
    // Nothing but the way over Trial or RollingBack changes what is committed.
    if (row.to == SlotState::kCommitted && row.next == Next::kFixed &&
        row.from != SlotState::kCommitted) {
      EXPECT_TRUE(row.from == SlotState::kTrial || row.from == SlotState::kRollingBack);
    }
  }
}

TEST(Transitions, SettledDependsOnACurrentRelease) {
  EXPECT_EQ(next_state(SlotState::kStaging, SlotEvent::kAbandon, true), SlotState::kCommitted);
  EXPECT_EQ(next_state(SlotState::kStaging, SlotEvent::kAbandon, false), SlotState::kIdle);
  EXPECT_FALSE(next_state(SlotState::kTrial, SlotEvent::kPlan, true)) << "a trial takes no plan";
}

TEST(Transitions, TheReferencePageIsGeneratedFromTheTable) {
  const fs::path file =
      fs::path(std::getenv("TANGO_SOURCE_DIR")) / "docs/reference/agent-states.md";
  if (std::getenv("TANGO_WRITE_DOCS") != nullptr) {
    ASSERT_TRUE(write_file_atomic(file, states_markdown()).ok());
  }
  EXPECT_EQ(read_file(file).value_or("absent"), states_markdown())
      << "run with TANGO_WRITE_DOCS=1 to write it again";
}

TEST(CrashPoints, AreNamedOnce) {
  const auto points = crash_points();
  EXPECT_EQ(std::set<std::string>(points.begin(), points.end()).size(), points.size());
  EXPECT_GT(points.size(), 60u);
}

}  // namespace
}  // namespace tango::agent
