#include "plan.h"

#include <algorithm>
#include <array>
#include <functional>
#include <limits>
#include <map>
#include <mutex>
#include <set>
#include <vector>

#include "cost.h"

namespace contextual_attention::cuda {
namespace {

int64_t score_bytes(const Region& region) {
  return int64_t(region.rows()) * pitch_of(region) * int64_t(sizeof(float));
}

// Of about equal pieces of a line: all up to 32 of them, then ever fewer.
std::vector<int64_t> piece_lengths(int64_t line) {
  std::vector<int64_t> lengths;
  for (int64_t pieces = 1; pieces < line; pieces += std::max<int64_t>(1, pieces / 16))
    lengths.push_back(ceil_div(line, pieces));
  lengths.push_back(1);
  return lengths;
}

bool takes_whole_lines(const Problem& p, bool backward) {
  return p.wrap() && (backward || !wraps_at_once(p));
}

// The cheapest of all cuts that fit.
Plan cheapest_cut(const Problem& p, int64_t workspace, int64_t cache, bool backward) {
  Plan best{};
  double least = std::numeric_limits<double>::infinity();
  const bool whole_lines = takes_whole_lines(p, backward);
  for (const Extent& foreground : extents(p.h, p.w, whole_lines))
    for (const Extent& background : extents(p.hb, p.wb, whole_lines)) {
      const TileSize tile{foreground.down, foreground.right, background.down, background.right};
      if (host_seconds(p, tile, backward) >= least) continue;  // as most do, quickly
      const Plan plan = plan_of(p, tile, backward);
      if (plan.bytes > workspace) continue;
      const double seconds = estimated_seconds(p, plan, cache, backward);
      if (seconds < least) {
        least = seconds;
        best = plan;
      }
    }
  return best;
}

// What is not read or written where it lies; in entries of float32, the widest that a map has.
void add_maps(const Problem& p, const TileSize& tile, const Stages& s, bool backward, Buffers& buffers) {
  const int64_t c = p.channels * int64_t(sizeof(float)), k = p.value_channels * int64_t(sizeof(float));
  const bool rows_in_place = tile.foreground_lies_together(p);
  const bool columns_in_place = tile.background_lies_together(p);
  if (!rows_in_place) buffers.rows = std::max(s.gram.rows() * c, backward ? s.cell_gradient.rows() * k : 0);
  if (!columns_in_place)
    buffers.columns = std::max({padded(s.gram.columns()) * c, padded(s.cells.columns()) * k,
                                backward ? padded(s.cell_gradient.columns()) * k : 0});
  // The first product at its place in a map is made there.
  if (!rows_in_place || !tile.whole_background(p))
    buffers.product = std::max(s.cells.rows() * k, backward ? s.own.rows() * c : 0);
  if (backward && (!columns_in_place || !tile.whole_foreground(p)))
    buffers.product = std::max({buffers.product, padded(s.cells.columns()) * k, padded(s.own.columns()) * c});
}

// All fields of a problem and of a question.
using Key = std::array<int64_t, CA_SIZES(CA_ONE) CA_SCORING(CA_ONE) + 7>;
std::map<Key, Plan> kept;
std::mutex keeping;
constexpr size_t kMostKept = 64;

Tiling last_tilings[2];  // of a forward, of a backward
std::mutex noting;

}  // namespace

Plan kept_plan(const Problem& problem, const Question& question, const std::function<Plan()>& search) {
  Problem p = problem;
  p.softmax_scale = 0;  // of it a plan depends on `in_pairs` alone
#define CA_VALUE(type, name) static_cast<int64_t>(p.name),
  const Key key{CA_SIZES(CA_VALUE) CA_SCORING(CA_VALUE) question.workspace,
                question.cache,
                question.backward,
                question.by_octets,
                question.shared,
                question.always_shares,
                question.in_pairs};
#undef CA_VALUE
  const std::lock_guard<std::mutex> lock(keeping);
  const auto known = kept.find(key);
  if (known != kept.end()) return known->second;
  if (kept.size() == kMostKept) kept.clear();
  return kept[key] = search();
}

void note_tiling(const Tiling& tiling, bool backward) {
  const std::lock_guard<std::mutex> lock(noting);
  last_tilings[backward] = tiling;
}

Tiling last_tiling(bool backward) {
  const std::lock_guard<std::mutex> lock(noting);
  return last_tilings[backward];
}

std::vector<Extent> extents(int64_t height, int64_t width, bool whole_lines) {
  std::vector<Extent> found;
  for (int64_t down : piece_lengths(height)) found.push_back({down, width});
  if (whole_lines) return found;
  std::set<int64_t, std::greater<int64_t>> edges;  // the largest tiles first: they are the cheapest
  for (int64_t line : {height, width})
    for (int64_t length : piece_lengths(line)) edges.insert(length);
  const auto about = [](int64_t edge, int64_t line) { return ceil_div(line, ceil_div(line, edge)); };
  for (int64_t edge : edges) found.push_back({about(edge, height), about(edge, width)});
  return found;
}

Plan whole_plan(const Problem& p, int64_t bytes, int64_t workspace) {
  if (bytes > workspace) return {};
  const int64_t most = std::clamp<int64_t>(workspace / bytes, 1, kMostSamples);
  const int64_t groups = std::max<int64_t>(1, ceil_div(p.batch, most));
  const int64_t samples = std::max<int64_t>(1, ceil_div(p.batch, groups));
  return {{p.h, p.w, p.hb, p.wb}, samples, samples * bytes};
}

int64_t Buffers::total() const {
  int64_t bytes = 2 * kMargin + aligned(rows) + aligned(columns) + aligned(product);
  for (int64_t buffer : scores) bytes += aligned(buffer);
  return bytes;
}

Buffers make_buffers(const Problem& p, const TileSize& tile, bool backward) {
  const Stages s = largest_stages(p, tile, backward ? Pass::backward : Pass::forward);
  const int64_t gram = score_bytes(s.gram), weights = score_bytes(s.weights), cells = score_bytes(s.cells);
  const int64_t similarity = p.before() ? score_bytes(s.similarity) : 0;
  const int64_t rowwise = p.wrap() && (backward || !wraps_at_once(p)) ? score_bytes(s.rowwise) : 0;
  Buffers buffers{};
  if (backward) {
    const bool spare = p.before() || p.after();
    buffers.scores[0] = gram;
    buffers.scores[1] = weights;
    buffers.scores[2] = spare ? std::max({similarity, score_bytes(s.attention), score_bytes(s.product)}) : 0;
    buffers.scores[3] = std::max({rowwise, cells, score_bytes(s.cell_gradient), score_bytes(s.product),
                                  p.wrap() ? score_bytes(s.columnwise) : 0});
  } else {
    const int64_t most = std::max({weights, similarity, cells});
    buffers.scores[0] = std::max(gram, most);
    buffers.scores[1] = most;
  }
  add_maps(p, tile, s, backward, buffers);
  return buffers;
}

Plan plan_of(const Problem& p, const TileSize& tile, bool backward) {
  return {tile, 1, make_buffers(p, tile, backward).total()};
}

Plan least_plan(const Problem& p, bool backward) {
  const bool whole_lines = takes_whole_lines(p, backward);
  const Plan whole = plan_of(p, {p.h, p.w, p.hb, p.wb}, backward);
  const Plan smallest = plan_of(p, {1, whole_lines ? p.w : 1, 1, whole_lines ? p.wb : 1}, backward);
  return whole.bytes <= smallest.bytes ? whole : smallest;
}

Plan make_plan(const Problem& p, int64_t workspace, int64_t cache, bool backward) {
  return kept_plan(p, {workspace, cache, backward, false, 0, false, false}, [&] {
    const Plan one = plan_of(p, {p.h, p.w, p.hb, p.wb}, backward);
    const Plan whole = whole_plan(p, one.bytes, workspace);
    return whole.samples > 0 ? whole : cheapest_cut(p, workspace, cache, backward);
  });
}

}  // namespace contextual_attention::cuda
