// The sum of the final weights into cells: E[P, Q] = sum over d in {0, 1}^2 of A[P - d, Q - d], with the
// propagation after the softmax and its rescaling on the way, so that the propagated weights are never
// written down:
//
//   A[p, q] = total[p] * valid[q] * sum over the window of gain[p + i] * W[p + i, q + i]
#pragma once

#include "bodies.h"

namespace contextual_attention {
namespace gpu {

struct FinalWeights {
  ScoreMap weights;
  PixelMap<const float> gain;   // 1 / sum of the row
  PixelMap<const float> total;  // 1 / sum of the propagated row; none: 1
  PixelMap<const bool> valid;

  CA_BOTH bool inside(int32_t y, int32_t x, int32_t v, int32_t u) const {
    return gain.inside(y, x) && valid.inside(v, u);
  }
  CA_BOTH float term(int32_t n, int32_t y, int32_t x, int32_t v, int32_t u) const {
    return gain.at(n, y, x) * weights.at(n, y, x, v, u);
  }
  // The weight, from the sum over its window.
  CA_BOTH float rescaled(int32_t n, int32_t y, int32_t x, int32_t v, int32_t u, float sum) const {
    if (!total) return sum;
    return valid.at(n, v, u) ? total.at(n, y, x) * sum : 0.0f;
  }
};

// Windows of kTaps = 1 or 3, rolling down the rows.
template <int32_t kTaps>
struct CellSum {
  static_assert(kTaps == 1 || kTaps == 3, "other windows are CellSumAny's");
  static constexpr Shape shape = Shape::paths;
  FinalWeights source;
  OperandMap out;
  Region region;  // of cells
  int32_t samples;

  CA_BOTH void operator()(int32_t n, const Path& path, int32_t x_slot, int32_t u_slot) const {
    const int32_t x = region.x.first + x_slot, u = region.u.first + u_slot;
    const int32_t y = region.y.first + path.y, v = region.v.first + path.v;
    const int64_t row = int64_t(path.y) * region.x.count + x_slot;
    Line above{}, here = line(n, y - 1, x, v - 1, u), below{};
    if (kTaps == 3) {
      above = line(n, y - 2, x, v - 2, u);
      below = line(n, y, x, v, u);
    }
    float before = pair(n, y - 1, x, v - 1, u, above, here, below);
    for (int32_t step = 0; step < path.length; ++step) {
      above = here;
      here = kTaps == 3 ? below : line(n, y + step, x, v + step, u);
      if (kTaps == 3) below = line(n, y + step + 1, x, v + step + 1, u);
      const float current = pair(n, y + step, x, v + step, u, above, here, below);
      out.store(n, row + step * region.x.count, (path.v + step) * region.u.count + u_slot, before + current);
      before = current;
    }
  }

 private:
  // The window's sum over columns for the weights at (x, u) and at (x - 1, u - 1).
  struct Line {
    float right, left;
  };

  CA_BOTH Line line(int32_t n, int32_t y, int32_t x, int32_t v, int32_t u) const {
    if (!source.inside(y, 0, v, 0)) return {0, 0};
    const float left = term(n, y, x - 1, v, u - 1), right = term(n, y, x, v, u);
    if (kTaps == 1) return {right, left};
    return {left + right + term(n, y, x + 1, v, u + 1), term(n, y, x - 2, v, u - 2) + left + right};
  }

  CA_BOTH float term(int32_t n, int32_t y, int32_t x, int32_t v, int32_t u) const {
    return source.inside(y, x, v, u) ? source.term(n, y, x, v, u) : 0.0f;
  }

  // The two weights of row y that paste into the cell.
  CA_BOTH float pair(int32_t n, int32_t y, int32_t x, int32_t v, int32_t u, const Line& above,
                     const Line& here, const Line& below) const {
    float sum = 0;
    if (source.inside(y, x, v, u))
      sum = source.rescaled(n, y, x, v, u, kTaps == 1 ? here.right : above.right + here.right + below.right);
    if (source.inside(y, x - 1, v, u - 1))
      sum += source.rescaled(n, y, x - 1, v, u - 1,
                             kTaps == 1 ? here.left : above.left + here.left + below.left);
    return sum;
  }
};

// Any window, its taps `step` apart.
struct CellSumAny {
  static constexpr Shape shape = Shape::points;
  FinalWeights source;
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
    out.store(n, row, column, sum);
  }

 private:
  CA_BOTH float weight(int32_t n, int32_t y, int32_t x, int32_t v, int32_t u) const {
    float sum = 0;
    for (int32_t i = -radius; i <= radius; i += step)
      for (int32_t j = -radius; j <= radius; j += step)
        if (source.inside(y + i, x + j, v + i, u + j)) sum += source.term(n, y + i, x + j, v + i, u + j);
    return source.rescaled(n, y, x, v, u, sum);
  }
};

}  // namespace gpu
}  // namespace contextual_attention
