#include "device-agent/release_log.h"

#include <gtest/gtest.h>

namespace tango::agent {
namespace {

TEST(ReleaseLog, CursorsSurviveRotationAndReopening) {
  const TempDir dir;
  std::string all;
  std::uint64_t cursor = 0;
  std::string read;
  for (int i = 0; i < 50; ++i) {
    auto log = ReleaseLog::open(dir / "logs", {100, 20});
    ASSERT_TRUE(log.ok());
    const std::string line = "line " + std::to_string(i) + "\n";
    log->append(line);
    all += line;
    const auto piece = log->read(cursor, 1000);
    ASSERT_TRUE(piece.ok());
    EXPECT_FALSE(piece->truncated);
    read += piece->text;
    cursor = piece->next;
  }
  EXPECT_EQ(read, all);
}

TEST(ReleaseLog, OldSegmentsAreDroppedAndThatIsSaid) {
  const TempDir dir;
  auto log = ReleaseLog::open(dir / "logs", {100, 3}).value();
  for (int i = 0; i < 200; ++i) log.append("0123456789");
  std::uint64_t bytes = 0;
  for (const auto& entry : fs::directory_iterator(dir / "logs")) bytes += entry.file_size();
  EXPECT_LE(bytes, 400u);
  const auto piece = log.read(std::uint64_t{0}, 10'000).value();
  EXPECT_TRUE(piece.truncated);
  EXPECT_EQ(piece.next, 2000u);
  EXPECT_EQ(log.read(std::uint64_t{2000}, 100)->text, "");
}

TEST(ReleaseLog, WithoutACursorTheNewestBytesCome) {
  const TempDir dir;
  auto log = ReleaseLog::open(dir / "logs").value();
  log.append("old old old new");
  const auto piece = log.read(std::nullopt, 3).value();
  EXPECT_EQ(piece.text, "new");
  EXPECT_TRUE(piece.truncated);
}

}  // namespace
}  // namespace tango::agent
