#include "operator/run_store.h"

#include <gtest/gtest.h>

namespace tango::op {
namespace {

run::Event event(std::string run, int attempt, std::int64_t seq, std::string type, Json fields) {
  return {seq,
          "2026-11-21T12:00:00.000000Z",
          std::move(run),
          attempt,
          std::move(type),
          std::move(fields)};
}

TEST(RunStore, KeepsEveryEventOnceAcrossRestarts) {
  TempDir dir;
  for (int round = 0; round < 2; ++round) {
    auto store = RunStore::open(dir / "runs.db");
    ASSERT_TRUE(store.ok());
    for (int i = 0; i < 3; ++i) {
      ASSERT_TRUE(
          (*store)
              ->append({event("r", 1, 0, "phase", {{"phase", "train"}}),
                        event("r", 1, 1, "epoch", {{"epoch", 1}, {"epochs", 4}, {"loss", 0.5}})})
              .ok());
    }
    auto page = (*store)->events("r", "", 0, 100);
    ASSERT_TRUE(page.ok());
    EXPECT_EQ(page->events.size(), 2u);
  }
}

TEST(RunStore, AnswersProgressAndPages) {
  TempDir dir;
  auto store = RunStore::open(dir / "runs.db");
  ASSERT_TRUE(store.ok());
  std::vector<run::Event> events = {event("r", 1, 0, "phase", {{"phase", "train"}})};
  for (int i = 1; i <= 20; ++i)
    events.push_back(event("r", 1, i, "epoch", {{"epoch", i}, {"epochs", 20}, {"loss", 1.0 / i}}));
  ASSERT_TRUE((*store)->append(events).ok());
  auto progress = (*store)->progress("r");
  ASSERT_TRUE(progress.ok() && progress->has_value());
  EXPECT_EQ((*progress)->epoch, 20);
  EXPECT_EQ((*progress)->phase, "train");
  EXPECT_FALSE((*progress)->images_per_second.has_value()) << "what was not said is absent";
  EXPECT_FALSE((*store)->progress("other")->has_value());
  std::size_t seen = 0;
  std::int64_t row = 0;
  while (true) {
    auto page = (*store)->events("r", "epoch", row, 7);
    ASSERT_TRUE(page.ok());
    seen += page->events.size();
    row = page->last_row;
    if (!page->more) break;
  }
  EXPECT_EQ(seen, 20u);
}

TEST(RunStore, BoundsRunsAndTheirLength) {
  TempDir dir;
  auto store = RunStore::open(dir / "runs.db", {.max_events_per_run = 10, .max_runs = 2});
  ASSERT_TRUE(store.ok());
  for (int i = 0; i < 10; ++i)
    ASSERT_TRUE((*store)->append({event("a", 1, i, "step", {{"step", i}})}).ok());
  EXPECT_EQ((*store)->append({event("a", 1, 10, "step", {})}).error().reason, "RunTooLong");
  ASSERT_TRUE((*store)->append({event("b", 1, 0, "done", {})}).ok());
  ASSERT_TRUE((*store)->append({event("c", 1, 0, "done", {})}).ok());
  EXPECT_FALSE((*store)->progress("a")->has_value()) << "the oldest run is forgotten";
  EXPECT_TRUE((*store)->progress("c")->value().done);
}

TEST(RunStore, ABrokenFileIsReplaced) {
  TempDir dir;
  ASSERT_TRUE(write_file_atomic(dir / "runs.db", std::string(8192, 'x')).ok());
  auto store = RunStore::open(dir / "runs.db");
  ASSERT_TRUE(store.ok()) << store.error().message;
  EXPECT_TRUE(fs::exists(dir / "runs.db.broken"));
  EXPECT_TRUE((*store)->append({event("r", 1, 0, "done", {})}).ok());
}

}  // namespace
}  // namespace tango::op
