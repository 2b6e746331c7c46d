// Where the scores of a tile lie in memory: the index arithmetic that every filter shares, on the device and,
// for the tests, on the host. No torch and no CUDA headers here.
//
// Shape legend: p = (y, x) a foreground pixel of h x w, q = (v, u) a background pixel of hb x wb; of cells
// there are one more each way. A tile holds an interval of each of the four coordinates.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__CUDACC__)
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#define CA_BOTH __host__ __device__ __forceinline__
#define CA_UNROLL _Pragma("unroll")
#define CA_NO_UNROLL _Pragma("unroll 1")
#define CA_UNROLL_TWICE _Pragma("unroll 2")
#else
#define CA_BOTH inline
#define CA_UNROLL
#define CA_NO_UNROLL
#define CA_UNROLL_TWICE
#endif

namespace contextual_attention::cuda {

// A grid of CUDA blocks has this many in its second dimension, which counts samples.
constexpr int64_t kMostSamples = 65535;

// Positions first, first + 1, ... of a line of `size`, which goes on at 0 after its end: where a propagation
// wraps, a tile at one end of the map reads the other end.
struct Axis {
  int32_t first, count, size;

  CA_BOTH int32_t slot(int32_t i) const { return i >= first ? i - first : i - first + size; }
  CA_BOTH int32_t at(int32_t slot) const { return first + slot < size ? first + slot : first + slot - size; }
  CA_BOTH bool inside(int32_t i) const { return i >= 0 && i < size; }
};

struct Region {
  Axis y, x, v, u;

  CA_BOTH int32_t rows() const { return y.count * x.count; }
  CA_BOTH int32_t columns() const { return v.count * u.count; }
};

// Reads what the running kernel writes nowhere: the device may fetch it ahead of writes.
template <class T>
CA_BOTH T load(const T* at) {
#if defined(__CUDA_ARCH__)
  return __ldg(at);
#else
  return *at;
#endif
}

// As a number: a bool that waits in a register is turned into a byte and back.
CA_BOTH uint32_t load(const bool* at) { return load(reinterpret_cast<const uint8_t*>(at)); }

// Entries of half precision in the 16 bytes that one instruction loads, and as many as whole vectors have.
constexpr int32_t kVector = 8;
template <class Count>
CA_BOTH Count padded(Count entries) {
  return (entries + kVector - 1) / kVector * kVector;
}

// Those 16 bytes.
struct alignas(16) Vector {
  uint32_t words[4];
};

CA_BOTH Vector load(const Vector* at) {
#if defined(__CUDA_ARCH__)
  const uint4 words = __ldg(reinterpret_cast<const uint4*>(at));
  return {{words.x, words.y, words.z, words.w}};
#else
  return *at;
#endif
}

// A bfloat16 as a score is stored; arithmetic is float32's.
struct Bfloat16 {
  uint16_t bits;

  CA_BOTH operator float() const {
    const uint32_t wide = uint32_t(bits) << 16;
    float value;
    memcpy(&value, &wide, 4);
    return value;
  }
};
CA_BOTH Bfloat16 load(const Bfloat16* at) { return {load(&at->bits)}; }

// A float16 as an operand of a product is stored.
struct Float16 {
  uint16_t bits;

  CA_BOTH operator float() const {
#if defined(__CUDACC__)
    return __half2float(__ushort_as_half(bits));
#else
    _Float16 value;
    memcpy(&value, &bits, 2);
    return float(value);
#endif
  }
};
CA_BOTH Float16 load(const Float16* at) { return {load(&at->bits)}; }

// A score whose weight is yet to be made: exp(logit - offset of the row).
struct Logit {
  float value;

  CA_BOTH operator float() const { return value; }
};
CA_BOTH Logit load(const Logit* at) { return {load(&at->value)}; }

template <class T>
constexpr bool is_logit = false;
template <>
constexpr bool is_logit<Logit> = true;

// The scores of a region for some samples: a row for each p, rows `pitch` apart.
template <class T>
struct Scores {
  T* data;
  Region region;
  int64_t pitch, sample;
  int64_t down;  // from (y, x), (v, u) to (y + 1, x), (v + 1, u)

