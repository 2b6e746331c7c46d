// Backward reductions over the rows of a score map: the sums behind the centres of the softmax's gradient.
//
// Where rows come tile by tile as logits, each tile's weights are relative to the largest logit so far, and
// sums of former tiles follow it: the sums are those of one softmax, the backward's own.
#pragma once

#include "rows.h"

namespace contextual_attention {
namespace gpu {

// What the weights of a row are relative to, and what becomes of former sums.
struct RowOffset {
  float largest;
  double former;

  template <class T>
  CA_BOTH float weight(T score, bool exact) const {
    return is_logit<T> ? weight_of(score - largest, exact) : float(score);
  }
  // former * sums so far + this tile's, by one lane.
  template <class Lanes>
  CA_BOTH void add(const Lanes& lanes, double* target, float sum) const {
    const float total = lanes.sum(sum);
    if (lanes.index == 0) *target = (former == 0 ? 0.0 : *target * former) + total;
  }
};

// The rows of weights, or of logits.
template <class T>
struct CentreRows {
  Scores<T> scores;
  Reduction reduction;
  PixelMap<float> offset;  // of logits
  bool exact;              // exp to float32's precision

  template <class Lanes>
  CA_BOTH RowOffset offset_of(int32_t n, int32_t y, int32_t x, const Lanes& lanes) const {
    if (!is_logit<T>) return {0, reduction.first ? 0.0 : 1.0};
    const float before = reduction.first ? -INFINITY : offset.at(n, y, x);
    lanes.sync();  // all have read it
    const T* logits = scores.row(n, y, x);
    float now = before;
    reduction.columns(scores, lanes, [&](int32_t, int32_t, int32_t column) {
      now = fmaxf(now, load(logits + column));
    });
    now = lanes.largest(now);
    if (lanes.index == 0) offset.at(n, y, x) = now;
    // Nothing but -inf yet, whose weights are 0 at any offset.
    return {now == -INFINITY ? 0.0f : now, before == -INFINITY ? 0.0 : double(expf(before - now))};
  }
};

// sum over q of W[p, q] dA[p, q], dA from the gradient of the cells, and of W alone.
template <class T>
struct CentreSums {
  static constexpr Shape shape = Shape::rows;
  CentreRows<T> weights;
  ScoreMap cells;
  TapSums products, counts;
  int32_t samples;

  CA_BOTH int32_t rows() const { return weights.reduction.region.rows(); }

  template <class Lanes>
  CA_BOTH void operator()(int32_t n, int32_t row, const Lanes& lanes) const {
    const Reduction& reduction = weights.reduction;
    const int32_t y = reduction.y(row), x = reduction.x(row);
    const RowOffset offset = weights.offset_of(n, y, x, lanes);
    const T* scores = weights.scores.row(n, y, x);
    const float *upper = cells.row(n, y, x), *lower = cells.row(n, y + 1, x);
    const int64_t next = cells.pitch + 1;
    float sum = 0, count = 0;
    reduction.columns(weights.scores, lanes, [&](int32_t v, int32_t u, int32_t column) {
      const int32_t above = cells.column(v, u), below = cells.column(v + 1, u);
      const float weight = offset.weight(load(scores + column), weights.exact);
      count += weight;
      // Summed as CellGradient does: a row of one weight has dA itself for its centre.
      sum += weight * ((upper[above] + upper[above + next]) + (lower[below] + lower[below + next]));
    });
    offset.add(lanes, products.at(n, y, x), sum);
    offset.add(lanes, counts.at(n, y, x), count);
  }
};

// U and T: sums over W of the shifted gradients and of their validity alone.
template <class T>
struct ShiftedCentreSums {
  static constexpr Shape shape = Shape::rows;
  CentreRows<T> weights;
  ScoreMap gradient;  // valid * dA
  const uint32_t* bits;
  int64_t bits_sample, bits_group;
  Taps taps;
  TapSums products, counts;
  int32_t samples;

  CA_BOTH int32_t rows() const { return weights.reduction.region.rows(); }

  template <class Lanes>
  CA_BOTH void operator()(int32_t n, int32_t row, const Lanes& lanes) const {
    const int32_t y = weights.reduction.y(row), x = weights.reduction.x(row);
    const RowOffset offset = weights.offset_of(n, y, x, lanes);
    for (int32_t group = 0; group < taps.groups(); ++group) add(n, y, x, group, offset, lanes);
  }

 private:
  template <class Lanes>
  CA_BOTH void add(int32_t n, int32_t y, int32_t x, int32_t group, const RowOffset& offset,
                   const Lanes& lanes) const {
    const int32_t first = group * kTapsAtOnce;
    const T* scores = weights.scores.row(n, y, x);
    // Where a tap's row of gradients would begin if its columns were those of q; bit t: the row is held.
    const float* shifted[kTapsAtOnce];
    uint32_t held = 0;
    CA_UNROLL
    for (int32_t t = 0; t < kTapsAtOnce; ++t) {
      shifted[t] = gradients_of(n, y, x, first + t);
      if (shifted[t] != nullptr) held |= 1u << t;
    }
    const uint32_t* flags = bits + n * bits_sample + group * bits_group;
    const int32_t pitch = weights.reduction.region.u.size;
    float product[kTapsAtOnce] = {}, count[kTapsAtOnce] = {};
    weights.reduction.columns(weights.scores, lanes, [&](int32_t v, int32_t u, int32_t column) {
      const uint32_t valid = flags[int64_t(v) * pitch + u];
      const float weight = offset.weight(load(scores + column), weights.exact);
      const int32_t at =
          (v - gradient.region.v.first) * gradient.region.u.count + u - gradient.region.u.first;
      CA_UNROLL
      for (int32_t t = 0; t < kTapsAtOnce; ++t) {
        if (valid >> t & 1) count[t] += weight;
        if ((valid & held) >> t & 1) product[t] += weight * shifted[t][at];
      }
    });
    CA_UNROLL
    for (int32_t t = 0; t < kTapsAtOnce; ++t) {
      if (first + t >= taps.count()) break;
      offset.add(lanes, products.at(n, y, x) + first + t, product[t]);
      offset.add(lanes, counts.at(n, y, x) + first + t, count[t]);
    }
  }
  CA_BOTH const float* gradients_of(int32_t n, int32_t y, int32_t x, int32_t t) const {
    const Region& r = gradient.region;
    if (t >= taps.count()) return nullptr;
    const int32_t y1 = y - taps.down(t) - r.y.first, x1 = x - taps.right(t) - r.x.first;
    if (y1 < 0 || y1 >= r.y.count || x1 < 0 || x1 >= r.x.count) return nullptr;
    return gradient.row(n, y1 + r.y.first, x1 + r.x.first) - taps.down(t) * r.u.count - taps.right(t);
  }
};

}  // namespace gpu
}  // namespace contextual_attention
