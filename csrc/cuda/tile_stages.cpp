#include "tile_stages.h"

#include <algorithm>

namespace contextual_attention::cuda {
namespace {

Axis dilated(const Axis& axis, const Reach& by, bool ring) {
  const int64_t first = axis.first - by.before, end = int64_t(axis.first) + axis.count + by.after;
  if (ring && end - first < axis.size)
    return {int32_t(floor_mod(first, axis.size)), int32_t(end - first), axis.size};
  const int64_t low = ring ? 0 : std::max<int64_t>(0, first);
  const int64_t high = ring ? axis.size : std::min<int64_t>(axis.size, end);
  return {int32_t(low), int32_t(high - low), axis.size};
}

Region dilated(const Problem& p, const Region& region, const Reach& foreground, const Reach& background) {
  if (p.wrap())  // as wide as the maps already
    return {dilated(region.y, foreground, true), region.x, dilated(region.v, background, true), region.u};
  return {dilated(region.y, foreground, false), dilated(region.x, foreground, false),
          dilated(region.v, background, false), dilated(region.u, background, false)};
}

// What a stage over a region reads of the stage before it.
Region read_by(Stage stage, const Problem& p, const Region& region) {
  return dilated(p, region, reach_into(stage, p, p.w), reach_into(stage, p, p.wb));
}

// The cells that a tile answers for.
Axis owned_cells(const Axis& pixels) {
  const int32_t last = pixels.first + pixels.count == pixels.size ? 1 : 0;
  return {pixels.first, pixels.count + last, pixels.size + 1};
}

// The cells that pixels cover; a line that runs over its end covers one more.
Axis covered_cells(const Axis& pixels) {
  const int32_t over = pixels.first + pixels.count > pixels.size ? 1 : 0;
  const int32_t count = pixels.count + 1 + over, size = pixels.size + 1;
  return count < size ? Axis{pixels.first, count, size} : Axis{0, size, size};
}

bool is_whole(const Axis& down, const Axis& right) {
  return down.count == down.size && right.count == right.size;
}

// [first, end) of a line, within it.
struct Span {
  int32_t first, end;

