// Keeping a cache equal to the server, as one explicit state machine: list in pages, watch, resume,
// back off, list again. step() takes what happened and says what to do next; it never does I/O and
// never looks at a clock, so every transition has a test. The reflector drives it.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "lib/base/backoff.h"
#include "lib/base/clock.h"
#include "lib/base/random.h"
#include "lib/base/result.h"
#include "lib/kube/frames.h"

namespace tango::kube {

// What happened. ------------------------------------------------------------------------------
struct Started {};
struct PageReceived {
  std::string resource_version;
  std::string continue_token;
};
struct ListFailed {
  Error error;
  Nanos retry_after{};
};
struct WatchOpened {};
struct WatchRefused {  // the request failed, or was answered by something else than 200
  Error error;
  Nanos retry_after{};
};
struct FrameReceived {
  FrameType type;
  std::string resource_version;
  Error error{};  // of an ERROR frame
};
struct WatchEnded {};  // regularly, cut off, or silent for too long: all the same
struct WatchBroken {   // the stream held something that is not a frame
  Error error;
};
struct TimerFired {};
using WatchEvent = std::variant<Started, PageReceived, ListFailed, WatchOpened, WatchRefused,
                                FrameReceived, WatchEnded, WatchBroken, TimerFired>;

// What to do, in this order. ------------------------------------------------------------------
struct ListPage {  // an empty token starts a new list: pages received so far are dropped
  std::string continue_token;
  std::int64_t limit = 0;
  bool operator==(const ListPage&) const = default;
};
struct CommitList {  // all pages are there: replace the cache at once
  std::string resource_version;
  bool operator==(const CommitList&) const = default;
};
struct OpenWatch {
  std::string resource_version;
  std::int64_t timeout_seconds = 0;
  bool operator==(const OpenWatch&) const = default;
};
struct CancelWatch {
  bool operator==(const CancelWatch&) const = default;
};
struct DeliverFrame {  // the frame of this step, then its version
  bool operator==(const DeliverFrame&) const = default;
};
struct AdvanceVersion {
  std::string resource_version;
  bool operator==(const AdvanceVersion&) const = default;
};
struct Wait {
  Nanos delay{};
  bool operator==(const Wait&) const = default;
};
struct Report {  // to the log and the metrics
  std::string reason;
  std::string message;
  bool operator==(const Report&) const = default;
};
using WatchAction = std::variant<ListPage, CommitList, OpenWatch, CancelWatch, DeliverFrame,
                                 AdvanceVersion, Wait, Report>;

struct WatchOptions {
  std::int64_t page_size = 500;
  // The server ends a watch at a random time in [min, min + spread): thousands of clients do not
  // come back at once.
  std::int64_t min_timeout_seconds = 300;
  std::int64_t timeout_spread_seconds = 300;
  // An empty watch that ended sooner than this was an error in disguise.
  Nanos shortest_watch = Seconds{1};
  // As client-go's reflector: 800 ms, x2, jitter 1.0, at most 30 s, forgotten after two good
  // minutes.
  BackoffOptions backoff{Millis{800}, 2.0, 1.0, Seconds{30}};
  Nanos healthy_after = Seconds{120};
};

class WatchMachine {
 public:
  enum class State { kIdle, kListing, kOpening, kWatching, kWaiting };

  WatchMachine(const WatchOptions& options, Random& random)
      : options_(options), random_(random), backoff_(options.backoff, random) {}

  std::vector<WatchAction> step(const WatchEvent& event, Nanos now);

  State state() const { return state_; }
  const std::string& resource_version() const { return version_; }

 private:
  enum class Next { kList, kWatch };
  using Actions = std::vector<WatchAction>;

  Actions on(const Started&, Nanos now);
  Actions on(const PageReceived&, Nanos now);
  Actions on(const ListFailed&, Nanos now);
  Actions on(const WatchOpened&, Nanos now);
  Actions on(const WatchRefused&, Nanos now);
  Actions on(const FrameReceived&, Nanos now);
  Actions on(const WatchEnded&, Nanos now);
  Actions on(const WatchBroken&, Nanos now);
  Actions on(const TimerFired&, Nanos now);

  ListPage begin_list();
  OpenWatch begin_watch();
  Wait back_off(Next next, Nanos at_least, Nanos now);
  // The version is too old: list at once, but not in a tight loop.
  void relist(Actions& actions, Nanos now);

  const WatchOptions options_;
  Random& random_;
  Backoff backoff_;
  State state_ = State::kIdle;
  Next next_ = Next::kList;
  std::string version_;
  std::string continue_token_;
  bool paging_ = true;
  bool expired_before_ = false;  // no progress since the last "too old"
  std::int64_t frames_ = 0;      // of this watch
  Nanos opened_{};
  Nanos last_failure_{};
};

}  // namespace tango::kube
