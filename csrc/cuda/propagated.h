// The propagation before the softmax, with the similarities it adds up on the way, so that these are never
// written down: both windows are 3 x 3, taps next to each other,
//
//   X[p, q] = sum over e in rows, i in columns of S[p + (e, i), q + (e, i)],
//   S[p, q] = alpha[p] beta[q] sum over d in 3 x 3 of G[p + d, q + d]
//
// Zero beyond the maps, or wrapped: then p + (e, i) goes top-down over the end of its column and left-right
// over that of its row, q likewise, each on its own. The patches of S never go over an end.
#pragma once

#include "bodies.h"
#include "sinks.h"

namespace contextual_attention {
namespace gpu {

template <bool kWrap>
struct PropagatedSimilarity {
  static constexpr Shape shape = Shape::paths;
  ScoreMap gram;  // of the pixels of the pieces
  Pieces foreground, background;
  PixelMap<const float> alpha, beta;  // no alpha: 1
  ScoreSink sink;
  Region region;  // within the maps
  int32_t samples;

  CA_BOTH void operator()(int32_t n, const Path& path, int32_t x_slot, int32_t u_slot) const {
    const int32_t y = region.y.first + path.y, x = region.x.first + x_slot;
    const int32_t v = region.v.first + path.v, u = region.u.first + u_slot;
    Walk walk(*this, n, {y, x, 0}, {v, u, 0});
    auto out = sink.start(n, y, x, v, u);
    float before = y > 0 && v > 0 ? walk.row() : beyond(n, y - 1, x, v - 1, u);
    walk.next();
    float here = walk.row();
    // Only the last row of a path can be the last one of a map.
    const int32_t down = region.y.size - 1 - y, across = region.v.size - 1 - v;
    const int32_t inner = down < across ? down : across;
    const int32_t regular = path.length < inner ? path.length : inner;
    for (int32_t i = 0; i < regular; ++i) {
      walk.next();
      const float after = walk.row();
      out.put(before + here + after);
      out.next();
      before = here;
      here = after;
    }
    if (regular < path.length) out.put(before + here + beyond(n, y + path.length, x, v + path.length, u));
  }

 private:
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
    return {p, q, gram.data + n * gram.sample + index, rows.width * gram.pitch + columns.width};
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
  CA_BOTH float beyond(int32_t n, int32_t y, int32_t x, int32_t v, int32_t u) const {
    Position p{y, x, 0}, q{v, u, 0};
    if (!kWrap || !goes_on(p, region.y, region.x) || !goes_on(q, region.v, region.u)) return 0;
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
    return sum * (alpha ? alpha.at(n, at.p.y, at.p.x) : 1.0f) * beta.at(n, at.q.y, at.q.x);
  }

  // One of the three similarities of a row of the propagation, with the lines of its patch.
  struct Tap {
    const float* product;  // of the line that is read next
    int64_t down;
    PixelWalk<const float> alpha, beta;
    int32_t first, last;  // rows of the walk at which it exists
    float above, here, below;

    CA_BOTH Tap(const PropagatedSimilarity& body, int32_t n, const Pair& at, bool exists)
        : product(at.product - 2 * at.down),
          down(at.down),
          alpha(body.alpha, n, at.p.y - 1, at.p.x),
          beta(body.beta, n, at.q.y - 1, at.q.x),
          first(-(at.p.y < at.q.y ? at.p.y : at.q.y)),
          last(0),
          above(0),
          here(0),
          below(0) {
      const int32_t below_p = body.region.y.size - at.p.y, below_q = body.region.v.size - at.q.y;
      last = below_p < below_q ? below_p : below_q;
      if (!exists) last = first;
    }
    CA_BOTH bool has(int32_t row) const { return row >= first && row < last; }
    CA_BOTH void push(float line) {
      product += down;
      above = here, here = below, below = line;
    }
    CA_BOTH void next() {
      alpha.next();
      beta.next();
    }
    CA_BOTH float similarity() const { return (above + here + below) * (alpha ? *alpha : 1.0f) * *beta; }
  };

  // Down the rows, the first of them -1.
  struct Walk {
    Tap left, middle, right;
    int64_t aside;
    int32_t index;
    // Whether patches around the outer taps have a column further out, and share those of the middle one.
    bool left_ends, right_ends, left_joins, right_joins;

    CA_BOTH Walk(const PropagatedSimilarity& body, int32_t n, const Position& p, const Position& q)
        : Walk(body, n, p, q, body.pair(n, p, q, -1), body.pair(n, p, q, 0), body.pair(n, p, q, 1)) {}

    CA_BOTH void next() {
      ++index;
      read_line(index + 1);
      left.next(), middle.next(), right.next();
    }
    // Their sum at a row of both maps.
    CA_BOTH float row() const {
      return (left.has(index) ? left.similarity() : 0.0f) + (middle.has(index) ? middle.similarity() : 0.0f) +
             (right.has(index) ? right.similarity() : 0.0f);
    }

   private:
    CA_BOTH Walk(const PropagatedSimilarity& body, int32_t n, const Position& p, const Position& q,
                 const Pair& before, const Pair& here, const Pair& after)
        : left(body, n, before, kWrap || (p.x > 0 && q.x > 0)),
          middle(body, n, here, true),
          right(body, n, after, kWrap || (p.x + 1 < body.region.x.size && q.x + 1 < body.region.u.size)),
          aside(body.gram.right()),
          index(-1) {
      const int32_t w = body.region.x.size, wb = body.region.u.size;
      left_ends = before.p.x <= 0 || before.q.x <= 0;
      left_joins = p.x > 0 && q.x > 0;
      right_ends = after.p.x + 1 >= w || after.q.x + 1 >= wb;
      right_joins = p.x + 1 < w && q.x + 1 < wb;
      for (int32_t line = -2; line <= 0; ++line) read_line(line);
    }
    CA_BOTH void read_line(int32_t line) {
      const bool has_left = left.has(line), has_right = right.has(line);
      const float outer_left = has_left && !left_ends ? load(left.product - aside) : 0.0f;
      const float on_left = has_left ? load(left.product) : 0.0f;
      const float centre = middle.has(line) ? load(middle.product) : 0.0f;
      const float on_right = has_right ? load(right.product) : 0.0f;
      const float outer_right = has_right && !right_ends ? load(right.product + aside) : 0.0f;
      left.push(outer_left + on_left + (left_joins ? centre : 0.0f));
      middle.push((left_joins ? on_left : 0.0f) + centre + (right_joins ? on_right : 0.0f));
      right.push((right_joins ? centre : 0.0f) + on_right + outer_right);
    }
  };
};

}  // namespace gpu
}  // namespace contextual_attention
