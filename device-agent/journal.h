// The journal of a slot and of the device: two preallocated 4 KiB records, written in turn, each
// with a sequence number and a CRC32C, so that a torn write leaves the other one and a full disk
// never blocks a rollback. Exact bytes: docs/formats/journal.md. It holds no bulk data and decides
// nothing; the transition table (transitions.h) says what may be written when.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/artifacts/failure.h"
#include "lib/base/digest.h"
#include "lib/base/file.h"
#include "lib/base/result.h"

namespace tango::agent {

using artifacts::Failure;

inline constexpr std::size_t kRecordBytes = 4096;
inline constexpr std::size_t kMaxRejected = 8;  // newest are kept
inline constexpr std::size_t kMaxOutbox = 3;    // newest are kept
inline constexpr std::size_t kMaxMessageBytes = 384;
inline constexpr std::size_t kMaxWordBytes = 64;  // phase, code, uid, ...

// CRC-32C (Castagnoli, reflected 0x82F63B78), as in RFC 3720 B.4.
std::uint32_t crc32c(std::span<const std::uint8_t> data);

enum class SlotState : std::uint8_t {
  kIdle = 0,         // no release
  kStaging = 1,      // receiving an incoming release
  kStaged = 2,       // incoming release complete and verified
  kTrial = 3,        // incoming release runs on probation
  kCommitted = 4,    // current runs, nothing in flight
  kRollingBack = 5,  // returning to the release before
  kBroken = 6,       // neither the incoming nor the former release can run
  kRemoving = 7,     // taking everything of this slot away
};
inline constexpr int kSlotStates = 8;
std::string_view to_string(SlotState state);

// A release as the signed assignment named it.
struct ReleaseRef {
  Digest digest;  // of the bundle index
  std::uint64_t sequence = 0;
  std::uint64_t security_version = 0;
  std::uint64_t generation = 0;
  std::string deployment_uid;
  std::string config_digest;  // "sha256:..." or empty
  bool operator==(const ReleaseRef&) const = default;
};

// A digest that failed its trial; it is not tried again for the same deployment and retry token.
struct Rejected {
  Digest digest;
  std::uint64_t sequence = 0;
  std::string code;
  std::uint64_t key = 0;  // of deployment uid and retry token, see rejection_key()
  bool operator==(const Rejected&) const = default;
};

// A result that the operator has not acknowledged yet.
struct Report {
  enum class Kind : std::uint8_t { kCommitted = 1, kRolledBack = 2, kRemoved = 3 };
  std::uint64_t id = 0;  // rises within the slot; the operator drops repeats by it
  std::uint64_t sequence = 0;
  Digest digest;
  Kind kind = Kind::kCommitted;
  std::int64_t at = 0;  // seconds since 1970, UTC
  std::uint32_t downtime_ms = 0;
  std::uint32_t p50_us = 0, p95_us = 0, iterations = 0;  // measured here; 0: not measured
  std::uint64_t memory_bytes = 0;                        // peak; 0: not measured
  std::optional<Failure> failure;
  bool operator==(const Report&) const = default;
};
std::string_view to_string(Report::Kind kind);

struct SlotRecord {
  SlotState state = SlotState::kIdle;
  std::uint64_t highest_sequence = 0;  // highest assignment accepted
  std::uint64_t security_version = 0;  // rises only when a release commits
  std::uint32_t trial_starts = 0;
  std::uint64_t next_report = 1;
  std::optional<ReleaseRef> current, previous, candidate;
  std::vector<Rejected> rejected;
  std::optional<Failure> last_failure;
  std::vector<Report> outbox;
  bool operator==(const SlotRecord&) const = default;
};

struct DeviceRecord {
  std::uint64_t fleet_epoch = 0;   // highest seen; a lower one is refused
  std::int64_t highest_time = 0;   // seconds since 1970, from verified issuedAt only
  std::uint64_t root_version = 0;  // of the pinned root.json; 0: none yet
  bool operator==(const DeviceRecord&) const = default;
};

// One 4 KiB record. Over-long strings are cut at a UTF-8 border, lists to their newest entries.
std::string encode_record(std::uint64_t number, const SlotRecord& record);
std::string encode_record(std::uint64_t number, const DeviceRecord& record);
// Errors: JournalCorrupt (magic, version, CRC, a field out of range).
Result<std::pair<std::uint64_t, SlotRecord>> decode_slot_record(std::string_view bytes);
Result<std::pair<std::uint64_t, DeviceRecord>> decode_device_record(std::string_view bytes);

// The file with the two records. Not thread-safe: its owner serialises.
template <typename Record>
class Journal {
 public:
  // Opens or creates (8 KiB, written out and fsynced with its folder).
  // Errors: JournalCorrupt when neither record is valid and the file is not fresh, IoError,
  // DiskFull.
  static Result<Journal> open(const fs::path& path);
  const Record& record() const { return record_; }
  std::uint64_t number() const { return number_; }
  // Durable when it returns ok. On an error the former record still counts.
  Status write(Record record);

 private:
  Journal(Fd fd, std::uint64_t number, Record record)
      : fd_(std::move(fd)), number_(number), record_(std::move(record)) {}
  Fd fd_;
  std::uint64_t number_ = 0;  // of the newest record; record n lies at 4096 * (n mod 2)
  Record record_;
};
using SlotJournal = Journal<SlotRecord>;
using DeviceJournal = Journal<DeviceRecord>;

}  // namespace tango::agent
