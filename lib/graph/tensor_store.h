// Weights without torch: named tensors as bytes. Passes, exporters and the trainer exchange these.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/result.h"

namespace tango::graph {

enum class DType { kF64, kF32, kF16, kBF16, kI64, kI32, kI16, kI8, kU8, kBool };
std::string_view to_string(DType dtype);  // safetensors names: "F32"
std::size_t size_of(DType dtype);         // bytes

struct Tensor {
  DType dtype = DType::kF32;
  std::vector<std::int64_t> shape;
  std::vector<std::uint8_t> bytes;  // little-endian, row-major, dense

  static Tensor f32(std::vector<std::int64_t> shape, std::span<const float> values);
  static Tensor i64(std::vector<std::int64_t> shape, std::span<const std::int64_t> values);
  std::int64_t count() const;
  // Views of the right type; dtype must match (checked by assert).
  std::span<const float> as_f32() const;
  std::span<float> as_f32();
  std::span<const std::int64_t> as_i64() const;
  bool operator==(const Tensor&) const = default;
};

class TensorStore {
 public:
  // Errors: NotFound, naming the key.
  Result<const Tensor*> get(std::string_view key) const;
  bool contains(std::string_view key) const { return tensors_.find(key) != tensors_.end(); }
  void put(std::string key, Tensor tensor) { tensors_[std::move(key)] = std::move(tensor); }
  void erase(std::string_view key);
  const std::map<std::string, Tensor, std::less<>>& tensors() const { return tensors_; }
  std::map<std::string, std::string>& metadata() { return metadata_; }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  bool operator==(const TensorStore&) const = default;

 private:
  std::map<std::string, Tensor, std::less<>> tensors_;
  std::map<std::string, std::string> metadata_;
};

}  // namespace tango::graph
