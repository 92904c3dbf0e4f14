// Codec of the agent protocol's frames (docs/formats/frames.md): bytes in, frames out, no I/O.
// The fleet client and the agent's proxy and daemon use it. It never interprets control payloads
// and never holds more than one frame plus what it was fed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "lib/base/result.h"

namespace tango::artifacts {

enum class FrameType : std::uint8_t {
  kRequest = 1,
  kReply = 2,
  kEvent = 3,
  kData = 4,
  kCredit = 5,
  kCancel = 6,
  kPing = 7,
  kPong = 8,
};
std::string_view to_string(FrameType type);

inline constexpr int kProtocolVersion = 1;
inline constexpr std::size_t kMaxFramePayload = 1u << 20;
inline constexpr std::size_t kFrameHeaderBytes = 9;
inline constexpr std::size_t kMaxPingPayload = 1024;
inline constexpr std::size_t kMaxDataBytes = 256u << 10;   // decoded bytes of one Data frame
inline constexpr std::uint64_t kDefaultWindow = 4u << 20;  // Data payload bytes on the way
inline constexpr std::uint64_t kMaxBodyBytes = 64u << 20;  // of one body stream
inline constexpr std::size_t kDataHeaderBytes = 5;

struct Frame {
  FrameType type = FrameType::kRequest;
  std::uint32_t id = 0;
  std::string payload;
  bool operator==(const Frame&) const = default;
};

// `payload` must not exceed kMaxFramePayload (asserted: callers check their own limits first).
std::string encode_frame(FrameType type, std::uint32_t id, std::string_view payload);
inline std::string encode_frame(const Frame& f) { return encode_frame(f.type, f.id, f.payload); }

// Incremental: feed any pieces, take frames until nullopt. After an error it stays broken.
// Errors: FrameTooLarge, UnknownFrameType, InvalidFrame (Ping, Cancel, Credit or Data of impossible
// size).
class FrameDecoder {
 public:
  explicit FrameDecoder(std::size_t max_payload = kMaxFramePayload) : max_payload_(max_payload) {}
  void feed(std::string_view bytes);
  Result<std::optional<Frame>> next();
  // Bytes of an unfinished frame; not 0 at the end of the stream means that it was cut.
  std::size_t pending() const { return buffer_.size() - offset_; }

 private:
  std::size_t max_payload_;
  std::string buffer_;
  std::size_t offset_ = 0;
  std::optional<Error> broken_;
};

enum class Encoding : std::uint8_t { kRaw = 0, kZstd = 1 };

// Views into the frame's payload.
struct DataView {
  std::uint32_t index = 0;
  Encoding encoding = Encoding::kRaw;
  std::string_view bytes;
};
std::string encode_data(std::uint32_t index, Encoding encoding, std::string_view bytes);
Result<DataView> parse_data(std::string_view payload);  // errors: InvalidFrame
// Decoded bytes: exactly `expected` when given, else at most kMaxDataBytes.
// Errors: HashMismatch (wrong length), InvalidFrame (broken compression).
Result<std::string> decode_data(const DataView& data,
                                std::optional<std::size_t> expected = std::nullopt);
// Compresses when that saves at least 1/16, else raw.
std::string encode_data_best(std::uint32_t index, std::string_view bytes, int level = 3);

struct Credit {
  std::uint64_t received = 0;
  std::uint64_t durable = 0;
  bool operator==(const Credit&) const = default;
};
std::string encode_credit(const Credit& credit);
Result<Credit> parse_credit(std::string_view payload);  // errors: InvalidFrame

}  // namespace tango::artifacts
