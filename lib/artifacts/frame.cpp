#include "lib/artifacts/frame.h"

#include <zstd.h>

#include <cassert>

#include "lib/artifacts/bytes.h"

namespace tango::artifacts {
namespace {

Error invalid(std::string message) {
  return make_error(Code::kInvalid, "InvalidFrame", std::move(message));
}

// What can be told from type, id and size alone; keeps impossible frames from being buffered.
Status check_shape(FrameType type, std::uint32_t id, std::size_t size) {
  auto bad = [&](const char* why) {
    return invalid("a " + std::string(to_string(type)) + " frame of " + std::to_string(size) +
                   " bytes: " + why);
  };
  switch (type) {
    case FrameType::kRequest:
      if (id == 0) return bad("a request's id is not 0");
      break;
    case FrameType::kData:
      if (size < kDataHeaderBytes) return bad("its layout has 5 bytes before the content");
      break;
    case FrameType::kCredit:
      if (size != 16) return bad("it has exactly 16");
      break;
    case FrameType::kCancel:
      if (size != 0) return bad("it is empty");
      break;
    case FrameType::kPing:
    case FrameType::kPong:
      if (size > kMaxPingPayload) return bad("at most 1024 are allowed");
      break;
    default:
      break;
  }
  return ok_status();
}

}  // namespace

std::string_view to_string(FrameType type) {
  switch (type) {
    case FrameType::kRequest:
      return "Request";
    case FrameType::kReply:
      return "Reply";
    case FrameType::kEvent:
      return "Event";
    case FrameType::kData:
      return "Data";
    case FrameType::kCredit:
      return "Credit";
    case FrameType::kCancel:
      return "Cancel";
    case FrameType::kPing:
      return "Ping";
    case FrameType::kPong:
      return "Pong";
  }
  return "Unknown";
}

std::string encode_frame(FrameType type, std::uint32_t id, std::string_view payload) {
  assert(payload.size() <= kMaxFramePayload);
  std::string out;
  out.reserve(kFrameHeaderBytes + payload.size());
  put_u32(out, static_cast<std::uint32_t>(payload.size()));
  out.push_back(static_cast<char>(type));
  put_u32(out, id);
  out.append(payload);
  return out;
}

void FrameDecoder::feed(std::string_view bytes) {
  if (broken_) return;
  if (offset_ > 0 && (offset_ == buffer_.size() || offset_ >= kMaxFramePayload)) {
    buffer_.erase(0, offset_);
    offset_ = 0;
  }
  buffer_.append(bytes);
}

Result<std::optional<Frame>> FrameDecoder::next() {
  if (broken_) return Error(*broken_);
  std::string_view rest = std::string_view(buffer_).substr(offset_);
  if (rest.size() < kFrameHeaderBytes) return std::optional<Frame>();
  std::uint32_t length = get_u32(rest);
  auto type = static_cast<FrameType>(rest[4]);
  std::uint32_t id = get_u32(rest.substr(5));
  auto fail = [&](Error e) -> Error {
    broken_ = e;
    buffer_.clear();
    offset_ = 0;
    return e;
  };
  if (to_string(type) == "Unknown") {
    return fail(make_error(Code::kInvalid, "UnknownFrameType",
                           "a frame of type " + std::to_string(static_cast<int>(type)) +
                               " came; the peer does not speak this protocol, or a shell start-up "
                               "file wrote to the channel"));
  }
  if (length > max_payload_) {
    return fail(make_error(Code::kInvalid, "FrameTooLarge",
                           "a frame of " + std::to_string(length) + " bytes came; the limit is " +
                               std::to_string(max_payload_)));
  }
  if (Status shape = check_shape(type, id, length); !shape.ok()) return fail(shape.error());
  if (rest.size() < kFrameHeaderBytes + length) return std::optional<Frame>();
  Frame frame{type, id, std::string(rest.substr(kFrameHeaderBytes, length))};
  if (type == FrameType::kData) {
    if (auto data = parse_data(frame.payload); !data.ok()) return fail(data.error());
  }
  offset_ += kFrameHeaderBytes + length;
  return std::optional<Frame>(std::move(frame));
}

std::string encode_data(std::uint32_t index, Encoding encoding, std::string_view bytes) {
  std::string out;
  out.reserve(kDataHeaderBytes + bytes.size());
  put_u32(out, index);
  out.push_back(static_cast<char>(encoding));
  out.append(bytes);
  return out;
}

Result<DataView> parse_data(std::string_view payload) {
  if (payload.size() < kDataHeaderBytes) return invalid("a Data frame is shorter than its layout");
  auto encoding = static_cast<std::uint8_t>(payload[4]);
  if (encoding > static_cast<std::uint8_t>(Encoding::kZstd)) {
    return invalid("a Data frame has the unknown encoding " + std::to_string(encoding));
  }
  return DataView{get_u32(payload), static_cast<Encoding>(encoding),
                  payload.substr(kDataHeaderBytes)};
}

Result<std::string> decode_data(const DataView& data, std::optional<std::size_t> expected) {
  auto wrong_length = [&](std::uint64_t size) {
    return make_error(Code::kDenied, "HashMismatch",
                      "chunk " + std::to_string(data.index) + " has " + std::to_string(size) +
                          " bytes instead of " + std::to_string(expected.value_or(0)));
  };
  if (data.encoding == Encoding::kRaw) {
    if (expected && data.bytes.size() != *expected) return wrong_length(data.bytes.size());
    if (data.bytes.size() > kMaxDataBytes) return invalid("a Data frame holds too many bytes");
    return std::string(data.bytes);
  }
  // The size must be stated, so that nothing is allocated for a bomb.
  unsigned long long stated = ZSTD_getFrameContentSize(data.bytes.data(), data.bytes.size());
  if (stated == ZSTD_CONTENTSIZE_UNKNOWN || stated == ZSTD_CONTENTSIZE_ERROR ||
      stated > kMaxDataBytes) {
    return invalid("a compressed Data frame does not state a content size within the limit");
  }
  if (expected && stated != *expected) return wrong_length(stated);
  std::string out(static_cast<std::size_t>(stated), '\0');
  std::size_t n = ZSTD_decompress(out.data(), out.size(), data.bytes.data(), data.bytes.size());
  if (ZSTD_isError(n) || n != out.size()) {
    return invalid("chunk " + std::to_string(data.index) + " does not decompress");
  }
  return out;
}

std::string encode_data_best(std::uint32_t index, std::string_view bytes, int level) {
  std::string out;
  std::size_t bound = ZSTD_compressBound(bytes.size());
  out.resize(kDataHeaderBytes + bound);
  std::size_t n =
      ZSTD_compress(out.data() + kDataHeaderBytes, bound, bytes.data(), bytes.size(), level);
  if (ZSTD_isError(n) || n > bytes.size() - bytes.size() / 16) {
    return encode_data(index, Encoding::kRaw, bytes);
  }
  std::string head;
  put_u32(head, index);
  head.push_back(static_cast<char>(Encoding::kZstd));
  out.replace(0, kDataHeaderBytes, head);
  out.resize(kDataHeaderBytes + n);
  return out;
}

std::string encode_credit(const Credit& credit) {
  std::string out;
  put_u64(out, credit.received);
  put_u64(out, credit.durable);
  return out;
}

Result<Credit> parse_credit(std::string_view payload) {
  if (payload.size() != 16) return invalid("a Credit frame does not have 16 bytes");
  Credit credit{get_u64(payload), get_u64(payload.substr(8))};
  if (credit.durable > credit.received) {
    return invalid("a Credit frame says that more is durable than was received");
  }
  return credit;
}

}  // namespace tango::artifacts
