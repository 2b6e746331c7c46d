// The propagation before the softmax, with the similarities it adds up on the way, so that these are never
// written down: both windows are 3 x 3, taps next to each other,
//
//   X[p, q] = sum over e in rows, i in columns of S[p + (e, i), q + (e, i)],
//   S[p, q] = alpha[p] beta[q] sum over d in 3 x 3 of G[p + d, q + d]
//
// Zero beyond the maps, or wrapped: then p + (e, i) goes top-down over the end of its column and left-right
// over that of its row, q likewise, each on its own. The patches of S never go over an end.
#pragma once

#include "diagonals.h"

namespace contextual_attention {
namespace gpu {

template <bool kWrap, ScoreKind kKind>
struct PropagatedSimilarity {
  static constexpr Shape shape = Shape::paths;
  ScoreMap gram;  // of the pixels of the pieces
  Pieces foreground, background;
  PixelMap<const float> alpha, beta;  // no alpha: 1
  ScoreSink<kKind> sink;
  Region region;
  int32_t samples;

  template <int32_t kColumns>
  CA_BOTH void walk(int32_t n, const Path& path, int32_t x, const Strip<kColumns>& strip) const {
    if (!kWrap) {
      const Segment whole{region.y.first + path.y, region.v.first + path.v, path.length};
      return walk_segment(n, whole, x, strip);
    }
    for (int32_t done = 0; done < path.length;) {
      const Segment segment = Segment::of(region, path, done);
      walk_segment(n, segment, x, strip);
      done += segment.length;
    }
  }

 private:
  template <int32_t kColumns>
  CA_BOTH void walk_segment(int32_t n, const Segment& segment, int32_t x,
                            const Strip<kColumns>& strip) const {
    const int32_t y = segment.y, v = segment.v, end = segment.length;
    const bool begins = y == 0 || v == 0, ends = y + end == region.y.size || v + end == region.v.size;
    // Before the walk, whose registers they would keep waiting.
    Values<kColumns> before{}, last{};
    if (begins) before = beyond(n, y - 1, x, v - 1, strip);
    if (ends) last = beyond(n, y + end, x, v + end, strip);
    Walk<kColumns> walk(*this, n, {y, x, 0}, v, strip);
    auto out = sink.template start<kColumns>(n, y, x, v, strip);
    if (!begins) before = walk.row();
    walk.next();
    Values<kColumns> here = walk.row();
    for (int32_t i = ends ? 1 : 0; i < end; ++i) {
      walk.next();
      const Values<kColumns> after = walk.row();
      out.put(sum_of(before, here, after));
      out.next();
      before = here;
      here = after;
    }
    if (ends) out.put(sum_of(before, here, last));
  }

  // A position of a map; `over`: the end of a column that led here, as in Pieces.
  struct Position {
    int32_t y, x, over;
  };
  // A pixel of each map, and where their scalar product and those of the rows below them lie.
  struct Pair {
    Position p, q;
    const float* product;
    int64_t down;
  };

  // `aside`: -1, 0 or 1 columns from these positions.
  CA_BOTH Pair pair(int32_t n, Position p, Position q, int32_t aside) const {
    const Piece& rows = step(p, aside, region.x, foreground);
    const Piece& columns = step(q, aside, region.u, background);
    const int64_t index = rows.index(p.y, p.x) * gram.pitch + columns.index(q.y, q.x);
    return {p, q, gram.data + n * gram.sample + index,
            rows.columns.count * gram.pitch + columns.columns.count};
  }
  // The same in the foreground alone: the column of the background may lie beyond its edge, if nothing is
  // read.
  CA_BOTH Pair pair_within(int32_t n, Position p, const Position& q, int32_t aside) const {
    const Piece& rows = step(p, aside, region.x, foreground);
    const Piece& columns = background.of(q.over, 0);
    const int64_t index = rows.index(p.y, p.x) * gram.pitch + columns.index(q.y, q.x);
    return {p, q, gram.data + n * gram.sample + index,
            rows.columns.count * gram.pitch + columns.columns.count};
  }
  // Left-right, over the end of a row into the next one.
  CA_BOTH static const Piece& step(Position& p, int32_t aside, const Axis& axis, const Pieces& pieces) {
    p.x += aside;
    if (!kWrap) return pieces.of(0, 0);
    const int32_t over = p.x < 0 ? -1 : p.x >= axis.size ? 1 : 0;
    p.x -= over * axis.size;
    p.y += over;
    return pieces.of(p.over, over);
  }
  // Top-down, over the end of a column into the next one; false where there is none.
  CA_BOTH static bool goes_on(Position& p, const Axis& down, const Axis& right) {
    p.over = p.y < 0 ? -1 : p.y >= down.size ? 1 : 0;
    p.y -= p.over * down.size;
    p.x += p.over;
    return right.inside(p.x);
  }

