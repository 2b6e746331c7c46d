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
  // Of the pixels that the taps reach: the whole of a map, or with what `wrapped` finds beyond its edges.
  ScoreMap gram;
  PixelMap<const float> alpha, beta;  // no alpha: 1
  ScoreSink sink;
  Region region;  // within the maps
  int32_t samples;

  CA_BOTH void operator()(int32_t n, const Path& path, int32_t x_slot, int32_t u_slot) const {
    const int32_t y = region.y.first + path.y, x = region.x.first + x_slot;
    const int32_t v = region.v.first + path.v, u = region.u.first + u_slot;
    Walk walk(*this, n, y, x, v, u);
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
    if (regular < path.length)
      out.put(before + here + beyond(n, y + path.length, x, v + path.length, u));
  }

 private:
  // A pixel of each map, and the place of their scalar product.
  struct Pair {
    Position p, q;
    const float* product;
  };

  CA_BOTH Pair pair(int32_t n, int32_t y, int32_t x, int32_t v, int32_t u) const {
    const Region& r = gram.region;
    const Position p = kWrap ? wrapped(y, x, r.y.size, r.x.size) : Position{y, x};
    const Position q = kWrap ? wrapped(v, u, r.v.size, r.u.size) : Position{v, u};
    const float* product =
        gram.data + n * gram.sample + place(r.y, r.x, {y, x}, p) * gram.pitch + place(r.v, r.u, {v, u}, q);
    return {p, q, product};
  }
  // Among the positions of a region: where it is the whole of its map there is nothing beyond the edges.
  CA_BOTH static int64_t place(const Axis& down, const Axis& right, const Position& reached,
                               const Position& found) {
    if (down.count == down.size && right.count == right.size) return int64_t(found.y) * right.count + found.x;
    return int64_t(reached.y - down.first) * right.count + reached.x - right.first;
  }

  // A row of the propagation that lies beyond the first or last one of a map.
  CA_BOTH float beyond(int32_t n, int32_t y, int32_t x, int32_t v, int32_t u) const {
    if (!kWrap || !goes_on(y, x, region.y, region.x) || !goes_on(v, u, region.v, region.u)) return 0;
    float sum = 0;
    CA_NO_UNROLL
    for (int32_t i = -1; i <= 1; ++i) sum += similarity(n, y, x + i, v, u + i);
    return sum;
  }
  // Past the end of the last column there is none to go on in.
  CA_BOTH static bool goes_on(int32_t y, int32_t x, const Axis& down, const Axis& right) {
    carry(x, y, down.size);
    return right.inside(x);
  }
  CA_BOTH float similarity(int32_t n, int32_t y, int32_t x, int32_t v, int32_t u) const {
    const Pair at = pair(n, y, x, v, u);
    if (!region.y.inside(at.p.y) || !region.v.inside(at.q.y)) return 0;
    float sum = 0;
    CA_NO_UNROLL
    for (int32_t e = -1; e <= 1; ++e) {
      if (!region.y.inside(at.p.y + e) || !region.v.inside(at.q.y + e)) continue;
      for (int32_t i = -1; i <= 1; ++i)
        if (region.x.inside(at.p.x + i) && region.u.inside(at.q.x + i))
          sum += load(at.product + e * gram.down + i * gram.right());
    }
    return sum * (alpha ? alpha.at(n, at.p.y, at.p.x) : 1.0f) * beta.at(n, at.q.y, at.q.x);
  }

  // One of the three similarities of a row of the propagation, with the lines of its patch.
  struct Tap {
    const float* product;  // of the line that is read next
    PixelWalk<const float> alpha, beta;
    int32_t first, last;  // rows of the walk at which it exists
    float above, here, below;

    CA_BOTH Tap(const PropagatedSimilarity& body, int32_t n, const Pair& at, bool exists)
        : product(at.product - 2 * body.gram.down),
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
    CA_BOTH void push(float line, int64_t down) {
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
    int64_t down, aside;
    int32_t index;
    // Whether patches around the outer taps have a column further out, and share those of the middle one.
    bool left_ends, right_ends, left_joins, right_joins;

    CA_BOTH Walk(const PropagatedSimilarity& body, int32_t n, int32_t y, int32_t x, int32_t v, int32_t u)
        : Walk(body, n, {y, x}, {v, u}, body.pair(n, y, x - 1, v, u - 1), body.pair(n, y, x, v, u),
               body.pair(n, y, x + 1, v, u + 1)) {}

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
          down(body.gram.down),
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
      left.push(outer_left + on_left + (left_joins ? centre : 0.0f), down);
      middle.push((left_joins ? on_left : 0.0f) + centre + (right_joins ? on_right : 0.0f), down);
      right.push((right_joins ? centre : 0.0f) + on_right + outer_right, down);
    }
  };
};

}  // namespace gpu
}  // namespace contextual_attention
