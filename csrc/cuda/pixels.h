// Filters over pixels instead of scores: row statistics from their sums, and the copies between maps and the
// packed rows of a tile.
#pragma once

#include "../problem.h"
#include "rows.h"

namespace contextual_attention {
namespace gpu {

// What a pixel's sums become, forward: 1 / Z1 of every row of `rows`, 1 / Z2 of those of `totals`.
struct FinishStatistics {
  static constexpr Shape shape = Shape::items;
  TapSums sums;
  Taps taps;
  Region rows, totals;
  PixelMap<float> offset, inverse_sum, inverse_total;
  PixelMap<const bool> selected;
  const int64_t* valid_count;  // one each `valid_sample`, where invalid candidates count; else none
  int64_t valid_sample, candidates;
  bool bounded, after;
  int32_t samples;
  int64_t items;  // pixels of `rows`

  CA_BOTH void operator()(int32_t n, int64_t i) const {
    const int32_t y = rows.y.at(int32_t(i / rows.x.count)), x = rows.x.at(int32_t(i % rows.x.count));
    const float inverse = inverse_of(n, y, x);
    inverse_sum.at(n, y, x) = inverse;
    // An empty row's offset is -inf: with 0 its logits of -inf become weights of 0.
    if (bounded || sums.at(n, y, x)[taps.count() / 2] == 0) offset.at(n, y, x) = 0;
    if (!after) inverse_total.at(n, y, x) = 0;
    if (!after || !within(totals.y, y) || !within(totals.x, x)) return;
    double total = 0;
    for (int32_t t = 0; t < taps.count(); ++t) {
      const int32_t y1 = y + taps.down(t), x1 = x + taps.right(t);
      if (offset.inside(y1, x1)) total += sums.at(n, y1, x1)[t] * inverse_of(n, y1, x1);
    }
    const bool empty = total < kLeastTotal || (selected && !selected.at(n, y, x));
    inverse_total.at(n, y, x) = empty ? 0.0f : float(1.0 / total);
  }

 private:
  CA_BOTH static bool within(const Axis& axis, int32_t i) { return axis.slot(i) < axis.count; }

  // Invalid candidates that are not excluded have the logit 0.
  CA_BOTH float inverse_of(int32_t n, int32_t y, int32_t x) const {
    double sum = sums.at(n, y, x)[taps.count() / 2];
    if (sum == 0) return 0;
    if (valid_count != nullptr) {
      const double invalid = double(candidates - valid_count[n * valid_sample]);
      const double shift = bounded ? 0.0 : double(offset.at(n, y, x));
      if (invalid > 0) sum += invalid * exp(-shift);
    }
    return float(1.0 / sum);
  }
};

// Backward, the centres from their sums, with a1 = 1 / Z1, a2 = 1 / Z2:
//   none, before   c1[p] = a1[p] U[p]
//   after          c2[p] = a2[p] sum over d of a1[p + d] U[p + d, -d]
//                  c1[p] = a1[p] sum over d of a2[p + d] (U[p, d] - c2[p + d] T[p, d])
//
// a1 and a2 as sums of the weights at hand, T, where these make up all of the softmax: the forward's may be
// of rounded ones, and the gradient of a row's logits would not add up to 0.
struct FinishCentres {
  static constexpr Shape shape = Shape::items;
  TapSums products, counts;
  Taps taps;
  Region region;
  PixelMap<const float> inverse_sum, inverse_total;
  PixelMap<float> centre, total_centre;
  bool of_totals;  // c2, else c1
  bool after;
  bool excluded;  // invalid candidates are no part of the softmax
  int32_t samples;
  int64_t items;

  CA_BOTH void operator()(int32_t n, int64_t i) const {
    const int32_t y = region.y.at(int32_t(i / region.x.count)), x = region.x.at(int32_t(i % region.x.count));
    if (of_totals)
      total_centre.at(n, y, x) = inverse_total.at(n, y, x) == 0 ? 0.0f : mean_of_total(n, y, x);
    else
      centre.at(n, y, x) = inverse_sum.at(n, y, x) == 0 ? 0.0f : mean(n, y, x);
  }

 private:
  CA_BOTH float mean_of_total(int32_t n, int32_t y, int32_t x) const {
    double sum = 0, count = 0;
    for (int32_t t = 0; t < taps.count(); ++t) {
      const int32_t y1 = y + taps.down(t), x1 = x + taps.right(t);
      const float gain = centre.inside(y1, x1) ? inverse_sum.at(n, y1, x1) : 0.0f;
      if (gain == 0) continue;
      sum += gain * products.at(n, y1, x1)[taps.opposite(t)];
      count += gain * counts.at(n, y1, x1)[taps.opposite(t)];
    }
    return count > 0 ? float(sum / count) : 0.0f;
  }
  CA_BOTH float mean(int32_t n, int32_t y, int32_t x) const {
    const double *product = products.at(n, y, x), *count = counts.at(n, y, x);
    double sum = after ? 0 : product[0];
    for (int32_t t = 0; after && t < taps.count(); ++t) {
      const int32_t y1 = y + taps.down(t), x1 = x + taps.right(t);
      const float gain = centre.inside(y1, x1) ? inverse_total.at(n, y1, x1) : 0.0f;
      if (gain != 0) sum += gain * (product[t] - total_centre.at(n, y1, x1) * count[t]);
    }
    if (!excluded) return float(inverse_sum.at(n, y, x) * sum);
    const double weight = count[taps.count() / 2];
    return weight > 0 ? float(sum / weight) : 0.0f;
  }
};

// Pixels of a tile, (rows, depth), one after the other: `T` has the size of an entry.
template <class T>
struct Pack {
  static constexpr Shape shape = Shape::points;
  const T* map;
  T* packed;
  Axis down, right;
  int32_t depth, samples;
  int64_t map_sample, packed_sample;

  CA_BOTH int32_t rows() const { return down.count * right.count; }
  CA_BOTH int32_t columns() const { return depth; }
  CA_BOTH void operator()(int32_t n, int32_t row, int32_t k) const {
    const int64_t pixel = int64_t(down.at(row / right.count)) * right.size + right.at(row % right.count);
    packed[n * packed_sample + int64_t(row) * depth + k] = map[n * map_sample + pixel * depth + k];
  }
};

// Adds the packed pixels of a tile to a map, over `divisor` where there is one.
struct AddToMap {
  static constexpr Shape shape = Shape::points;
  const float* packed;
  float* map;
  Axis down, right;
  int32_t depth, samples;
  int64_t map_sample;
  PixelMap<const float> divisor;

  CA_BOTH int32_t rows() const { return down.count * right.count; }
  CA_BOTH int32_t columns() const { return depth; }
  CA_BOTH void operator()(int32_t n, int32_t row, int32_t k) const {
    const int32_t y = down.at(row / right.count), x = right.at(row % right.count);
    const float value = packed[(int64_t(n) * rows() + row) * depth + k];
    map[n * map_sample + (int64_t(y) * right.size + x) * depth + k] +=
        divisor ? value / divisor.at(n, y, x) : value;
  }
};

}  // namespace gpu
}  // namespace contextual_attention
