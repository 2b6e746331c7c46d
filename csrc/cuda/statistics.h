// Forward reductions over the rows of a score map: sums of weights, the largest logit, where the largest
// weight lies.
#pragma once

#include "rows.h"

namespace contextual_attention::cuda {

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

// Logits to weights in their place, the offsets of the rows being known.
struct WeighRows {
  static constexpr Shape shape = Shape::rows;
  ScoreMap scores;
  PixelMap<const float> offset;
  bool exact;  // exp to float32's precision
  int32_t samples;

  CA_BOTH int32_t rows() const { return scores.region.rows(); }

  template <class Lanes>
  CA_BOTH void operator()(int32_t n, int32_t row, const Lanes& lanes) const {
    const Region& region = scores.region;
    const int32_t y = region.y.at(row / region.x.count), x = region.x.at(row % region.x.count);
    weigh(n, y, x, offset.at(n, y, x), exact, scores, lanes);
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

}  // namespace contextual_attention::cuda
