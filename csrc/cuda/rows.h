// Reductions over the rows of a score map: a warp works on one row, its lanes on neighbouring columns.
//
// Sums over shifted copies of a row, t numbering the taps d of the propagation after the softmax in row-major
// order, are what the rescaling of its rows and its gradient need (docs: attention.md, section 4):
//
//   forward    1 / Z2[p] = sum over d of a[p + d] * sum over q of W[p + d, q] valid[q - d],  a = 1 / Z1
//   backward   U[p, d] = sum over q of W[p, q] valid[q + d] dA[p + d, q + d],   T[p, d] = the same without dA
#pragma once

#include "bodies.h"
#include "sinks.h"

namespace contextual_attention {
namespace gpu {

// Taps that one pass over a row sums up; more of them take several passes.
constexpr int32_t kTapsAtOnce = 9;

struct Taps {
  int32_t k, step;  // k x k taps, `step` apart

  CA_BOTH int32_t count() const { return k * k; }
  CA_BOTH int32_t groups() const { return (count() + kTapsAtOnce - 1) / kTapsAtOnce; }
  CA_BOTH int32_t down(int32_t t) const { return (t / k - k / 2) * step; }
  CA_BOTH int32_t right(int32_t t) const { return (t % k - k / 2) * step; }
  CA_BOTH int32_t opposite(int32_t t) const { return count() - 1 - t; }
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

// Bit t of bits[n, group, q]: q + sign * d of tap group * kTapsAtOnce + t is valid.
struct TapBits {
  static constexpr Shape shape = Shape::items;
  PixelMap<const bool> valid;
  uint32_t* bits;
  Taps taps;
  int32_t sign, samples;
  int64_t items;  // groups * pixels

