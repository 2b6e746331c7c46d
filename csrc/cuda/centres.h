// Backward reductions over the rows of a score map: the sums behind the centres of the softmax's gradient.
#pragma once

#include "rows.h"

namespace contextual_attention::cuda {

// Rows that come tile by tile as logits: to weights in their place, relative to the largest logit so far,
// which the sums of former tiles follow. So all of them are sums of one softmax, the backward's own.
struct FollowRows {
  static constexpr Shape shape = Shape::rows;
  ScoreMap scores;
  bool first;  // tile of the rows
  PixelMap<float> offset;
  bool exact;  // exp to float32's precision
  TapSums products, counts;
  int32_t samples;

  CA_BOTH int32_t rows() const { return scores.region.rows(); }

  template <class Lanes>
  CA_BOTH void operator()(int32_t n, int32_t row, const Lanes& lanes) const {
    const Region& region = scores.region;
    const int32_t y = region.y.at(row / region.x.count), x = region.x.at(row % region.x.count);
    const float before = first ? -INFINITY : offset.at(n, y, x);
    lanes.sync();  // all have read it
    const float* logits = scores.row(n, y, x);
    float now = before;
    for (int32_t i = lanes.index; i < region.columns(); i += Lanes::count) now = fmaxf(now, logits[i]);
    now = lanes.largest(now);
    if (lanes.index == 0) offset.at(n, y, x) = now;
    // Nothing but -inf yet, whose weights are 0 at any offset.
    weigh(n, y, x, now == -INFINITY ? 0.0f : now, exact, scores, lanes);
    if (first || before == now) return;
    const double factor = expf(before - now);
    for (int32_t t = lanes.index; t < counts.taps; t += Lanes::count) {
      products.at(n, y, x)[t] *= factor;
      counts.at(n, y, x)[t] *= factor;
    }
  }
};

// sum over q of W[p, q] dA[p, q], dA from the gradient of the cells, and of W alone.
struct CentreSums {
  static constexpr Shape shape = Shape::rows;
  ScoreMap weights, cells;
  Reduction reduction;
  TapSums products, counts;
  int32_t samples;

  CA_BOTH int32_t rows() const { return reduction.region.rows(); }

  template <class Lanes>
  CA_BOTH void operator()(int32_t n, int32_t row, const Lanes& lanes) const {
    const int32_t y = reduction.y(row), x = reduction.x(row);
    const float* scores = weights.row(n, y, x);
    const float *upper = cells.row(n, y, x), *lower = cells.row(n, y + 1, x);
    const int64_t next = cells.pitch + 1;
    const Axis& u = reduction.region.u;
    float sum = 0, count = 0;
    for (int32_t j = 0; j < reduction.region.v.count; ++j) {
      const int32_t v = reduction.region.v.at(j);
      const float* of_line = scores + weights.column(v, u.first);
      const float *above = upper + cells.column(v, u.first), *below = lower + cells.column(v + 1, u.first);
      const float *beside_above = above + next, *beside_below = below + next;
      for (int32_t i = lanes.index; i < u.count; i += kBatch * Lanes::count) {
        // There is something to read behind a line (plan.h).
        float weight[kBatch], cell[kBatch][4];
        CA_UNROLL
        for (int32_t k = 0; k < kBatch; ++k) {
          weight[k] = load(of_line + i + k * Lanes::count);
          cell[k][0] = load(above + i + k * Lanes::count);
          cell[k][1] = load(beside_above + i + k * Lanes::count);
          cell[k][2] = load(below + i + k * Lanes::count);
          cell[k][3] = load(beside_below + i + k * Lanes::count);
        }
        CA_UNROLL
        for (int32_t k = 0; k < kBatch; ++k) {
          if (i + k * Lanes::count >= u.count) continue;
          count += weight[k];
          // Added up as CellGradient does: a row of one weight has dA itself for its centre.
          sum += weight[k] * ((cell[k][0] + cell[k][1]) + (cell[k][2] + cell[k][3]));
        }
      }
    }
    add(lanes, products.at(n, y, x), lanes.sum(sum));
    add(lanes, counts.at(n, y, x), lanes.sum(count));
  }

 private:
  // Columns that a lane fetches before it adds up the first.
  static constexpr int32_t kBatch = 4;

  template <class Lanes>
  CA_BOTH void add(const Lanes& lanes, double* target, float total) const {
    if (lanes.index == 0) *target = (reduction.first ? 0.0 : *target) + total;
  }
};

// U and T: sums over W of the shifted gradients and of their validity alone.
struct ShiftedCentreSums {
  static constexpr Shape shape = Shape::rows;
  ScoreMap weights, gradient;  // gradient: valid * dA
  Reduction reduction;
  const uint32_t* bits;
  int64_t bits_sample, bits_group;
  Taps taps;
  TapSums products, counts;
  int32_t samples;

  CA_BOTH int32_t rows() const { return reduction.region.rows() * taps.groups(); }

