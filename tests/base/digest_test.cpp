#include "lib/base/digest.h"

#include <gtest/gtest.h>

#include "lib/base/random.h"

namespace tango {
namespace {

TEST(Digest, MatchesFips180Vectors) {
  EXPECT_EQ(sha256("").hex(), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256("abc").to_string(),
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  Sha256 h;
  for (int i = 0; i < 1'000'000; ++i) h.update("a");
  EXPECT_EQ(h.finish().hex(), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Digest, HasNoEmptyState) {
  for (const char* bad :
       {"", "sha256:", "sha256:abc", "md5:e3b0c44298fc1c149afbf4c8996fb924",
        "sha256:E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855"}) {
    EXPECT_EQ(Digest::parse(bad).error().reason, "InvalidDigest") << bad;
  }
}

TEST(Encoding, RoundTrips) {
  CounterRandom random(3, 4);
  for (std::size_t n = 0; n < 70; ++n) {
    std::string data = random_bytes(random, n);
    EXPECT_EQ(*from_base64(to_base64(data)), data);
    EXPECT_EQ(*from_base64url(to_base64url(data)), data);
    EXPECT_EQ(*from_hex(to_hex(std::span(reinterpret_cast<const std::uint8_t*>(data.data()), n))),
              data);
  }
  EXPECT_FALSE(from_base64("a?").ok());
  EXPECT_FALSE(from_hex("abc").ok());
}

// Known-answer vectors of the Random123 distribution for philox4x32-10 (counter and key zero).
TEST(Random, CounterGeneratorMatchesPhilox) {
  CounterRandom zero(0, 0);
  EXPECT_EQ(zero.next(), 0xe169c58d6627e8d5ull);
  CounterRandom again(0, 0);
  again.set_counter(1);
  EXPECT_EQ(zero.next(), again.next());
}

TEST(Random, StreamsDoNotOverlap) {
  CounterRandom a(1, 1), b(1, 2), c(2, 1);
  EXPECT_NE(a.next(), b.next());
  EXPECT_NE(a.next(), c.next());
  EXPECT_EQ(random_uuid(a).size(), 36u);
  EXPECT_EQ(random_suffix(a, 5).size(), 5u);
}

}  // namespace
}  // namespace tango
