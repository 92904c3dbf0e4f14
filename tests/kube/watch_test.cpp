// The watch: every transition of its state machine, and frames out of bytes cut anywhere.
#include <gtest/gtest.h>

#include "lib/base/random.h"
#include "lib/kube/frames.h"
#include "lib/kube/watch_machine.h"

namespace tango::kube {
namespace {

Error error(Code code, std::string_view reason) { return make_error(code, reason, "m"); }
const Error kExpired = error(Code::kConflict, "Expired");
const Error kBusy = error(Code::kUnavailable, "TooManyRequests");
const Error kForbidden = error(Code::kDenied, "Forbidden");

class Machine : public testing::Test {
 protected:
  Machine() {
    options.backoff.jitter = 0;  // delays become exact
    options.timeout_spread_seconds = 1;
  }
  std::vector<WatchAction> step(const WatchEvent& event) {
    if (!machine) machine = std::make_unique<WatchMachine>(options, random);
    return machine->step(event, now);
  }
  void to_watching(std::string version = "10") {
    step(Started{});
    step(PageReceived{std::move(version), ""});
    step(WatchOpened{});
    ASSERT_EQ(machine->state(), WatchMachine::State::kWatching);
  }
  static FrameReceived frame(FrameType type, std::string version) {
    return {type, std::move(version), {}};
  }
  static FrameReceived error_frame(Error e) { return {FrameType::kError, "", std::move(e)}; }
  template <typename T>
  static const T* find(const std::vector<WatchAction>& actions) {
    for (const auto& action : actions) {
      if (const T* found = std::get_if<T>(&action)) return found;
    }
    return nullptr;
  }
  using Actions = std::vector<WatchAction>;

