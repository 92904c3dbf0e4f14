#include "lib/graph/safetensors.h"

#include <algorithm>
#include <cstring>

#include "lib/base/file.h"
#include "lib/base/json.h"

namespace tango::graph {
namespace {

Error invalid(std::string message) {
  return make_error(Code::kInvalid, "InvalidSafetensors", "safetensors: " + std::move(message));
}
Error too_large(std::string message) {
  return make_error(Code::kExhausted, "SafetensorsTooLarge", "safetensors: " + std::move(message));
}

std::optional<DType> find_dtype(std::string_view name) {
  for (const DType d : {DType::kF64, DType::kF32, DType::kF16, DType::kBF16, DType::kI64,
                        DType::kI32, DType::kI16, DType::kI8, DType::kU8, DType::kBool}) {
    if (to_string(d) == name) return d;
  }
  return std::nullopt;
}

struct Entry {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<std::int64_t> shape;
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};

Result<Entry> parse_entry(const std::string& name, const Json& value, std::uint64_t data_bytes,
                          const SafetensorsLimits& limits) {
  const std::string where = "tensor \"" + name + "\" ";
  if (!value.is_object() || value.size() != 3) {
    return invalid(where + "must have exactly dtype, shape and data_offsets");
  }
  Entry entry;
  entry.name = name;
  const auto dtype = find_dtype(get_string(value, "dtype"));
  if (!dtype) return invalid(where + "has an unknown dtype");
  entry.dtype = *dtype;
  const Json& shape = get(value, "shape");
  if (!shape.is_array() || shape.size() > limits.max_rank)
    return invalid(where + "has a bad shape");
  std::uint64_t bytes = size_of(*dtype);
  for (const Json& d : shape) {
    if (!d.is_number_unsigned() && !(d.is_number_integer() && d.get<std::int64_t>() >= 0)) {
      return invalid(where + "has a bad shape");
    }
    const auto extent = d.get<std::uint64_t>();
    if (extent != 0 && bytes > limits.max_file_bytes / extent) {
      return too_large(where + "is larger than the limit");
    }
    bytes *= extent;
    if (extent > static_cast<std::uint64_t>(limits.max_file_bytes)) {
      return too_large(where + "is larger than the limit");
    }
    entry.shape.push_back(static_cast<std::int64_t>(extent));
  }
  const Json& offsets = get(value, "data_offsets");
  if (!offsets.is_array() || offsets.size() != 2 || !offsets[0].is_number_unsigned() ||
      !offsets[1].is_number_unsigned()) {
    return invalid(where + "has bad data_offsets");
  }
  entry.begin = offsets[0].get<std::uint64_t>();
  entry.end = offsets[1].get<std::uint64_t>();
  if (entry.begin > entry.end || entry.end > data_bytes || entry.end - entry.begin != bytes) {
    return invalid(where + "has data_offsets that do not fit its shape or the file");
  }
  return entry;
}

}  // namespace

std::string encode_safetensors(const TensorStore& store) {
  Json header = Json::object();
  std::uint64_t offset = 0;
  for (const auto& [name, t] : store.tensors()) {
    const std::uint64_t end = offset + t.bytes.size();
    header[name] = {{"dtype", to_string(t.dtype)},
                    {"shape", t.shape},
                    {"data_offsets", Json::array({offset, end})}};
    offset = end;
  }
  if (!store.metadata().empty()) header["__metadata__"] = store.metadata();
  std::string text = dump_json(header);
  while (text.size() % 8 != 0) text.push_back(' ');

  std::string out;
  out.reserve(8 + text.size() + offset);
  for (int i = 0; i < 8; ++i) out.push_back(static_cast<char>((text.size() >> (8 * i)) & 0xff));
  out += text;
  for (const auto& [name, t] : store.tensors()) {
    out.append(reinterpret_cast<const char*>(t.bytes.data()), t.bytes.size());
  }
  return out;
}

Result<TensorStore> parse_safetensors(std::string_view bytes, const SafetensorsLimits& limits) {
  if (bytes.size() > limits.max_file_bytes) return too_large("the file is larger than the limit");
  if (bytes.size() < 8) return invalid("the file is shorter than 8 bytes");
  std::uint64_t header_bytes = 0;
  for (int i = 7; i >= 0; --i) {
    header_bytes =
        (header_bytes << 8) | static_cast<std::uint8_t>(bytes[static_cast<std::size_t>(i)]);
  }
  if (header_bytes > limits.max_header_bytes)
    return too_large("the header is larger than the limit");
  if (header_bytes > bytes.size() - 8) return invalid("the header is truncated");
  const std::string_view text = bytes.substr(8, header_bytes);
  if (text.empty() || text.front() != '{') return invalid("the header does not start with '{'");
  auto header = parse_json(text, {.max_bytes = limits.max_header_bytes, .max_depth = 4});
  if (!header.ok()) return invalid("the header is not JSON: " + header.error().to_string());
  if (!header->is_object()) return invalid("the header is not a JSON object");
  if (header->size() > limits.max_tensors + 1) return too_large("there are too many tensors");

  const std::string_view data = bytes.substr(8 + header_bytes);
  TensorStore store;
  std::vector<Entry> entries;
  for (const auto& [name, value] : header->items()) {
    if (name == "__metadata__") {
      if (!value.is_object()) return invalid("__metadata__ is not an object");
      for (const auto& [key, v] : value.items()) {
        if (!v.is_string()) return invalid("__metadata__." + key + " is not a string");
        store.metadata()[key] = v.get<std::string>();
      }
      continue;
    }
    TRY_ASSIGN(Entry entry, parse_entry(name, value, data.size(), limits));
    entries.push_back(std::move(entry));
  }
  // No gaps and no overlap: every byte belongs to exactly one tensor, so nothing can hide.
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::tie(a.begin, a.end) < std::tie(b.begin, b.end);
  });
  std::uint64_t expected = 0;
  for (const Entry& e : entries) {
    if (e.begin != expected) return invalid("tensor \"" + e.name + "\" overlaps or leaves a gap");
    expected = e.end;
  }
  if (expected != data.size()) return invalid("bytes are left over after the last tensor");
  for (Entry& e : entries) {
    Tensor t{e.dtype, std::move(e.shape), {}};
    const auto* first = reinterpret_cast<const std::uint8_t*>(data.data());
    t.bytes.assign(first + e.begin, first + e.end);
    store.put(std::move(e.name), std::move(t));
  }
  return store;
}

Status write_safetensors(const std::filesystem::path& path, const TensorStore& store) {
  return write_file_atomic(path, encode_safetensors(store));
}

Result<TensorStore> read_safetensors(const std::filesystem::path& path,
                                     const SafetensorsLimits& limits) {
  TRY_ASSIGN(const std::string bytes, read_file(path, limits.max_file_bytes));
  auto store = parse_safetensors(bytes, limits);
  if (!store.ok()) return std::move(store).error().with_context("while reading " + path.string());
  return store;
}

}  // namespace tango::graph
