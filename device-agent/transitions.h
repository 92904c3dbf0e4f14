// The one table of the slot's states: for each state and event the next state, and per state its
// deadline and what a start-up in it means. The slot (slot.cpp) asks it before every journal write;
// docs/reference/agent-states.md and the crash-point list are generated from it.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "device-agent/journal.h"
#include "lib/base/clock.h"

namespace tango::agent {

enum class SlotEvent : std::uint8_t {
  kPlan,              // a verified plan with a higher sequence (or the same one, to resume)
  kComplete,          // every chunk is verified and durable
  kAbandon,           // the transfer cannot go on: bad bytes, cancelled, files do not match
  kActivate,          // the operator asked for the switch; files are in place and verified
  kPass,              // the health gate passed and the soak is over
  kFail,              // the health gate failed, or the release died on probation
  kPreviousRuns,      // the former release was re-hashed and runs again
  kNothingBefore,     // there is no former release to return to
  kPreviousUnusable,  // the former release does not match its hashes or does not start
  kRollback,          // a person or the operator asked to go back
  kRemove,            // the operator asked to take the release away
  kRemoved,           // nothing is left of it
  kDeadline,          // the state's deadline passed
  kStartUp,           // the agent was started (reboot, crash, upgrade)
};
inline constexpr int kSlotEvents = 14;
std::string_view to_string(SlotEvent event);

// Where a row leads: a fixed state, or Committed/Idle depending on whether a current release
// exists.
enum class Next : std::uint8_t { kFixed, kSettled };

struct Transition {
  SlotState from;
  SlotEvent event;
  Next next;
  SlotState to;  // of kFixed; kCommitted for kSettled
  std::string_view effect;
};

struct StateRule {
  SlotState state;
  Nanos deadline;  // zero: none, the state is at rest
  std::string_view deadline_reason;
  std::string_view resume;  // what a start-up in this state does
};

std::span<const Transition> transition_table();
std::span<const StateRule> state_rules();
const StateRule& rule_of(SlotState state);

// The state after `event`, or nothing when the table has no such row (the caller refuses).
std::optional<SlotState> next_state(SlotState from, SlotEvent event, bool has_current);

// "Staged.Activate": crash points append ".before" and ".after" (the journal write).
std::string transition_name(SlotState from, SlotEvent event);

// docs/reference/agent-states.md, complete.
std::string states_markdown();

}  // namespace tango::agent
