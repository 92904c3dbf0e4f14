#include <gtest/gtest.h>

#include "lib/base/backoff.h"
#include "lib/base/clock.h"

namespace tango {
namespace {

TEST(Time, FormatsAndParsesRfc3339) {
  auto t = parse_time("2026-11-21T12:34:56Z");
  ASSERT_TRUE(t.ok());
  EXPECT_EQ(format_time(*t), "2026-11-21T12:34:56Z");
  EXPECT_EQ(*parse_time("2026-11-21T21:34:56+09:00"), *t);
  EXPECT_EQ(format_time_micro(*parse_time("2026-11-21T12:34:56.123456789Z")),
            "2026-11-21T12:34:56.123456Z");
  for (const char* bad : {"", "2026-11-21", "2026-02-30T00:00:00Z", "2026-11-21T25:00:00Z",
                          "2026-11-21T12:34:56", "yesterday"}) {
    EXPECT_EQ(parse_time(bad).error().reason, "InvalidTime") << bad;
  }
}

TEST(Time, ParsesGoDurations) {
  EXPECT_EQ(*parse_duration("15ms"), Millis{15});
  EXPECT_EQ(*parse_duration("1us"), Nanos{1000});
  EXPECT_EQ(*parse_duration("1h30m"), std::chrono::minutes{90});
  EXPECT_EQ(*parse_duration("1.5s"), Millis{1500});
  EXPECT_EQ(*parse_duration("-2m"), -std::chrono::minutes{2});
  for (const char* bad : {"", "5", "s", "1x", "1 s", "..s", "99999999h99999999h"}) {
    EXPECT_EQ(parse_duration(bad).error().reason, "InvalidDuration") << bad;
  }
  for (const char* text : {"1h30m0s", "15ms", "1.5us", "2m3.25s", "0s", "7ns"}) {
    EXPECT_EQ(format_duration(*parse_duration(text)), text);
  }
}

TEST(Time, AgesReadAsInKubectl) {
  EXPECT_EQ(human_age(Seconds{5}), "5s");
  EXPECT_EQ(human_age(Seconds{119}), "119s");
  EXPECT_EQ(human_age(Seconds{200}), "3m20s");
  EXPECT_EQ(human_age(Seconds{3600 * 5 + 60}), "5h1m");
  EXPECT_EQ(human_age(Seconds{86400 * 3}), "3d");
}

TEST(Backoff, GrowsToItsCapAndResets) {
  CounterRandom random(1, 2);
  Backoff b({Millis{800}, 2.0, 0.0, Seconds{30}}, random);
  EXPECT_EQ(b.next(), Millis{800});
  EXPECT_EQ(b.next(), Millis{1600});
  for (int i = 0; i < 2000; ++i) EXPECT_LE(b.next(), Seconds{30});
  b.reset();
  EXPECT_EQ(b.next(), Millis{800});
}

}  // namespace
}  // namespace tango
