#include "plan.h"

#include <algorithm>
#include <limits>
#include <vector>

namespace contextual_attention {
namespace gpu {
namespace {

Axis dilated(const Axis& axis, int64_t radius, bool ring) {
  const int64_t first = axis.first - radius, end = int64_t(axis.first) + axis.count + radius;
  if (ring && end - first < axis.size)
    return {int32_t(floor_mod(first, axis.size)), int32_t(end - first), axis.size};
  const int64_t low = ring ? 0 : std::max<int64_t>(0, first);
  const int64_t high = ring ? axis.size : std::min<int64_t>(axis.size, end);
  return {int32_t(low), int32_t(high - low), axis.size};
}

Region dilated(const Problem& p, const Region& region, int64_t radius) {
  if (radius == 0) return region;
  if (p.wrap())  // as wide as the maps already
    return {dilated(region.y, radius, true), region.x, dilated(region.v, radius, true), region.u};
  return {dilated(region.y, radius, false), dilated(region.x, radius, false),
          dilated(region.v, radius, false), dilated(region.u, radius, false)};
}

// The rows that the left-right pass reads where it runs over row ends.
Region crossed(const Problem& p, const Region& region) {
  if (!p.wrap()) return region;
  return {dilated(region.y, ceil_div(p.fuse_radius(), p.w), true), region.x,
          dilated(region.v, ceil_div(p.fuse_radius(), p.wb), true), region.u};
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

// The pixels that paste into the owned cells.
Axis pasting(const Axis& pixels) {
  const int32_t before = pixels.first > 0 ? 1 : 0;
  return {pixels.first - before, pixels.count + before, pixels.size};
}

bool is_whole(const Axis& down, const Axis& right) {
  return down.count == down.size && right.count == right.size;
}

// Pixels that lie together as one piece, found by taps that run over no end.
Pieces one_piece(const Axis& down, const Axis& right) {
  Pieces pieces{};
  for (Piece& piece : pieces.pieces) piece = {down, right, 0};
  pieces.count = int64_t(down.count) * right.count;
  pieces.distinct = 1;
  return pieces;
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

void add_backward_stages(const Problem& p, Pass pass, bool whole_background, Stages& stages) {
  const int64_t fuse = p.fuse_radius(), after = p.after() ? fuse : 0;
  if (pass == Pass::centres) {
    stages.attention = dilated(p, stages.own, after);
    stages.weights = stages.own;
  } else {
    stages.product = dilated(p, stages.own, p.patch_radius());
    stages.columnwise = crossed(p, stages.product);
    stages.logit = dilated(p, stages.columnwise, p.before() ? fuse : 0);
    stages.attention = dilated(p, stages.logit, after);
    // The sums behind the centres of `attention` read one window further; E the pixels before the own ones.
    const bool sums = whole_background && p.after();
    const Region pasted = dilated(p, stages.own, 1 + after);
    const Region read = sums ? dilated(p, stages.attention, fuse) : stages.logit;
    stages.weights = {
        read.y.count > pasted.y.count ? read.y : pasted.y, read.x.count > pasted.x.count ? read.x : pasted.x,
        read.v.count > pasted.v.count ? read.v : pasted.v, read.u.count > pasted.u.count ? read.u : pasted.u};
  }
  stages.cell_gradient = each_axis(stages.attention, covered_cells);
}

int64_t score_bytes(const Region& region) {
  return int64_t(region.rows()) * pitch_of(region) * int64_t(sizeof(float));
}

// Rounded so that every buffer begins where a vector may be loaded.
int64_t aligned(int64_t bytes) { return (bytes + 255) / 256 * 256; }

// The stages of a tile that no edge cuts: none is larger. Cells as if it were the last of each line.
Stages largest_stages(const Problem& p, const TileSize& t, bool backward) {
  constexpr int32_t kAway = 1 << 20;
  const auto axis = [](int64_t count, int64_t size) {
    return Axis{kAway, int32_t(count), int32_t(size) + 2 * kAway};
  };
  const bool whole_background = t.v >= p.hb && t.u >= p.wb;
  Stages s = make_stages(p, {axis(t.y, p.h), axis(t.x, p.w), axis(t.v, p.hb), axis(t.u, p.wb)},
                         backward ? Pass::backward : Pass::forward, whole_background);
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
    const bool whole_foreground = t.y >= p.h && t.x >= p.w;
    s.gram = {line_of(1), line_of(whole_foreground ? p.h * p.w : most_reached(t.y, t.x)), line_of(1),
              line_of(whole_background ? p.hb * p.wb : most_reached(t.v, t.u))};
    s.similarity = s.gram;
  }
  // A line that runs over its end covers one cell more.
  if (p.wrap()) ++s.cell_gradient.y.count, ++s.cell_gradient.v.count;
  s.cells = each_axis(s.own, [](const Axis& a) { return Axis{a.first, a.count + 1, a.size + 1}; });
  cut(s.cell_gradient, 1);
  return s;
}

// Edges that cut a line into about equal pieces, the longest first.
std::vector<int64_t> tile_edges(int64_t longest) {
  std::vector<int64_t> edges;
  for (int64_t pieces = 1; pieces < longest; pieces += std::max<int64_t>(1, pieces / 16))
    if (edges.empty() || ceil_div(longest, pieces) < edges.back()) edges.push_back(ceil_div(longest, pieces));
  edges.push_back(1);
  return edges;
}

TileSize tile_of(const Problem& p, int64_t foreground_edge, int64_t background_edge, bool backward) {
  const bool whole_lines = p.wrap() && (backward || !wraps_at_once(p));
  return {std::min(p.h, foreground_edge), whole_lines ? p.w : std::min(p.w, foreground_edge),
          std::min(p.hb, background_edge), whole_lines ? p.wb : std::min(p.wb, background_edge)};
}

Plan plan_of(const Problem& p, const TileSize& tile, bool backward) {
  const Buffers buffers = make_buffers(p, tile, backward);
  return {tile, 1, buffers.total()};
}

// Estimated, not measured: a device that does 800 TFLOP/s, moves 4 TB/s and three times that within its level
// 2 cache, starts 30e12 instructions of threads a second, and takes 3 us to be handed a launch. In flop for
// one sample, forward or backward.
double cost(const Problem& p, const Plan& plan, int64_t cache, bool backward) {
  constexpr double kLaunch = 2.4e9, kCachedByte = 65, kByte = 200, kInstruction = 27;
  const double byte = plan.bytes <= cache ? kCachedByte : kByte;
  // What filters move and do for a score.
  const auto filter = [&](double bytes, double instructions) {
    return std::max(bytes * byte, instructions * kInstruction);
  };
  const double c = double(p.channels), k = double(p.value_channels);
  const TileSize& t = plan.tile;
  const double tiles =
      double(ceil_div(p.h, t.y) * ceil_div(p.w, t.x)) * double(ceil_div(p.hb, t.v) * ceil_div(p.wb, t.u));
  const double passes = plan.whole_background(p) ? 1 : 2;
  const Stages stages = largest_stages(p, t, backward);
  const auto scores = [](const Region& r) { return double(r.rows()) * double(r.columns()); };
  // The Gram matrix and what lies between it and the weights; these and their sums; E.
  const bool passes_of_wrap = p.wrap() && !wraps_at_once(p);
  const double propagation = !p.before() ? 0 : passes_of_wrap ? filter(16, 600) : filter(8, 50);
  double flop = passes * (2 * c + filter(8, 45) + propagation) * scores(stages.gram) +
                passes * filter(8, 12) * scores(stages.weights) +
                (2 * k + filter(8, 65)) * scores(stages.cells);
  if (backward)
    flop += passes * (2 * k + filter(12, 60)) * scores(stages.cell_gradient) +
            (4 * c + filter(24, 150)) * scores(stages.product);
  return tiles * (flop + kLaunch * (backward ? 14 : 7) * passes);
}

}  // namespace

int64_t Buffers::total() const {
  int64_t bytes = 2 * kMargin + aligned(rows) + aligned(columns) + aligned(product);
  for (int64_t buffer : scores) bytes += aligned(buffer);
  return bytes;
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
    stages.weights = dilated(p, each_axis(own, pasting), p.after() ? p.fuse_radius() : 0);
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
  stages.rowwise = dilated(p, stages.weights, p.wrap() ? p.fuse_radius() : 0);
  stages.similarity =
      p.wrap() ? crossed(p, stages.rowwise) : dilated(p, stages.weights, p.before() ? p.fuse_radius() : 0);
  stages.gram = dilated(p, stages.similarity, p.patch_radius());
  stages.foreground = one_piece(stages.similarity.y, stages.similarity.x);
  stages.background = one_piece(stages.similarity.v, stages.similarity.u);
  return stages;
}

Buffers make_buffers(const Problem& p, const TileSize& tile, bool backward) {
  const bool whole_background = tile.v >= p.hb && tile.u >= p.wb;
  const Stages s = largest_stages(p, tile, backward);
  const int64_t gram = score_bytes(s.gram), weights = score_bytes(s.weights), cells = score_bytes(s.cells);
  const int64_t similarity = p.before() ? score_bytes(s.similarity) : 0;
  const int64_t rowwise = p.wrap() && !wraps_at_once(p) ? score_bytes(s.rowwise) : 0;
  Buffers buffers{};
  if (backward) {
    const bool spare = p.before() || p.after();
    buffers.scores[0] = gram;
    buffers.scores[1] = weights;
    buffers.scores[2] = std::max({rowwise, cells, score_bytes(s.cell_gradient), score_bytes(s.product),
                                  p.wrap() ? score_bytes(s.columnwise) : 0});
    buffers.scores[3] = spare ? std::max({similarity, score_bytes(s.attention), score_bytes(s.product)}) : 0;
  } else {
    const int64_t most = std::max({weights, similarity, cells});
    buffers.scores[0] = std::max(gram, most);
    buffers.scores[1] = most;
  }
  if (tile.y >= p.h && tile.x >= p.w && whole_background) return buffers;
  const int64_t c = p.channels, k = p.value_channels, entry = sizeof(float);
  buffers.rows = entry * std::max(s.gram.rows() * c, backward ? s.cell_gradient.rows() * k : 0);
  buffers.columns = entry * std::max({s.gram.columns() * c, s.cells.columns() * k,
                                      backward ? s.cell_gradient.columns() * k : 0});
  buffers.product = entry * std::max({s.cells.rows() * k, backward ? s.cells.columns() * k : 0,
                                      backward ? s.own.rows() * c : 0, backward ? s.own.columns() * c : 0});
  return buffers;
}

Plan least_plan(const Problem& p, bool backward) {
  const Plan whole = plan_of(p, {p.h, p.w, p.hb, p.wb}, backward);
  const Plan smallest = plan_of(p, tile_of(p, 1, 1, backward), backward);
  return whole.bytes <= smallest.bytes ? whole : smallest;
}

Plan make_plan(const Problem& p, int64_t workspace, int64_t cache, bool backward) {
  Plan whole = plan_of(p, {p.h, p.w, p.hb, p.wb}, backward);
  if (whole.bytes <= workspace) {
    // A grid of CUDA blocks has this many in its second dimension, which counts samples.
    constexpr int64_t kMostSamples = 65535;
    const int64_t most = std::clamp<int64_t>(workspace / whole.bytes, 1, kMostSamples);
    const int64_t groups = std::max<int64_t>(1, ceil_div(p.batch, most));
    whole.samples = std::max<int64_t>(1, ceil_div(p.batch, groups));
    whole.bytes *= whole.samples;
    return whole;
  }
  Plan best{};
  double least = std::numeric_limits<double>::infinity();
  for (int64_t foreground_edge : tile_edges(std::max(p.h, p.w)))
    for (int64_t background_edge : tile_edges(std::max(p.hb, p.wb))) {
      const Plan plan = plan_of(p, tile_of(p, foreground_edge, background_edge, backward), backward);
      if (plan.bytes > workspace) continue;
      const double total = cost(p, plan, cache, backward);
      if (total < least) {
        least = total;
        best = plan;
      }
    }
  return best;
}

}  // namespace gpu
}  // namespace contextual_attention