  template <int32_t kColumns>
  CA_BOTH static Values<kColumns> sum_of(const Values<kColumns>& a, const Values<kColumns>& b,
                                         const Values<kColumns>& c) {
    Values<kColumns> sums;
    CA_UNROLL
    for (int32_t k = 0; k < kColumns; ++k) sums[k] = a[k] + b[k] + c[k];
    return sums;
  }

  // A row of the propagation that lies beyond the first or last one of a map.
  template <int32_t kColumns>
  CA_BOTH Values<kColumns> beyond(int32_t n, int32_t y, int32_t x, int32_t v,
                                  const Strip<kColumns>& strip) const {
    Values<kColumns> sums{};
    if (!kWrap) return sums;
    CA_UNROLL
    for (int32_t k = 0; k < kColumns; ++k)
      if (strip.has(k)) sums[k] = beyond(n, {y, x, 0}, {v, strip.at(k), 0});
    return sums;
  }
  CA_BOTH float beyond(int32_t n, Position p, Position q) const {
    if (!goes_on(p, region.y, region.x) || !goes_on(q, region.v, region.u)) return 0;
    float sum = 0;
    CA_NO_UNROLL
    for (int32_t i = -1; i <= 1; ++i) sum += similarity(n, pair(n, p, q, i));
    return sum;
  }
  CA_BOTH float similarity(int32_t n, const Pair& at) const {
    if (!region.y.inside(at.p.y) || !region.v.inside(at.q.y)) return 0;
    float sum = 0;
    CA_NO_UNROLL
    for (int32_t e = -1; e <= 1; ++e) {
      if (!region.y.inside(at.p.y + e) || !region.v.inside(at.q.y + e)) continue;
      for (int32_t i = -1; i <= 1; ++i)
        if (region.x.inside(at.p.x + i) && region.u.inside(at.q.x + i))
          sum += load(at.product + e * at.down + i * gram.right());
    }
    const float norm = alpha ? alpha.at(n, at.p.y, at.p.x) : 1.0f;
    return rounded_product(sum * norm, beta.at(n, at.q.y, at.q.x));
  }

  // Down one of the columns that a row of the propagation adds up, with what the patches there take of it.
  struct Tap {
    const float* product;  // of the line that is read next
    int64_t down;
    PixelWalk<const float> alpha, beta;
    int32_t first, last;  // rows of the walk at which it exists

    // From two rows above for the products and one above for the norms.
    CA_BOTH Tap(const PropagatedSimilarity& body, int32_t n, const Pair& at, bool exists)
        : product(at.product - 2 * at.down),
          down(at.down),
          alpha(body.alpha, n, at.p.y - 1, at.p.x),
          beta(body.beta, n, at.q.y - 1, at.q.x),
          first(-(at.p.y < at.q.y ? at.p.y : at.q.y)),
          last(first) {
      const int32_t below_p = body.region.y.size - at.p.y, below_q = body.region.v.size - at.q.y;
      if (exists) last = below_p < below_q ? below_p : below_q;
    }
    CA_BOTH bool has(int32_t row) const { return row >= first && row < last; }
    CA_BOTH void next() {
      alpha.next();
      beta.next();
    }
    CA_BOTH float row_norm() const { return alpha ? *alpha : 1.0f; }
  };

  // The patches around a tap's columns: sums of their last lines.
  template <int32_t kColumns>
  struct Lines {
    Values<kColumns> above, here, below;

    CA_BOTH void push(const Values<kColumns>& line) { above = here, here = below, below = line; }
    CA_BOTH float sum(int32_t k) const { return above[k] + here[k] + below[k]; }
  };

  // Down the rows, the first of them -1. Where the background wraps, the strip's columns at its edges have
  // taps of their own, over the ends of its rows.
  template <int32_t kColumns>
  struct Walk {
    Tap left, middle, right, left_edge, right_edge;
    Lines<kColumns> left_lines, lines, right_lines;
    Strip<kColumns> strip;
    int64_t aside;
    int32_t index, width;
    // Of the foreground: whether the outer taps lie beside the middle one, and have a column further out.
    bool left_joins, right_joins, left_goes_on, right_goes_on;

    CA_BOTH Walk(const PropagatedSimilarity& body, int32_t n, const Position& p, int32_t v,
                 const Strip<kColumns>& strip)
        : Walk(body, n, p, v, strip, body.region.x, body.region.u) {}

    CA_BOTH void next() {
      ++index;
      read_line(index + 1);
      left.next(), middle.next(), right.next();
      if (kWrap) left_edge.next(), right_edge.next();
    }
    // The propagation's sums over columns, at a row of both maps.
    CA_BOTH Values<kColumns> row() const {
      Values<kColumns> sums{};
      if (middle.has(index)) add(sums, lines, middle, [&](int32_t k) { return strip.has(k); });
      if (left.has(index))
        add(sums, left_lines, left, [&](int32_t k) { return strip.has(k) && !at_left(k); });
      if (right.has(index))
        add(sums, right_lines, right, [&](int32_t k) { return strip.has(k) && !at_right(k); });
      if (kWrap && left_edge.has(index))
        add_edge(sums, left_lines, left_edge, [&](int32_t k) { return at_left(k); });
      if (kWrap && right_edge.has(index))
        add_edge(sums, right_lines, right_edge, [&](int32_t k) { return at_right(k); });
      return sums;
    }

