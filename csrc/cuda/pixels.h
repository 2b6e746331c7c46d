// Filters over pixels instead of scores: row statistics from their sums, and the copies between maps and the
// packed rows of a tile.
#pragma once

#include "../common/problem.h"
#include "rows.h"

namespace contextual_attention::cuda {

// What a row's weights are divided by, of the sums of those at hand.
struct SoftmaxSums {
  TapSums sums;
  Taps taps;
  PixelMap<const float> offset;
  const int64_t* valid_count;  // one each `valid_sample`, where invalid candidates count; else none
  int64_t valid_sample, candidates;
  bool bounded;

  // 0: the row has no weights.
  CA_BOTH double at(int32_t n, int32_t y, int32_t x) const {
    const double sum = sums.at(n, y, x)[taps.middle()];
    if (sum == 0 || valid_count == nullptr) return sum;
    // Invalid candidates that are not excluded have the logit 0.
    const double invalid = double(candidates - valid_count[n * valid_sample]);
    const double shift = bounded ? 0.0 : double(offset.at(n, y, x));
    return invalid > 0 ? sum + invalid * exp(-shift) : sum;
  }
  CA_BOTH double inverse(int32_t n, int32_t y, int32_t x) const {
    const double sum = at(n, y, x);
    return sum == 0 ? 0.0 : 1.0 / sum;
  }
};

// What the sums T of `rows` become: 1 / Z1 of each, and for a propagation after the softmax 1 / Z2 where all
// that it reads is among them:
//
//   Z1[p] = T[p, 0] and what invalid candidates have,   Z2[p] = sum over d of T[p + d, d] / Z1[p + d]
struct FinishStatistics {
  static constexpr Shape shape = Shape::items;
  SoftmaxSums softmax;
  Region rows;
  PixelMap<float> offset, inverse_sum, inverse_total;
  PixelMap<const bool> selected;
  bool after;
  int32_t samples;
  int64_t items;  // pixels of `rows`

  CA_BOTH void operator()(int32_t n, int64_t i) const {
    const int32_t y = rows.y.at(int32_t(i / rows.x.count)), x = rows.x.at(int32_t(i % rows.x.count));
    inverse_sum.at(n, y, x) = float(softmax.inverse(n, y, x));
    // An empty row's offset is -inf: with 0 its logits of -inf become weights of 0.
    if (softmax.bounded || softmax.at(n, y, x) == 0) offset.at(n, y, x) = 0;
    if (!after)
      inverse_total.at(n, y, x) = 0;
    else
      rescale(n, y, x);
  }

 private:
  CA_BOTH void rescale(int32_t n, int32_t y, int32_t x) const {
    const Taps& taps = softmax.taps;
    double total = 0;
    for (int32_t t = 0; t < taps.count(); ++t) {
      const int32_t y1 = y + taps.down(t), x1 = x + taps.right(t);
      if (!offset.inside(y1, x1)) continue;
      if (!within(rows.y, y1) || !within(rows.x, x1)) return;
      total += softmax.sums.at(n, y1, x1)[t] * softmax.inverse(n, y1, x1);
    }
    const bool empty = total < kLeastTotal || (selected && !selected.at(n, y, x));
    inverse_total.at(n, y, x) = empty ? 0.0f : float(1.0 / total);
  }
  CA_BOTH static bool within(const Axis& axis, int32_t i) { return axis.slot(i) < axis.count; }
};

// Backward, the centres from their sums: means of dA by the weights at hand, whatever the row statistics were
// made of, or the gradient of a row's logits would not add up to 0.
//
//   none, before   c1[p] = U[p] / Z1[p]
//   after          c2[p] = sum over d of U[p + d, d] / Z1[p + d], over the same of T
//                  c1[p] = sum over d of (U[p, d] - c2[p - d] T[p, d]) / Z2[p - d], over Z1[p]
struct FinishCentres {
  static constexpr Shape shape = Shape::items;
  TapSums products;
  SoftmaxSums softmax;
  Region region;
  PixelMap<const float> inverse_sum, inverse_total;
  PixelMap<float> centre, total_centre;
  bool of_totals;  // c2, else c1
  bool after;
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
    const Taps& taps = softmax.taps;
    double sum = 0, count = 0;
    for (int32_t t = 0; t < taps.count(); ++t) {
      const int32_t y1 = y + taps.down(t), x1 = x + taps.right(t);
      const float gain = centre.inside(y1, x1) ? inverse_sum.at(n, y1, x1) : 0.0f;
      if (gain == 0) continue;
      sum += gain * products.at(n, y1, x1)[t];
      count += gain * softmax.sums.at(n, y1, x1)[t];
    }
    return count > 0 ? float(sum / count) : 0.0f;
  }
  CA_BOTH float mean(int32_t n, int32_t y, int32_t x) const {
    const Taps& taps = softmax.taps;
    const double *product = products.at(n, y, x), *count = softmax.sums.at(n, y, x);
    double sum = after ? 0 : product[0];
    for (int32_t t = 0; after && t < taps.count(); ++t) {
      const int32_t y1 = y - taps.down(t), x1 = x - taps.right(t);
      const float gain = centre.inside(y1, x1) ? inverse_total.at(n, y1, x1) : 0.0f;
      if (gain != 0) sum += gain * (product[t] - total_centre.at(n, y1, x1) * count[t]);
    }
    return float(softmax.inverse(n, y, x) * sum);
  }
};

// Pixels of a tile, (rows, depth), one after the other, and zeros behind them; depth and samples in units of
// T.
template <class T>
struct Pack {
  static constexpr Shape shape = Shape::points;
  const T* map;
  T* packed;
  Axis down, right;
  int32_t rows_written, depth, samples;
  int64_t map_sample, packed_sample;

  CA_BOTH int32_t rows() const { return rows_written; }
  CA_BOTH int32_t columns() const { return depth; }
  CA_BOTH void operator()(int32_t n, int32_t row, int32_t k) const {
    T& target = packed[n * packed_sample + int64_t(row) * depth + k];
    if (row >= down.count * right.count) {
      target = T{};
      return;
    }
    const int64_t pixel = int64_t(down.at(row / right.count)) * right.size + right.at(row % right.count);
    target = map[n * map_sample + pixel * depth + k];
  }
};

// Adds the packed pixels of a tile to a map.
struct AddToMap {
  static constexpr Shape shape = Shape::points;
  const float* packed;
  float* map;
  Axis down, right;
  int32_t depth, samples;
  int64_t map_sample, packed_sample;

  CA_BOTH int32_t rows() const { return down.count * right.count; }
  CA_BOTH int32_t columns() const { return depth; }
  CA_BOTH void operator()(int32_t n, int32_t row, int32_t k) const {
    const int32_t y = down.at(row / right.count), x = right.at(row % right.count);
    map[n * map_sample + (int64_t(y) * right.size + x) * depth + k] +=
        packed[n * packed_sample + int64_t(row) * depth + k];
  }
};

}  // namespace contextual_attention::cuda
