#include "lib/kube/watch_machine.h"

#include <algorithm>

namespace tango::kube {
namespace {

bool too_old(const Error& error) {
  return error.reason == "Expired" || error.reason == "ResourceVersionTooLarge";
}
// The same watch may be tried again: the server is busy or was not reached.
bool passing(const Error& error) {
  return error.code == Code::kUnavailable || error.code == Code::kTimeout ||
         error.code == Code::kCancelled;
}

}  // namespace

std::vector<WatchAction> WatchMachine::step(const WatchEvent& event, Nanos now) {
  return std::visit([&](const auto& e) { return on(e, now); }, event);
}

ListPage WatchMachine::begin_list() {
  state_ = State::kListing;
  continue_token_.clear();
  return ListPage{"", paging_ ? options_.page_size : 0};
}

OpenWatch WatchMachine::begin_watch() {
  state_ = State::kOpening;
  frames_ = 0;
  const auto spread =
      static_cast<std::uint64_t>(std::max<std::int64_t>(1, options_.timeout_spread_seconds));
  return OpenWatch{version_,
                   options_.min_timeout_seconds + static_cast<std::int64_t>(random_.below(spread))};
}

Wait WatchMachine::back_off(Next next, Nanos at_least, Nanos now) {
  if (now - last_failure_ > options_.healthy_after) backoff_.reset();
  last_failure_ = now;
  state_ = State::kWaiting;
  next_ = next;
  return Wait{std::max(backoff_.next(), at_least)};
}

void WatchMachine::relist(Actions& actions, Nanos now) {
  version_.clear();
  if (std::exchange(expired_before_, true)) {
    actions.emplace_back(back_off(Next::kList, {}, now));
  } else {
    actions.emplace_back(begin_list());
  }
}

WatchMachine::Actions WatchMachine::on(const Started&, Nanos) {
  if (state_ != State::kIdle) return {};
  return {begin_list()};
}

WatchMachine::Actions WatchMachine::on(const PageReceived& page, Nanos) {
  if (state_ != State::kListing) return {};
  if (!page.continue_token.empty()) {
    continue_token_ = page.continue_token;
    return {ListPage{continue_token_, options_.page_size}};
  }
  paging_ = true;
  version_ = page.resource_version;
  return {CommitList{version_}, begin_watch()};
}

WatchMachine::Actions WatchMachine::on(const ListFailed& failed, Nanos now) {
  if (state_ != State::kListing) return {};
  Actions actions{Report{failed.error.reason, failed.error.to_string()}};
  if (too_old(failed.error) && !continue_token_.empty()) {
    // The version that the pages come from is gone; one page cannot expire between two requests.
    paging_ = false;
    actions.emplace_back(begin_list());
  } else {
    actions.emplace_back(back_off(Next::kList, failed.retry_after, now));
  }
  return actions;
}

WatchMachine::Actions WatchMachine::on(const WatchOpened&, Nanos now) {
  if (state_ != State::kOpening) return {};
  state_ = State::kWatching;
  opened_ = now;
  return {};
}

WatchMachine::Actions WatchMachine::on(const WatchRefused& refused, Nanos now) {
  if (state_ != State::kOpening) return {};
  Actions actions{Report{refused.error.reason, refused.error.to_string()}};
  if (too_old(refused.error)) {
    relist(actions, now);
  } else {
    // What will not pass by itself (the kind is gone, access was withdrawn) is better seen by a
    // list.
    const Next next = passing(refused.error) ? Next::kWatch : Next::kList;
    actions.emplace_back(back_off(next, refused.retry_after, now));
  }
  return actions;
}

WatchMachine::Actions WatchMachine::on(const FrameReceived& frame, Nanos now) {
  if (state_ != State::kWatching) return {};
  ++frames_;
  if (frame.type == FrameType::kError) {
    Actions actions{CancelWatch{}, Report{frame.error.reason, frame.error.to_string()}};
    if (too_old(frame.error)) {
      relist(actions, now);
    } else {
      const bool busy = frame.error.reason == "TooManyRequests";
      actions.emplace_back(back_off(busy ? Next::kWatch : Next::kList, {}, now));
    }
    return actions;
  }
  expired_before_ = false;
  if (!frame.resource_version.empty()) version_ = frame.resource_version;
  if (frame.type == FrameType::kBookmark) return {AdvanceVersion{version_}};
  return {DeliverFrame{}};
}

WatchMachine::Actions WatchMachine::on(const WatchEnded&, Nanos now) {
  if (state_ != State::kWatching && state_ != State::kOpening) return {};
  if (state_ == State::kOpening || (frames_ == 0 && now - opened_ < options_.shortest_watch)) {
    return {back_off(Next::kWatch, {}, now)};
  }
  return {begin_watch()};
}

WatchMachine::Actions WatchMachine::on(const WatchBroken& broken, Nanos now) {
  if (state_ != State::kWatching && state_ != State::kOpening) return {};
  // Events may be missing, so the version of the last one proves nothing.
  version_.clear();
  return {CancelWatch{}, Report{broken.error.reason, broken.error.to_string()},
          back_off(Next::kList, {}, now)};
}

WatchMachine::Actions WatchMachine::on(const TimerFired&, Nanos) {
  if (state_ != State::kWaiting) return {};
  if (next_ == Next::kWatch && !version_.empty()) return {begin_watch()};
  return {begin_list()};
}

}  // namespace tango::kube
