// Rollout decisions as pure functions: who owns a (device, slot), which devices a deployment may
// touch now, when a phase ends and when a rollout has failed. The Device and the Deployment
// controllers use them; nothing here knows Kubernetes, SSH or a clock.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/clock.h"

namespace tango::rollout {

// Limits and defaults of this room.
inline constexpr int kMaxPhases = 32;
inline constexpr int kDefaultMaxParallel = 32;
inline constexpr int kMaxParallelLimit = 128;  // the admitted names are kept in status (16 KiB)
inline constexpr Nanos kOfflineDeferral = Seconds{600};
inline constexpr Nanos kDefaultProgressDeadline = Seconds{1800};

// Lower-case hex of SHA-256(deployment uid || device uid): the place of a device in a rollout. It
// depends on nothing that changes, so the order is the same after every restart.
std::string order_key(std::string_view deployment_uid, std::string_view device_uid);

// One deployment that selects a device's slot.
struct Claim {
  std::string deployment_uid;
  std::int64_t priority = 0;
  TimePoint created{};
  // The device rolled this deployment's release back and nothing changed since: it stands behind
  // every claim that can still be carried out.
  bool rejected = false;
};
// Index of the owner: not rejected before rejected, highest priority, oldest, smallest uid.
std::optional<std::size_t> owner(std::span<const Claim> claims);

// What was refused on a device; the same (deployment, digest, token) is never tried again.
struct Rejection {
  std::string deployment_uid;  // empty: of any deployment
  std::string digest;
  std::string retry_token;
};
bool is_rejected(std::span<const Rejection> rejections, std::string_view deployment_uid,
                 std::string_view digest, std::string_view retry_token);

// Why a device is in neither denominator, or empty. The order of the checks is the order in which
// a person would look.
struct Reachability {
  bool provisioned = false;  // false: was never provisioned
  bool suspended = false;
  bool reachable = false;
  std::optional<TimePoint> unreachable_since;
  bool in_window = true;
  std::string config_error;  // a missing parameter or label
};
std::string deferral(const Reachability& device, TimePoint now);

// Time that counts against progressDeadline: runs only while the device is reachable and inside its
// window.
struct ProgressClock {
  Nanos accumulated{0};
  std::optional<TimePoint> running_since;
  bool operator==(const ProgressClock&) const = default;
  Nanos elapsed(TimePoint now) const;
  void run(bool counting, TimePoint now);
};

struct Phase {
  std::string name;
  std::optional<int> count;  // at most this many devices; or
  std::optional<int>
      percent;          // of the eligible devices that match, those of earlier phases included
  bool manual = false;  // waits for `approved` before it starts
  bool approved = false;
};

struct Strategy {
  std::vector<Phase> phases;  // empty: one phase of 100 %
  int max_parallel = kDefaultMaxParallel;
  int max_unavailable = 0;  // per group; 0: no limit
  int success_percent = 95;
  int failure_percent = 5;
  int min_samples = 1;
  Nanos pause_between{0};
  bool paused = false;
};

enum class DeviceState { kPending, kUpdating, kSucceeded, kFailed, kDeferred, kSuperseded };
std::string_view to_string(DeviceState state);

struct DeviceView {
  std::string uid;
  std::string name;
  std::string order;           // order_key()
  std::uint32_t phases = ~0u;  // bit i: the selector of phase i matches
  std::string group;           // value of disruption.groupBy; "" is a group of its own
  DeviceState state = DeviceState::kPending;
  std::string reason;     // of kDeferred and kFailed
  bool available = true;  // serves its current release; false counts as disrupted
};

// The part of a decision that is kept in Deployment.status.
struct Cursor {
  std::string release;  // digest + retry token it belongs to; another one starts again
  int phase = 0;
  std::optional<TimePoint> phase_done;  // since when the phase has met its threshold
  bool failed = false;                  // latched until the release changes
  std::vector<std::string> admitted;    // names, sorted: may be worked on now; at most maxParallel
  bool operator==(const Cursor&) const = default;
};

struct Counts {
  int desired = 0;  // selected and owned
  int updated = 0, updating = 0, pending = 0, failed = 0, deferred = 0, superseded = 0;
  bool operator==(const Counts&) const = default;
};

struct Decision {
  Cursor cursor;
  Counts counts;
  bool complete = false;
  std::string reason;  // RolloutComplete, Progressing, AwaitingApproval, PausedBetween, Paused,
                       // FailureThreshold, NoDevices, WaitingForDevices
  std::string message;
  std::optional<Nanos> requeue_after;
};

// Advances the cursor as far as it may go. Deterministic; calling it again with its own cursor and
// the same devices gives the same decision.
Decision decide(const Strategy& strategy, std::span<const DeviceView> devices, const Cursor& cursor,
                std::string_view release, TimePoint now);

bool admitted(const Cursor& cursor, std::string_view release, std::string_view device_name);

}  // namespace tango::rollout
