#include "lib/artifacts/chunk.h"

#include <gtest/gtest.h>

#include <set>

#include "tests/artifacts/vectors.h"

namespace tango::artifacts {
namespace {

using testing::load_vectors;
using testing::unhex;
using testing::vector_stream;

TEST(FastCdc, GearTableFollowsTheRule) {
  Json gear = load_vectors("fastcdc.json")["gear"];
  ASSERT_EQ(gear.size(), 256u);
  for (std::size_t i = 0; i < 256; ++i) {
    char hex[17];
    std::snprintf(hex, sizeof hex, "%016llx", static_cast<unsigned long long>(gear_table()[i]));
    EXPECT_EQ(gear[i].get<std::string>(), hex);
  }
}

TEST(FastCdc, CutsTheVectorStreams) {
  TempDir dir;
  const Json all_streams = load_vectors("fastcdc.json")["streams"];
  for (const Json& v : all_streams) {
    auto size = v["size"].get<std::size_t>();
    std::string data = v["zeros"].get<bool>() ? std::string(size, '\0')
                                              : vector_stream(v["seed"].get<std::string>(), size);
    ASSERT_TRUE(write_file_atomic(dir / "f", data).ok());
    for (const FileChunks& file : {chunk_bytes(data), *chunk_file(dir / "f")}) {
      EXPECT_EQ(file.size, size);
      EXPECT_EQ(file.sha256.hex(), v["sha256"].get<std::string>());
      ASSERT_EQ(file.chunks.size(), v["chunks"].size()) << v["name"];
      for (std::size_t i = 0; i < file.chunks.size(); ++i) {
        EXPECT_EQ(file.chunks[i].length, v["chunks"][i]["length"].get<std::uint32_t>());
        EXPECT_EQ(file.chunks[i].hash.hex(), v["chunks"][i]["sha256"].get<std::string>());
      }
    }
  }
}

TEST(FastCdc, AnInsertionChangesOnlyTheChunksAroundIt) {
  std::string data = vector_stream("insert", 4'000'000);
  std::string changed = data;
  changed.insert(1'000'000, "new bytes");
  std::set<std::string> before;
  for (const Chunk& c : chunk_bytes(data).chunks) before.insert(c.hash.hex());
  std::size_t fresh = 0;
  for (const Chunk& c : chunk_bytes(changed).chunks) fresh += before.contains(c.hash.hex()) ? 0 : 1;
  EXPECT_LE(fresh, 3u);
}

TEST(ChunkListFormat, ReadsAndWritesTheVectors) {
  Json vectors = load_vectors("chunklist.json");
  for (const Json& v : vectors["valid"]) {
    auto list = parse_chunk_list(unhex(v["bytes"]));
    ASSERT_TRUE(list.ok()) << list.error().to_string();
    EXPECT_EQ(list->chunks.size(), v["chunks"].size());
    EXPECT_EQ(encode_chunk_list(*list), unhex(v["bytes"]));
  }
  for (const Json& v : vectors["invalid"]) {
    auto list = parse_chunk_list(unhex(v["bytes"]));
    ASSERT_FALSE(list.ok()) << v["name"];
    EXPECT_EQ(list.error().reason, "ChunkListInvalid");
  }
}

TEST(ChunkPlaces, FollowTheFilesAndRefuseForeignBorders) {
  ChunkList list = *parse_chunk_list(unhex(load_vectors("chunklist.json")["valid"][1]["bytes"]));
  std::uint64_t first = list.chunks[0].length;
  std::uint64_t sizes[] = {0, first, 0, 200'000 - first, 0};
  auto places = place_chunks(list, sizes);
  ASSERT_TRUE(places.ok());
  EXPECT_EQ((*places)[0].file, 1u);
  EXPECT_EQ((*places)[1].file, 3u);
  EXPECT_EQ((*places)[1].offset, 0u);
  EXPECT_EQ((*places)[1].position, first);
  std::uint64_t across[] = {first - 1, 200'001 - first};
  EXPECT_FALSE(place_chunks(list, across).ok());
  std::uint64_t more[] = {200'000, 1};
  EXPECT_FALSE(place_chunks(list, more).ok());
  std::uint64_t fewer[] = {first};
  EXPECT_FALSE(place_chunks(list, fewer).ok());
}

TEST(Bitmap, KeepsItsLayoutAndRefusesBitsBeyondTheEnd) {
  ChunkBitmap map(11);
  map.set(0);
  map.set(9);
  EXPECT_EQ(to_hex(std::span(reinterpret_cast<const std::uint8_t*>(map.bytes().data()), 2)),
            "0102");
  EXPECT_EQ(map.count(), 2u);
  EXPECT_TRUE(map.get(9));
  EXPECT_FALSE(map.get(10));
  EXPECT_FALSE(ChunkBitmap::parse(std::string("\x00\x08", 2), 11).ok());
  EXPECT_FALSE(ChunkBitmap::parse("\x01", 11).ok());
  EXPECT_TRUE(ChunkBitmap::parse(map.bytes(), 11).ok());
}

}  // namespace
}  // namespace tango::artifacts
