// Two float16 in a word, the first in its lower half, and arithmetic with both at once: an instruction each
// on the device. The host rounds every operation as the device does.
#pragma once

#include "octets.h"

namespace contextual_attention::cuda {

struct HalfPair {
  uint32_t word;

  CA_BOTH float first() const { return Float16{uint16_t(word & 0xffff)}; }
  CA_BOTH float second() const { return Float16{uint16_t(word >> 16)}; }
};

CA_BOTH HalfPair pair_of(float first, float second) {
  return {to_float16(first) | uint32_t(to_float16(second)) << 16};
}

#if defined(__CUDA_ARCH__)
CA_BOTH __half2 on_device(HalfPair pair) {
  __half2 both;
  memcpy(&both, &pair.word, 4);
  return both;
}
CA_BOTH HalfPair from_device(__half2 both) {
  HalfPair pair;
  memcpy(&pair.word, &both, 4);
  return pair;
}
#else
// Of a sum of a product: in double it is exact, or so far from the middle of two float16 that it rounds
// alike.
inline uint32_t rounded_to_float16(double x) {
#if defined(__CUDACC__)
  return __half_as_ushort(__double2half(x));
#else
  const _Float16 rounded = static_cast<_Float16>(x);
  uint16_t bits;
  memcpy(&bits, &rounded, 2);
  return bits;
#endif
}
inline HalfPair rounded(double first, double second) {
  return {rounded_to_float16(first) | rounded_to_float16(second) << 16};
}
#endif

CA_BOTH HalfPair operator+(HalfPair a, HalfPair b) {
#if defined(__CUDA_ARCH__)
  return from_device(__hadd2(on_device(a), on_device(b)));
#else
  return rounded(double(a.first()) + b.first(), double(a.second()) + b.second());
#endif
}

CA_BOTH HalfPair operator*(HalfPair a, HalfPair b) {
#if defined(__CUDA_ARCH__)
  return from_device(__hmul2(on_device(a), on_device(b)));
#else
  return rounded(double(a.first()) * b.first(), double(a.second()) * b.second());
#endif
}

// a * b + c, rounded once.
CA_BOTH HalfPair multiply_add(HalfPair a, HalfPair b, HalfPair c) {
#if defined(__CUDA_ARCH__)
  return from_device(__hfma2(on_device(a), on_device(b), on_device(c)));
#else
  return rounded(double(a.first()) * b.first() + c.first(), double(a.second()) * b.second() + c.second());
#endif
}

// An octet.
constexpr int32_t kPairs = kOctet / 2;
struct Pairs {
  HalfPair of[kPairs];

  CA_BOTH HalfPair& operator[](int32_t k) { return of[k]; }
  CA_BOTH const HalfPair& operator[](int32_t k) const { return of[k]; }
};
CA_BOTH Pairs operator+(const Pairs& a, const Pairs& b) {
  Pairs sums;
  CA_UNROLL
  for (int32_t k = 0; k < kPairs; ++k) sums[k] = a[k] + b[k];
  return sums;
}

// One half for both.
CA_BOTH HalfPair twice_first(HalfPair a) {
#if defined(__CUDA_ARCH__)
  return from_device(__low2half2(on_device(a)));
#else
  return {(a.word & 0xffff) | a.word << 16};
#endif
}
CA_BOTH HalfPair twice_second(HalfPair a) {
#if defined(__CUDA_ARCH__)
  return from_device(__high2half2(on_device(a)));
#else
  return {a.word >> 16 | (a.word & 0xffff0000u)};
#endif
}

// Of two neighbouring pairs the halves that touch; and the firsts of two.
CA_BOTH HalfPair inner(HalfPair a, HalfPair b) { return {a.word >> 16 | b.word << 16}; }
CA_BOTH HalfPair firsts(HalfPair a, HalfPair b) { return {(a.word & 0xffff) | b.word << 16}; }

// Where flag k of nine lies in a word, so that two neighbours become a mask by one instruction, which repeats
// the sign of a byte: the first four are signs of the bytes, the next four the bits below, and so on.
CA_BOTH constexpr int32_t place_of_flag(int32_t k) { return k % 4 * 8 + 7 - k / 4; }

// A pair, where flag k for its first half and flag k + 1 for its second one are set, else 0.
CA_BOTH HalfPair kept(uint32_t flags, int32_t k, HalfPair pair) {
  uint32_t mask;
#if defined(__CUDA_ARCH__)
  const uint32_t halves = (8 | k % 4) * 0x11 | (12 | (k + 1) % 4) * 0x1100;
  asm("prmt.b32 %0, %1, %2, %3;" : "=r"(mask) : "r"(flags << k / 4), "r"(flags << (k + 1) / 4), "r"(halves));
#else
  mask = (flags >> place_of_flag(k) & 1) * 0xffffu | (flags >> place_of_flag(k + 1) & 1) * 0xffff0000u;
#endif
  return {pair.word & mask};
}

// Times a power of two, as numbers of T: nothing is lost but where a float16 becomes too small.
CA_BOTH uint32_t scaled(HalfPair pair, float power, const Float16*) {
  return (pair * pair_of(power, power)).word;
}
CA_BOTH uint32_t scaled(HalfPair pair, float power, const Bfloat16*) {
#if defined(__CUDA_ARCH__)
  const float2 wide = __half22float2(on_device(pair));
  const __nv_bfloat162 both = __hmul2(__floats2bfloat162_rn(wide.x, wide.y), __float2bfloat162_rn(power));
  uint32_t word;
  memcpy(&word, &both, 4);
  return word;
#else
  return to_bfloat16(pair.first() * power) | uint32_t(to_bfloat16(pair.second() * power)) << 16;
#endif
}

}  // namespace contextual_attention::cuda
