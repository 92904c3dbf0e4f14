#include "device-agent/transitions.h"

#include <array>

#include "device-agent/crash_point.h"

namespace tango::agent {
namespace {

using S = SlotState;
using E = SlotEvent;
constexpr Nanos kNone{0};
constexpr Nanos kHour = std::chrono::hours{1};

// clang-format off
constexpr Transition kTable[] = {
    {S::kIdle,        E::kPlan,             Next::kFixed,   S::kStaging,     "allocate staging, ask for what is missing"},
    {S::kIdle,        E::kStartUp,          Next::kFixed,   S::kIdle,        "nothing to do"},

    {S::kStaging,     E::kPlan,             Next::kFixed,   S::kStaging,     "resume the same release, or drop it for a newer one"},
    {S::kStaging,     E::kComplete,         Next::kFixed,   S::kStaged,      "wait for activation"},
    {S::kStaging,     E::kAbandon,          Next::kSettled, S::kCommitted,   "drop staging, keep what runs"},
    {S::kStaging,     E::kRollback,         Next::kFixed,   S::kRollingBack, "drop staging, go back one release"},
    {S::kStaging,     E::kRemove,           Next::kFixed,   S::kRemoving,    "drop staging and release"},
    {S::kStaging,     E::kDeadline,         Next::kSettled, S::kCommitted,   "drop staging, keep what runs"},
    {S::kStaging,     E::kStartUp,          Next::kFixed,   S::kStaging,     "keep the bitmap, start current"},

    {S::kStaged,      E::kPlan,             Next::kFixed,   S::kStaging,     "a newer release supersedes"},
    {S::kStaged,      E::kActivate,         Next::kFixed,   S::kTrial,       "test, stop current, start the candidate"},
    {S::kStaged,      E::kAbandon,          Next::kSettled, S::kCommitted,   "files do not match: drop, keep what runs"},
    {S::kStaged,      E::kRollback,         Next::kFixed,   S::kRollingBack, "drop staging, go back one release"},
    {S::kStaged,      E::kRemove,           Next::kFixed,   S::kRemoving,    "drop staging and release"},
    {S::kStaged,      E::kDeadline,         Next::kSettled, S::kCommitted,   "drop staging, keep what runs"},
    {S::kStaged,      E::kStartUp,          Next::kFixed,   S::kStaged,      "start current, wait for activation"},

    {S::kTrial,       E::kPass,             Next::kFixed,   S::kCommitted,   "candidate becomes current, current becomes previous, report committed"},
    {S::kTrial,       E::kFail,             Next::kFixed,   S::kRollingBack, "remember the failure, reject the digest"},
    {S::kTrial,       E::kRollback,         Next::kFixed,   S::kRollingBack, "stop the candidate"},
    {S::kTrial,       E::kRemove,           Next::kFixed,   S::kRemoving,    "stop the candidate, remove all"},
    {S::kTrial,       E::kDeadline,         Next::kFixed,   S::kRollingBack, "the trial took too long"},
    {S::kTrial,       E::kStartUp,          Next::kFixed,   S::kRollingBack, "a start-up that nobody requested ends the trial"},

    {S::kRollingBack, E::kPreviousRuns,     Next::kFixed,   S::kCommitted,   "report rolledBack"},
    {S::kRollingBack, E::kNothingBefore,    Next::kFixed,   S::kIdle,        "report rolledBack"},
    {S::kRollingBack, E::kPreviousUnusable, Next::kFixed,   S::kBroken,      "report rolledBack with the second failure"},
    {S::kRollingBack, E::kDeadline,         Next::kFixed,   S::kBroken,      "report rolledBack with Timeout"},
    {S::kRollingBack, E::kStartUp,          Next::kFixed,   S::kRollingBack, "begin the rollback again"},

    {S::kCommitted,   E::kPlan,             Next::kFixed,   S::kStaging,     "allocate staging, ask for what is missing"},
    {S::kCommitted,   E::kRollback,         Next::kFixed,   S::kRollingBack, "swap back to previous"},
    {S::kCommitted,   E::kRemove,           Next::kFixed,   S::kRemoving,    "stop and forget the release"},
    {S::kCommitted,   E::kStartUp,          Next::kFixed,   S::kCommitted,   "start current"},

    {S::kBroken,      E::kPlan,             Next::kFixed,   S::kStaging,     "only a new release helps"},
    {S::kBroken,      E::kRemove,           Next::kFixed,   S::kRemoving,    "clear leftovers"},
    {S::kBroken,      E::kStartUp,          Next::kFixed,   S::kRollingBack, "try the former release once more"},

    {S::kRemoving,    E::kRemoved,          Next::kFixed,   S::kIdle,        "sequence and security version stay"},
    {S::kRemoving,    E::kDeadline,         Next::kFixed,   S::kRemoving,    "try again"},
    {S::kRemoving,    E::kStartUp,          Next::kFixed,   S::kRemoving,    "go on removing"},
};

constexpr StateRule kRules[] = {
    {S::kIdle,        kNone,             "at rest",                           "Nothing runs; waits for a plan."},
    {S::kStaging,     24 * kHour,        "without a new durable chunk",       "Starts `current`, keeps the staging file and its bitmap; the next plan resumes."},
    {S::kStaged,      7 * 24 * kHour,    "without an activation",             "Starts `current`; waits for `activate`."},
    {S::kTrial,       2 * kHour,         "the gate's own limits come first",  "Not requested: rolls back."},
    {S::kCommitted,   kNone,             "at rest",                           "Starts `current`."},
    {S::kRollingBack, kHour / 4,         "re-hash and start",                 "Begins the rollback again."},
    {S::kBroken,      kNone,             "waits for a new plan",              "Tries the former release once more."},
    {S::kRemoving,    kHour / 4,         "then again",                        "Goes on removing."},
};
// clang-format on

}  // namespace

std::string_view to_string(SlotEvent event) {
  constexpr std::array<std::string_view, kSlotEvents> kNames = {
      "Plan",   "Complete",     "Abandon",       "Activate",         "Pass",
      "Fail",   "PreviousRuns", "NothingBefore", "PreviousUnusable", "Rollback",
      "Remove", "Removed",      "Deadline",      "StartUp"};
  return kNames[static_cast<std::size_t>(event)];
}

std::span<const Transition> transition_table() { return kTable; }
std::span<const StateRule> state_rules() { return kRules; }

const StateRule& rule_of(SlotState state) { return kRules[static_cast<std::size_t>(state)]; }

std::optional<SlotState> next_state(SlotState from, SlotEvent event, bool has_current) {
  for (const Transition& row : kTable) {
    if (row.from != from || row.event != event) continue;
    if (row.next == Next::kSettled && !has_current) return SlotState::kIdle;
    return row.to;
  }
  return std::nullopt;
}

std::string transition_name(SlotState from, SlotEvent event) {
  return std::string(to_string(from)) + "." + std::string(to_string(event));
}

std::string states_markdown() {
  std::string out =
      "# States of a slot\n\n"
      "Generated from the table in `device-agent/transitions.cpp`; a test compares. Every change "
      "of\n"
      "state is one journal record, durable before its effect begins. `Settled` is `Committed` "
      "when\n"
      "the slot has a current release, else `Idle`.\n\n"
      "| state | deadline | start-up in this state |\n|---|---|---|\n";
  for (const StateRule& rule : kRules) {
    out += "| " + std::string(to_string(rule.state)) + " | ";
    out += rule.deadline == kNone ? std::string("none") : format_duration(rule.deadline);
    out += " (" + std::string(rule.deadline_reason) + ") | " + std::string(rule.resume) + " |\n";
  }
  out += "\n| state | event | next | effect |\n|---|---|---|---|\n";
  for (const Transition& row : kTable) {
    out += "| " + std::string(to_string(row.from)) + " | " + std::string(to_string(row.event)) +
           " | " +
           (row.next == Next::kSettled ? std::string("Settled") : std::string(to_string(row.to))) +
           " | " + std::string(row.effect) + " |\n";
  }
  out += "\n```mermaid\nstateDiagram-v2\n";
  for (const Transition& row : kTable) {
    if (row.next == Next::kFixed && row.from == row.to) continue;
    out += "  " + std::string(to_string(row.from)) + " --> " +
           (row.next == Next::kSettled ? std::string("Settled") : std::string(to_string(row.to))) +
           ": " + std::string(to_string(row.event)) + "\n";
  }
  out += "```\n\n## Crash points\n\nThe crash tests kill the agent at each of these.\n\n";
  for (const std::string& name : crash_points()) out += "* `" + name + "`\n";
  return out;
}

}  // namespace tango::agent