  CA_BOTH void operator()(int32_t n, int64_t i) const {
    const int64_t pixels = int64_t(valid.height) * valid.width;
    const int32_t group = int32_t(i / pixels), v = int32_t(i % pixels / valid.width);
    const int32_t u = int32_t(i % pixels % valid.width);
    uint32_t found = 0;
    for (int32_t b = 0; b < kTapsAtOnce; ++b) {
      const int32_t t = group * kTapsAtOnce + b;
      if (t >= taps.count()) break;
      const int32_t v1 = v + sign * taps.down(t), u1 = u + sign * taps.right(t);
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

// What a lane has seen of a row: sums of weights for every tap, relative to the largest score so far where
// the scores are logits. Most columns count for every tap; `full` spares them the others' sums.
struct PartialSums {
  float largest, full;
  float sum[kTapsAtOnce];

  CA_BOTH void scale(float factor) {
    full *= factor;
    CA_UNROLL
    for (int32_t t = 0; t < kTapsAtOnce; ++t) sum[t] *= factor;
  }
  // Logits to weights.
  template <int32_t kCount>
  CA_BOTH void follow(float (&scores)[kCount], bool exact) {
    float now = largest;
    CA_UNROLL
    for (int32_t i = 0; i < kCount; ++i) now = fmaxf(now, scores[i]);
    if (now > largest) scale(weight_of(largest - now, exact));
    largest = now;
    // Nothing but -inf yet, whose weights are 0 at any offset.
    const float offset = now == -INFINITY ? 0.0f : now;
    CA_UNROLL
    for (int32_t i = 0; i < kCount; ++i) scores[i] -= offset;
    to_weights(scores, exact);
  }
  // `valid`: bit t, whether the weight counts for tap t; `every`: those bits of a weight that does for all.
  CA_BOTH void add(float weight, uint32_t valid, uint32_t every) {
    if (valid == every) {
      full += weight;
    } else if (valid != 0) {
      CA_UNROLL
      for (int32_t t = 0; t < kTapsAtOnce; ++t) sum[t] += valid >> t & 1 ? weight : 0.0f;
    }
  }
};

// The sums of a row's weights, under the validity of q - d for every tap, and where they hold logits the
// row's largest as its offset: in one look at the scores, by sums that follow a larger logit down. Sums of
// former columns do, too.
template <class T>
struct RowStatistics {
  static constexpr Shape shape = Shape::rows;
  Scores<T> scores;
  Reduction reduction;
  const uint32_t* bits;  // (samples or 1, groups, M); none: a single sum
  int64_t bits_sample, bits_group;
  PixelMap<float> offset;  // of logits
  bool exact;              // exp to float32's precision
  TapSums sums;
  int32_t samples, groups;

  CA_BOTH int32_t rows() const { return reduction.region.rows(); }

  template <class Lanes>
  CA_BOTH void operator()(int32_t n, int32_t row, const Lanes& lanes) const {
    const int32_t y = reduction.y(row), x = reduction.x(row);
    const float before = reduction.first || !is_logit<T> ? -INFINITY : offset.at(n, y, x);
    lanes.sync();  // all have read it
    for (int32_t group = 0; group < groups; ++group) {
      const PartialSums partial = look(n, y, x, group, lanes);
      add(n, y, x, group, before, partial, lanes);
    }
  }

 private:
  // Scores that a lane fetches before it looks at the first.
  static constexpr int32_t kBatch = 4;

  template <class Lanes>
  CA_BOTH PartialSums look(int32_t n, int32_t y, int32_t x, int32_t group, const Lanes& lanes) const {
    PartialSums partial = {-INFINITY, 0, {}};
    const T* row = scores.row(n, y, x);
    const int32_t pitch = reduction.region.u.size, taps = sums.taps - group * kTapsAtOnce;
    const uint32_t every = (1u << (taps < kTapsAtOnce ? taps : kTapsAtOnce)) - 1;
    reduction.runs(scores, [&](int32_t v, int32_t u, int32_t column, int32_t count) {
      const int64_t flags = n * bits_sample + group * bits_group + int64_t(v) * pitch + u;
      constexpr int32_t kStep = kBatch * Lanes::count;
      int32_t i = lanes.index;
      for (; i + kStep - Lanes::count < count; i += kStep)
        take<kBatch, Lanes::count>(partial, row + column + i, flags + i, every);
      for (; i < count; i += Lanes::count) take<1, Lanes::count>(partial, row + column + i, flags + i, every);
    });
    return partial;
  }
  template <int32_t kCount, int32_t kApart>
  CA_BOTH void take(PartialSums& partial, const T* from, int64_t flags, uint32_t every) const {
    float values[kCount];
    CA_UNROLL
    for (int32_t i = 0; i < kCount; ++i) values[i] = load(from + i * kApart);
    if (is_logit<T>) partial.follow(values, exact);
    if (bits == nullptr) {
      CA_UNROLL
      for (int32_t i = 0; i < kCount; ++i) partial.full += values[i];
      return;
    }
    uint32_t valid[kCount];
    CA_UNROLL
    for (int32_t i = 0; i < kCount; ++i) valid[i] = load(bits + flags + i * kApart);
    CA_UNROLL
    for (int32_t i = 0; i < kCount; ++i) partial.add(values[i], valid[i], every);
  }

  template <class Lanes>
  CA_BOTH void add(int32_t n, int32_t y, int32_t x, int32_t group, float before, const PartialSums& partial,
                   const Lanes& lanes) const {
    // -inf where no score counts: all sums are 0 and stay so.
    const float largest = is_logit<T> ? fmaxf(before, lanes.largest(partial.largest)) : 0.0f;
    const float factor = is_logit<T> ? factor_of(partial.largest, largest) : 1.0f;
    const double former = is_logit<T> ? factor_of(before, largest) : 1.0;
    double* target = sums.at(n, y, x) + group * kTapsAtOnce;
    const int32_t left = sums.taps - group * kTapsAtOnce;
    CA_UNROLL
    for (int32_t t = 0; t < kTapsAtOnce; ++t) {
      const float total = lanes.sum((partial.full + partial.sum[t]) * factor);
      if (lanes.index == 0 && t < left) target[t] = total + (reduction.first ? 0.0 : target[t] * former);
    }
    if (is_logit<T> && lanes.index == 0) offset.at(n, y, x) = largest;
  }
  CA_BOTH static float factor_of(float before, float now) {
    return before == now ? 1.0f : expf(before - now);
  }
};

// sum over q of W[p, q] dA[p, q], dA from the gradient of the cells.
struct CentreSums {
  static constexpr Shape shape = Shape::rows;
  ScoreMap weights, cells;
  Reduction reduction;
  TapSums sums;
  int32_t samples;

  CA_BOTH int32_t rows() const { return reduction.region.rows(); }

  template <class Lanes>
  CA_BOTH void operator()(int32_t n, int32_t row, const Lanes& lanes) const {
    const int32_t y = reduction.y(row), x = reduction.x(row);
    const float* scores = weights.row(n, y, x);
    const float *upper = cells.row(n, y, x), *lower = cells.row(n, y + 1, x);
    const int64_t next = cells.pitch + 1;
    float sum = 0;
    reduction.columns(weights, lanes, [&](int32_t v, int32_t u, int32_t column) {
      const int32_t above = cells.column(v, u), below = cells.column(v + 1, u);
      sum += scores[column] * (upper[above] + upper[above + next] + lower[below] + lower[below + next]);
    });
    sum = lanes.sum(sum);
    double* target = sums.at(n, y, x);
    if (lanes.index == 0) *target = (reduction.first ? 0.0 : *target) + sum;
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
    // Where a tap's row of gradients would begin if its columns were those of q; bit t: the row is held.
    const float* shifted[kTapsAtOnce];
    uint32_t held = 0;
    CA_UNROLL
    for (int32_t t = 0; t < kTapsAtOnce; ++t) {
      shifted[t] = gradients_of(n, y, x, first + t);
      if (shifted[t] != nullptr) held |= 1u << t;
    }
    const uint32_t* flags = bits + n * bits_sample + group * bits_group;
    const int32_t pitch = reduction.region.u.size;
    float product[kTapsAtOnce] = {}, count[kTapsAtOnce] = {};
    reduction.columns(weights, lanes, [&](int32_t v, int32_t u, int32_t column) {
      const uint32_t valid = flags[int64_t(v) * pitch + u];
      const float weight = scores[column];
      const int32_t at =
          (v - gradient.region.v.first) * gradient.region.u.count + u - gradient.region.u.first;
      CA_UNROLL
      for (int32_t t = 0; t < kTapsAtOnce; ++t) {
        if (valid >> t & 1) count[t] += weight;
        if ((valid & held) >> t & 1) product[t] += weight * shifted[t][at];
      }
    });
    add(lanes, products.at(n, y, x) + first, product, products.taps - first);
    add(lanes, counts.at(n, y, x) + first, count, counts.taps - first);
  }

 private:
  CA_BOTH const float* gradients_of(int32_t n, int32_t y, int32_t x, int32_t t) const {
    const Region& r = gradient.region;
    if (t >= taps.count()) return nullptr;
    const int32_t y1 = y + taps.down(t) - r.y.first, x1 = x + taps.right(t) - r.x.first;
    if (y1 < 0 || y1 >= r.y.count || x1 < 0 || x1 >= r.x.count) return nullptr;
    return gradient.row(n, y1 + r.y.first, x1 + r.x.first) + taps.down(t) * r.u.count + taps.right(t);
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

// The displacement to the largest score of a row so far; a tie goes to the smallest index.
struct RowOffsetsOfLargest {
  static constexpr Shape shape = Shape::rows;
  ScoreMap scores;
  float least;  // of scores this small the weight is 0
  Reduction reduction;
  PixelMap<const float> takes_part;  // 0: the row has no weights
  PixelMap<float> largest;
  PixelMap<int64_t> down, right;
  int32_t samples;

  CA_BOTH int32_t rows() const { return reduction.region.rows(); }

  template <class Lanes>
  CA_BOTH void operator()(int32_t n, int32_t row, const Lanes& lanes) const {
    const int32_t y = reduction.y(row), x = reduction.x(row), pitch = reduction.region.u.size;
    const float* row_scores = scores.row(n, y, x);
    float best = least;
    int32_t index = INT32_MAX;
    if (takes_part.at(n, y, x) != 0)
      reduction.columns(scores, lanes, [&](int32_t v, int32_t u, int32_t column) {
        const int32_t q = v * pitch + u;
        const float score = row_scores[column];
        if (score > best || (score == best && score > least && q < index)) {
          best = score;
          index = q;
        }
      });
    lanes.best(best, index);
    if (lanes.index != 0) return;
    if (!reduction.first && !improves(n, y, x, pitch, best, index)) return;
    largest.at(n, y, x) = best;
    down.at(n, y, x) = best > least ? index / pitch - y : 0;
    right.at(n, y, x) = best > least ? index % pitch - x : 0;
  }

 private:
  CA_BOTH bool improves(int32_t n, int32_t y, int32_t x, int32_t pitch, float best, int32_t index) const {
    const float known = largest.at(n, y, x);
    if (best != known) return best > known;
    return best > least && index < (down.at(n, y, x) + y) * pitch + right.at(n, y, x) + x;
  }
};

}  // namespace gpu
}  // namespace contextual_attention
