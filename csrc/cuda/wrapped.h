// The propagation that runs over the ends of rows and columns: top-down after left-right, of two windows of
// k,
//
//   X[p, q] = sum over e, i of S[left_right_i(top_down_e(p)), left_right_i(top_down_e(q))],
//
// where top-down goes on in the next column and left-right in the next row; p and q each on their own.
#pragma once

#include "diagonals.h"

namespace contextual_attention::cuda {

// The pixels behind both passes at once, k = 3. What lies over the ends is found in pieces of the map; a map
// that is held whole is a single piece.
struct WrappedPixels {
  ScoreMap scores;  // of the pixels of the pieces
  Pieces foreground, background;
  Region region;

  // A position of a map; `over`: the end of a column that led here, as in Pieces.
  struct Position {
    int32_t y, x, over;
  };
  // A pixel of each map, where their score lies, and how far on that of the rows below them.
  struct Pair {
    Position p, q;
    const float* score;
    int64_t down;
  };

  // `aside`: -1, 0 or 1 columns from p; q is so far on already.
  CA_BOTH Pair pair(int32_t n, Position p, const Position& q, int32_t aside, int32_t over) const {
    const Piece& rows = foreground.of(p.over, step(p, aside, region.x));
    const Piece& columns = background.of(q.over, over);
    const int64_t index = rows.index(p.y, p.x) * scores.pitch + columns.index(q.y, q.x);
    return {p, q, scores.data + n * scores.sample + index,
            rows.columns.count * scores.pitch + columns.columns.count};
  }
  // Left-right; tells the end of the row that it went over.
  CA_BOTH static int32_t step(Position& p, int32_t aside, const Axis& axis) {
    p.x += aside;
    const int32_t over = p.x < 0 ? -1 : p.x >= axis.size ? 1 : 0;
    p.x -= over * axis.size;
    p.y += over;
    return over;
  }
  // Top-down; false where the column is the last one to go on in.
  CA_BOTH static bool goes_on(Position& p, const Axis& down, const Axis& right) {
    p.over = p.y < 0 ? -1 : p.y >= down.size ? 1 : 0;
    p.y -= p.over * down.size;
    p.x += p.over;
    return right.inside(p.x);
  }

  // The sum over columns at a row that lies beyond the first or last one of a map.
  CA_BOTH float beyond(int32_t n, Position p, Position q) const {
    if (!goes_on(p, region.y, region.x) || !goes_on(q, region.v, region.u)) return 0;
    float sum = 0;
    CA_NO_UNROLL
    for (int32_t i = -1; i <= 1; ++i) {
      Position column = q;
      const int32_t over = step(column, i, region.u);
      const Pair at = pair(n, p, column, i, over);
      if (region.y.inside(at.p.y) && region.v.inside(column.y)) sum += load(at.score);
    }
    return sum;
  }
};

// Both passes at once.
template <ScoreKind kKind>
struct WrappedSum3 : WrappedPixels {
  static constexpr Shape shape = Shape::paths;
  ScoreSink<kKind> sink;
  int32_t samples;

  template <int32_t kColumns>
  CA_BOTH void walk(int32_t n, const Path& path, int32_t x, const Comb<kColumns>& comb) const {
    Segment::each(region, path, [&](const Segment& segment) { walk_segment(n, segment, x, comb); });
  }

 private:
  template <int32_t kColumns>
  CA_BOTH void walk_segment(int32_t n, const Segment& segment, int32_t x, const Comb<kColumns>& comb) const {
    const int32_t y = segment.y, v = segment.v, end = segment.length;
    const bool begins = y == 0 || v == 0, ends = y + end == region.y.size || v + end == region.v.size;
    // Before the walk, whose registers they would keep waiting.
    Values<kColumns> before{}, last{};
    if (begins) before = row_beyond(n, y - 1, x, v - 1, comb);
    if (ends) last = row_beyond(n, y + end, x, v + end, comb);
    Walk<kColumns> walk(*this, n, {y, x, 0}, v, comb);
    auto out = sink.template start<kColumns>(n, y, x, v, comb);
    if (!begins) before = walk.row();
    walk.next();
    const Values<kColumns> here = walk.row();
    put_windows<kColumns>(out, before, here, last, end, ends, [&] {
      walk.next();
      return walk.row();
    });
  }

  template <int32_t kColumns>
  CA_BOTH Values<kColumns> row_beyond(int32_t n, int32_t y, int32_t x, int32_t v,
                                      const Comb<kColumns>& comb) const {
    Values<kColumns> sums{};
    CA_UNROLL
    for (int32_t k = 0; k < kColumns; ++k)
      if (comb.has(k)) sums[k] = beyond(n, {y, x, 0}, {v, comb.at(k), 0});
    return sums;
  }
  // Down one of the columns that a row adds up.
  struct Tap {
    const float* score;
    int64_t down;
    int32_t first, last;  // rows of the walk at which it exists

    CA_BOTH Tap(const WrappedPixels& body, const Pair& at)
        : score(at.score - at.down), down(at.down), first(-(at.p.y < at.q.y ? at.p.y : at.q.y)) {
      const int32_t below_p = body.region.y.size - at.p.y, below_q = body.region.v.size - at.q.y;
      last = below_p < below_q ? below_p : below_q;
    }
    CA_BOTH bool has(int32_t row) const { return row >= first && row < last; }
    CA_BOTH void next() { score += down; }
  };

  // Down the rows, the first of them -1. The comb's columns at the edges of the background have taps of
  // their own, over the ends of its rows.
  template <int32_t kColumns>
  struct Walk {
    Tap left, middle, right, left_edge, right_edge;
    Comb<kColumns> comb;
    int32_t index, width;

    CA_BOTH Walk(const WrappedPixels& body, int32_t n, const Position& p, int32_t v,
                 const Comb<kColumns>& comb)
        : left(body, body.pair(n, p, Position{v, comb.u - 1, 0}, -1, 0)),
          middle(body, body.pair(n, p, Position{v, comb.u, 0}, 0, 0)),
          right(body, body.pair(n, p, Position{v, comb.u + 1, 0}, 1, 0)),
          left_edge(body, body.pair(n, p, Position{v - 1, body.region.u.size - 1, 0}, -1, -1)),
          right_edge(body, body.pair(n, p, Position{v + 1, 0, 0}, 1, 1)),
          comb(comb),
          index(-1),
          width(body.region.u.size) {}

    CA_BOTH void next() {
      ++index;
      left.next(), middle.next(), right.next(), left_edge.next(), right_edge.next();
    }
    CA_BOTH Values<kColumns> row() const {
      Values<kColumns> before = line(left), sums = line(middle), after = line(right);
      const float over_left = left_edge.has(index) && comb.u == 0 ? load(left_edge.score) : 0.0f;
      const bool over_right = right_edge.has(index);
      CA_UNROLL
      for (int32_t k = 0; k < kColumns; ++k) {
        if (k == 0 && comb.u == 0) before[k] = over_left;
        if (comb.has(k) && comb.at(k) + 1 == width) after[k] = over_right ? load(right_edge.score) : 0.0f;
        sums[k] += before[k] + after[k];
      }
      return sums;
    }

   private:
    // There is something to read beside every score (plan.h), also for columns beyond the comb's end.
    CA_BOTH Values<kColumns> line(const Tap& tap) const {
      Values<kColumns> values{};
      if (!tap.has(index)) return values;
      CA_UNROLL
      for (int32_t k = 0; k < kColumns; ++k) values[k] = load(tap.score + k * kLanes);
      return values;
    }
  };
};

}  // namespace contextual_attention::cuda
