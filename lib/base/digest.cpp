#include "lib/base/digest.h"

#include <sodium.h>

#include <cstring>
#include <new>

namespace tango {
namespace {
constexpr char kHex[] = "0123456789abcdef";

int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::string base64(std::string_view data, int variant) {
  std::string out(sodium_base64_encoded_len(data.size(), variant), '\0');
  sodium_bin2base64(out.data(), out.size(), reinterpret_cast<const unsigned char*>(data.data()),
                    data.size(), variant);
  out.resize(std::strlen(out.c_str()));
  return out;
}

Result<std::string> unbase64(std::string_view text, int variant) {
  std::string out(text.size() / 4 * 3 + 3, '\0');
  std::size_t n = 0;
  const char* end = nullptr;
  if (sodium_base642bin(reinterpret_cast<unsigned char*>(out.data()), out.size(), text.data(),
                        text.size(), "\r\n", &n, &end, variant) != 0 ||
      end != text.data() + text.size()) {
    return make_error(Code::kInvalid, "InvalidBase64", "text is not valid base64");
  }
  out.resize(n);
  return out;
}
}  // namespace

static_assert(sizeof(crypto_hash_sha256_state) <= 128);

Result<Digest> Digest::from_hex(std::string_view hex) {
  Bytes bytes{};
  if (hex.size() != 64) {
    return make_error(Code::kInvalid, "InvalidDigest",
                      "a SHA-256 digest has 64 hex digits, got " + std::to_string(hex.size()));
  }
  for (std::size_t i = 0; i < 32; ++i) {
    int hi = hex_value(hex[2 * i]);
    int lo = hex_value(hex[2 * i + 1]);
    if (hi < 0 || lo < 0 || (hex[2 * i] >= 'A' && hex[2 * i] <= 'F') ||
        (hex[2 * i + 1] >= 'A' && hex[2 * i + 1] <= 'F')) {
      return make_error(Code::kInvalid, "InvalidDigest", "a SHA-256 digest is lower-case hex");
    }
    bytes[i] = static_cast<std::uint8_t>(hi * 16 + lo);
  }
  return Digest(bytes);
}

Result<Digest> Digest::parse(std::string_view text) {
  if (!text.starts_with("sha256:")) {
    return make_error(
        Code::kInvalid, "InvalidDigest",
        "a digest starts with \"sha256:\", got \"" + std::string(text.substr(0, 80)) + "\"");
  }
  return from_hex(text.substr(7));
}

std::string Digest::hex() const { return to_hex(bytes_); }
std::string Digest::to_string() const { return "sha256:" + hex(); }

Sha256::Sha256() { crypto_hash_sha256_init(new (state_.data()) crypto_hash_sha256_state); }
Sha256& Sha256::update(std::span<const std::uint8_t> data) {
  crypto_hash_sha256_update(reinterpret_cast<crypto_hash_sha256_state*>(state_.data()), data.data(),
                            data.size());
  return *this;
}
Sha256& Sha256::update(std::string_view data) {
  return update(std::span(reinterpret_cast<const std::uint8_t*>(data.data()), data.size()));
}
Digest Sha256::finish() {
  Digest::Bytes out;
  crypto_hash_sha256_final(reinterpret_cast<crypto_hash_sha256_state*>(state_.data()), out.data());
  return Digest(out);
}

Digest sha256(std::string_view data) { return Sha256().update(data).finish(); }
Digest sha256(std::span<const std::uint8_t> data) { return Sha256().update(data).finish(); }

std::string to_hex(std::span<const std::uint8_t> data) {
  std::string out;
  out.reserve(data.size() * 2);
  for (std::uint8_t b : data) {
    out += kHex[b >> 4];
    out += kHex[b & 15];
  }
  return out;
}

Result<std::string> from_hex(std::string_view hex) {
  if (hex.size() % 2 != 0)
    return make_error(Code::kInvalid, "InvalidHex", "hex text has an odd length");
  std::string out;
  out.reserve(hex.size() / 2);
  for (std::size_t i = 0; i < hex.size(); i += 2) {
    int hi = hex_value(hex[i]);
    int lo = hex_value(hex[i + 1]);
    if (hi < 0 || lo < 0)
      return make_error(Code::kInvalid, "InvalidHex",
                        "text holds a character that is not a hex digit");
    out += static_cast<char>(hi * 16 + lo);
  }
  return out;
}

std::string to_base64(std::string_view data) {
  return base64(data, sodium_base64_VARIANT_ORIGINAL);
}
std::string to_base64url(std::string_view data) {
  return base64(data, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
}
Result<std::string> from_base64(std::string_view text) {
  return unbase64(text, sodium_base64_VARIANT_ORIGINAL);
}
Result<std::string> from_base64url(std::string_view text) {
  return unbase64(text, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
}

}  // namespace tango