   private:
    CA_BOTH Walk(const PropagatedSimilarity& body, int32_t n, const Position& p, int32_t v,
                 const Strip<kColumns>& strip, const Axis& x, const Axis& u)
        : left(body, n, body.pair_within(n, p, {v, strip.u - 1, 0}, -1), kWrap || p.x > 0),
          middle(body, n, body.pair_within(n, p, {v, strip.u, 0}, 0), true),
          right(body, n, body.pair_within(n, p, {v, strip.u + 1, 0}, 1), kWrap || p.x + 1 < x.size),
          left_edge(body, n, body.pair(n, p, {v, 0, 0}, -1), kWrap),
          right_edge(body, n, body.pair(n, p, {v, u.size - 1, 0}, 1), kWrap),
          left_lines{},
          lines{},
          right_lines{},
          strip(strip),
          aside(body.gram.right()),
          index(-1),
          width(u.size) {
      left_joins = p.x > 0;
      right_joins = p.x + 1 < x.size;
      // A tap over the end of a row has come to the other end, whose neighbour further in exists.
      left_goes_on = left_joins ? p.x > 1 : x.size > 1;
      right_goes_on = right_joins ? p.x + 2 < x.size : x.size > 1;
      for (int32_t line = -2; line <= 0; ++line) read_line(line);
    }
    template <class Exists>
    CA_BOTH static void add(Values<kColumns>& sums, const Lines<kColumns>& lines, const Tap& tap,
                            const Exists& exists) {
      const float norm = tap.row_norm();
      CA_UNROLL
      for (int32_t k = 0; k < kColumns; ++k)
        if (exists(k)) sums[k] += rounded_product(lines.sum(k) * norm, tap.beta[k]);
    }
    template <class IsEdge>
    CA_BOTH static void add_edge(Values<kColumns>& sums, const Lines<kColumns>& lines, const Tap& tap,
                                 const IsEdge& is_edge) {
      CA_UNROLL
      for (int32_t k = 0; k < kColumns; ++k)
        if (is_edge(k)) sums[k] += rounded_product(lines.sum(k) * tap.row_norm(), tap.beta[0]);
    }
    CA_BOTH bool at_left(int32_t k) const { return k == 0 && strip.u == 0; }
    CA_BOTH bool at_right(int32_t k) const { return strip.at(k) + 1 == width; }

    CA_BOTH void read_line(int32_t line) {
      const bool has_left = left.has(line), has_middle = middle.has(line), has_right = right.has(line);
      Values<kColumns> on_left{}, centre{}, on_right{};
      CA_UNROLL
      for (int32_t k = 0; k < kColumns; ++k) {
        if (!strip.has(k)) continue;
        const int32_t u = strip.at(k);
        const float further_left = outer(left, left_edge, at_left(k), has_left, line, k, -1,
                                         left_goes_on && (at_left(k) ? width > 1 : u > 1), on_left[k]);
        const float further_right =
            outer(right, right_edge, at_right(k), has_right, line, k, 1,
                  right_goes_on && (at_right(k) ? width > 1 : u + 2 < width), on_right[k]);
        if (has_middle) centre[k] = load(middle.product + k * kLanes);
        const bool joins_left = left_joins && !at_left(k), joins_right = right_joins && !at_right(k);
        const float inner_left = on_left[k], inner_right = on_right[k];
        on_left[k] = further_left + inner_left + (joins_left ? centre[k] : 0.0f);
        on_right[k] = (joins_right ? centre[k] : 0.0f) + inner_right + further_right;
        centre[k] = (joins_left ? inner_left : 0.0f) + centre[k] + (joins_right ? inner_right : 0.0f);
      }
      left_lines.push(on_left), lines.push(centre), right_lines.push(on_right);
      left.product += left.down, middle.product += middle.down, right.product += right.down;
      if (kWrap) left_edge.product += left_edge.down, right_edge.product += right_edge.down;
    }
    // The products of an outer column, and returned of the one further out.
    CA_BOTH float outer(const Tap& tap, const Tap& edge, bool at_edge, bool has, int32_t line, int32_t k,
                        int32_t side, bool goes_on, float& inner) const {
      if (at_edge) {
        if (!kWrap || !edge.has(line)) return 0;
        inner = load(edge.product);
        return goes_on ? load(edge.product + side * aside) : 0.0f;
      }
      if (!has) return 0;
      inner = load(tap.product + k * kLanes);
      return goes_on ? load(tap.product + k * kLanes + side * aside) : 0.0f;
    }
  };
};

}  // namespace gpu
}  // namespace contextual_attention
