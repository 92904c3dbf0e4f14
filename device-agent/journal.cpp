#include "device-agent/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "device-agent/byte_codec.h"

namespace tango::agent {
namespace {

constexpr std::uint32_t kMagic = 0x314A4754;  // "TGJ1"
constexpr std::uint16_t kVersion = 1;
constexpr std::uint16_t kKindSlot = 1;
constexpr std::uint16_t kKindDevice = 2;
constexpr std::size_t kCrcOffset = kRecordBytes - 4;
constexpr std::size_t kConfigDigestBytes = 71;  // "sha256:" and 64 digits

void put_failure(ByteWriter& w, const Failure& f) {
  w.text(f.phase, 16);
  w.text(f.component, kMaxWordBytes);
  w.text(f.element, kMaxWordBytes);
  w.text(f.code, kMaxWordBytes);
  w.u8(f.retryable ? 1 : 0);
  w.u32(static_cast<std::uint32_t>(f.attempt));
  w.u64(static_cast<std::uint64_t>(
      std::chrono::duration_cast<Seconds>(f.at.time_since_epoch()).count()));
  w.text(f.message, kMaxMessageBytes);
}

Failure get_failure(ByteReader& r) {
  Failure f;
  f.phase = r.text(16);
  f.component = r.text(kMaxWordBytes);
  f.element = r.text(kMaxWordBytes);
  f.code = r.text(kMaxWordBytes);
  f.retryable = r.u8() != 0;
  f.attempt = static_cast<int>(r.u32() & 0x7FFFFFFFu);
  // Clamped so that hostile seconds cannot overflow the nanoseconds of a TimePoint.
  f.at = TimePoint{Seconds{static_cast<std::int64_t>(r.u64() % 4'000'000'000ull)}};
  f.message = r.text(kMaxMessageBytes);
  return f;
}

void put_release(ByteWriter& w, const ReleaseRef& v) {
  w.digest(v.digest);
  w.u64(v.sequence);
  w.u64(v.security_version);
  w.u64(v.generation);
  w.text(v.deployment_uid, kMaxWordBytes);
  w.text(v.config_digest, kConfigDigestBytes);
}

ReleaseRef get_release(ByteReader& r) {
  ReleaseRef v{r.digest(), 0, 0, 0, {}, {}};
  v.sequence = r.u64();
  v.security_version = r.u64();
  v.generation = r.u64();
  v.deployment_uid = r.text(kMaxWordBytes);
  v.config_digest = r.text(kConfigDigestBytes);
  return v;
}

ByteWriter begin(std::uint64_t number, std::uint16_t kind) {
  ByteWriter w;
  w.u32(kMagic);
  w.u16(kVersion);
  w.u16(kind);
  w.u64(number);
  return w;
}

std::string finish(ByteWriter w) {
  std::string out = std::move(w.out());
  // The caps above keep every record below this; a change that breaks it must not be written.
  assert(out.size() <= kCrcOffset);
  out.resize(kCrcOffset, '\0');
  ByteWriter tail;
  tail.u32(crc32c({reinterpret_cast<const std::uint8_t*>(out.data()), out.size()}));
  return out + tail.out();
}

Error corrupt(std::string why) {
  return make_error(Code::kIo, "JournalCorrupt", "journal record is not valid: " + std::move(why));
}

// Checks frame and CRC; on success `r` stands at the first field.
Result<std::uint64_t> open_record(std::string_view bytes, std::uint16_t kind, ByteReader& r) {
  if (bytes.size() != kRecordBytes) return corrupt("it has not 4096 bytes");
  ByteReader tail(bytes.substr(kCrcOffset));
  const std::string_view body = bytes.substr(0, kCrcOffset);
  if (tail.u32() != crc32c({reinterpret_cast<const std::uint8_t*>(body.data()), body.size()})) {
    return corrupt("CRC32C does not match");
  }
  r = ByteReader(body);
  if (r.u32() != kMagic) return corrupt("wrong magic");
  if (r.u16() != kVersion) return corrupt("unknown version");
  if (r.u16() != kind) return corrupt("record is of another kind");
  return r.u64();
}

Result<std::pair<std::uint64_t, SlotRecord>> decode(std::string_view bytes, const SlotRecord*) {
  return decode_slot_record(bytes);
}
Result<std::pair<std::uint64_t, DeviceRecord>> decode(std::string_view bytes, const DeviceRecord*) {
  return decode_device_record(bytes);
}

Status pwrite_all(int fd, std::string_view data, off_t offset) {
  while (!data.empty()) {
    const ssize_t n = ::pwrite(fd, data.data(), data.size(), offset);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_error(errno, "writing the journal");
    data.remove_prefix(static_cast<std::size_t>(n));
    offset += n;
  }
  return ok_status();
}

}  // namespace

std::uint32_t crc32c(std::span<const std::uint8_t> data) {
  static const auto table = [] {
    std::array<std::uint32_t, 256> t{};
    for (std::uint32_t i = 0; i < 256; ++i) {
      std::uint32_t c = i;
      for (int k = 0; k < 8; ++k) c = (c & 1u) != 0 ? (c >> 1) ^ 0x82F63B78u : c >> 1;
      t[i] = c;
    }
    return t;
  }();
  std::uint32_t crc = 0xFFFFFFFFu;
  for (const std::uint8_t byte : data) crc = table[(crc ^ byte) & 0xFFu] ^ (crc >> 8);
  return crc ^ 0xFFFFFFFFu;
}

std::string_view to_string(SlotState state) {
  switch (state) {
    case SlotState::kIdle:
      return "Idle";
    case SlotState::kStaging:
      return "Staging";
    case SlotState::kStaged:
      return "Staged";
    case SlotState::kTrial:
      return "Trial";
    case SlotState::kCommitted:
      return "Committed";
    case SlotState::kRollingBack:
      return "RollingBack";
    case SlotState::kBroken:
      return "Broken";
    case SlotState::kRemoving:
      return "Removing";
  }
  return "Unknown";
}

std::string_view to_string(Report::Kind kind) {
  switch (kind) {
    case Report::Kind::kCommitted:
      return "committed";
    case Report::Kind::kRolledBack:
      return "rolledBack";
    case Report::Kind::kRemoved:
      return "removed";
  }
  return "unknown";
}

std::string encode_record(std::uint64_t number, const SlotRecord& v) {
  ByteWriter w = begin(number, kKindSlot);
  w.u8(static_cast<std::uint8_t>(v.state));
  const bool failed = v.last_failure.has_value();
  w.u8(static_cast<std::uint8_t>((v.current ? 1 : 0) | (v.previous ? 2 : 0) |
                                 (v.candidate ? 4 : 0) | (failed ? 8 : 0)));
  const std::size_t rejected = std::min(v.rejected.size(), kMaxRejected);
  const std::size_t reports = std::min(v.outbox.size(), kMaxOutbox);
  w.u8(static_cast<std::uint8_t>(rejected));
  w.u8(static_cast<std::uint8_t>(reports));
  w.u32(v.trial_starts);
  w.u64(v.highest_sequence);
  w.u64(v.security_version);
  w.u64(v.next_report);
  if (v.current) put_release(w, *v.current);
  if (v.previous) put_release(w, *v.previous);
  if (v.candidate) put_release(w, *v.candidate);
  if (failed) put_failure(w, *v.last_failure);
  for (std::size_t i = v.rejected.size() - rejected; i < v.rejected.size(); ++i) {
    w.digest(v.rejected[i].digest);
    w.u64(v.rejected[i].sequence);
    w.u64(v.rejected[i].key);
    w.text(v.rejected[i].code, 32);
  }
  for (std::size_t i = v.outbox.size() - reports; i < v.outbox.size(); ++i) {
    const Report& r = v.outbox[i];
    w.u64(r.id);
    w.u64(r.sequence);
    w.digest(r.digest);
    w.u8(static_cast<std::uint8_t>(r.kind));
    w.u8(r.failure ? 1 : 0);
    w.u64(static_cast<std::uint64_t>(r.at));
    w.u32(r.downtime_ms);
    w.u32(r.p50_us);
    w.u32(r.p95_us);
    w.u32(r.iterations);
    w.u64(r.memory_bytes);
    if (r.failure) put_failure(w, *r.failure);
  }
  return finish(std::move(w));
}

std::string encode_record(std::uint64_t number, const DeviceRecord& v) {
  ByteWriter w = begin(number, kKindDevice);
  w.u64(v.fleet_epoch);
  w.u64(static_cast<std::uint64_t>(v.highest_time));
  w.u64(v.root_version);
  return finish(std::move(w));
}

Result<std::pair<std::uint64_t, SlotRecord>> decode_slot_record(std::string_view bytes) {
  ByteReader r{{}};
  TRY_ASSIGN(const std::uint64_t number, open_record(bytes, kKindSlot, r));
  SlotRecord v;
  const std::uint8_t state = r.u8();
  if (state >= kSlotStates) return corrupt("unknown state");
  v.state = static_cast<SlotState>(state);
  const std::uint8_t has = r.u8();
  const std::uint8_t rejected = r.u8();
  const std::uint8_t reports = r.u8();
  if (rejected > kMaxRejected || reports > kMaxOutbox) return corrupt("too many list entries");
  v.trial_starts = r.u32();
  v.highest_sequence = r.u64();
  v.security_version = r.u64();
  v.next_report = r.u64();
  if ((has & 1) != 0) v.current = get_release(r);
  if ((has & 2) != 0) v.previous = get_release(r);
  if ((has & 4) != 0) v.candidate = get_release(r);
  if ((has & 8) != 0) v.last_failure = get_failure(r);
  for (int i = 0; i < rejected; ++i) {
    Rejected e{r.digest(), 0, {}, 0};
    e.sequence = r.u64();
    e.key = r.u64();
    e.code = r.text(32);
    v.rejected.push_back(std::move(e));
  }
  for (int i = 0; i < reports; ++i) {
    const std::uint64_t id = r.u64();
    const std::uint64_t sequence = r.u64();
    Report e{id, sequence, r.digest(), Report::Kind::kCommitted, 0, 0, 0, 0, 0, 0, std::nullopt};
    const std::uint8_t kind = r.u8();
    if (kind < 1 || kind > 3) r.fail();
    e.kind = static_cast<Report::Kind>(kind);
    const bool failed = r.u8() != 0;
    e.at = static_cast<std::int64_t>(r.u64());
    e.downtime_ms = r.u32();
    e.p50_us = r.u32();
    e.p95_us = r.u32();
    e.iterations = r.u32();
    e.memory_bytes = r.u64();
    if (failed) e.failure = get_failure(r);
    v.outbox.push_back(std::move(e));
  }
  if (!r.ok()) return corrupt("a field is out of range");
  return std::make_pair(number, std::move(v));
}

Result<std::pair<std::uint64_t, DeviceRecord>> decode_device_record(std::string_view bytes) {
  ByteReader r{{}};
  TRY_ASSIGN(const std::uint64_t number, open_record(bytes, kKindDevice, r));
  DeviceRecord v;
  v.fleet_epoch = r.u64();
  v.highest_time = static_cast<std::int64_t>(r.u64());
  v.root_version = r.u64();
  if (!r.ok()) return corrupt("a field is out of range");
  return std::make_pair(number, v);
}

template <typename Record>
Result<Journal<Record>> Journal<Record>::open(const fs::path& path) {
  Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd.valid()) return errno_error(errno, "opening " + path.string());
  std::string bytes(2 * kRecordBytes, '\0');
  std::size_t have = 0;
  while (have < bytes.size()) {
    const ssize_t n =
        ::pread(fd.get(), bytes.data() + have, bytes.size() - have, static_cast<off_t>(have));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_error(errno, "reading " + path.string());
    if (n == 0) break;
    have += static_cast<std::size_t>(n);
  }
  const bool fresh = std::all_of(bytes.begin(), bytes.end(), [](char c) { return c == '\0'; });
  if (fresh) {
    // Written out, not only reserved: from here on no write of ours needs a new block.
    TRY(pwrite_all(fd.get(), bytes, 0));
    if (::fsync(fd.get()) != 0) return errno_error(errno, "syncing " + path.string());
    TRY(fsync_dir(path.parent_path()));
    return Journal(std::move(fd), 0, Record{});
  }
  auto a = decode(std::string_view(bytes).substr(0, kRecordBytes), static_cast<Record*>(nullptr));
  auto b = decode(std::string_view(bytes).substr(kRecordBytes), static_cast<Record*>(nullptr));
  if (!a.ok() && !b.ok()) {
    return std::move(a).error().with_context("reading both records of " + path.string());
  }
  auto& newest = !b.ok() || (a.ok() && a->first > b->first) ? *a : *b;
  return Journal(std::move(fd), newest.first, std::move(newest.second));
}

template <typename Record>
Status Journal<Record>::write(Record record) {
  const std::uint64_t next = number_ + 1;
  const std::string bytes = encode_record(next, record);
  TRY(pwrite_all(fd_.get(), bytes, static_cast<off_t>(kRecordBytes * (next % 2))));
  if (::fdatasync(fd_.get()) != 0) return errno_error(errno, "syncing the journal");
  number_ = next;
  // What was cut for the disk is cut in memory too, so that both always agree.
  auto kept = decode(bytes, static_cast<Record*>(nullptr));
  if (!kept.ok()) return std::move(kept).error();
  record_ = std::move(kept->second);
  return ok_status();
}

template class Journal<SlotRecord>;
template class Journal<DeviceRecord>;

}  // namespace tango::agent
