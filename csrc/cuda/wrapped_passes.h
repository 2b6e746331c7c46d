// The propagation that runs over the ends of rows and columns (wrapped.h), one pass of it at a time.
#pragma once

#include "bodies.h"
#include "sinks.h"

namespace contextual_attention::cuda {

// One pass of the propagation that runs over the ends of rows (left-right) or of columns (top-down): the sum
// over i of X[p + i, q + i], p and q as row-major or column-major indices. Each is its own adjoint.
template <ScoreKind kKind>
struct WrappedSum {
  static constexpr Shape shape = Shape::points;
  ScoreMap scores;
  ScoreSink<kKind> sink;
  Region region;
  int32_t samples, radius;
  bool top_down;

  CA_BOTH int32_t rows() const { return region.rows(); }
  CA_BOTH int32_t columns() const { return region.columns(); }
  CA_BOTH void operator()(int32_t n, int32_t row, int32_t column) const {
    const int32_t y = region.y.at(row / region.x.count), x = region.x.at(row % region.x.count);
    const int32_t v = region.v.at(column / region.u.count), u = region.u.at(column % region.u.count);
    float sum = 0;
    for (int32_t i = -radius; i <= radius; ++i) {
      int32_t y1 = y, x1 = x, v1 = v, u1 = u;
      if (top_down) {
        carry(x1, y1 += i, region.y.size);
        carry(u1, v1 += i, region.v.size);
      } else {
        carry(y1, x1 += i, region.x.size);
        carry(v1, u1 += i, region.u.size);
      }
      const bool exists =
          top_down ? region.x.inside(x1) && region.u.inside(u1) : region.y.inside(y1) && region.v.inside(v1);
      if (exists) sum += scores.at(n, y1, x1, v1, u1);
    }
    sink.template start<1>(n, y, x, v, {u, region.u.size}).put({{sum}});
  }
};

// The same pass of three taps, to float32, where maps lie in whole lines: a warp takes a row of them. Along
// it every tap is a line of memory of its own; it lies elsewhere only where the background's columns begin
// and end.
template <ScoreKind kKind>
struct WrappedPass3 {
  static constexpr Shape shape = Shape::rows;
  ScoreMap scores;
  ScoreSink<kKind> sink;  // of float32
  Region region;
  int32_t samples;
  bool top_down;

  CA_BOTH int32_t rows() const { return region.rows(); }

  template <class Lanes>
  CA_BOTH void operator()(int32_t n, int32_t row, const Lanes& lanes) const {
    const int32_t y = region.y.at(row / region.x.count), x = region.x.at(row % region.x.count);
    const float *here = scores.row(n, y, x), *before = aside(n, y, x, -1), *after = aside(n, y, x, 1);
    const ScoreMap out = sink.out.template as<float>();
    float* sums = out.row(n, y, x);
    for (int32_t done = 0; done < region.v.count;) {
      const int32_t v = region.v.at(done), lines = lines_alike(v, region.v.count - done);
      const int32_t column = scores.column(v, 0), count = lines * region.u.count;
      const int32_t first = v == 0 ? 1 : 0, end = v + lines == region.v.size ? count - 1 : count;
      // Of a pixel that does not exist there is no column; else the map's first has none before it, the last
      // none behind it.
      const Run run{sink.row(n, y, x, v, 0),
                    before == nullptr ? here : before + column_before(v),
                    here + column,
                    after == nullptr ? here : after + column_after(v),
                    sums + out.column(v, 0),
                    before == nullptr ? count : first,
                    after == nullptr ? 0 : end};
      constexpr int32_t kStep = kBatch * Lanes::count;
      int32_t i = lanes.index;
      for (; i + kStep - Lanes::count < count; i += kStep) run.template add<kBatch, Lanes::count>(i);
      for (; i < count; i += Lanes::count) run.template add<1, Lanes::count>(i);
      done += lines;
    }
  }

 private:
  // Columns that a lane fetches before it adds up the first.
  static constexpr int32_t kBatch = 4;

  // Columns that follow each other, in every tap: those that it has begin and end where it says.
  struct Run {
    typename ScoreSink<kKind>::Row sink;
    const float *before, *here, *after;
    float* sums;
    int32_t before_from, after_to;

    template <int32_t kCount, int32_t kApart>
    CA_BOTH void add(int32_t i) const {
      float on_left[kCount], middle[kCount], on_right[kCount];
      // There is something to read beside every score (plan.h), so that no load waits for a comparison.
      CA_UNROLL
      for (int32_t k = 0; k < kCount; ++k) {
        on_left[k] = load(before + i + k * kApart);
        middle[k] = load(here + i + k * kApart);
        on_right[k] = load(after + i + k * kApart);
      }
      CA_UNROLL
      for (int32_t k = 0; k < kCount; ++k) {
        if (i + k * kApart < before_from) on_left[k] = 0;
        if (i + k * kApart >= after_to) on_right[k] = 0;
      }
      CA_UNROLL
      for (int32_t k = 0; k < kCount; ++k) middle[k] = on_left[k] + middle[k] + on_right[k];
      sink.template finish<kApart>(middle, i);
      CA_UNROLL
      for (int32_t k = 0; k < kCount; ++k) sums[i + k * kApart] = middle[k];
    }
  };

  // The row of the pixel one step on or back; null where there is none.
  CA_BOTH const float* aside(int32_t n, int32_t y, int32_t x, int32_t step) const {
    if (top_down)
      carry(x, y += step, region.y.size);
    else
      carry(y, x += step, region.x.size);
    const bool exists = top_down ? region.x.inside(x) : region.y.inside(y);
    return exists ? scores.row(n, y, x) : nullptr;
  }
  // How many lines of the background from this one on have their taps at the same distances.
  CA_BOTH int32_t lines_alike(int32_t v, int32_t left) const {
    const int32_t last = region.v.size - 1;
    const int32_t lines = !top_down ? last + 1 - v : v == 0 || v == last ? 1 : last - v;
    return lines < left ? lines : left;
  }
  // Where the taps of a line's first column lie, or would.
  CA_BOTH int32_t column_before(int32_t v) const {
    if (!top_down) return scores.column(v, 0) - 1;
    return v > 0 ? scores.column(v - 1, 0) : scores.column(region.v.size - 1, 0) - 1;
  }
  CA_BOTH int32_t column_after(int32_t v) const {
    if (!top_down) return scores.column(v, 0) + 1;
    return v + 1 < region.v.size ? scores.column(v + 1, 0) : scores.column(0, 0) + 1;
  }
};

}  // namespace contextual_attention::cuda
