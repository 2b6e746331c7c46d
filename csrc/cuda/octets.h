// Eight neighbouring columns of a row of scores, which a lane loads and stores at once; between filters
// scores wait in 16 bits.
//
// So that every octet begins where it may be loaded at once, a row of background pixels takes a line of a
// multiple of eight columns; those beyond the map hold zeros.
#pragma once

#include <math.h>

#include "bodies.h"

namespace contextual_attention::cuda {

constexpr int32_t kOctet = kVector;

using Octet = Values<kOctet>;

// The two entries of a word, the first in its lower half.
CA_BOTH void unpack(uint32_t word, const Bfloat16*, float& first, float& second) {
  const uint32_t low = word << 16, high = word & 0xffff0000u;
  memcpy(&first, &low, 4);
  memcpy(&second, &high, 4);
}
CA_BOTH void unpack(uint32_t word, const Float16*, float& first, float& second) {
  first = Float16{uint16_t(word & 0xffff)}, second = Float16{uint16_t(word >> 16)};
}

CA_BOTH uint32_t pack(float first, float second, const Bfloat16*) {
#if defined(__CUDA_ARCH__)
  const __nv_bfloat162 both = __floats2bfloat162_rn(first, second);
  uint32_t word;
  memcpy(&word, &both, 4);
  return word;
#else
  return to_bfloat16(first) | uint32_t(to_bfloat16(second)) << 16;
#endif
}
CA_BOTH uint32_t pack(float first, float second, const Float16*) {
  return to_float16(first) | uint32_t(to_float16(second)) << 16;
}

// As entries of that type.
template <class T>
CA_BOTH Vector packed(const Octet& octet, const T* type) {
  Vector vector;
  CA_UNROLL
  for (int32_t i = 0; i < 4; ++i) vector.words[i] = pack(octet[2 * i], octet[2 * i + 1], type);
  return vector;
}

template <class T>
CA_BOTH void store(T* at, const Vector& vector) {
  *reinterpret_cast<Vector*>(at) = vector;
}
template <class T>
CA_BOTH void store(T* at, const Octet& octet) {
  *reinterpret_cast<Vector*>(at) = packed(octet, at);
}

CA_BOTH void store(float* at, const Octet& octet) {
  CA_UNROLL
  for (int32_t i = 0; i < 2; ++i) {
    Vector vector;
    memcpy(vector.words, octet.of + 4 * i, 16);
    reinterpret_cast<Vector*>(at)[i] = vector;
  }
}

CA_BOTH Octet load_octet(const float* at) {
  const auto* vectors = reinterpret_cast<const Vector*>(at);
  Octet octet;
  CA_UNROLL
  for (int32_t i = 0; i < 2; ++i) {
    const Vector half = load(vectors + i);
    memcpy(octet.of + 4 * i, half.words, 16);
  }
  return octet;
}

// An octet, and two neighbours, as they are loaded: numbers are made of them where they are used.
template <class T>
struct Packed {
  Vector vector;

  CA_BOTH static Packed at(const T* from) { return {load(reinterpret_cast<const Vector*>(from))}; }
  CA_BOTH Octet unpacked() const {
    Octet octet;
    CA_UNROLL
    for (int32_t i = 0; i < 4; ++i)
      unpack(vector.words[i], static_cast<const T*>(nullptr), octet[2 * i], octet[2 * i + 1]);
    return octet;
  }
};
template <class T>
struct PackedPair {
  uint32_t word;

  CA_BOTH static PackedPair at(const T* from) { return {load(reinterpret_cast<const uint32_t*>(from))}; }
  CA_BOTH static PackedPair none() { return {0}; }
  CA_BOTH void unpacked(float& first, float& second) const {
    unpack(word, static_cast<const T*>(nullptr), first, second);
  }
};
template <>
struct Packed<Logit> {
  Octet values;

  CA_BOTH static Packed at(const Logit* from) { return {load_octet(&from->value)}; }
  CA_BOTH Octet unpacked() const { return values; }
};
template <>
struct PackedPair<Logit> {
  float first_logit, second_logit;

  CA_BOTH static PackedPair at(const Logit* from) { return {load(&from[0].value), load(&from[1].value)}; }
  CA_BOTH static PackedPair none() { return {-INFINITY, -INFINITY}; }
  CA_BOTH void unpacked(float& first, float& second) const { first = first_logit, second = second_logit; }
};

// Scores of some foreground pixels and all background pixels: a row for each p, in it a line for each row of
// the background.
template <class T>
struct Lines {
  T* data;
  Axis y, x;     // of the foreground pixels
  int32_t line;  // entries
  int64_t pitch, sample;

  CA_BOTH T* at(int32_t n, int32_t row, int32_t column, int32_t v, int32_t u) const {
    const int64_t pixel = int64_t(row - y.first) * x.count + column - x.first;
    return data + n * sample + pixel * pitch + int64_t(v) * line + u;
  }
  // From (y, x), (v, u) to (y + 1, x), (v + 1, u).
  CA_BOTH int64_t down() const { return x.count * pitch + line; }

  Lines<const T> read_only() const { return {data, y, x, line, pitch, sample}; }
};

// Entry i of what lies at `base`, by one instruction and one register for i.
template <class Entry>
CA_BOTH Entry* entry(Entry* base, uint32_t i) {
#if defined(__CUDA_ARCH__)
  Entry* at;
  asm("mad.wide.u32 %0, %1, %2, %3;" : "=l"(at) : "r"(i), "n"(int32_t(sizeof(Entry))), "l"(base));
  __builtin_assume(__isGlobal(at));
  return at;
#else
  return base + i;
#endif
}

// From a row to the next one, in octets of scores and words of validity; and of cells from a pixel to the
// next.
struct WalkSteps {
  uint32_t weights, cells, across, valid;

  template <class T>
  static WalkSteps of(const Lines<Float16>& weights, const Lines<T>& cells) {
    return {uint32_t(weights.down() / kOctet), uint32_t(cells.down() / kOctet),
            uint32_t(cells.pitch / kOctet), uint32_t(cells.line / kOctet)};
  }
};

// The rows of a walk through scores, as far as they have them. It stops at the ends: what lies behind them is
// read as the nearest row that exists, and counts for nothing.
class RowsOfBoth {
 public:
  // From row y of the foreground and v of the background on, or from `before` rows before them.
  CA_BOTH RowsOfBoth(const Axis& rows, int32_t y, int32_t background_rows, int32_t v, int32_t before)
      : i_(-before) {
    const int32_t above = y - rows.first, below = rows.count - above, background_below = background_rows - v;
    first_ = above < v ? -above : -v;
    last_ = (below < background_below ? below : background_below) - 1;
    const int32_t nearest = i_ < first_ ? first_ : i_ > last_ ? last_ : i_;
    // No row may exist at all.
    y_ = rows.first + within(above + nearest, rows.count);
    v_ = within(v + nearest, background_rows);
  }

  // Where the walk begins to read.
  CA_BOTH int32_t y() const { return y_; }
  CA_BOTH int32_t v() const { return v_; }
  CA_BOTH bool exists() const { return i_ >= first_ && i_ <= last_; }
  // Whether pointers to what is read move on, too.
  CA_BOTH bool next() {
    ++i_;
    return i_ > first_ && i_ <= last_;
  }

 private:
  CA_BOTH static int32_t within(int32_t i, int32_t count) { return i < 0 ? 0 : i < count ? i : count - 1; }

  int32_t i_;             // counted from where the walk begins
  int32_t first_, last_;  // that exist
  int32_t y_, v_;
};

}  // namespace contextual_attention::cuda
