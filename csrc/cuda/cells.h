// The sum of the final weights into cells: E[P, Q] = sum over d in {0, 1}^2 of A[P - d, Q - d], with the
// propagation after the softmax and its rescaling on the way, so that the propagated weights are never
// written down:
//
//   A[p, q] = total[p] * valid[q] * sum over the window of gain[p + i] * W[p + i, q + i]
#pragma once

#include "bodies.h"
#include "sinks.h"

namespace contextual_attention {
namespace gpu {

// W: the scores, or exp(score - offset) where they are logits still.
template <class T>
struct FinalWeights {
  Scores<T> scores;
  PixelMap<const float> offset;  // none: weights
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

  CA_BOTH void operator()(int32_t n, const Path& path, int32_t x_slot, int32_t u_slot) const {
    const int32_t y = region.y.first + path.y, v = region.v.first + path.v;
    Walk walk(source, n, y, region.x.first + x_slot, v, region.u.first + u_slot);
    int64_t at = out.index(n, path.y * region.x.count + x_slot, path.v * region.u.count + u_slot);
    float before = walk.row();
    for (int32_t step = 0; step < path.length; ++step) {
      walk.next();
      const float current = walk.row();
      out.store(at, before + current);
      at += out.down;
      before = current;
    }
  }

 private:
  // The window's sum over columns for the weights at (x, u) and at (x - 1, u - 1).
  struct Line {
    float right, left;
  };

  // At the row of weights above the cell (y, x), (v, u); with three taps the lines of scores have been read
  // up to the cell's own row.
  struct Walk {
    const T* score;  // of the last line that was read, as are offset and gain
    int64_t down, right;
    PixelWalk<const float> offset, gain, total;
    PixelWalk<const bool> valid;
    int32_t index, first, last;  // the line's row, and where rows of both maps begin and end
    bool columns[4];             // x - 2 ... x + 1 and u - 2 ... u + 1 exist
    Line above, here, below;

    CA_BOTH Walk(const FinalWeights<T>& source, int32_t n, int32_t y, int32_t x, int32_t v, int32_t u)
        : down(source.scores.down),
          right(source.scores.right()),
          offset(source.offset, n, y - kAbove, x),
          gain(source.gain, n, y - kAbove, x),
          total(source.total, n, y - 1, x),
          valid(source.valid, n, v - 1, u),
          index(0),
          above{},
          here{},
          below{} {
      const Scores<T>& map = source.scores;
      // Relative to a row that the map holds: a cell's own row may lie beyond the last one.
      const int32_t y1 = y < map.region.y.size ? y : y - 1, v1 = v < map.region.v.size ? v : v - 1;
      const int32_t y_away = y - kAbove - y1, v_away = v - kAbove - v1;
      score = map.row(n, y1, x) + map.column(v1, u) + y_away * map.region.x.count * map.pitch +
              v_away * map.region.u.count;
      first = kAbove - (y < v ? y : v);
      const int32_t below_y = map.region.y.size - y, below_v = map.region.v.size - v;
      last = kAbove + (below_y < below_v ? below_y : below_v);
      CA_UNROLL
      for (int32_t j = 0; j < 4; ++j) columns[j] = source.inside(0, x + j - 2, 0, u + j - 2);
      below = line();
      for (int32_t i = 1; i < kTaps; ++i) read();
    }

    // One row down.
    CA_BOTH void next() {
      read();
      total.next();
      valid.next();
    }

    // The sum of the two weights that paste into the cell's column.
    CA_BOTH float row() const {
      const int32_t middle = index - kTaps / 2;
      if (middle < first || middle >= last) return 0;
      return (columns[2] ? rescaled(0, above.right + here.right + below.right) : 0.0f) +
             (columns[1] ? rescaled(-1, above.left + here.left + below.left) : 0.0f);
    }

   private:
    // The first line is that of the window's first row, around the row above the cell.
    static constexpr int32_t kAbove = 1 + kTaps / 2;

    CA_BOTH float rescaled(int32_t aside, float sum) const {
      if (kTaps == 1 && !total) return sum;
      const float scaled = total.here[aside] * sum;  // a load that waits for no other
      return valid.here[aside] ? scaled : 0.0f;
    }
    CA_BOTH void read() {
      ++index;
      score += down;
      offset.next();
      gain.next();
      if (kTaps == 3) above = here, here = below;
      below = line();
    }
    CA_BOTH Line line() const {
      if (index < first || index >= last) return {0, 0};
      const float left = term(-1), right = term(0);
      if (kTaps == 1) return {right, left};
      return {left + right + term(1), term(-2) + left + right};
    }
    CA_BOTH float term(int32_t aside) const {
      if (!columns[aside + 2]) return 0;
      const float value = load(score + aside * right);
      return gain.here[aside] * (offset ? flushed_exp(value - offset.here[aside]) : value);
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
    out.store(out.index(n, row, column), sum);
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
    return source.offset ? flushed_exp(score - source.offset.at(n, y, x)) : score;
  }
};

}  // namespace gpu
}  // namespace contextual_attention
