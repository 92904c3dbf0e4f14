#include "lib/base/random.h"

#include <sys/random.h>

#include <cstdlib>
#include <cstring>

namespace tango {
namespace {

class KernelRandom : public Random {
 public:
  std::uint64_t next() override {
    std::uint64_t v = 0;
    // Cannot fail for so few bytes once the pool is seeded; a kernel without it is not supported.
    if (::getrandom(&v, sizeof v, 0) != static_cast<ssize_t>(sizeof v)) std::abort();
    return v;
  }
};

}  // namespace

Random& system_random() {
  static KernelRandom random;
  return random;
}

std::uint64_t CounterRandom::next() {
  constexpr std::uint32_t kM0 = 0xD2511F53u, kM1 = 0xCD9E8D57u, kW0 = 0x9E3779B9u,
                          kW1 = 0xBB67AE85u;
  std::uint32_t c0 = static_cast<std::uint32_t>(counter_),
                c1 = static_cast<std::uint32_t>(counter_ >> 32);
  std::uint32_t c2 = static_cast<std::uint32_t>(stream_),
                c3 = static_cast<std::uint32_t>(stream_ >> 32);
  std::uint32_t k0 = static_cast<std::uint32_t>(seed_),
                k1 = static_cast<std::uint32_t>(seed_ >> 32);
  for (int round = 0; round < 10; ++round) {
    std::uint64_t p0 = static_cast<std::uint64_t>(kM0) * c0;
    std::uint64_t p1 = static_cast<std::uint64_t>(kM1) * c2;
    std::uint32_t n0 = static_cast<std::uint32_t>(p1 >> 32) ^ c1 ^ k0;
    std::uint32_t n2 = static_cast<std::uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c1 = static_cast<std::uint32_t>(p1);
    c3 = static_cast<std::uint32_t>(p0);
    c0 = n0;
    c2 = n2;
    k0 += kW0;
    k1 += kW1;
  }
  ++counter_;
  return static_cast<std::uint64_t>(c1) << 32 | c0;
}

std::string random_suffix(Random& random, int length) {
  static constexpr std::string_view kAlphabet = "bcdfghjklmnpqrstvwxz2456789";
  std::string out;
  for (int i = 0; i < length; ++i) out += kAlphabet[random.below(kAlphabet.size())];
  return out;
}

std::string random_bytes(Random& random, std::size_t n) {
  std::string out(n, '\0');
  for (std::size_t i = 0; i < n; i += 8) {
    std::uint64_t v = random.next();
    std::memcpy(out.data() + i, &v, n - i < 8 ? n - i : 8);
  }
  return out;
}

std::string random_uuid(Random& random) {
  std::string b = random_bytes(random, 16);
  b[6] = static_cast<char>((b[6] & 0x0F) | 0x40);
  b[8] = static_cast<char>((b[8] & 0x3F) | 0x80);
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out;
  for (std::size_t i = 0; i < 16; ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) out += '-';
    out += kHex[static_cast<unsigned char>(b[i]) >> 4];
    out += kHex[static_cast<unsigned char>(b[i]) & 15];
  }
  return out;
}

}  // namespace tango