  WatchOptions options;
  CounterRandom random{1, 1};
  Nanos now = Seconds{1000};
  std::unique_ptr<WatchMachine> machine;
};

TEST_F(Machine, ListsInPagesThenWatches) {
  EXPECT_EQ(step(Started{}), (Actions{ListPage{"", 500}}));
  EXPECT_EQ(step(Started{}), Actions{}) << "only once";
  EXPECT_EQ(step(PageReceived{"7", "t1"}), (Actions{ListPage{"t1", 500}}));
  EXPECT_EQ(step(PageReceived{"7", ""}), (Actions{CommitList{"7"}, OpenWatch{"7", 300}}));
  EXPECT_EQ(step(WatchOpened{}), Actions{});
}

TEST_F(Machine, ResumesAtTheLastVersionSeen) {
  to_watching();
  EXPECT_EQ(step(frame(FrameType::kAdded, "11")), Actions{DeliverFrame{}});
  EXPECT_EQ(step(frame(FrameType::kBookmark, "20")), Actions{AdvanceVersion{"20"}});
  now += Seconds{300};
  EXPECT_EQ(step(WatchEnded{}), (Actions{OpenWatch{"20", 300}}));
  step(WatchOpened{});
  now += Seconds{5};
  EXPECT_EQ(step(WatchEnded{}), (Actions{OpenWatch{"20", 300}}))
      << "an empty but long watch is fine";
}

TEST_F(Machine, WatchTimeoutIsSpread) {
  options.timeout_spread_seconds = 300;
  std::set<std::int64_t> seen;
  step(Started{});
  auto actions = step(PageReceived{"1", ""});
  for (int i = 0; i < 50; ++i) {
    const auto* open = find<OpenWatch>(actions);
    ASSERT_TRUE(open);
    EXPECT_GE(open->timeout_seconds, 300);
    EXPECT_LT(open->timeout_seconds, 600);
    seen.insert(open->timeout_seconds);
    step(WatchOpened{});
    now += Seconds{10};
    actions = step(WatchEnded{});
  }
  EXPECT_GT(seen.size(), 20u);
}

TEST_F(Machine, ExpiredByStatusListsAgainAtOnceThenBacksOff) {
  step(Started{});
  step(PageReceived{"5", ""});
  EXPECT_EQ(*find<ListPage>(step(WatchRefused{kExpired})), (ListPage{"", 500}));
  step(PageReceived{"6", ""});
  EXPECT_EQ(*find<Wait>(step(WatchRefused{kExpired})), Wait{Millis{800}}) << "no tight loop";
  EXPECT_EQ(*find<ListPage>(step(TimerFired{})), (ListPage{"", 500}));
}

TEST_F(Machine, ExpiredByEventListsAgain) {
  to_watching();
  const auto actions = step(error_frame(kExpired));
  EXPECT_TRUE(find<CancelWatch>(actions));
  EXPECT_EQ(*find<ListPage>(actions), (ListPage{"", 500}));
  EXPECT_EQ(step(frame(FrameType::kAdded, "99")), Actions{}) << "what comes late belongs to nobody";
}

TEST_F(Machine, TooLargeVersionIsTreatedAsExpired) {
  to_watching();
  step(WatchEnded{});
  now += Seconds{10};
  machine.reset();
  step(Started{});
  step(PageReceived{"5", ""});
  EXPECT_TRUE(find<ListPage>(step(WatchRefused{error(Code::kTimeout, "ResourceVersionTooLarge")})));
}

TEST_F(Machine, ExpiredContinueTokenTurnsPagingOffOnce) {
  step(Started{});
  step(PageReceived{"7", "t1"});
  EXPECT_EQ(*find<ListPage>(step(ListFailed{kExpired})), (ListPage{"", 0}));
  step(PageReceived{"9", ""});
  step(WatchOpened{});
  EXPECT_EQ(*find<ListPage>(step(error_frame(kExpired))), (ListPage{"", 500}));
}

TEST_F(Machine, BusyServerGetsTheSameWatchLater) {
  step(Started{});
  step(PageReceived{"5", ""});
  EXPECT_EQ(*find<Wait>(step(WatchRefused{kBusy, Seconds{7}})), Wait{Seconds{7}})
      << "Retry-After counts";
  EXPECT_EQ(step(TimerFired{}), (Actions{OpenWatch{"5", 300}}));
  EXPECT_EQ(*find<Wait>(step(WatchRefused{kBusy})), Wait{Millis{1600}});
}

TEST_F(Machine, RefusalThatWillNotPassListsAgain) {
  step(Started{});
  step(PageReceived{"5", ""});
  EXPECT_TRUE(find<Wait>(step(WatchRefused{kForbidden})));
  EXPECT_EQ(step(TimerFired{}), (Actions{ListPage{"", 500}}));
}

TEST_F(Machine, OtherErrorEventsBackOff) {
  to_watching();
  auto actions = step(error_frame(kBusy));
  EXPECT_TRUE(find<CancelWatch>(actions));
  EXPECT_EQ(step(TimerFired{}), (Actions{OpenWatch{"10", 300}}));
  step(WatchOpened{});
  step(error_frame(error(Code::kUnavailable, "InternalError")));
  EXPECT_EQ(step(TimerFired{}), (Actions{ListPage{"", 500}}));
}

TEST_F(Machine, VeryShortEmptyWatchBacksOff) {
  to_watching();
  now += Millis{500};
  EXPECT_EQ(step(WatchEnded{}), Actions{Wait{Millis{800}}});
  EXPECT_EQ(step(TimerFired{}), (Actions{OpenWatch{"10", 300}}));
  EXPECT_EQ(step(WatchEnded{}), Actions{Wait{Millis{1600}}}) << "ended before it opened";
}

TEST_F(Machine, BackoffGrowsIsCappedAndForgotten) {
  step(Started{});
  std::vector<std::int64_t> delays;
  for (int i = 0; i < 8; ++i) {
    delays.push_back(
        std::chrono::duration_cast<Millis>(find<Wait>(step(ListFailed{kBusy}))->delay).count());
    step(TimerFired{});
  }
  EXPECT_EQ(delays, (std::vector<std::int64_t>{800, 1600, 3200, 6400, 12800, 25600, 30000, 30000}));
  now += Seconds{121};
  EXPECT_EQ(*find<Wait>(step(ListFailed{kBusy})), Wait{Millis{800}});
}

TEST_F(Machine, BrokenStreamListsAgain) {
  to_watching();
  const auto actions = step(WatchBroken{error(Code::kUnavailable, "InvalidFrame")});
  EXPECT_TRUE(find<CancelWatch>(actions));
  EXPECT_TRUE(find<Wait>(actions));
  EXPECT_EQ(step(TimerFired{}), (Actions{ListPage{"", 500}}));
}

// Every event in every state: no state is left without a way on.
TEST_F(Machine, EventsOfAnotherStateChangeNothing) {
  to_watching();
  for (const WatchEvent& event :
       std::vector<WatchEvent>{Started{}, PageReceived{"1", ""}, ListFailed{kBusy}, WatchOpened{},
                               WatchRefused{kBusy}, TimerFired{}}) {
    EXPECT_EQ(step(event), Actions{});
    EXPECT_EQ(machine->state(), WatchMachine::State::kWatching);
    EXPECT_EQ(machine->resource_version(), "10");
  }
}

// --- frames ---------------------------------------------------------------------------------

const std::string kStream =
    R"({"type":"ADDED","object":{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a\n\u00fc","resourceVersion":"3"}}})"
    "\n"
    R"({"object":{"metadata":{"resourceVersion":"4"}},"type":"BOOKMARK"})"
    "\r\n\n"
    R"({"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired"}})"
    "\n";

