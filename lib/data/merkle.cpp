#include "lib/data/merkle.h"

#include <bit>
#include <cassert>

namespace tango::data {
namespace {

template <typename T>
void update_le(Sha256& hash, T value) {
  std::array<std::uint8_t, sizeof(T)> bytes;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<std::uint8_t>(value >> (8 * i));
  }
  hash.update(std::span<const std::uint8_t>(bytes));
}

void update(Sha256& hash, const Digest& digest) {
  hash.update(std::span<const std::uint8_t>(digest.bytes()));
}

constexpr std::string_view kZero{"\0", 1};
constexpr std::string_view kInner{"\1", 1};

}  // namespace

Digest file_leaf(std::string_view relative_path, std::string_view content) {
  return Sha256().update(relative_path).update(kZero).update(content).finish();
}

Digest idx_leaf(std::uint64_t index, std::span<const std::uint8_t> image, std::uint8_t label) {
  Sha256 hash;
  update_le(hash, index);
  hash.update(image);
  update_le(hash, label);
  return hash.finish();
}

Digest merkle_root(std::span<const Digest> leaves) {
  if (leaves.empty()) return sha256(std::string_view{});
  if (leaves.size() == 1) return leaves[0];
  const std::size_t split = std::bit_floor(leaves.size() - 1);
  Sha256 hash;
  hash.update(kInner);
  update(hash, merkle_root(leaves.first(split)));
  update(hash, merkle_root(leaves.subspan(split)));
  return hash.finish();
}

Digest dataset_digest(std::string_view format, std::span<const MerklePart> parts) {
  Sha256 hash;
  hash.update("tango.dataset.v1").update(kZero).update(format).update(kZero);
  for (const MerklePart& part : parts) {
    hash.update(part.name).update(kZero);
    update_le(hash, part.height);
    update_le(hash, part.width);
    update_le(hash, part.channels);
    update_le(hash, static_cast<std::uint64_t>(part.leaves.size()));
    update(hash, merkle_root(part.leaves));
  }
  return hash.finish();
}

}  // namespace tango::data
