#include "lib/graph/tensor_store.h"

#include <bit>
#include <cstring>

namespace tango::graph {

static_assert(std::endian::native == std::endian::little, "tensors are little-endian in memory");

std::string_view to_string(DType dtype) {
  switch (dtype) {
    case DType::kF64:
      return "F64";
    case DType::kF32:
      return "F32";
    case DType::kF16:
      return "F16";
    case DType::kBF16:
      return "BF16";
    case DType::kI64:
      return "I64";
    case DType::kI32:
      return "I32";
    case DType::kI16:
      return "I16";
    case DType::kI8:
      return "I8";
    case DType::kU8:
      return "U8";
    case DType::kBool:
      return "BOOL";
  }
  return "F32";
}

std::size_t size_of(DType dtype) {
  switch (dtype) {
    case DType::kF64:
    case DType::kI64:
      return 8;
    case DType::kF32:
    case DType::kI32:
      return 4;
    case DType::kF16:
    case DType::kBF16:
    case DType::kI16:
      return 2;
    case DType::kI8:
    case DType::kU8:
    case DType::kBool:
      return 1;
  }
  return 1;
}

namespace {

template <typename T>
Tensor make(DType dtype, std::vector<std::int64_t> shape, std::span<const T> values) {
  Tensor t{dtype, std::move(shape), std::vector<std::uint8_t>(values.size_bytes())};
  assert(static_cast<std::size_t>(t.count()) == values.size());
  if (!values.empty()) std::memcpy(t.bytes.data(), values.data(), values.size_bytes());
  return t;
}

}  // namespace

Tensor Tensor::f32(std::vector<std::int64_t> shape, std::span<const float> values) {
  return make(DType::kF32, std::move(shape), values);
}

Tensor Tensor::i64(std::vector<std::int64_t> shape, std::span<const std::int64_t> values) {
  return make(DType::kI64, std::move(shape), values);
}

std::int64_t Tensor::count() const {
  std::int64_t n = 1;
  for (const std::int64_t d : shape) n *= d;
  return n;
}

// The byte vector comes from operator new, which is aligned for every fundamental type.
std::span<const float> Tensor::as_f32() const {
  assert(dtype == DType::kF32);
  return {reinterpret_cast<const float*>(bytes.data()), bytes.size() / sizeof(float)};
}

std::span<float> Tensor::as_f32() {
  assert(dtype == DType::kF32);
  return {reinterpret_cast<float*>(bytes.data()), bytes.size() / sizeof(float)};
}

std::span<const std::int64_t> Tensor::as_i64() const {
  assert(dtype == DType::kI64);
  return {reinterpret_cast<const std::int64_t*>(bytes.data()), bytes.size() / sizeof(std::int64_t)};
}

Result<const Tensor*> TensorStore::get(std::string_view key) const {
  auto it = tensors_.find(key);
  if (it == tensors_.end()) {
    return make_error(Code::kNotFound, "NotFound",
                      "there is no tensor \"" + std::string(key) + "\"");
  }
  return &it->second;
}

void TensorStore::erase(std::string_view key) {
  auto it = tensors_.find(key);
  if (it != tensors_.end()) tensors_.erase(it);
}

}  // namespace tango::graph
