// SHA-256 digests as a type of their own: a Digest always holds 32 bytes, so "no hash" cannot be
// mistaken for "any content". libsodium does the arithmetic (the agent links nothing bigger).
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "lib/base/result.h"

namespace tango {

class Digest {
 public:
  using Bytes = std::array<std::uint8_t, 32>;
  explicit Digest(const Bytes& bytes) : bytes_(bytes) {}
  // "sha256:<64 lower-case hex>". Errors: InvalidDigest.
  static Result<Digest> parse(std::string_view text);
  static Result<Digest> from_hex(std::string_view hex);

  std::string to_string() const;  // with the "sha256:" prefix
  std::string hex() const;
  std::string short_hex() const { return hex().substr(0, 12); }
  const Bytes& bytes() const { return bytes_; }
  auto operator<=>(const Digest&) const = default;

 private:
  Bytes bytes_;
};

class Sha256 {
 public:
  Sha256();
  Sha256& update(std::string_view data);
  Sha256& update(std::span<const std::uint8_t> data);
  Digest finish();

 private:
  alignas(16) std::array<std::uint8_t, 128> state_;
};

Digest sha256(std::string_view data);
Digest sha256(std::span<const std::uint8_t> data);

std::string to_hex(std::span<const std::uint8_t> data);
Result<std::string> from_hex(std::string_view hex);  // raw bytes
std::string to_base64(std::string_view data);        // standard alphabet, padded
std::string to_base64url(std::string_view data);     // URL alphabet, no padding
Result<std::string> from_base64(std::string_view text);
Result<std::string> from_base64url(std::string_view text);

}  // namespace tango

template <>
struct std::hash<tango::Digest> {
  std::size_t operator()(const tango::Digest& d) const noexcept {
    std::size_t h = 0;
    for (int i = 0; i < 8; ++i) h = (h << 8) | d.bytes()[static_cast<std::size_t>(i)];
    return h;
  }
};