  bool empty() const { return first >= end; }
  Span grown(int32_t size) const { return {std::max(first - 1, 0), std::min(end + 1, size)}; }
  Span moved(int32_t by, int32_t size) const { return {std::max(first + by, 0), std::min(end + by, size)}; }
};

// From the positions of one pass of the propagation to those that its next pass finds over an end, or over
// none: `line` becomes the last or first of its size, `rest` moves on by one.
void run_over(int32_t over, Span& line, int32_t line_size, Span& rest, int32_t rest_size) {
  const bool reaches = over == 0 || (over < 0 ? line.first == 0 : line.end == line_size);
  if (!reaches || line.empty()) {
    line = rest = {0, 0};
  } else if (over == 0) {
    line = line.grown(line_size);
  } else {
    line = over < 0 ? Span{line_size - 1, line_size} : Span{0, 1};
    rest = rest.moved(over, rest_size);
  }
}

// The pixels of the patches that a wrapped propagation into these reaches: top-down, left-right, patches.
Pieces reached(const Axis& down, const Axis& right) {
  Pieces pieces{};
  pieces.distinct = 9;
  for (int32_t i = 0; i < 9; ++i) {
    Span rows{down.first, down.first + down.count}, columns{right.first, right.first + right.count};
    run_over(i / 3 - 1, rows, down.size, columns, right.size);
    run_over(i % 3 - 1, columns, right.size, rows, down.size);
    if (rows.empty()) continue;  // and then the columns
    rows = rows.grown(down.size), columns = columns.grown(right.size);
    const Axis down_axis{rows.first, rows.end - rows.first, down.size};
    const Axis right_axis{columns.first, columns.end - columns.first, right.size};
    pieces.pieces[i] = {down_axis, right_axis, pieces.count};
    pieces.count += int64_t(down_axis.count) * right_axis.count;
  }
  return pieces;
}

// At most so many pixels lie behind a tile: what an edge cuts off comes back from its other end, but three
// rows of two pixels at each corner.
int64_t most_reached(int64_t height, int64_t width) { return (height + 5) * (width + 5) + 24; }

Axis line_of(int64_t count) { return {0, int32_t(count), int32_t(count)}; }

template <class Make>
Region each_axis(const Region& r, Make make) {
  return {make(r.y), make(r.x), make(r.v), make(r.u)};
}

// The pixels that paste into the owned cells. (Cells end at the edges, even where the propagation wraps.)
Region pasting(const Problem& p, const Region& own) {
  const Reach reach = reach_into(Stage::cells, p, p.w);
  return each_axis(own, [&](const Axis& pixels) { return dilated(pixels, reach, false); });
}

void add_backward_stages(const Problem& p, Pass pass, bool whole_background, Stages& stages) {
  if (pass == Pass::centres) {
    stages.attention = read_by(Stage::logit_gradient, p, stages.own);
    stages.weights = stages.own;
  } else {
    stages.product = read_by(Stage::gram_gradient, p, stages.own);
    stages.columnwise = read_by(Stage::product_gradient, p, stages.product);
    stages.logit = read_by(Stage::columnwise_gradient, p, stages.columnwise);
    stages.attention = read_by(Stage::logit_gradient, p, stages.logit);
    // The sums behind the centres of `attention` read one window further; E the pixels before the own ones.
    const bool sums = whole_background && p.after();
    const int64_t before = reach_into(Stage::cells, p, p.w).before;
    const Reach around{before, before};  // to both sides, though E reads only those before
    const Region pasted = read_by(Stage::final, p, dilated(p, stages.own, around, around));
    const Region read = sums ? read_by(Stage::final, p, stages.attention) : stages.logit;
    stages.weights = {
        read.y.count > pasted.y.count ? read.y : pasted.y, read.x.count > pasted.x.count ? read.x : pasted.x,
        read.v.count > pasted.v.count ? read.v : pasted.v, read.u.count > pasted.u.count ? read.u : pasted.u};
  }
  stages.cell_gradient = each_axis(stages.attention, covered_cells);
}

}  // namespace

Pieces one_piece(const Axis& down, const Axis& right) {
  Pieces pieces{};
  for (Piece& piece : pieces.pieces) piece = {down, right, 0};
  pieces.count = int64_t(down.count) * right.count;
  pieces.distinct = 1;
  return pieces;
}

Axis within_patches(const Axis& pixels) {
  const int32_t first = pixels.first > 0 ? pixels.first + 1 : 0, end = pixels.first + pixels.count;
  return {first, (end < pixels.size ? end - 1 : end) - first, pixels.size};
}

bool wraps_at_once(const Problem& p) { return p.wrap() && p.ksize == 3 && p.fuse_k == 3; }

Stages make_stages(const Problem& p, const Region& own, Pass pass, bool whole_background) {
  Stages stages{};
  stages.own = own;
  stages.cells = each_axis(own, owned_cells);
  if (pass == Pass::centres || pass == Pass::backward)
    add_backward_stages(p, pass, whole_background, stages);
  else if (pass == Pass::statistics)
    stages.weights = own;
  else
    stages.weights = read_by(Stage::final, p, pasting(p, own));
  stages.in_pieces = wraps_at_once(p) && (pass == Pass::statistics || pass == Pass::forward);
  if (stages.in_pieces) {
    const Region& w = stages.weights;
    stages.foreground = is_whole(own.y, own.x) ? one_piece(own.y, own.x) : reached(w.y, w.x);
    stages.background = is_whole(own.v, own.u) ? one_piece(own.v, own.u) : reached(w.v, w.u);
    stages.gram = {line_of(1), line_of(stages.foreground.count), line_of(1),
                   line_of(stages.background.count)};
    stages.similarity = stages.gram;
    return stages;
  }
  stages.rowwise = read_by(Stage::weights, p, stages.weights);
  stages.similarity = read_by(Stage::rowwise, p, stages.rowwise);
  stages.gram = read_by(Stage::similarity, p, stages.similarity);
  stages.foreground = one_piece(stages.similarity.y, stages.similarity.x);
  stages.background = one_piece(stages.similarity.v, stages.similarity.u);
  return stages;
}

Stages largest_stages(const Problem& p, const TileSize& t, Pass pass) {
  constexpr int32_t kAway = 1 << 20;
  const auto axis = [](int64_t count, int64_t size) {
    return Axis{kAway, int32_t(count), int32_t(size) + 2 * kAway};
  };
  Stages s = make_stages(p, {axis(t.y, p.h), axis(t.x, p.w), axis(t.v, p.hb), axis(t.u, p.wb)}, pass,
                         t.whole_background(p));
  const auto cut = [&](Region& r, int32_t more) {
    const auto cut_axis = [more](Axis& a, int64_t size) {
      a.count = std::min(a.count, int32_t(size) + more);
    };
    cut_axis(r.y, p.h), cut_axis(r.x, p.w), cut_axis(r.v, p.hb), cut_axis(r.u, p.wb);
  };
  for (Region* r :
       {&s.gram, &s.similarity, &s.rowwise, &s.weights, &s.attention, &s.logit, &s.columnwise, &s.product})
    cut(*r, 0);
  if (s.in_pieces) {
    s.gram = {line_of(1), line_of(t.whole_foreground(p) ? p.h * p.w : most_reached(t.y, t.x)), line_of(1),
              line_of(t.whole_background(p) ? p.hb * p.wb : most_reached(t.v, t.u))};
    s.similarity = s.gram;
  }
  // A line that runs over its end covers one cell more.
  if (p.wrap()) ++s.cell_gradient.y.count, ++s.cell_gradient.v.count;
  s.cells = each_axis(s.own, [](const Axis& a) { return Axis{a.first, a.count + 1, a.size + 1}; });
  cut(s.cell_gradient, 1);
  return s;
}

}  // namespace contextual_attention::cuda
