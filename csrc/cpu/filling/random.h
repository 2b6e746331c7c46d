// Random numbers that are the same everywhere.
#pragma once

#include <cstdint>

namespace contextual_attention::cpu::filling {

// Steele et al., "Fast splittable pseudorandom number generators", OOPSLA 2014. Streams of one seed that have
// other numbers are independent.
class Random {
 public:
  Random(uint64_t seed, uint64_t stream) : state_(seed + 0xd1342543de82ef95u * stream) {}

  // From 0 to `count` - 1, count below 2^32.
  int64_t below(int64_t count) {
    return static_cast<int64_t>((next() >> 32) * static_cast<uint64_t>(count) >> 32);
  }
  // From -reach to reach.
  int step(int reach) { return static_cast<int>(below(2 * int64_t{reach} + 1)) - reach; }

 private:
  uint64_t next() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }

  uint64_t state_;
};

}  // namespace contextual_attention::cpu::filling
