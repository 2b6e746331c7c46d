// The sum of the final weights into cells: E[P, Q] = sum over d in {0, 1}^2 of A[P - d, Q - d], with the
// propagation after the softmax and its rescaling on the way, so that the propagated weights are never
// written down:
//
//   A[p, q] = total[p] * valid[q] * sum over the window of gain[p + i] * W[p + i, q + i]
#pragma once

#include "bodies.h"
#include "sinks.h"

namespace contextual_attention::cuda {

// W: the scores, or made of them where they are logits still.
template <class T>
struct FinalWeights {
  Scores<T> scores;
  PixelMap<const float> offset;  // of logits
  bool exact;                    // exp to float32's precision
  PixelMap<const float> gain;    // 1 / sum of the row
  PixelMap<const float> total;   // 1 / sum of the propagated row; none: 1
  PixelMap<const bool> valid;

  CA_BOTH bool inside(int32_t y, int32_t x, int32_t v, int32_t u) const {
    return gain.inside(y, x) && valid.inside(v, u);
  }
};

// Windows of kTaps = 1 or 3, rolling down the rows.
template <int32_t kTaps, class T>
struct CellSum {
  static_assert(kTaps == 1 || kTaps == 3, "other windows are CellSumAny's");
  static constexpr Shape shape = Shape::paths;
  FinalWeights<T> source;
  OperandMap out;
  Region region;  // of cells
  int32_t samples;

  template <int32_t kColumns>
  CA_BOTH void walk(int32_t n, const Path& path, int32_t x, const Comb<kColumns>& comb) const {
    const int32_t y = region.y.first + path.y, v = region.v.first + path.v;
    out.pad(n, y, x, v, comb.u);
    Walk<kColumns> walk(source, n, y, x, v, comb);
    int64_t at = out.index(n, y, x, v, comb.u);
    Values<kColumns> before = walk.row();
    for (int32_t step = 0; step < path.length; ++step) {
      walk.next();
      const Values<kColumns> current = walk.row();
      out.store(at, sum_of(before, current), comb);
      at += out.down;
      before = current;
    }
  }

 private:
  // The window's sums over columns for the weights at (x, u) and at (x - 1, u - 1).
  template <int32_t kColumns>
  struct Line {
    Values<kColumns> right, left;
  };

  // A line's scores as they are loaded: numbers are made of them a row later.
  template <int32_t kColumns>
  struct Scored {
    bool exists;
    Values<kColumns> of[kTaps + 1];
    float offset[kTaps + 1], gain[kTaps + 1];
  };

  // At the row of weights above the cells (y, x), (v, u); with three taps the lines of scores have been read
  // up to the cells' own row.
  template <int32_t kColumns>
  struct Walk {
    // Of the line that comes next, as are offset and gain: the columns that a line adds up. A pointer
    // each: the compiler would compute one for every score.
    const T* scores[kTaps + 1];
    int64_t down;
    PixelWalk<const float> offset, gain, total;
    PixelWalk<const bool> valid;
    Comb<kColumns> comb;
    int32_t x, height, width;    // the cells' column, the size of the maps' rows
    int32_t index, first, last;  // the line's row, and where rows of both maps begin and end
    bool exact;
    Scored<kColumns> coming;
    Line<kColumns> above, here, below;

    CA_BOTH Walk(const FinalWeights<T>& source, int32_t n, int32_t y, int32_t x, int32_t v,
                 const Comb<kColumns>& comb)
        : down(source.scores.down),
          offset(source.offset, n, y - kAbove, x),
          gain(source.gain, n, y - kAbove, x),
          total(source.total, n, y - 1, x),
          valid(source.valid, n, v - 1, comb.u),
          comb(comb),
          x(x),
          height(source.scores.region.x.size),
          width(source.scores.region.u.size),
          index(0),
          exact(source.exact),
          above{},
          here{},
          below{} {
      const Scores<T>& map = source.scores;
      // Relative to a row that the map holds: a cell's own row may lie beyond the last one.
      const int32_t y1 = y < map.region.y.size ? y : y - 1, v1 = v < map.region.v.size ? v : v - 1;
      const int32_t y_away = y - kAbove - y1, v_away = v - kAbove - v1;
      const T* score = map.row(n, y1, x) + map.column(v1, comb.u) + y_away * map.region.x.count * map.pitch +
                       v_away * map.region.u.count;
      CA_UNROLL
      for (int32_t i = 0; i <= kTaps; ++i) scores[i] = score + (i + kFurthest) * map.right();
      first = kAbove - (y < v ? y : v);
      const int32_t below_y = map.region.y.size - y, below_v = map.region.v.size - v;
      last = kAbove + (below_y < below_v ? below_y : below_v);
      coming = scored(0);
      index = -1;
      for (int32_t i = 0; i < kTaps; ++i) read();
    }

    // One row down.
    CA_BOTH void next() {
      read();
      total.next();
      valid.next();
    }

    // The sums of the two weights that paste into the cells' columns.
    CA_BOTH Values<kColumns> row() const {
      const int32_t middle = index - kTaps / 2;
      Values<kColumns> sums{};
      if (middle < first || middle >= last) return sums;
      CA_UNROLL
      for (int32_t k = 0; k < kColumns; ++k) sums[k] = above.right[k] + here.right[k] + below.right[k];
      Values<kColumns> left;
      CA_UNROLL
      for (int32_t k = 0; k < kColumns; ++k) left[k] = above.left[k] + here.left[k] + below.left[k];
      if (kTaps > 1 || total) {
        rescale(sums, 0);
        rescale(left, -1);
      }
      CA_UNROLL
      for (int32_t k = 0; k < kColumns; ++k) sums[k] += left[k];
      return sums;
    }

