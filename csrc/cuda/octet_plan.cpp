#include "octet_plan.h"

#include <algorithm>
#include <limits>

#include "octet_maps.h"

namespace contextual_attention::cuda {
namespace {

constexpr int64_t kHalf = 2, kWide = 4;  // bytes of an entry

// Of an H100: of memory; of a tile's launches.
constexpr double kBytesPerSecond = 3e12, kLaunches = 60e-6;

Stages stages_of(const Problem& p, const TileSize& tile) { return largest_stages(p, tile, Pass::forward); }

int64_t columns_of(const Problem& p) { return p.hb * padded(p.wb); }
int64_t cell_columns_of(const Problem& p) { return (p.hb + 1) * padded(p.wb + 1); }

Plan cheapest_cut(const Problem& p, int64_t workspace) {
  Plan best{};
  double least = std::numeric_limits<double>::infinity();
  for (const Extent& extent : extents(p.h, p.w, false)) {
    const TileSize tile{extent.down, extent.right, p.hb, p.wb};
    const Plan plan = octet_plan_of(p, tile);
    if (plan.bytes > workspace || stages_of(p, tile).gram.rows() > 2 * tile.y * tile.x) continue;
    const double seconds = octet_seconds(p, tile);
    if (seconds >= least) continue;
    least = seconds;
    best = plan;
  }
  return best;
}

}  // namespace

// For every row of weights and the one behind, and as far as a lane reads beside its cells: two pixels before
// them and, of a lane with two of them, two behind the first.
FactorMap factor_map(const Region& weights, const Region& cells) {
  return {weights.y.first, cells.x.first - 2, weights.y.count + 1, (cells.x.count + 3) / 4 * 4 + 3};
}

int64_t OctetBuffers::total() const {
  return tile.total() + aligned(sums) + aligned(background) + aligned(value) + aligned(gains) +
         aligned(validity) + aligned(taps) + 2 * aligned(factors);
}

OctetBuffers make_octet_buffers(const Problem& p, const TileSize& tile) {
  const Stages s = stages_of(p, tile);
  const int64_t columns = columns_of(p), cells = cell_columns_of(p);
  const int64_t gram = s.gram.rows() * columns * kWide, summed = s.cells.rows() * cells * kHalf;
  OctetBuffers buffers{};
  if (p.before()) {
    // The logits come where the Gram matrix was, the summed weights where the similarities were.
    buffers.tile.scores[0] = std::max(gram, s.weights.rows() * columns * kWide);
    buffers.tile.scores[1] = std::max(s.similarity.rows() * columns * kWide, summed);
  } else {
    buffers.tile.scores[0] = std::max(gram, summed);
    buffers.tile.scores[1] = s.weights.rows() * columns * kHalf;
    buffers.sums = s.weights.rows() * kTapColumns * kWide;
    buffers.taps = columns * kTapColumns * kHalf;
  }
  if (!tile.foreground_lies_together(p)) {
    buffers.tile.rows = s.gram.rows() * p.channels * kHalf;
    buffers.tile.product = s.cells.rows() * p.value_channels * int64_t(sizeof(float));
  }
  if (columns != p.hb * p.wb) buffers.background = columns * p.channels * kHalf;
  if (cells != (p.hb + 1) * (p.wb + 1)) buffers.value = cells * p.value_channels * kHalf;
  buffers.gains = columns * int64_t(sizeof(float));
  buffers.validity = cells / kOctet * int64_t(sizeof(uint32_t));
  if (propagates_in_pairs(p)) {
    const FactorMap map = factor_map(s.weights, s.cells);
    buffers.factors = int64_t(map.height) * map.width * int64_t(sizeof(uint32_t));
  }
  return buffers;
}

// By the bytes that every stage moves of its scores: the filters wait for little else.
double octet_seconds(const Problem& p, const TileSize& tile) {
  const Stages s = stages_of(p, tile);
  constexpr double kGram = 8, kSimilarities = 8, kWeights = 6, kLogits = 12, kCells = 4;
  double bytes = double(cell_columns_of(p)) * kCells * s.cells.rows();
  bytes +=
      double(columns_of(p)) *
      (kGram * s.gram.rows() + (p.before() ? kSimilarities * s.similarity.rows() + kLogits * s.weights.rows()
                                           : kWeights * s.weights.rows()));
  const double tiles = double(ceil_div(p.h, tile.y) * ceil_div(p.w, tile.x));
  return tiles * (bytes / kBytesPerSecond + kLaunches);
}

Plan octet_plan_of(const Problem& p, const TileSize& tile) {
  return {tile, 1, make_octet_buffers(p, tile).total()};
}

Plan make_octet_plan(const Problem& p, int64_t workspace) {
  return kept_plan(p, {workspace, 0, false, true}, [&] {
    const TileSize all{p.h, p.w, p.hb, p.wb};
    const Plan whole = whole_plan(p, octet_plan_of(p, all).bytes, workspace);
    return whole.samples > 0 ? whole : cheapest_cut(p, workspace);
  });
}

}  // namespace contextual_attention::cuda