  template <class Lanes>
  CA_BOTH void operator()(int32_t n, int32_t row, const Lanes& lanes) const {
    const int32_t group = row / reduction.region.rows(), p = row % reduction.region.rows();
    const int32_t y = reduction.y(p), x = reduction.x(p), first = group * kTapsAtOnce;
    const float* scores = weights.row(n, y, x);
    // Where a tap's row of gradients would begin if its columns were those of q. Any row takes the place of
    // one that is not held: what is read of it counts for nothing.
    const Region& r = gradient.region;
    const float* anything = gradient.data + n * gradient.sample;
    const float* own = anything + (int64_t(y - r.y.first) * r.x.count + x - r.x.first) * gradient.pitch;
    const float* shifted[kTapsAtOnce];
    uint32_t held = 0;
    CA_UNROLL
    for (int32_t t = 0; t < kTapsAtOnce; ++t) {
      const int64_t away = taps.down(first + t) * gradient.down + taps.right(first + t) * gradient.right();
      const bool holds = is_held(y, x, first + t);
      shifted[t] = holds ? own - away : anything;
      held |= uint32_t(holds) << t;
    }
    Sums sums{};
    reduction.runs(weights, [&](int32_t v, int32_t u, int32_t column, int32_t count) {
      const int64_t flags = n * bits_sample + group * bits_group + int64_t(v) * reduction.region.u.size + u;
      const int32_t at = gradient.column(v, u);
      const auto take = [&](auto columns, int32_t i) {
        take_columns<columns.count, Lanes::count>(sums, shifted, scores + column + i, bits + flags + i,
                                                  at + i);
      };
      constexpr int32_t kStep = kBatch * Lanes::count;
      int32_t i = lanes.index;
      for (; i + kStep - Lanes::count < count; i += kStep) take(Columns<kBatch>{}, i);
      for (; i < count; i += Lanes::count) take(Columns<1>{}, i);
    });
    CA_UNROLL
    for (int32_t t = 0; t < kTapsAtOnce; ++t) {
      sums.count[t] += sums.full;
      if (!(held >> t & 1)) sums.product[t] = 0;
    }
    add(lanes, products.at(n, y, x) + first, sums.product, products.taps - first);
    add(lanes, counts.at(n, y, x) + first, sums.count, counts.taps - first);
  }

 private:
  // Columns that a lane fetches before it adds up the first.
  static constexpr int32_t kBatch = 2;
  static constexpr uint32_t kEvery = (1u << kTapsAtOnce) - 1;

  // Of W: `full` where it counts for every tap, as most does.
  struct Sums {
    float full, product[kTapsAtOnce], count[kTapsAtOnce];
  };

  template <int32_t kCount, int32_t kApart>
  CA_BOTH static void take_columns(Sums& sums, const float* const (&shifted)[kTapsAtOnce],
                                   const float* scores, const uint32_t* bits, int32_t at) {
    float weight[kCount], gradients[kTapsAtOnce][kCount];
    uint32_t valid[kCount];
    CA_UNROLL
    for (int32_t i = 0; i < kCount; ++i) {
      weight[i] = load(scores + i * kApart);
      valid[i] = load(bits + i * kApart);
    }
    // Of columns that do not count, too: the lanes at the edges of the background, of which most warps have
    // one, would else read theirs one after the other. There is something to read (backward.cpp).
    CA_UNROLL
    for (int32_t t = 0; t < kTapsAtOnce; ++t) {
      CA_UNROLL
      for (int32_t i = 0; i < kCount; ++i) gradients[t][i] = load(shifted[t] + at + i * kApart);
    }
    CA_UNROLL
    for (int32_t i = 0; i < kCount; ++i) {
      if (valid[i] == kEvery) {
        sums.full += weight[i];
        CA_UNROLL
        for (int32_t t = 0; t < kTapsAtOnce; ++t) sums.product[t] += weight[i] * gradients[t][i];
        continue;
      }
      CA_UNROLL
      for (int32_t t = 0; t < kTapsAtOnce; ++t) {
        if (valid[i] >> t & 1) {
          sums.count[t] += weight[i];
          sums.product[t] += weight[i] * gradients[t][i];
        }
      }
    }
  }

  // A tap so far away that no column has it is not held either: what is read lies at most a row before or
  // behind one that is.
  CA_BOTH bool is_held(int32_t y, int32_t x, int32_t t) const {
    const Region& r = gradient.region;
    const int32_t down = taps.down(t), right = taps.right(t), y1 = y - down - r.y.first,
                  x1 = x - right - r.x.first;
    return t < taps.count() && y1 >= 0 && y1 < r.y.count && x1 >= 0 && x1 < r.x.count && down < r.v.size &&
           -down < r.v.size && right < r.u.size && -right < r.u.size;
  }

  template <class Lanes>
  CA_BOTH void add(const Lanes& lanes, double* target, const float (&sum)[kTapsAtOnce], int32_t left) const {
    CA_UNROLL
    for (int32_t t = 0; t < kTapsAtOnce; ++t) {
      const float total = lanes.sum(sum[t]);
      if (lanes.index == 0 && t < left) target[t] = (reduction.first ? 0.0 : target[t]) + total;
    }
  }
};

}  // namespace contextual_attention::cuda
