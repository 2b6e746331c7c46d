// Reductions over the rows of a score map: a warp works on one row, its lanes on neighbouring columns.
//
// Sums over shifted copies of a row, t numbering the taps d of the propagation after the softmax in row-major
// order, are what the rescaling of its rows and its gradient need:
//
//   T[p, d] = sum over q of W[p, q] valid[q - d],   U[p, d] = the same with dA[p - d, q - d].
#pragma once

#include "bodies.h"
#include "sinks.h"

namespace contextual_attention::cuda {

// Taps that one pass over a row sums up; more of them take several passes.
constexpr int32_t kTapsAtOnce = 9;

struct Taps {
  int32_t k, step;  // k x k taps, `step` apart

  CA_BOTH int32_t count() const { return k * k; }
  CA_BOTH int32_t groups() const { return (count() + kTapsAtOnce - 1) / kTapsAtOnce; }
  CA_BOTH int32_t down(int32_t t) const { return (t / k - k / 2) * step; }
  CA_BOTH int32_t right(int32_t t) const { return (t % k - k / 2) * step; }
  // The one that does not move.
  CA_BOTH int32_t middle() const { return count() / 2; }
};

// The sums of one pixel: sums[(n * pixels + pixel) * taps + t].
struct TapSums {
  double* data;
  int64_t pixels;
  int32_t width, taps;

  CA_BOTH double* at(int32_t n, int32_t y, int32_t x) const {
    return data + (n * pixels + int64_t(y) * width + x) * taps;
  }
};

// Bit t of bits[n, group, q]: q - d of tap group * kTapsAtOnce + t is valid.
struct TapBits {
  static constexpr Shape shape = Shape::items;
  PixelMap<const bool> valid;
  uint32_t* bits;
  Taps taps;
  int32_t samples;
  int64_t items;  // groups * pixels

  CA_BOTH void operator()(int32_t n, int64_t i) const {
    const int64_t pixels = int64_t(valid.height) * valid.width;
    const int32_t group = int32_t(i / pixels), v = int32_t(i % pixels / valid.width);
    const int32_t u = int32_t(i % pixels % valid.width);
    uint32_t found = 0;
    for (int32_t b = 0; b < kTapsAtOnce; ++b) {
      const int32_t t = group * kTapsAtOnce + b;
      if (t >= taps.count()) break;
      const int32_t v1 = v - taps.down(t), u1 = u - taps.right(t);
      if (valid.inside(v1, u1) && valid.at(n, v1, u1)) found |= 1u << b;
    }
    bits[n * items + i] = found;
  }
};

// Which rows and columns a reduction reads, and whether it starts the sums or adds to them.
struct Reduction {
  Region region;
  bool first;

  CA_BOTH int32_t y(int32_t row) const { return region.y.at(row / region.x.count); }
  CA_BOTH int32_t x(int32_t row) const { return region.x.at(row % region.x.count); }

  // each(v, u, column) for the columns of a lane; `column` counts within the scores of `map`.
  template <class T, class Lanes, class Each>
  CA_BOTH void columns(const Scores<T>& map, const Lanes& lanes, const Each& each) const {
    for (int32_t j = 0; j < region.v.count; ++j) {
      const int32_t v = region.v.at(j), begin = map.column(v, region.u.first);
      for (int32_t i = lanes.index; i < region.u.count; i += Lanes::count)
        each(v, region.u.first + i, begin + i);
    }
  }
  // each(v, u, column, count) for columns that follow each other, in the map as in the background.
  template <class T, class Each>
  CA_BOTH void runs(const Scores<T>& map, const Each& each) const {
    const Axis &v = region.v, &u = region.u;
    const bool whole_lines = u.count == u.size && map.region.u.count == u.size && v.first + v.count <= v.size;
    const int32_t lines = whole_lines ? v.count : 1;
    for (int32_t j = 0; j < v.count; j += lines)
      each(v.at(j), u.first, map.column(v.at(j), u.first), lines * u.count);
  }
};

// A row of logits to weights, in their place.
template <class Lanes>
CA_BOTH void weigh(int32_t n, int32_t y, int32_t x, float offset, bool exact, const ScoreMap& scores,
                   const Lanes& lanes) {
  float* logits = scores.row(n, y, x);
  for (int32_t i = lanes.index; i < scores.region.columns(); i += Lanes::count)
    logits[i] = weight_of(logits[i] - offset, exact);
}

}  // namespace contextual_attention::cuda
