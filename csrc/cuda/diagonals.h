// Filters that sum along diagonals: (D_k X)[p, q] = sum over a k x k window of X[p + d, q + d], zero outside
// the maps; and the 2 x 2 sums between patches and cells.
//
// At a fixed displacement of rows, neighbouring lanes take neighbouring columns and walk down the rows: the
// window's rows stay in registers, its columns are loads at a fixed distance (pitch + 1).
#pragma once

#include "bodies.h"
#include "sinks.h"

namespace contextual_attention::cuda {

// Which columns of a comb have a neighbour to the left and to the right in both maps.
template <int32_t kColumns>
struct Edges {
  Comb<kColumns> comb;
  bool left_of_row, right_of_row;
  int32_t last;  // column of the background

  CA_BOTH Edges(const Region& region, int32_t x, const Comb<kColumns>& columns)
      : comb(columns), left_of_row(x > 0), right_of_row(x + 1 < region.x.size), last(region.u.size - 1) {}
  CA_BOTH bool has(int32_t k) const { return comb.has(k); }
  CA_BOTH bool left(int32_t k) const { return left_of_row && (k > 0 || comb.u > 0); }
  CA_BOTH bool right(int32_t k) const { return right_of_row && comb.at(k) < last; }
};

// Scores as they are.
struct Plain {
  ScoreMap scores;

  CA_BOTH float value(int32_t n, int32_t y, int32_t x, int32_t v, int32_t u) const {
    return scores.at(n, y, x, v, u);
  }

  // As loaded: numbers are made of it a row later.
  template <int32_t kColumns>
  struct Row {
    Values<kColumns> on_left, middle, on_right;

    // The sums over the columns u - 1 ... u + 1, and as many of x.
    CA_BOTH Values<kColumns> sums(const Edges<kColumns>& edges) const {
      Values<kColumns> sums = middle;
      CA_UNROLL
      for (int32_t k = 0; k < kColumns; ++k) {
        if (edges.left(k)) sums[k] += on_left[k];
        if (edges.right(k)) sums[k] += on_right[k];
      }
      return sums;
    }
  };
  template <int32_t kColumns>
  struct Walk {
    const float* here;
    int64_t right, down;

    CA_BOTH Row<kColumns> row(const Edges<kColumns>& edges) const {
      // There is something to read beside every score (plan.h), also for columns beyond the comb's end.
      const float* before = edges.left_of_row ? here - right : here;
      const float* after = edges.right_of_row ? here + right : here;
      Row<kColumns> row;
      CA_UNROLL
      for (int32_t k = 0; k < kColumns; ++k) {
        row.on_left[k] = load(before + k * kLanes);
        row.middle[k] = load(here + k * kLanes);
        row.on_right[k] = load(after + k * kLanes);
      }
      return row;
    }
    CA_BOTH void next() { here += down; }
  };
  template <int32_t kColumns>
  CA_BOTH Walk<kColumns> start(int32_t n, int32_t y, int32_t x, int32_t v, const Comb<kColumns>& comb) const {
    return {&scores.at(n, y, x, v, comb.u), scores.right(), scores.down};
  }
};

// Scores times a factor of their row. Where there are offsets the scores are logits, and exp(score - offset)
// takes their place.
struct Gained {
  ScoreMap scores;
  PixelMap<const float> gain, offset;

  CA_BOTH float value(int32_t n, int32_t y, int32_t x, int32_t v, int32_t u) const {
    float value = scores.at(n, y, x, v, u);
    if (offset) value = flushed_exp(value - offset.at(n, y, x));
    return gain.at(n, y, x) * value;
  }

  template <int32_t kColumns>
  struct Row {
    Values<kColumns> of_columns;

    CA_BOTH Values<kColumns> sums(const Edges<kColumns>&) const { return of_columns; }
  };
  template <int32_t kColumns>
  struct Walk {
    const float* here;
    int64_t right, down;
    PixelWalk<const float> gain, offset;

    CA_BOTH Row<kColumns> row(const Edges<kColumns>& edges) const {
      Values<kColumns> sums{};
      add(sums, -1, edges.left_of_row, [&](int32_t k) { return edges.has(k) && edges.left(k); });
      add(sums, 0, true, [&](int32_t k) { return edges.has(k); });
      add(sums, 1, edges.right_of_row, [&](int32_t k) { return edges.has(k) && edges.right(k); });
      return {sums};
    }
    CA_BOTH void next() {
      here += down;
      gain.next();
      offset.next();
    }

   private:
    template <class Exists>
    CA_BOTH void add(Values<kColumns>& sums, int32_t aside, bool in_row, const Exists& exists) const {
      if (!in_row) return;
      const float* scores = here + aside * right;
      const float factor = gain.beside(0, aside);
      const float away = offset ? offset.beside(0, aside) : 0.0f;
      CA_UNROLL
      for (int32_t k = 0; k < kColumns; ++k) {
        if (!exists(k)) continue;
        float value = load(scores + k * kLanes);
        if (offset) value = flushed_exp(value - away);
        sums[k] += factor * value;
      }
    }
  };
  template <int32_t kColumns>
  CA_BOTH Walk<kColumns> start(int32_t n, int32_t y, int32_t x, int32_t v, const Comb<kColumns>& comb) const {
    return {&scores.at(n, y, x, v, comb.u), scores.right(), scores.down, {gain, n, y, x}, {offset, n, y, x}};
  }
};

// The part of a path up to the end of a map: where a region goes on at row 0, a walk begins anew.
struct Segment {
  int32_t y, v, length;

