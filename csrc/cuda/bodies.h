// How the work of a filter is laid out, on the device (kernels.cu) and in a plain host loop
// (tests/native/host_loops.cpp).
//
// A body is a small struct of plain values with a `shape`, a number of `samples`, and a call operator for one
// piece of the work, or for paths and octets `walk`. Nothing here or in the bodies adds floats atomically:
// results do not depend on the order in which the device runs its threads.
#pragma once

#include "score_maps.h"

namespace contextual_attention::cuda {

enum class Shape {
  paths,   // (n, path, x, comb): walks down a diagonal of rows at fixed columns
  octets,  // (n, path, x, u): the same at eight columns that lie side by side, of kPixelsAcross pixels
  points,  // (n, row, column)
  rows,    // (n, row, lanes): a warp works on one row
  items,   // (n, i)
  marches  // (n, march, block): a block of threads works on one march (gram_tiles.h)
};

// A diagonal of rows: (y, v), (y + 1, v + 1), ... in slots of the two axes.
struct Path {
  int32_t y, v, length;

  CA_BOTH static int32_t count(const Region& region) { return region.y.count + region.v.count - 1; }
  CA_BOTH static Path of(const Region& region, int32_t i) {
    const int32_t y = i < region.v.count ? 0 : i - region.v.count + 1;
    const int32_t v = i < region.v.count ? region.v.count - 1 - i : 0;
    const int32_t down = region.y.count - y, right = region.v.count - v;
    return {y, v, down < right ? down : right};
  }
};

// The most columns that a lane takes side by side.
constexpr int32_t kMostColumns = 4;

template <int32_t kCount>
struct Columns {
  static constexpr int32_t count = kCount;
};

// run(Columns<n>) with the number for a region: few combs, and as few idle columns in the last one.
template <class Run>
void with_columns(const Region& region, const Run& run) {
  const int32_t pieces = (region.u.count + kLanes - 1) / kLanes;
  const int32_t combs = (pieces + kMostColumns - 1) / kMostColumns;
  switch ((pieces + combs - 1) / combs) {
    case 1:
      return run(Columns<1>{});
    case 2:
      return run(Columns<2>{});
    case 3:
      return run(Columns<3>{});
    default:
      return run(Columns<kMostColumns>{});
  }
}

// Pixels side by side that a walk down octets takes, the first of them `x`.
template <class Body>
constexpr int32_t kPixelsAcross = 1;

// What the lanes of a row have in common: the host works with one lane.
struct SingleLane {
  static constexpr int32_t count = 1;
  int32_t index = 0;

  template <class T>
  T sum(T x) const {
    return x;
  }
  template <int32_t kApart>
  float sum_apart(float x) const {
    return x;
  }
  float largest(float x) const { return x; }
  void best(float&, int32_t&) const {}
  void sync() const {}
};

}  // namespace contextual_attention::cuda