  CA_BOTH T* row(int32_t n, int32_t y, int32_t x) const {
    return data + n * sample + (int64_t(region.y.slot(y)) * region.x.count + x - region.x.first) * pitch;
  }
  CA_BOTH int32_t column(int32_t v, int32_t u) const {
    return region.v.slot(v) * region.u.count + u - region.u.first;
  }
  CA_BOTH T& at(int32_t n, int32_t y, int32_t x, int32_t v, int32_t u) const {
    return row(n, y, x)[column(v, u)];
  }
  // To (y, x + 1), (v, u + 1).
  CA_BOTH int64_t right() const { return pitch + 1; }
};
using ScoreMap = Scores<float>;

// The lanes of a warp work on neighbouring columns, each on several of them side by side, this far apart:
// what a row has in common is fetched and counted once for all of them.
constexpr int32_t kLanes = 32;

// A comb: the columns u, u + kLanes, ... of a walk, those before `end`; the first is one.
template <int32_t kColumns>
struct Comb {
  int32_t u, end;

  CA_BOTH int32_t at(int32_t k) const { return u + k * kLanes; }
  CA_BOTH bool has(int32_t k) const { return k == 0 || at(k) < end; }
};

// A value for each column of a comb.
template <int32_t kColumns>
struct Values {
  float of[kColumns];

  CA_BOTH float& operator[](int32_t k) { return of[k]; }
  CA_BOTH float operator[](int32_t k) const { return of[k]; }
};

template <int32_t kColumns>
CA_BOTH Values<kColumns> sum_of(const Values<kColumns>& a, const Values<kColumns>& b) {
  Values<kColumns> sums;
  CA_UNROLL
  for (int32_t k = 0; k < kColumns; ++k) sums[k] = a[k] + b[k];
  return sums;
}
template <int32_t kColumns>
CA_BOTH Values<kColumns> sum_of(const Values<kColumns>& a, const Values<kColumns>& b,
                                const Values<kColumns>& c) {
  Values<kColumns> sums;
  CA_UNROLL
  for (int32_t k = 0; k < kColumns; ++k) sums[k] = a[k] + b[k] + c[k];
  return sums;
}

// A value for every pixel of a map: sample n begins at n * sample (0 where all samples share it).
template <class T>
struct PixelMap {
  T* data;
  int32_t height, width;
  int64_t sample;

  CA_BOTH explicit operator bool() const { return data != nullptr; }
  CA_BOTH bool inside(int32_t row, int32_t column) const {
    return row >= 0 && row < height && column >= 0 && column < width;
  }
  CA_BOTH T& at(int32_t n, int32_t row, int32_t column) const { return of(n)[row * width + column]; }
  CA_BOTH T* of(int32_t n) const { return data + n * sample; }
};

// A walk's place in a map of pixels that nobody writes meanwhile, as a pointer: what is moved on need not be
// computed again.
template <class T>
struct PixelWalk {
  T* here;
  int32_t width;
  bool exists;

  CA_BOTH PixelWalk(const PixelMap<T>& map, int32_t n, int32_t row, int32_t column)
      : here(map.of(n) + row * map.width + column), width(map.width), exists(map.data != nullptr) {}
  CA_BOTH explicit operator bool() const { return exists; }
  CA_BOTH auto operator*() const { return load(here); }
  // Of a column of a comb, and the pixels beside it.
  CA_BOTH auto operator[](int32_t k) const { return beside(k, 0); }
  CA_BOTH auto beside(int32_t k, int32_t aside) const { return load(here + k * kLanes + aside); }
  CA_BOTH void next() { here += width; }
};

enum class Storage : int32_t { float32, bfloat16, float16 };

CA_BOTH int64_t bytes_of(Storage storage) { return storage == Storage::float32 ? 4 : 2; }

CA_BOTH uint16_t to_bfloat16(float x) {
#if defined(__CUDACC__)
  return __bfloat16_as_ushort(__float2bfloat16_rn(x));
#else
  uint32_t bits;
  __builtin_memcpy(&bits, &x, 4);
  if (x != x) return 0x7fc0;
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);  // to nearest, ties to even
#endif
}