   private:
    // The first line is that of the window's first row, around the row above the cell.
    static constexpr int32_t kAbove = 1 + kTaps / 2;
    // The first of its columns.
    static constexpr int32_t kFurthest = -1 - kTaps / 2;

    // Whether the columns exist so far aside.
    CA_BOTH bool in_row(int32_t aside) const { return x + aside >= 0 && x + aside < height; }
    CA_BOTH bool has(int32_t k, int32_t aside) const {
      // Cells begin at 0 and end at the maps' width.
      const bool from = aside >= 0 || k > 0 || comb.u + aside >= 0;
      const bool to = aside < 0 || comb.at(k) + aside < width;
      return from && to && comb.has(k);
    }
    CA_BOTH void rescale(Values<kColumns>& sums, int32_t aside) const {
      const float factor = in_row(aside) ? total.beside(0, aside) : 0.0f;
      CA_UNROLL
      for (int32_t k = 0; k < kColumns; ++k) {
        const uint32_t counts = has(k, aside) ? valid.beside(k, aside) : 0;
        sums[k] = counts ? factor * sums[k] : 0.0f;
      }
    }
    // The line that comes next; another one is on its way while this one is worked on.
    CA_BOTH void read() {
      ++index;
      CA_UNROLL
      for (int32_t i = 0; i <= kTaps; ++i) scores[i] += down;
      if (is_logit<T>) offset.next();
      gain.next();
      const Scored<kColumns> now = coming;
      coming = scored(index + 1);
      if (kTaps == 3) above = here, here = below;
      below = line(now);
    }
    CA_BOTH Scored<kColumns> scored(int32_t row) const {
      Scored<kColumns> line{};
      line.exists = row >= first && row < last;
      if (!line.exists) return line;
      CA_UNROLL
      for (int32_t i = 0; i <= kTaps; ++i) {
        const int32_t aside = i + kFurthest;
        const bool exists = in_row(aside);
        line.gain[i] = exists ? gain.beside(0, aside) : 0.0f;
        line.offset[i] = is_logit<T> && exists ? offset.beside(0, aside) : 0.0f;
        CA_UNROLL
        for (int32_t k = 0; k < kColumns; ++k)
          line.of[i][k] = exists && has(k, aside) ? float(load(scores[i] + k * kLanes)) : nothing();
      }
      return line;
    }
    CA_BOTH Line<kColumns> line(const Scored<kColumns>& scored) const {
      if (!scored.exists) return {};
      constexpr int32_t kLeft = -1 - kFurthest, kRight = -kFurthest;
      const Values<kColumns> left = terms(scored, kLeft), right = terms(scored, kRight);
      if (kTaps == 1) return {right, left};
      const Values<kColumns> further_left = terms(scored, 0), further_right = terms(scored, kTaps);
      Line<kColumns> sums;
      CA_UNROLL
      for (int32_t k = 0; k < kColumns; ++k) {
        const float both = left[k] + right[k];
        sums.right[k] = both + further_right[k];
        sums.left[k] = further_left[k] + both;
      }
      return sums;
    }
    CA_BOTH static float nothing() { return is_logit<T> ? -INFINITY : 0.0f; }
    // gain * W.
    CA_BOTH Values<kColumns> terms(const Scored<kColumns>& scored, int32_t i) const {
      Values<kColumns> values = scored.of[i];
      if (is_logit<T>) {
        CA_UNROLL
        for (int32_t k = 0; k < kColumns; ++k) values[k] -= scored.offset[i];
        to_weights(values.of, exact);
      }
      CA_UNROLL
      for (int32_t k = 0; k < kColumns; ++k) values[k] *= scored.gain[i];
      return values;
    }
  };
};

// Any window, its taps `step` apart.
template <class T>
struct CellSumAny {
  static constexpr Shape shape = Shape::points;
  FinalWeights<T> source;
  OperandMap out;
  Region region;
  int32_t samples, radius, step;

  CA_BOTH int32_t rows() const { return region.rows(); }
  CA_BOTH int32_t columns() const { return region.columns(); }
  CA_BOTH void operator()(int32_t n, int32_t row, int32_t column) const {
    const int32_t y = region.y.at(row / region.x.count), x = region.x.at(row % region.x.count);
    const int32_t v = region.v.at(column / region.u.count), u = region.u.at(column % region.u.count);
    float sum = 0;
    for (int32_t i = 0; i < 2; ++i)
      for (int32_t j = 0; j < 2; ++j)
        if (source.inside(y - i, x - j, v - i, u - j)) sum += weight(n, y - i, x - j, v - i, u - j);
    // Asked here too: by what pad asks alone nvcc runs out of the registers that it allows itself for sm_80.
    if (column == 0) out.pad(n, y, x, v, u);
    out.store<1>(out.index(n, row, column), {{sum}}, {u, u + 1});
  }

 private:
  CA_BOTH float weight(int32_t n, int32_t y, int32_t x, int32_t v, int32_t u) const {
    float sum = 0;
    for (int32_t i = -radius; i <= radius; i += step)
      for (int32_t j = -radius; j <= radius; j += step)
        if (source.inside(y + i, x + j, v + i, u + j))
          sum += source.gain.at(n, y + i, x + j) * softmax_weight(n, y + i, x + j, v + i, u + j);
    if (!source.total) return sum;
    return source.valid.at(n, v, u) ? source.total.at(n, y, x) * sum : 0.0f;
  }
  CA_BOTH float softmax_weight(int32_t n, int32_t y, int32_t x, int32_t v, int32_t u) const {
    const float score = source.scores.at(n, y, x, v, u);
    return is_logit<T> ? weight_of(score - source.offset.at(n, y, x), source.exact) : score;
  }
};

}  // namespace contextual_attention::cuda
