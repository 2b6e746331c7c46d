// Filters that sum along diagonals: (D_k X)[p, q] = sum over a k x k window of X[p + d, q + d], zero outside
// the maps; its wrapped form; and the 2 x 2 sums between patches and cells.
//
// At a fixed displacement of rows, neighbouring threads take neighbouring columns and walk down the rows: the
// window's rows stay in registers, its columns are loads at a fixed distance (pitch + 1).
#pragma once

#include "bodies.h"
#include "sinks.h"

namespace contextual_attention {
namespace gpu {

// Scores as they are.
struct Plain {
  ScoreMap scores;

  CA_BOTH float at(int32_t n, int32_t y, int32_t x, int32_t v, int32_t u) const {
    return scores.at(n, y, x, v, u);
  }
  // The sum of the columns u - left ... u + right, and as many of x.
  CA_BOTH float line(int32_t n, int32_t y, int32_t x, int32_t v, int32_t u, bool left, bool right) const {
    const float* here = scores.row(n, y, x) + scores.column(v, u);
    const int64_t next = scores.pitch + 1;
    return (left ? here[-next] : 0.0f) + here[0] + (right ? here[next] : 0.0f);
  }
};

// Scores times a factor of their row and one of their column; a factor that is missing is 1.
struct Gained {
  ScoreMap scores;
  PixelMap<const float> row_gain, column_gain;

  CA_BOTH float at(int32_t n, int32_t y, int32_t x, int32_t v, int32_t u) const {
    const float gain =
        (row_gain ? row_gain.at(n, y, x) : 1.0f) * (column_gain ? column_gain.at(n, v, u) : 1.0f);
    return gain * scores.at(n, y, x, v, u);
  }
  CA_BOTH float line(int32_t n, int32_t y, int32_t x, int32_t v, int32_t u, bool left, bool right) const {
    return (left ? at(n, y, x - 1, v, u - 1) : 0.0f) + at(n, y, x, v, u) +
           (right ? at(n, y, x + 1, v, u + 1) : 0.0f);
  }
};

// D_3, by rolling windows.
template <class Source, class Sink>
struct DiagonalSum3 {
  static constexpr Shape shape = Shape::paths;
  Source source;
  Sink sink;
  Region region;
  int32_t samples;

  CA_BOTH void operator()(int32_t n, const Path& path, int32_t x_slot, int32_t u_slot) const {
    const int32_t x = region.x.first + x_slot, u = region.u.first + u_slot;
    const bool left = x > 0 && u > 0, right = x + 1 < region.x.size && u + 1 < region.u.size;
    float before = 0, here = 0;
    for (int32_t step = 0; step < path.length; ++step) {
      const int32_t y = region.y.at(path.y + step), v = region.v.at(path.v + step);
      // A wrapped region goes on at row 0 after the last row: there the window starts afresh.
      if (step == 0 || y == 0 || v == 0) {
        before = line(n, y - 1, x, v - 1, u, left, right);
        here = line(n, y, x, v, u, left, right);
      }
      const float after = line(n, y + 1, x, v + 1, u, left, right);
      sink.put(n, y, x, v, u, before + here + after);
      before = here;
      here = after;
    }
  }

 private:
  CA_BOTH float line(int32_t n, int32_t y, int32_t x, int32_t v, int32_t u, bool left, bool right) const {
    if (!region.y.inside(y) || !region.v.inside(v)) return 0;
    return source.line(n, y, x, v, u, left, right);
  }
};

// D_k of any k, with taps `step` apart.
template <class Source, class Sink>
struct DiagonalSum {
  static constexpr Shape shape = Shape::points;
  Source source;
  Sink sink;
  Region region;
  int32_t samples, radius, step;

  CA_BOTH int32_t rows() const { return region.rows(); }
  CA_BOTH int32_t columns() const { return region.columns(); }
  CA_BOTH void operator()(int32_t n, int32_t row, int32_t column) const {
    const int32_t y = region.y.at(row / region.x.count), x = region.x.at(row % region.x.count);
    const int32_t v = region.v.at(column / region.u.count), u = region.u.at(column % region.u.count);
    float sum = 0;
    for (int32_t i = -radius; i <= radius; i += step) {
      if (!region.y.inside(y + i) || !region.v.inside(v + i)) continue;
      for (int32_t j = -radius; j <= radius; j += step)
        if (region.x.inside(x + j) && region.u.inside(u + j)) sum += source.at(n, y + i, x + j, v + i, u + j);
    }
    sink.put(n, y, x, v, u, sum);
  }
};

// One pass of the propagation that runs over the ends of rows (left-right) or of columns (top-down): the sum
// over i of X[p + i, q + i], p and q as row-major or column-major indices. Each is its own adjoint.
struct WrappedSum {
  static constexpr Shape shape = Shape::points;
  ScoreMap scores;
  ScoreSink sink;
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
    sink.put(n, y, x, v, u, sum);
  }
};

// dA[p, q] = sum over d in {0, 1}^2 of dE[p + d, q + d], the transpose of the cell sum.
template <class Sink>
struct CellGradient {
  static constexpr Shape shape = Shape::paths;
  ScoreMap cells;
  Sink sink;
  Region region;
  int32_t samples;

  CA_BOTH void operator()(int32_t n, const Path& path, int32_t x_slot, int32_t u_slot) const {
    const int32_t x = region.x.first + x_slot, u = region.u.first + u_slot;
    float here = 0;
    for (int32_t step = 0; step < path.length; ++step) {
      const int32_t y = region.y.at(path.y + step), v = region.v.at(path.v + step);
      if (step == 0 || y == 0 || v == 0) here = line(n, y, x, v, u);
      const float after = line(n, y + 1, x, v + 1, u);
      sink.put(n, y, x, v, u, here + after);
      here = after;
    }
  }

 private:
  CA_BOTH float line(int32_t n, int32_t y, int32_t x, int32_t v, int32_t u) const {
    const float* here = cells.row(n, y, x) + cells.column(v, u);
    return here[0] + here[cells.pitch + 1];
  }
};

}  // namespace gpu
}  // namespace contextual_attention
