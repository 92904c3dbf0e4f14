// The Merkle tree of a dataset: leaves, inner nodes and the digest over named parts, exactly as
// docs/formats/dataset.md says. Used by the formats of this room and by tests; it reads nothing.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/digest.h"

namespace tango::data {

// SHA-256(relative path, 0, content).
Digest file_leaf(std::string_view relative_path, std::string_view content);
// SHA-256(index as u64 little-endian, image bytes, label byte).
Digest idx_leaf(std::uint64_t index, std::span<const std::uint8_t> image, std::uint8_t label);

// Tree of RFC 6962 over given leaves: one leaf is its own root, otherwise SHA-256(1, left, right)
// with the left side holding the largest power of two below the count. No leaves: SHA-256 of
// nothing.
Digest merkle_root(std::span<const Digest> leaves);

// One pair of Idx files, or the files of a folder set (name "files", sizes 0).
struct MerklePart {
  std::string name;
  std::uint32_t height = 0;
  std::uint32_t width = 0;
  std::uint32_t channels = 0;
  std::vector<Digest> leaves;
};
// Digest of a dataset: binds format, part names, image shapes and leaf counts to the roots.
Digest dataset_digest(std::string_view format, std::span<const MerklePart> parts);

}  // namespace tango::data