  template <class Walk>
  CA_BOTH static void each(const Region& region, const Path& path, const Walk& walk) {
    for (int32_t done = 0; done < path.length;) {
      const Segment segment = of(region, path, done);
      walk(segment);
      done += segment.length;
    }
  }

 private:
  CA_BOTH static Segment of(const Region& region, const Path& path, int32_t done) {
    const int32_t y = region.y.at(path.y + done), v = region.v.at(path.v + done);
    int32_t length = path.length - done;
    if (length > region.y.size - y) length = region.y.size - y;
    if (length > region.v.size - v) length = region.v.size - v;
    return {y, v, length};
  }
};

// Puts sums of three rows each, from the one before the first to the one behind the last: next() gives the
// following row, but where the rows end with a map, `last` is the one behind them.
template <int32_t kColumns, class Out, class Next>
CA_BOTH void put_windows(Out& out, Values<kColumns> before, Values<kColumns> here,
                         const Values<kColumns>& last, int32_t length, bool ends, const Next& next) {
  for (int32_t i = ends ? 1 : 0; i < length; ++i) {
    const Values<kColumns> after = next();
    out.put(sum_of(before, here, after));
    out.next();
    before = here;
    here = after;
  }
  if (ends) out.put(sum_of(before, here, last));
}

// D_3, by rolling windows.
template <class Source, class Sink>
struct DiagonalSum3 {
  static constexpr Shape shape = Shape::paths;
  Source source;
  Sink sink;
  Region region;
  int32_t samples;

  template <int32_t kColumns>
  CA_BOTH void walk(int32_t n, const Path& path, int32_t x, const Comb<kColumns>& comb) const {
    Segment::each(region, path, [&](const Segment& segment) { walk_segment(n, segment, x, comb); });
  }

 private:
  template <int32_t kColumns>
  CA_BOTH void walk_segment(int32_t n, const Segment& segment, int32_t x, const Comb<kColumns>& comb) const {
    const int32_t y = segment.y, v = segment.v;
    const Edges<kColumns> edges(region, x, comb);
    Values<kColumns> before{};
    if (y > 0 && v > 0)
      before = source.template start<kColumns>(n, y - 1, x, v - 1, comb).row(edges).sums(edges);
    auto in = source.template start<kColumns>(n, y, x, v, comb);
    const Values<kColumns> here = in.row(edges).sums(edges);
    // Whether the last row is one of both maps' last ones.
    const bool ends = y + segment.length == region.y.size || v + segment.length == region.v.size;
    // A row is on its way while the one before it is worked on; there is none behind the last.
    int32_t left = segment.length - (ends ? 1 : 0);
    if (left > 0) in.next();
    auto coming = in.row(edges);
    auto out = sink.template start<kColumns>(n, y, x, v, comb);
    put_windows<kColumns>(out, before, here, {}, segment.length, ends, [&] {
      const Values<kColumns> sums = coming.sums(edges);
      if (--left > 0) in.next();
      coming = in.row(edges);
      return sums;
    });
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
          sum += source.value(n, y + i, x + j, v + i, u + j);
    }
    sink.template start<1>(n, y, x, v, {u, region.u.size}).put({{sum}});
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

  template <int32_t kColumns>
  CA_BOTH void walk(int32_t n, const Path& path, int32_t x, const Comb<kColumns>& comb) const {
    Segment::each(region, path, [&](const Segment& segment) { walk_segment(n, segment, x, comb); });
  }

 private:
  template <int32_t kColumns>
  CA_BOTH void walk_segment(int32_t n, const Segment& segment, int32_t x, const Comb<kColumns>& comb) const {
    const float* cell = &cells.at(n, segment.y, x, segment.v, comb.u);
    auto out = sink.template start<kColumns>(n, segment.y, x, segment.v, comb);
    Values<kColumns> here = line(cell, comb);
    for (int32_t i = 0; i < segment.length; ++i) {
      cell += cells.down;
      const Values<kColumns> after = line(cell, comb);
      out.put(sum_of(here, after));
      here = after;
      out.next();
    }
  }
  template <int32_t kColumns>
  CA_BOTH Values<kColumns> line(const float* cell, const Comb<kColumns>& comb) const {
    const float* beside = cell + cells.right();
    Values<kColumns> sums{};
    CA_UNROLL
    for (int32_t k = 0; k < kColumns; ++k)
      if (comb.has(k)) sums[k] = load(cell + k * kLanes) + load(beside + k * kLanes);
    return sums;
  }
};

}  // namespace contextual_attention::cuda
