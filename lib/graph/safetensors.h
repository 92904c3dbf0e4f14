// The safetensors file format, strict on reading and byte-for-byte reproducible on writing.
// Layout and limits: docs/formats/safetensors.md. Nothing in a file is ever executed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "lib/graph/tensor_store.h"

namespace tango::graph {

struct SafetensorsLimits {
  std::uint64_t max_header_bytes = 16u << 20;
  std::uint64_t max_file_bytes = 8ull << 30;
  std::size_t max_tensors = 100'000;
  std::size_t max_rank = 8;
};

// Sorted by name, header padded with spaces to a multiple of 8, tensors without gaps.
std::string encode_safetensors(const TensorStore& store);
// Errors: InvalidSafetensors (truncated, overlapping, gaps, unknown dtype, wrong sizes, bytes left
// over), SafetensorsTooLarge.
Result<TensorStore> parse_safetensors(std::string_view bytes, const SafetensorsLimits& limits = {});

Status write_safetensors(const std::filesystem::path& path, const TensorStore& store);
Result<TensorStore> read_safetensors(const std::filesystem::path& path,
                                     const SafetensorsLimits& limits = {});

}  // namespace tango::graph
