#include "device-agent/journal.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>
#include <unistd.h>

#include <cstdlib>

#include "lib/base/json.h"

namespace tango::agent {
namespace {

Failure sample_failure(std::size_t message = 40) {
  Failure f = artifacts::make_failure("LatencyExceeded", "health", "agent",
                                      std::string(message, 'm'), "main");
  f.at = TimePoint{Seconds{1'750'000'000}};
  return f;
}

ReleaseRef sample_release(char c, std::uint64_t sequence) {
  return {sha256(std::string(1, c)), sequence, 3, 9, "uid-" + std::string(1, c),
          sha256("{}").to_string()};
}

SlotRecord sample_record() {
  SlotRecord r;
  r.state = SlotState::kTrial;
  r.highest_sequence = 7;
  r.security_version = 3;
  r.trial_starts = 1;
  r.next_report = 5;
  r.current = sample_release('a', 6);
  r.previous = sample_release('b', 5);
  r.candidate = sample_release('c', 7);
  r.last_failure = sample_failure();
  r.rejected.push_back({sha256("bad"), 4, "KnownAnswerFailed", 0x1122334455667788ull});
  r.outbox.push_back({4,
                      6,
                      sha256("a"),
                      Report::Kind::kCommitted,
                      1'750'000'000,
                      12,
                      1000,
                      2000,
                      50,
                      1u << 20,
                      {}});
  r.outbox.push_back({5, 7, sha256("c"), Report::Kind::kRolledBack, 1'750'000'001, 0, 0, 0, 0, 0,
                      sample_failure()});
  return r;
}

std::string file_bytes(const fs::path& path) { return read_file(path).value(); }

void overwrite(const fs::path& path, off_t at, std::string_view bytes) {
  const Fd fd(::open(path.c_str(), O_WRONLY));
  ASSERT_EQ(::pwrite(fd.get(), bytes.data(), bytes.size(), at), static_cast<ssize_t>(bytes.size()));
}

TEST(Crc32c, MatchesTheVectorsOfRfc3720) {
  const std::string digits = "123456789";
  const auto crc = [](std::string_view s) {
    return crc32c({reinterpret_cast<const std::uint8_t*>(s.data()), s.size()});
  };
  EXPECT_EQ(crc(digits), 0xE3069283u);
  EXPECT_EQ(crc(std::string(32, '\0')), 0x8A9136AAu);
  EXPECT_EQ(crc(std::string(32, '\xff')), 0x62A8AB43u);
}

// The committed vectors pin the bytes: a device in the field must read what an older agent wrote.
TEST(JournalFormat, RecordsAreExactlyTheBytesOfTheVectors) {
  const fs::path file =
      fs::path(std::getenv("TANGO_SOURCE_DIR")) / "docs/formats/vectors/journal.json";
  Json made = {
      {"slot", {{"number", 41}, {"sha256", sha256(encode_record(41, sample_record())).hex()}}},
      {"empty", {{"number", 1}, {"sha256", sha256(encode_record(1, SlotRecord{})).hex()}}},
      {"device",
       {{"number", 2},
        {"sha256", sha256(encode_record(2, DeviceRecord{3, 1'750'000'000, 1})).hex()}}}};
  const auto used = [](const std::string& record) {
    std::size_t end = kRecordBytes - 4;
    while (end > 0 && record[end - 1] == '\0') --end;
    return to_hex({reinterpret_cast<const std::uint8_t*>(record.data()), end});
  };
  const auto tail = [](const std::string& record) {
    return to_hex({reinterpret_cast<const std::uint8_t*>(record.data()) + kRecordBytes - 4, 4});
  };
  for (const auto& [name, record] :
       {std::pair{"slot", encode_record(41, sample_record())},
        {"empty", encode_record(1, SlotRecord{})},
        {"device", encode_record(2, DeviceRecord{3, 1'750'000'000, 1})}}) {
    made[name]["bytes"] = used(record);
    made[name]["crc"] = tail(record);
  }
  if (std::getenv("TANGO_WRITE_VECTORS") != nullptr) {
    ASSERT_TRUE(write_file_atomic(file, dump_json(made, 1) + "\n").ok());
  }
  const auto stored = read_file(file);
  ASSERT_TRUE(stored.ok()) << file;
  EXPECT_EQ(parse_json(*stored).value(), made);
}

TEST(JournalFormat, RoundTrips) {
  const auto back = decode_slot_record(encode_record(41, sample_record()));
  ASSERT_TRUE(back.ok()) << back.error().to_string();
  EXPECT_EQ(back->first, 41u);
  EXPECT_EQ(back->second, sample_record());
}

TEST(JournalFormat, TheLargestRecordFits) {
  SlotRecord r = sample_record();
  const std::string word(500, 'w');
  for (auto* ref : {&r.current, &r.previous, &r.candidate}) (*ref)->deployment_uid = word;
  Failure big = sample_failure(5000);
  big.phase = big.component = big.element = big.code = word;
  r.last_failure = big;
  r.rejected.assign(20, {sha256("x"), 1, word, 2});
  r.outbox.assign(9, {1, 1, sha256("x"), Report::Kind::kRolledBack, 1, 1, 1, 1, 1, 1, big});
  r.outbox.back().id = 77;
  const auto back = decode_slot_record(encode_record(1, r));
  ASSERT_TRUE(back.ok()) << back.error().to_string();
  EXPECT_EQ(back->second.rejected.size(), kMaxRejected);
  ASSERT_EQ(back->second.outbox.size(), kMaxOutbox);
  EXPECT_EQ(back->second.outbox.back().id, 77u) << "the newest entries are kept";
  EXPECT_EQ(back->second.last_failure->message.size(), kMaxMessageBytes);
}

TEST(JournalFormat, MessagesAreCutAtACharacter) {
  SlotRecord r;
  Failure f = sample_failure(0);
  f.message = std::string(kMaxMessageBytes - 1, 'a') + "\xC3\xA4";
  r.last_failure = f;
  const auto back = decode_slot_record(encode_record(1, r));
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(back->second.last_failure->message, std::string(kMaxMessageBytes - 1, 'a'));
}

RC_GTEST_PROP(JournalFormat, AFlippedBitIsNeverAccepted, ()) {
  std::string bytes = encode_record(3, sample_record());
  const auto bit = *rc::gen::inRange<std::size_t>(0, kRecordBytes * 8);
  bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << (bit % 8)));
  RC_ASSERT(!decode_slot_record(bytes).ok());
}

RC_GTEST_PROP(JournalFormat, GarbageWithAValidCrcNeverCrashes, ()) {
  std::string bytes = encode_record(3, sample_record());
  for (int i = 0; i < 8; ++i) {
    bytes[*rc::gen::inRange<std::size_t>(8, 600)] = static_cast<char>(*rc::gen::inRange(0, 256));
  }
  const std::uint32_t crc =
      crc32c({reinterpret_cast<const std::uint8_t*>(bytes.data()), kRecordBytes - 4});
  for (int i = 0; i < 4; ++i)
    bytes[kRecordBytes - 4 + static_cast<std::size_t>(i)] =
        static_cast<char>((crc >> (8 * i)) & 0xFF);
  (void)decode_slot_record(bytes);
}

TEST(JournalFile, KeepsTheNewestRecordOverReopening) {
  const TempDir dir;
  for (std::uint64_t i = 1; i <= 5; ++i) {
    auto journal = SlotJournal::open(dir / "journal");
    ASSERT_TRUE(journal.ok());
    EXPECT_EQ(journal->number(), i - 1);
    SlotRecord r = journal->record();
    r.highest_sequence = i;
    ASSERT_TRUE(journal->write(r).ok());
  }
  EXPECT_EQ(SlotJournal::open(dir / "journal")->record().highest_sequence, 5u);
  EXPECT_EQ(fs::file_size(dir / "journal"), 8192u);
}

TEST(JournalFile, ATornWriteLeavesTheFormerRecord) {
  const TempDir dir;
  {
    auto journal = SlotJournal::open(dir / "journal");
    for (std::uint64_t i = 1; i <= 2; ++i) {
      SlotRecord r;
      r.highest_sequence = i;
      ASSERT_TRUE(journal->write(r).ok());
    }
  }
  // Record 2 lies at offset 0: half of it was written.
  overwrite(dir / "journal", 0, std::string(100, '\x5A'));
  auto journal = SlotJournal::open(dir / "journal");
  ASSERT_TRUE(journal.ok());
  EXPECT_EQ(journal->record().highest_sequence, 1u);
  SlotRecord r;
  r.highest_sequence = 3;
  ASSERT_TRUE(journal->write(r).ok());
  EXPECT_EQ(SlotJournal::open(dir / "journal")->record().highest_sequence, 3u);
}

TEST(JournalFile, TwoDamagedRecordsAreAnErrorAndNotAFreshStart) {
  const TempDir dir;
  {
    auto journal = SlotJournal::open(dir / "journal");
    ASSERT_TRUE(journal->write(SlotRecord{}).ok());
    ASSERT_TRUE(journal->write(SlotRecord{}).ok());
  }
  overwrite(dir / "journal", 20, "damage");
  overwrite(dir / "journal", 4096 + 20, "damage");
  const auto journal = SlotJournal::open(dir / "journal");
  ASSERT_FALSE(journal.ok());
  EXPECT_EQ(journal.error().reason, "JournalCorrupt");
}

TEST(JournalFile, RefusesALinkAndAnotherKind) {
  const TempDir dir;
  ASSERT_TRUE(DeviceJournal::open(dir / "device").ok());
  ASSERT_TRUE(DeviceJournal::open(dir / "device")->write(DeviceRecord{1, 2, 3}).ok());
  EXPECT_FALSE(SlotJournal::open(dir / "device").ok());
  fs::create_symlink(dir / "device", dir / "link");
  EXPECT_FALSE(DeviceJournal::open(dir / "link").ok());
  EXPECT_EQ(file_bytes(dir / "device").size(), 8192u);
}

}  // namespace
}  // namespace tango::agent
