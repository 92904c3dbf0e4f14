#include "image-builder/onnx_corrupt.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

namespace tango::builder {
namespace {

// Field numbers of onnx.proto3.
constexpr std::uint32_t kModelGraph = 7;
constexpr std::uint32_t kGraphInitializer = 5;
constexpr std::uint32_t kTensorDims = 1;
constexpr std::uint32_t kTensorDataType = 2;
constexpr std::uint32_t kTensorFloatData = 4;
constexpr std::uint32_t kTensorRawData = 9;
constexpr std::uint64_t kFloat = 1;

enum WireType : std::uint32_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

Error invalid(std::string_view why) {
  return make_error(Code::kInvalid, "InvalidOnnx",
                    "model.onnx cannot be read: " + std::string(why));
}

struct Field {
  std::uint32_t number = 0;
  std::uint32_t type = 0;
  std::uint64_t value = 0;  // of a varint
  std::size_t offset = 0;   // of the content in the whole file
  std::size_t length = 0;
};

// Walks the fields of one message that lies at [begin, end) of `bytes`.
class Message {
 public:
  Message(std::string_view bytes, std::size_t begin, std::size_t end)
      : bytes_(bytes), at_(begin), end_(end) {}

  bool done() const { return at_ >= end_; }

  Result<Field> next() {
    TRY_ASSIGN(const std::uint64_t tag, varint());
    Field field;
    field.number = static_cast<std::uint32_t>(tag >> 3);
    field.type = static_cast<std::uint32_t>(tag & 7);
    switch (field.type) {
      case kVarint: {
        field.offset = at_;
        TRY_ASSIGN(field.value, varint());
        field.length = at_ - field.offset;
        return field;
      }
      case kFixed64:
        field.length = 8;
        break;
      case kFixed32:
        field.length = 4;
        break;
      case kBytes: {
        TRY_ASSIGN(const std::uint64_t length, varint());
        if (length > end_ - at_) return invalid("a field is longer than its message");
        field.length = static_cast<std::size_t>(length);
        break;
      }
      default:
        return invalid("an unknown wire type");
    }
    if (field.length > end_ - at_) return invalid("it ends inside a field");
    field.offset = at_;
    at_ += field.length;
    return field;
  }

 private:
  Result<std::uint64_t> varint() {
    std::uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (at_ >= end_) return invalid("it ends inside a number");
      const auto byte = static_cast<std::uint8_t>(bytes_[at_++]);
      value |= static_cast<std::uint64_t>(byte & 0x7f) << shift;
      if ((byte & 0x80) == 0) return value;
    }
    return invalid("a number is too long");
  }

  std::string_view bytes_;
  std::size_t at_;
  std::size_t end_;
};

struct Range {
  std::size_t offset;
  std::size_t length;
};

// The float data of one tensor, when it is a weight worth damaging.
Result<std::vector<Range>> weight_data(std::string_view bytes, const Field& tensor) {
  std::vector<Range> data;
  std::size_t dims = 0;
  std::uint64_t type = 0;
  Message message(bytes, tensor.offset, tensor.offset + tensor.length);
  while (!message.done()) {
    TRY_ASSIGN(const Field field, message.next());
    if (field.number == kTensorDims) {
      if (field.type == kVarint) ++dims;
      // Packed: one number per byte without the continuation bit.
      for (std::size_t i = 0; field.type == kBytes && i < field.length; ++i) {
        if ((static_cast<std::uint8_t>(bytes[field.offset + i]) & 0x80) == 0) ++dims;
      }
    } else if (field.number == kTensorDataType) {
      type = field.value;
    } else if ((field.number == kTensorRawData || field.number == kTensorFloatData) &&
               field.type == kBytes && field.length % sizeof(float) == 0 && field.length > 0) {
      data.push_back({field.offset, field.length});
    }
  }
  if (type != kFloat || dims < 2) data.clear();
  return data;
}

void damage(std::string& bytes, const Range& range, Corruption corruption) {
  char* data = bytes.data() + range.offset;
  if (corruption == Corruption::kZeroed) {
    std::memset(data, 0, range.length);
    return;
  }
  std::vector<float> values(range.length / sizeof(float));
  std::memcpy(values.data(), data, range.length);
  std::reverse(values.begin(), values.end());
  std::memcpy(data, values.data(), range.length);
}

}  // namespace

std::string_view to_string(Corruption corruption) {
  return corruption == Corruption::kZeroed ? "zeroed weights" : "reversed weights";
}

Result<std::string> corrupt_weights(std::string_view onnx, Corruption corruption) {
  std::string out(onnx);
  std::size_t damaged = 0;
  Message model(onnx, 0, onnx.size());
  while (!model.done()) {
    TRY_ASSIGN(const Field graph, model.next());
    if (graph.number != kModelGraph || graph.type != kBytes) continue;
    Message fields(onnx, graph.offset, graph.offset + graph.length);
    while (!fields.done()) {
      TRY_ASSIGN(const Field tensor, fields.next());
      if (tensor.number != kGraphInitializer || tensor.type != kBytes) continue;
      TRY_ASSIGN(const auto ranges, weight_data(onnx, tensor));
      for (const Range& range : ranges) damage(out, range, corruption);
      damaged += ranges.size();
    }
  }
  if (damaged == 0) return invalid("it holds no float weights");
  return out;
}

}  // namespace tango::builder