TEST(Frames, SplitAtEveryPosition) {
  for (std::size_t cut = 0; cut <= kStream.size(); ++cut) {
    for (std::size_t second : {cut, std::min(cut + 1, kStream.size()), kStream.size()}) {
      FrameSplitter splitter;
      std::vector<Frame> frames;
      auto sink = [&](std::string_view line) -> Status {
        TRY_ASSIGN(auto frame, parse_frame(line));
        frames.push_back(std::move(frame));
        return ok_status();
      };
      const std::string_view all = kStream;
      for (auto part : {all.substr(0, cut), all.substr(cut, second - cut), all.substr(second)}) {
        ASSERT_TRUE(splitter.feed(part, sink).ok());
      }
      ASSERT_EQ(frames.size(), 3u) << "cut at " << cut;
      EXPECT_EQ(frames[0].type, FrameType::kAdded);
      EXPECT_EQ(frames[0].resource_version, "3");
      EXPECT_TRUE(frames[0].object.starts_with(R"({"kind":"ConfigMap")")) << frames[0].object;
      EXPECT_TRUE(frames[0].object.ends_with(R"("3"}})")) << frames[0].object;
      EXPECT_EQ(frames[1].type, FrameType::kBookmark);
      EXPECT_EQ(frames[1].resource_version, "4");
      EXPECT_EQ(frames[2].type, FrameType::kError);
      EXPECT_EQ(splitter.pending(), 0u);
    }
  }
}

TEST(Frames, BadFramesAreErrors) {
  for (const char* bad :
       {"nonsense", "[]", "{}", R"({"type":"SURPRISE","object":{}})", R"({"type":"ADDED"})",
        R"({"type":"ADDED","object":7})", R"({"type":"ADDED","object":{"a":)", "\x01overflow"}) {
    auto frame = parse_frame(bad);
    ASSERT_FALSE(frame.ok()) << bad;
    EXPECT_EQ(frame.error().reason, "InvalidFrame");
  }
  FrameSplitter splitter(10);
  EXPECT_EQ(
      splitter.feed("0123456789x", [](std::string_view) { return ok_status(); }).error().reason,
      "FrameTooLarge");
}

// Ten times the bytes may not take a hundred times the work; counted in callbacks and bytes kept.
TEST(Frames, ManySmallChunksAreLinear) {
  FrameSplitter splitter;
  std::size_t lines = 0;
  const std::string line(1 << 20, 'x');
  for (int i = 0; i < 16; ++i) {
    for (std::size_t at = 0; at < line.size(); at += 64) {
      ASSERT_TRUE(splitter
                      .feed(std::string_view(line).substr(at, 64),
                            [&](std::string_view) {
                              ++lines;
                              return ok_status();
                            })
                      .ok());
    }
    ASSERT_TRUE(splitter
                    .feed("\n",
                          [&](std::string_view l) {
                            ++lines;
                            EXPECT_EQ(l.size(), line.size());
                            return ok_status();
                          })
                    .ok());
  }
  EXPECT_EQ(lines, 16u);
}

TEST(Frames, PagesGiveTheTextOfEachItem) {
  auto page = parse_page(
      R"({"kind":"ConfigMapList","apiVersion":"v1","metadata":{"continue":"c","resourceVersion":"12"},)"
      R"("items":[{"metadata":{"name":"a"}}, {"metadata":{"name":"b","x":[1,{"y":"}"}]}}]})");
  ASSERT_TRUE(page.ok()) << page.error().to_string();
  EXPECT_EQ(page->items,
            (std::vector<std::string>{R"({"metadata":{"name":"a"}})",
                                      R"({"metadata":{"name":"b","x":[1,{"y":"}"}]}})"}));
  EXPECT_EQ(page->resource_version, "12");
  EXPECT_EQ(page->continue_token, "c");
  auto reversed = parse_page(R"({"items":[{"a":1}],"metadata":{"resourceVersion":"12"}})");
  ASSERT_TRUE(reversed.ok());
  EXPECT_EQ(reversed->items.size(), 1u);
  auto null_items = parse_page(R"({"metadata":{"resourceVersion":"1"},"items":null})");
  ASSERT_TRUE(null_items.ok());
  EXPECT_TRUE(null_items->items.empty());
  for (const char* bad :
       {"", "{}", "nope", R"({"metadata":{},"items":[{"a":1},)", R"({"metadata":{},"items":{}})",
        R"({"items":[]})", R"({"metadata":{"resourceVersion":"1"},"items":[7]})"}) {
    EXPECT_FALSE(parse_page(bad).ok()) << bad;
  }
}

}  // namespace
}  // namespace tango::kube
