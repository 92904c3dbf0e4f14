// Little-endian integers in byte strings, for the codecs of this room. Nothing else lives here.
#pragma once

#include <cassert>
#include <cstdint>
#include <string>
#include <string_view>

namespace tango::artifacts {

template <typename T>
inline void put_le(std::string& out, T value) {
  for (std::size_t i = 0; i < sizeof(T); ++i) {
    out.push_back(static_cast<char>((value >> (8 * i)) & 0xFF));
  }
}
inline void put_u32(std::string& out, std::uint32_t value) { put_le(out, value); }
inline void put_u64(std::string& out, std::uint64_t value) { put_le(out, value); }

template <typename T>
inline T get_le(std::string_view bytes) {
  assert(bytes.size() >= sizeof(T));
  T value = 0;
  for (std::size_t i = 0; i < sizeof(T); ++i) {
    value |= static_cast<T>(static_cast<unsigned char>(bytes[i])) << (8 * i);
  }
  return value;
}
inline std::uint32_t get_u32(std::string_view bytes) { return get_le<std::uint32_t>(bytes); }
inline std::uint64_t get_u64(std::string_view bytes) { return get_le<std::uint64_t>(bytes); }

}  // namespace tango::artifacts
