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
    CA_NO_UNROLL
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
      // Theirs is the alpha of left and right.
      if (kWrap) left_edge.beta.next(), right_edge.beta.next();
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
        add_edge(sums, left_lines, left.row_norm(), left_edge, [&](int32_t k) { return at_left(k); });
      if (kWrap && right_edge.has(index))
        add_edge(sums, right_lines, right.row_norm(), right_edge, [&](int32_t k) { return at_right(k); });
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
      CA_NO_UNROLL
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
    CA_BOTH static void add_edge(Values<kColumns>& sums, const Lines<kColumns>& lines, float norm,
                                 const Tap& tap, const IsEdge& is_edge) {
      CA_UNROLL
      for (int32_t k = 0; k < kColumns; ++k)
        if (is_edge(k)) sums[k] += rounded_product(lines.sum(k) * norm, tap.beta[0]);
    }
    CA_BOTH bool at_left(int32_t k) const { return k == 0 && strip.u == 0; }
    CA_BOTH bool at_right(int32_t k) const { return strip.at(k) + 1 == width; }

    // There is something to read beside every score (plan.h), also for columns beyond the strip's end.
    CA_BOTH void read_line(int32_t line) {
      const bool has_left = left.has(line), has_middle = middle.has(line), has_right = right.has(line);
      const Values<kColumns> centre = read(middle.product, has_middle);
      Values<kColumns> on_left = read(left.product, has_left), on_right = read(right.product, has_right);
      Values<kColumns> further_left = read(left.product - aside, has_left && left_goes_on);
      Values<kColumns> further_right = read(right.product + aside, has_right && right_goes_on);
      CA_UNROLL
      for (int32_t k = 0; k < kColumns; ++k) {
        if (at_left(k)) read_edge(left_edge, line, left_goes_on, -aside, on_left[k], further_left[k]);
        if (at_right(k)) read_edge(right_edge, line, right_goes_on, aside, on_right[k], further_right[k]);
        if (k == 0 && strip.u == 1) further_left[k] = 0;
        if (strip.at(k) + 2 == width) further_right[k] = 0;
      }
      Values<kColumns> of_left, of_middle = centre, of_right;
      CA_UNROLL
      for (int32_t k = 0; k < kColumns; ++k) {
        const bool joins_left = left_joins && !at_left(k), joins_right = right_joins && !at_right(k);
        of_left[k] = further_left[k] + on_left[k];
        of_right[k] = on_right[k] + further_right[k];
        if (joins_left) of_left[k] += centre[k], of_middle[k] += on_left[k];
        if (joins_right) of_right[k] += centre[k], of_middle[k] += on_right[k];
      }
      left_lines.push(of_left), lines.push(of_middle), right_lines.push(of_right);
      left.product += left.down, middle.product += middle.down, right.product += right.down;
      if (kWrap) left_edge.product += left_edge.down, right_edge.product += right_edge.down;
    }
    CA_BOTH Values<kColumns> read(const float* products, bool exist) const {
      Values<kColumns> line{};
      if (!exist) return line;
      CA_UNROLL
      for (int32_t k = 0; k < kColumns; ++k) line[k] = load(products + k * kLanes);
      return line;
    }
    // The products of a column over the end of a row, and of the one further out.
    CA_BOTH void read_edge(const Tap& edge, int32_t line, bool goes_on, int64_t further, float& on,
                           float& beyond) const {
      const bool exists = kWrap && edge.has(line);
      on = exists ? load(edge.product) : 0.0f;
      beyond = exists && goes_on && width > 1 ? load(edge.product + further) : 0.0f;
    }
  };
};

// The taps over the ends take registers. With a single column the compiler makes loops for those at an edge
// and those elsewhere, and then has too few.
template <ScoreKind kKind>
constexpr ColumnRange kColumnRange<PropagatedSimilarity<true, kKind>> = {2, 3};

}  // namespace gpu
}  // namespace contextual_attention
