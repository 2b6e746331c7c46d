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
    const Plain& source;
    const float* here;

    // The sum over the columns u - left ... u + right, and as many of x, `ahead` rows further down.
    CA_BOTH float line(int32_t ahead, bool left, bool right) const {
      const float* at = here + ahead * source.scores.down();
      const int64_t step = source.scores.right();
      return (left ? at[-step] : 0.0f) + at[0] + (right ? at[step] : 0.0f);
    }
    CA_BOTH void next() { here += source.scores.down(); }
  };
  CA_BOTH Walk start(int32_t n, int32_t y, int32_t x, int32_t v, int32_t u) const {
    return {*this, &scores.at(n, y, x, v, u)};
  }
  CA_BOTH float at(int32_t n, int32_t y, int32_t x, int32_t v, int32_t u) const {
    return scores.at(n, y, x, v, u);
  }
};

// Scores times a factor of their row and one of their column; a factor that is missing is 1.
struct Gained {
  ScoreMap scores;
  PixelMap<const float> row_gain, column_gain;

  struct Walk {
    const Gained& source;
    Place place;

    CA_BOTH float line(int32_t ahead, bool left, bool right) const {
      return (left ? term(ahead, -1) : 0.0f) + term(ahead, 0) + (right ? term(ahead, 1) : 0.0f);
    }
    CA_BOTH void next() { place.next(); }

   private:
    CA_BOTH float term(int32_t ahead, int32_t aside) const {
      const int32_t p = place.p + ahead * place.width + aside;
      const int32_t q = place.q + ahead * place.background_width + aside;
      return source.gain(place.n, p, q) * place.score[ahead * place.down + aside * source.scores.right()];
    }
  };
  CA_BOTH Walk start(int32_t n, int32_t y, int32_t x, int32_t v, int32_t u) const {
    return {*this, Place::of(scores, n, y, x, v, u)};
  }
  CA_BOTH float at(int32_t n, int32_t y, int32_t x, int32_t v, int32_t u) const {
    return gain(n, y * scores.region.x.size + x, v * scores.region.u.size + u) * scores.at(n, y, x, v, u);
  }
  CA_BOTH float gain(int32_t n, int32_t p, int32_t q) const {
    return (row_gain ? row_gain.at(n, p) : 1.0f) * (column_gain ? column_gain.at(n, q) : 1.0f);
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
    auto in = source.start(n, y, x, v, u);
    auto out = sink.start(n, y, x, v, u);
    float before = y > 0 && v > 0 ? in.line(-1, left, right) : 0.0f, here = in.line(0, left, right);
    for (int32_t i = 0; i < segment.length; ++i) {
      const float after = i < inner ? in.line(1, left, right) : 0.0f;
      out.put(before + here + after);
      before = here;
      here = after;
      in.next();
      out.next();
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
        if (region.x.inside(x + j) && region.u.inside(u + j)) sum += source.at(n, y + i, x + j, v + i, u + j);
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
      cell += cells.down();
      const float after = cell[0] + cell[cells.right()];
      out.put(here + after);
      here = after;
      out.next();
    }
  }
};

}  // namespace gpu
}  // namespace contextual_attention