CA_BOTH uint16_t to_float16(float x) {
#if defined(__CUDACC__)
  return __half_as_ushort(__float2half_rn(x));
#else
  const _Float16 rounded = static_cast<_Float16>(x);
  uint16_t bits;
  __builtin_memcpy(&bits, &rounded, 2);
  return bits;
#endif
}

// Scores in a type that is known at run time only: where they are written.
struct OperandMap {
  void* data;
  Storage storage;
  Region region;
  int64_t pitch, sample, down;

  CA_BOTH int32_t row(int32_t y, int32_t x) const {
    return region.y.slot(y) * region.x.count + x - region.x.first;
  }
  CA_BOTH int32_t column(int32_t v, int32_t u) const {
    return region.v.slot(v) * region.u.count + u - region.u.first;
  }
  CA_BOTH int64_t index(int32_t n, int32_t row, int32_t column) const {
    return n * sample + row * pitch + column;
  }
  CA_BOTH int64_t index(int32_t n, int32_t y, int32_t x, int32_t v, int32_t u) const {
    return index(n, row(y, x), column(v, u));
  }
  template <class T>
  CA_BOTH Scores<T> as() const {
    return {static_cast<T*>(data), region, pitch, sample, down};
  }
  // Zeros up to the pitch behind the last column of a row, for products that add up whole vectors of columns.
  // Called wherever a walk begins: every row has one that begins at its first column.
  CA_BOTH void pad(int32_t n, int32_t y, int32_t x, int32_t v, int32_t u) const {
    if (column(v, u) > 0) return;
    const int64_t end = index(n, row(y, x), int32_t(pitch));
    CA_NO_UNROLL
    for (int64_t at = end - pitch + region.columns(); at < end; ++at)
      if (storage == Storage::float32)
        static_cast<float*>(data)[at] = 0;
      else
        static_cast<uint16_t*>(data)[at] = 0;
  }
  template <int32_t kColumns>
  CA_BOTH void store(int64_t at, const Values<kColumns>& values, const Comb<kColumns>& comb) const {
    if (storage == Storage::float32)
      store_as<float>(at, values, comb, [](float x) { return x; });
    else if (storage == Storage::bfloat16)
      store_as<uint16_t>(at, values, comb, to_bfloat16);
    else
      store_as<uint16_t>(at, values, comb, to_float16);
  }

 private:
  template <class T, int32_t kColumns, class Convert>
  CA_BOTH void store_as(int64_t at, const Values<kColumns>& values, const Comb<kColumns>& comb,
                        const Convert& convert) const {
    T* here = static_cast<T*>(data) + at;
    CA_UNROLL
    for (int32_t k = 0; k < kColumns; ++k)
      if (comb.has(k)) here[k * kLanes] = convert(values[k]);
  }
};

// Positions of a wrapped sum: `position` runs over the end of its line into the next one.
CA_BOTH void carry(int32_t& line, int32_t& position, int32_t size) {
  for (; position < 0; position += size) --line;
  for (; position >= size; position -= size) ++line;
}

// A rectangle of pixels: those of a tile lie one rectangle after the other, each row by row.
struct Piece {
  Axis rows, columns;
  int64_t begin;  // how many pixels lie before it

  // Also one row before or after the map's, where a walk may begin.
  CA_BOTH int64_t index(int32_t row, int32_t column) const {
    const int32_t within = row < 0 ? 0 : row < rows.size ? row : rows.size - 1;
    return begin + int64_t(rows.slot(within) + row - within) * columns.count + column - columns.first;
  }
};

// The pixels of a map behind a tile of a wrapped propagation: a rectangle for every way that its taps run
// over the ends of columns and of rows.
struct Pieces {
  Piece pieces[9];
  int64_t count;     // of pixels
  int32_t distinct;  // 1: all ways lead to one piece

  // `down`, `right`: -1 over the first end of a column or row, 1 over the last, 0 over none.
  CA_BOTH const Piece& of(int32_t down, int32_t right) const { return pieces[4 + 3 * down + right]; }
};

}  // namespace contextual_attention::cuda
