// Maps of planes, (B, C, H, W), and maps of pixels or cells, whose channels lie together.
//
// Neighbouring lanes take neighbouring columns of a plane, and each moves a few channels of its pixel at
// once: so reads and writes of both kinds of maps are of whole sectors, without a detour through shared
// memory.
#pragma once

#include "bodies.h"

namespace contextual_attention::cuda {

template <class T>
struct Rounded;
template <>
struct Rounded<float> {
  CA_BOTH static float of(float x) { return x; }
};
template <>
struct Rounded<Bfloat16> {
  CA_BOTH static Bfloat16 of(float x) { return {to_bfloat16(x)}; }
};
template <>
struct Rounded<Float16> {
  CA_BOTH static Float16 of(float x) { return {to_float16(x)}; }
};

// Each rounded by itself, whatever the compiler makes of a sum of products.
CA_BOTH float product(float a, float b) {
#if defined(__CUDA_ARCH__)
  return __fmul_rn(a, b);
#else
  return a * b;
#endif
}

// Some channels of a pixel, which a thread moves at once.
constexpr int32_t kGroup = 8;
CA_BOTH int32_t groups_of(int32_t channels) { return (channels + kGroup - 1) / kGroup; }
CA_BOTH int32_t count_in(int32_t channels, int32_t group) {
  return channels - group * kGroup < kGroup ? channels - group * kGroup : kGroup;
}

template <class T>
struct Channels {
  T at[kGroup];
};

// A map whose pixels have their channels side by side.
template <class T>
struct PixelChannels {
  T* data;
  int32_t channels;
  bool aligned;  // every group is whole, and begins at a multiple of 16 bytes

  static constexpr int32_t kVectors = kGroup * sizeof(T) / sizeof(Vector),
                           kPerVector = sizeof(Vector) / sizeof(T);

  CA_BOTH T* at(int64_t pixel, int32_t group) const { return data + pixel * channels + group * kGroup; }
  CA_BOTH auto read(int64_t pixel, int32_t group) const {
    using Entry = decltype(load(data));
    Channels<Entry> values{};
    const T* from = at(pixel, group);
    if (aligned) {
      CA_UNROLL
      for (int32_t i = 0; i < kVectors; ++i) {
        const Vector vector = load(reinterpret_cast<const Vector*>(from) + i);
        memcpy(values.at + i * kPerVector, &vector, sizeof vector);
      }
      return values;
    }
    CA_UNROLL
    for (int32_t k = 0; k < kGroup; ++k)
      if (k < count_in(channels, group)) values.at[k] = load(from + k);
    return values;
  }
  CA_BOTH void write(int64_t pixel, int32_t group, const Channels<T>& values) const {
    T* to = at(pixel, group);
    if (aligned) {
      CA_UNROLL
      for (int32_t i = 0; i < kVectors; ++i) {
        Vector vector;
        memcpy(&vector, values.at + i * kPerVector, sizeof vector);
        reinterpret_cast<Vector*>(to)[i] = vector;
      }
      return;
    }
    CA_UNROLL
    for (int32_t k = 0; k < kGroup; ++k)
      if (k < count_in(channels, group)) to[k] = values.at[k];
  }
};

// A map of planes, wherever its entries lie.
template <class T>
struct Planes {
  T* data;
  int32_t channels;
  int64_t sample, channel, row, column;  // from an entry to the next

  CA_BOTH explicit operator bool() const { return data != nullptr; }
  CA_BOTH T* at(int64_t n, int32_t y, int32_t x, int32_t group) const {
    return data + n * sample + y * row + x * column + int64_t(group) * kGroup * channel;
  }
  CA_BOTH auto read(int64_t n, int32_t y, int32_t x, int32_t group) const {
    using Entry = decltype(load(data));
    Channels<Entry> values{};
    const T* from = at(n, y, x, group);
    CA_UNROLL
    for (int32_t k = 0; k < kGroup; ++k)
      if (k < count_in(channels, group)) values.at[k] = load(from + k * channel);
    return values;
  }
  CA_BOTH void write(int64_t n, int32_t y, int32_t x, int32_t group, const Channels<T>& values) const {
    T* to = at(n, y, x, group);
    CA_UNROLL
    for (int32_t k = 0; k < kGroup; ++k)
      if (k < count_in(channels, group)) to[k * channel] = values.at[k];
  }
};

// Cells of a map, the first of which starts cell / 2 pixels before the edge. Rows and columns of pixels count
// from there, so that some lie beyond the map.
struct CellGrid {
  int32_t cell, rows, columns, height, width;

  CA_BOTH int32_t pixel_rows() const { return rows * cell; }
  CA_BOTH int32_t pixel_columns() const { return columns * cell; }
  CA_BOTH int32_t map_row(int32_t y) const { return y - cell / 2; }
  CA_BOTH bool inside(int32_t y, int32_t x) const {
    return map_row(y) >= 0 && map_row(y) < height && map_row(x) >= 0 && map_row(x) < width;
  }
  // Of a pixel among those of all cells.
  CA_BOTH int64_t index(int64_t n, int32_t y, int32_t x) const {
    const int64_t at = (n * rows + y / cell) * columns + x / cell;
    return (at * cell + y % cell) * cell + x % cell;
  }
};

}  // namespace contextual_attention::cuda
