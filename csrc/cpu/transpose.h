// Transposing copies between planes, where a channel's pixels lie together, and pixels or cells, where a
// pixel's channels do.
//
// Maps are often as wide as a power of two, and then the same pixel of all planes falls into one cache set: a
// block takes few channels, and of each of them a whole cache line before it goes on to the next.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <vector>

namespace contextual_attention::cpu {

// Which pixels of a row of all planes move, and where they lie: columns[i] of the row belongs to the channels
// from at[i] on, times weight[i] where there are weights.
struct RowMap {
  std::vector<int64_t> columns, at;
  std::vector<float> weight;

  int64_t count() const { return static_cast<int64_t>(columns.size()); }
  // Whether the four columns from i on follow each other.
  bool adjacent(int64_t i) const { return i + 3 < count() && columns[i + 3] - columns[i] == 3; }
};

// `Plane` and `Pixel` entries are copied, or converted through float32 where they differ or are weighted.
template <class To, class From>
To moved(From x, const RowMap& map, int64_t i) {
  if constexpr (std::is_integral_v<From>)
    return x;
  else
    return static_cast<To>(static_cast<float>(x) * map.weight[i]);
}

template <class T>
using Four __attribute__((vector_size(16), aligned(4), may_alias)) = T;

template <class T>
void transpose(Four<T> (&v)[4]) {
  const Four<T> a = __builtin_shufflevector(v[0], v[1], 0, 4, 1, 5);
  const Four<T> b = __builtin_shufflevector(v[0], v[1], 2, 6, 3, 7);
  const Four<T> c = __builtin_shufflevector(v[2], v[3], 0, 4, 1, 5);
  const Four<T> d = __builtin_shufflevector(v[2], v[3], 2, 6, 3, 7);
  v[0] = __builtin_shufflevector(a, c, 0, 1, 4, 5);
  v[1] = __builtin_shufflevector(a, c, 2, 3, 6, 7);
  v[2] = __builtin_shufflevector(b, d, 0, 1, 4, 5);
  v[3] = __builtin_shufflevector(b, d, 2, 3, 6, 7);
}

enum class Direction { to_pixels, to_planes };

// Channels [c0, c1) of the pixels [i0, i1) one by one.
template <Direction direction, class Plane, class Pixel>
void move_singly(Plane* planes, int64_t plane, Pixel* pixels, const RowMap& map, int64_t i0, int64_t i1,
                 int64_t c0, int64_t c1) {
  for (int64_t i = i0; i < i1; ++i) {
    Plane* column = planes + map.columns[i];
    Pixel* pixel = pixels + map.at[i];
    for (int64_t c = c0; c < c1; ++c) {
      if constexpr (direction == Direction::to_pixels)
        pixel[c] = moved<Pixel>(column[c * plane], map, i);
      else
        column[c * plane] = moved<Plane>(pixel[c], map, i);
    }
  }
}

// Four channels from c on of four adjacent pixels from i on.
template <Direction direction, class T>
void move_square(T* planes, int64_t plane, T* pixels, const RowMap& map, int64_t i, int64_t c) {
  Four<T> square[4];
  T* corner = planes + c * plane + map.columns[i];
  const auto column = [&](int64_t k) { return reinterpret_cast<Four<T>*>(pixels + map.at[i + k] + c); };
  const auto row = [&](int64_t k) { return reinterpret_cast<Four<T>*>(corner + k * plane); };
  const auto weighted = [&](Four<T> v, int64_t k) {
    if constexpr (std::is_integral_v<T>)
      return v;
    else
      return v * map.weight[i + k];
  };
  for (int64_t k = 0; k < 4; ++k)
    square[k] = direction == Direction::to_pixels ? *row(k) : weighted(*column(k), k);
  transpose<T>(square);
  for (int64_t k = 0; k < 4; ++k) {
    if constexpr (direction == Direction::to_pixels)
      *column(k) = weighted(square[k], k);
    else
      *row(k) = square[k];
  }
}

// The pixels of one row of all planes. Weights are given exactly where the entries are floating.
template <Direction direction, class Plane, class Pixel>
void move_row(Plane* planes, int64_t plane, Pixel* pixels, int64_t channels, const RowMap& map) {
  constexpr int64_t kChannels = 8, kColumns = 64 / sizeof(Plane);
  constexpr bool has_squares = std::is_same_v<Plane, Pixel> && sizeof(Plane) == 4;
  for (int64_t i0 = 0; i0 < map.count(); i0 += kColumns) {
    const int64_t i1 = std::min(map.count(), i0 + kColumns);
    for (int64_t c0 = 0; c0 < channels; c0 += kChannels) {
      const int64_t c1 = std::min(channels, c0 + kChannels);
      for (int64_t i = i0; i < i1;) {
        const int64_t next = std::min(i1, i + 4);
        int64_t c = c0;
        if constexpr (has_squares) {
          if (next == i + 4 && map.adjacent(i))
            for (; c + 4 <= c1; c += 4) move_square<direction>(planes, plane, pixels, map, i, c);
        }
        move_singly<direction>(planes, plane, pixels, map, i, next, c, c1);
        i = next;
      }
    }
  }
}

}  // namespace contextual_attention::cpu
