// Reads the committed vectors of docs/formats/vectors for the tests of this room.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "lib/base/digest.h"
#include "lib/base/file.h"
#include "lib/base/json.h"

namespace tango::artifacts::testing {

inline Json load_vectors(const std::string& name) {
  const char* root = std::getenv("TANGO_SOURCE_DIR");
  auto bytes = read_file(fs::path(root == nullptr ? "." : root) / "docs/formats/vectors" / name);
  EXPECT_TRUE(bytes.ok()) << name;
  auto json = parse_json(bytes.ok() ? *bytes : "null");
  EXPECT_TRUE(json.ok()) << name;
  return json.ok() ? *json : Json();
}

inline std::string unhex(const Json& value) {
  auto raw = from_hex(value.get<std::string>());
  EXPECT_TRUE(raw.ok());
  return raw.ok() ? *raw : std::string();
}

// The stream of the vectors: SHA-256(seed || u64 counter) after one another, cut to `size`.
inline std::string vector_stream(const std::string& seed, std::size_t size) {
  std::string out;
  for (std::uint64_t counter = 0; out.size() < size; ++counter) {
    std::string block = seed;
    for (int i = 0; i < 8; ++i) block.push_back(static_cast<char>((counter >> (8 * i)) & 0xFF));
    Digest d = sha256(block);
    out.append(reinterpret_cast<const char*>(d.bytes().data()), 32);
  }
  out.resize(size);
  return out;
}

}  // namespace tango::artifacts::testing
