// The part of the filters that compares patches of a picture: exact, so that every SIMD level finds the same.
// Intrinsics leave no function behind that the linker could keep of another level.
#pragma once

#include <stdint.h>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace contextual_attention::cpu {
namespace CA_SIMD_LEVEL {
namespace {

// Eight bytes of a row, as differences of 16 bits, squared and added in pairs: exact.
#if defined(__SSE2__)
inline __m128i squares(__m128i a, __m128i b) {
  const __m128i zero = _mm_setzero_si128();
  const __m128i d = _mm_sub_epi16(_mm_unpacklo_epi8(a, zero), _mm_unpacklo_epi8(b, zero));
  return _mm_madd_epi16(d, d);
}

inline int32_t total(__m128i x) {
  x = _mm_add_epi32(x, _mm_shuffle_epi32(x, 0x4e));
  return _mm_cvtsi128_si32(_mm_add_epi32(x, _mm_shuffle_epi32(x, 0xb1)));
}

template <bool masked>
inline int32_t row_distance(const uint8_t* a, const uint8_t* mask, const uint8_t* b, int bytes) {
  const auto eight = [](const uint8_t* p) { return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)); };
  int i = 0;
  __m128i sum = _mm_setzero_si128();
#if defined(__AVX2__)
  const auto sixteen = [](const uint8_t* p) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(p)); };
  __m256i wide = _mm256_setzero_si256();
  for (; i + 16 <= bytes; i += 16) {
    __m128i x = sixteen(a + i), y = sixteen(b + i);
    if (masked) {
      x = _mm_and_si128(x, sixteen(mask + i));
      y = _mm_and_si128(y, sixteen(mask + i));
    }
    const __m256i d = _mm256_sub_epi16(_mm256_cvtepu8_epi16(x), _mm256_cvtepu8_epi16(y));
    wide = _mm256_add_epi32(wide, _mm256_madd_epi16(d, d));
  }
  sum = _mm_add_epi32(_mm256_castsi256_si128(wide), _mm256_extracti128_si256(wide, 1));
#endif
  for (; i < bytes; i += 8) {
    __m128i x = eight(a + i), y = eight(b + i);
    if (masked) {
      x = _mm_and_si128(x, eight(mask + i));
      y = _mm_and_si128(y, eight(mask + i));
    }
    sum = _mm_add_epi32(sum, squares(x, y));
  }
  return total(sum);
}
#else
template <bool masked>
inline int32_t row_distance(const uint8_t* a, const uint8_t* mask, const uint8_t* b, int bytes) {
  int32_t sum = 0;
  for (int i = 0; i < bytes; ++i) {
    const int32_t d = masked ? (a[i] & mask[i]) - (b[i] & mask[i]) : a[i] - b[i];
    sum += d * d;
  }
  return sum;
}
#endif

template <bool masked>
inline int32_t distance_by_rows(const uint8_t* a, const uint8_t* mask, const uint8_t* b, int rows, int bytes,
                                int64_t pitch, int32_t limit) {
  int32_t sum = 0;
  for (int row = 0; row < rows && sum <= limit; ++row) {
    sum += row_distance<masked>(a, mask, b, bytes);
    a += bytes;
    b += pitch;
    if (masked) mask += bytes;
  }
  return sum;
}

int32_t squared_distance(const uint8_t* a, const uint8_t* mask, const uint8_t* b, int rows, int bytes,
                         int64_t pitch, int32_t limit) {
  return mask ? distance_by_rows<true>(a, mask, b, rows, bytes, pitch, limit)
              : distance_by_rows<false>(a, mask, b, rows, bytes, pitch, limit);
}

}  // namespace
}  // namespace CA_SIMD_LEVEL
}  // namespace contextual_attention::cpu
