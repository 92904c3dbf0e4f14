#include "device-agent/staging.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "lib/base/random.h"

namespace tango::agent {
namespace {

using artifacts::ChunkBitmap;

struct Incoming {
  artifacts::ChunkList list;
  std::string list_bytes;
  std::vector<std::string> chunks;
  ChunkBitmap wanted;
};

Incoming incoming(std::uint64_t seed, std::size_t count = 6) {
  Incoming out;
  CounterRandom random(seed, 1);
  for (std::size_t i = 0; i < count; ++i) {
    out.chunks.push_back(i == 3 ? out.chunks[1] : random_bytes(random, 1000 + 100 * i));
    out.list.chunks.push_back(
        {static_cast<std::uint32_t>(out.chunks.back().size()), sha256(out.chunks.back())});
    out.list.total_bytes += out.chunks.back().size();
  }
  out.list_bytes = artifacts::encode_chunk_list(out.list);
  out.wanted = ChunkBitmap(count);
  for (std::size_t i = 0; i < count; ++i)
    out.wanted.set(i, i != 3 && i != 5);  // 3 equals 1, 5 is held
  return out;
}

TEST(Staging, SurvivesReopeningWithWhatWasMadeDurable) {
  const TempDir dir;
  const Incoming in = incoming(1);
  {
    auto s = Staging::open(dir.path(), "main", in.list_bytes, in.list, in.wanted);
    ASSERT_TRUE(s.ok()) << s.error().to_string();
    EXPECT_EQ(s->missing_chunks(), 4u);
    ASSERT_TRUE(s->put(0, in.chunks[0]).ok());
    ASSERT_TRUE(s->put(1, in.chunks[1]).ok());
    ASSERT_TRUE(s->sync().ok());
    ASSERT_TRUE(s->put(2, in.chunks[2]).ok());  // never synced: asked for again
  }
  auto s = Staging::open(dir.path(), "main", in.list_bytes, in.list, in.wanted);
  ASSERT_TRUE(s.ok());
  EXPECT_TRUE(s->has(0));
  EXPECT_TRUE(s->has(1));
  EXPECT_FALSE(s->has(2));
  EXPECT_EQ(s->read(in.list.chunks[3].hash).value(), in.chunks[1])
      << "an equal chunk is found by its hash";
  for (const std::size_t i : {2u, 4u}) ASSERT_TRUE(s->put(i, in.chunks[i]).ok());
  EXPECT_TRUE(s->complete());
}

TEST(Staging, TheFileIsReservedInFullBeforeTheFirstByte) {
  const TempDir dir;
  const Incoming in = incoming(1);
  const auto s = Staging::open(dir.path(), "main", in.list_bytes, in.list, in.wanted);
  struct stat st {};
  ASSERT_EQ(::stat((dir / "main.data").c_str(), &st), 0);
  EXPECT_EQ(static_cast<std::uint64_t>(st.st_size), s->file_bytes());
  EXPECT_GE(static_cast<std::uint64_t>(st.st_blocks) * 512, s->file_bytes());
}

TEST(Staging, RefusesChunksThatDoNotMatch) {
  const TempDir dir;
  const Incoming in = incoming(1);
  auto s = Staging::open(dir.path(), "main", in.list_bytes, in.list, in.wanted);
  std::string flipped = in.chunks[0];
  flipped[10] = static_cast<char>(flipped[10] ^ 1);
  EXPECT_EQ(s->put(0, flipped).error().reason, "HashMismatch");
  EXPECT_EQ(s->put(0, in.chunks[0] + "x").error().reason, "HashMismatch");
  EXPECT_EQ(s->put(3, in.chunks[3]).error().reason, "HashMismatch") << "not wanted";
  EXPECT_EQ(s->put(99, in.chunks[0]).error().reason, "HashMismatch");
  EXPECT_EQ(s->missing_chunks(), 4u);
  EXPECT_FALSE(s->read(in.list.chunks[0].hash).ok());
}

TEST(Staging, AnotherReleaseBeginsAnew) {
  const TempDir dir;
  const Incoming a = incoming(1), b = incoming(2);
  {
    auto s = Staging::open(dir.path(), "main", a.list_bytes, a.list, a.wanted);
    ASSERT_TRUE(s->put(0, a.chunks[0]).ok());
    ASSERT_TRUE(s->sync().ok());
  }
  auto s = Staging::open(dir.path(), "main", b.list_bytes, b.list, b.wanted);
  ASSERT_TRUE(s.ok());
  EXPECT_EQ(s->missing_chunks(), 4u);
}

TEST(Staging, WantingMoreThanTheMapHoldsBeginsAnew) {
  const TempDir dir;
  Incoming in = incoming(1);
  ASSERT_TRUE(Staging::open(dir.path(), "main", in.list_bytes, in.list, in.wanted).ok());
  in.wanted.set(5);  // the held file turned out to be bad
  auto s = Staging::open(dir.path(), "main", in.list_bytes, in.list, in.wanted);
  ASSERT_TRUE(s.ok());
  EXPECT_TRUE(s->wants(5));
}

TEST(Staging, ADamagedMapOrACutFileBeginsAnew) {
  const TempDir dir;
  const Incoming in = incoming(1);
  const auto fill = [&] {
    auto s = Staging::open(dir.path(), "main", in.list_bytes, in.list, in.wanted);
    ASSERT_TRUE(s->put(0, in.chunks[0]).ok());
    ASSERT_TRUE(s->sync().ok());
  };
  fill();
  fs::resize_file(dir / "main.data", 10);
  EXPECT_EQ(Staging::open(dir.path(), "main", in.list_bytes, in.list, in.wanted)->missing_chunks(),
            4u);
  fill();
  fs::resize_file(dir / "main.map", 20);
  EXPECT_EQ(Staging::open(dir.path(), "main", in.list_bytes, in.list, in.wanted)->missing_chunks(),
            4u);
}

TEST(Staging, BytesThatRottedAreNotGivenOut) {
  const TempDir dir;
  const Incoming in = incoming(1);
  auto s = Staging::open(dir.path(), "main", in.list_bytes, in.list, in.wanted);
  ASSERT_TRUE(s->put(0, in.chunks[0]).ok());
  std::string data = read_file(dir / "main.data").value();
  data[5] = static_cast<char>(data[5] ^ 1);
  {
    std::FILE* f = std::fopen((dir / "main.data").c_str(), "r+");
    std::fwrite(data.data(), 1, data.size(), f);
    std::fclose(f);
  }
  EXPECT_EQ(s->read(in.list.chunks[0].hash).error().reason, "HashMismatch");
}

}  // namespace
}  // namespace tango::agent
