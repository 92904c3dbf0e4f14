// Randomness as an injected dependency, and a counter-based generator whose value depends only on
// (seed, stream, counter): the same sample gets the same augmentation whatever thread draws it.
#pragma once

#include <cstdint>
#include <string>

namespace tango {

class Random {
 public:
  virtual ~Random() = default;
  virtual std::uint64_t next() = 0;
  double uniform() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }  // [0,1)
  std::uint64_t below(std::uint64_t n) { return n == 0 ? 0 : next() % n; }
};
Random& system_random();  // kernel entropy, for keys, nonces and jitter

// Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
class CounterRandom : public Random {
 public:
  CounterRandom(std::uint64_t seed, std::uint64_t stream) : seed_(seed), stream_(stream) {}
  std::uint64_t next() override;
  std::uint64_t counter() const { return counter_; }
  void set_counter(std::uint64_t c) { counter_ = c; }

 private:
  std::uint64_t seed_;
  std::uint64_t stream_;
  std::uint64_t counter_ = 0;
};

// Lower-case letters and digits without look-alikes, as Kubernetes' generateName uses.
std::string random_suffix(Random& random, int length);
std::string random_bytes(Random& random, std::size_t n);
std::string random_uuid(Random& random);  // RFC 9562 version 4

}  // namespace tango
