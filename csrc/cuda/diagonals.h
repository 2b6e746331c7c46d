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

  struct Walk {
    ScoreWalk score;
    int64_t right;

    // The sum over the columns u - 1 ... u + 1, and as many of x.
    CA_BOTH float line(bool has_left, bool has_right) const {
      const float* here = score.here;
      return (has_left ? here[-right] : 0.0f) + here[0] + (has_right ? here[right] : 0.0f);
    }
    CA_BOTH void next() { score.next(); }
  };
  CA_BOTH Walk start(int32_t n, int32_t y, int32_t x, int32_t v, int32_t u) const {
    return {{scores, n, y, x, v, u}, scores.right()};
  }
};

// Scores times a factor of their row and one of their column; a factor that is missing is 1. Where there are
// offsets the scores are logits, and exp(score - offset) takes their place.
struct Gained {
  ScoreMap scores;
  PixelMap<const float> row_gain, column_gain, offset;

  struct Walk {
    ScoreWalk score;
    int64_t right;
    PixelWalk<const float> row_gain, column_gain, offset;

    CA_BOTH float line(bool has_left, bool has_right) const {
      return (has_left ? term(-1) : 0.0f) + term(0) + (has_right ? term(1) : 0.0f);
    }
    CA_BOTH void next() {
      score.next();
      row_gain.next();
      column_gain.next();
      offset.next();
    }

   private:
    CA_BOTH float term(int32_t aside) const {
      float value = score.here[aside * right];
      if (offset) value = flushed_exp(value - offset.here[aside]);
      if (row_gain) value *= row_gain.here[aside];
      if (column_gain) value *= column_gain.here[aside];
      return value;
    }
  };
  CA_BOTH Walk start(int32_t n, int32_t y, int32_t x, int32_t v, int32_t u) const {
    return {{scores, n, y, x, v, u},
            scores.right(),
            {row_gain, n, y, x},
            {column_gain, n, v, u},
            {offset, n, y, x}};
  }
};

// The part of a path up to the end of a map: where a region goes on at row 0, a walk begins anew.
struct Segment {
  int32_t y, v, length;

  CA_BOTH static Segment of(const Region& region, const Path& path, int32_t done) {
    const int32_t y = region.y.at(path.y + done), v = region.v.at(path.v + done);
    int32_t length = path.length - done;
    if (length > region.y.size - y) length = region.y.size - y;
    if (length > region.v.size - v) length = region.v.size - v;
    return {y, v, length};
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
    for (int32_t done = 0; done < path.length;) {
      const Segment segment = Segment::of(region, path, done);
      walk(n, segment, region.x.first + x_slot, region.u.first + u_slot);
      done += segment.length;
    }
  }

 private:
  CA_BOTH void walk(int32_t n, const Segment& segment, int32_t x, int32_t u) const {
    const int32_t y = segment.y, v = segment.v;
    const bool left = x > 0 && u > 0, right = x + 1 < region.x.size && u + 1 < region.u.size;
    // Rows that have one below them in both maps.
    const int32_t down = region.y.size - 1 - y, across = region.v.size - 1 - v;
    const int32_t inner = down < across ? down : across;
    float before = 0;
    if (y > 0 && v > 0) before = source.start(n, y - 1, x, v - 1, u).line(left, right);
    auto in = source.start(n, y, x, v, u);
    auto out = sink.start(n, y, x, v, u);
    float here = in.line(left, right);
    for (int32_t i = 0; i < segment.length; ++i) {
      in.next();
      const float after = i < inner ? in.line(left, right) : 0.0f;
      out.put(before + here + after);
      out.next();
      before = here;
      here = after;
    }
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
        if (region.x.inside(x + j) && region.u.inside(u + j))
          sum += source.start(n, y + i, x + j, v + i, u + j).line(false, false);
    }
    sink.start(n, y, x, v, u).put(sum);
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
    sink.start(n, y, x, v, u).put(sum);
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
    for (int32_t done = 0; done < path.length;) {
      const Segment segment = Segment::of(region, path, done);
      walk(n, segment, region.x.first + x_slot, region.u.first + u_slot);
      done += segment.length;
    }
  }

 private:
  CA_BOTH void walk(int32_t n, const Segment& segment, int32_t x, int32_t u) const {
    const float* cell = &cells.at(n, segment.y, x, segment.v, u);
    auto out = sink.start(n, segment.y, x, segment.v, u);
    float here = cell[0] + cell[cells.right()];
    for (int32_t i = 0; i < segment.length; ++i) {
      cell += cells.down;
      const float after = cell[0] + cell[cells.right()];
      out.put(here + after);
      here = after;
      out.next();
    }
  }
};

}  // namespace gpu
}  // namespace contextual_attention
