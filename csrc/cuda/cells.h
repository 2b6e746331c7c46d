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
  // The weight of pixels p, q, from the sum over its window.
  CA_BOTH float rescaled(int32_t n, int32_t p, int32_t q, float sum) const {
    if (!total) return sum;
    return valid.at(n, q) ? total.at(n, p) * sum : 0.0f;
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
    Walk walk(*this, n, region.y.first + path.y, region.x.first + x_slot, region.v.first + path.v,
              region.u.first + u_slot);
    int64_t at = out.index(n, path.y * region.x.count + x_slot, path.v * region.u.count + u_slot);
    float before = walk.row(-1);
    for (int32_t step = 0; step < path.length; ++step) {
      walk.next();
      const float current = walk.row(-1);
      out.store(at, before + current);
      before = current;
      at += out.down();
    }
  }

 private:
  // The window's sum over columns for the weights at (x, u) and at (x - 1, u - 1).
  struct Line {
    float right, left;
  };

  // Where the thread is: at the cell (y, x), (v, u), whose lower right patch has the same index. The window's
  // rows are those above y.
  struct Walk {
    const CellSum& body;
    const float* score;
    int32_t n, y, v, p, q;
    bool columns[4];  // x - 2 ... x + 1 and u - 2 ... u + 1 exist
    Line above, here, below;

    CA_BOTH Walk(const CellSum& body, int32_t n, int32_t y, int32_t x, int32_t v, int32_t u)
        : body(body), n(n), y(y), v(v), p(y * width() + x), q(v * background_width() + u), above{} {
      const ScoreMap& map = body.source.weights;
      // Relative to a row that the map holds: a cell's own row may lie beyond the last one.
      const int32_t y1 = y < map.region.y.size ? y : y - 1, v1 = v < map.region.v.size ? v : v - 1;
      score = map.row(n, y1, x) + map.column(v1, u) + (y - y1) * map.region.x.count * map.pitch +
              (v - v1) * map.region.u.count;
      CA_UNROLL
      for (int32_t j = 0; j < 4; ++j) columns[j] = body.source.inside(0, x + j - 2, 0, u + j - 2);
      if (kTaps == 3) above = line(-2);
      here = line(-1);
      below = kTaps == 3 ? line(0) : Line{};
    }

    // One row down.
    CA_BOTH void next() {
      ++y, ++v;
      p += width(), q += background_width();
      score += body.source.weights.down();
      above = here;
      here = kTaps == 3 ? below : line(-1);
      if (kTaps == 3) below = line(0);
    }

    // The sum of the two weights, `ahead` rows further down, that paste into the cell's column.
    CA_BOTH float row(int32_t ahead) const {
      if (!exists(ahead)) return 0;
      const int32_t p1 = p + ahead * width(), q1 = q + ahead * background_width();
      const float right = kTaps == 1 ? here.right : above.right + here.right + below.right;
      const float left = kTaps == 1 ? here.left : above.left + here.left + below.left;
      return (columns[2] ? body.source.rescaled(n, p1, q1, right) : 0.0f) +
             (columns[1] ? body.source.rescaled(n, p1 - 1, q1 - 1, left) : 0.0f);
    }

   private:
    CA_BOTH int32_t width() const { return body.source.gain.width; }
    CA_BOTH int32_t background_width() const { return body.source.valid.width; }
    CA_BOTH bool exists(int32_t ahead) const { return body.source.inside(y + ahead, 0, v + ahead, 0); }

    CA_BOTH Line line(int32_t ahead) const {
      if (!exists(ahead)) return {0, 0};
      const float left = term(ahead, -1), right = term(ahead, 0);
      if (kTaps == 1) return {right, left};
      return {left + right + term(ahead, 1), term(ahead, -2) + left + right};
    }
    CA_BOTH float term(int32_t ahead, int32_t aside) const {
      if (!columns[aside + 2]) return 0;
      const ScoreMap& map = body.source.weights;
      return body.source.gain.at(n, p + ahead * width() + aside) *
             score[ahead * map.down() + aside * map.right()];
    }
  };
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
    out.store(out.index(n, row, column), sum);
  }

 private:
  CA_BOTH float weight(int32_t n, int32_t y, int32_t x, int32_t v, int32_t u) const {
    float sum = 0;
    for (int32_t i = -radius; i <= radius; i += step)
      for (int32_t j = -radius; j <= radius; j += step)
        if (source.inside(y + i, x + j, v + i, u + j))
          sum += source.gain.at(n, y + i, x + j) * source.weights.at(n, y + i, x + j, v + i, u + j);
    return source.rescaled(n, y * source.gain.width + x, v * source.valid.width + u, sum);
  }
};

}  // namespace gpu
}  // namespace contextual_attention
