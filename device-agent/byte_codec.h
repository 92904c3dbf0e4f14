// Little-endian writing and bounded reading of the journal's fields. Used by journal.cpp alone.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "lib/base/digest.h"

namespace tango::agent {

class ByteWriter {
 public:
  void u8(std::uint8_t v) { out_.push_back(static_cast<char>(v)); }
  void u16(std::uint16_t v) { number(v, 2); }
  void u32(std::uint32_t v) { number(v, 4); }
  void u64(std::uint64_t v) { number(v, 8); }
  void digest(const Digest& d) {
    out_.append(reinterpret_cast<const char*>(d.bytes().data()), d.bytes().size());
  }
  // u16 length, then the bytes; cut to `max` at a UTF-8 border.
  void text(std::string_view v, std::size_t max) {
    if (v.size() > max) {
      std::size_t n = max;
      while (n > 0 && (static_cast<unsigned char>(v[n]) & 0xC0u) == 0x80u) --n;
      v = v.substr(0, n);
    }
    u16(static_cast<std::uint16_t>(v.size()));
    out_.append(v);
  }
  std::string& out() { return out_; }

 private:
  void number(std::uint64_t v, int bytes) {
    for (int i = 0; i < bytes; ++i) out_.push_back(static_cast<char>((v >> (8 * i)) & 0xFF));
  }
  std::string out_;
};

// After the first read past the end every value is zero and ok() is false.
class ByteReader {
 public:
  explicit ByteReader(std::string_view data) : data_(data) {}
  std::uint8_t u8() { return static_cast<std::uint8_t>(number(1)); }
  std::uint16_t u16() { return static_cast<std::uint16_t>(number(2)); }
  std::uint32_t u32() { return static_cast<std::uint32_t>(number(4)); }
  std::uint64_t u64() { return number(8); }
  Digest digest() {
    Digest::Bytes bytes{};
    const std::string_view part = take(bytes.size());
    for (std::size_t i = 0; i < part.size(); ++i) bytes[i] = static_cast<std::uint8_t>(part[i]);
    return Digest(bytes);
  }
  std::string text(std::size_t max) {
    const std::size_t n = u16();
    if (n > max) {
      ok_ = false;
      return {};
    }
    return std::string(take(n));
  }
  bool ok() const { return ok_; }
  void fail() { ok_ = false; }

 private:
  std::string_view take(std::size_t n) {
    if (!ok_ || data_.size() < n) {
      ok_ = false;
      return {};
    }
    const std::string_view part = data_.substr(0, n);
    data_.remove_prefix(n);
    return part;
  }
  std::uint64_t number(std::size_t n) {
    const std::string_view part = take(n);
    std::uint64_t v = 0;
    for (std::size_t i = 0; i < part.size(); ++i) {
      v |= static_cast<std::uint64_t>(static_cast<unsigned char>(part[i])) << (8 * i);
    }
    return v;
  }
  std::string_view data_;
  bool ok_ = true;
};

}  // namespace tango::agent
