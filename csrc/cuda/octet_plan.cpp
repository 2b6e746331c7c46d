#include "octet_plan.h"

#include <algorithm>
#include <limits>

#include "gram_tiles.h"
#include "octet_maps.h"

namespace contextual_attention::cuda {
namespace {

constexpr int64_t kHalf = 2, kWide = 4;  // bytes of an entry

// Where weights are propagated in pairs, octets of scores are counted in 32 bits (octet_propagation.h).
constexpr int64_t kMostInPairs = (int64_t(1) << 32) * kOctet * kHalf;

// Of an H100: of memory; of a tile's launches.
constexpr double kBytesPerSecond = 3e12, kLaunches = 60e-6;

Stages stages_of(const Problem& p, const TileSize& tile) { return largest_stages(p, tile, Pass::forward); }

int64_t columns_of(const Problem& p) { return p.hb * padded(p.wb); }
int64_t cell_columns_of(const Problem& p) { return (p.hb + 1) * padded(p.wb + 1); }

Plan plan_of_way(const Problem& p, const TileSize& tile, int64_t shared) {
  return {tile, 1, make_octet_buffers(p, tile, shared > 0).total(), shared};
}

Plan cheapest_cut(const Problem& p, int64_t workspace, const Chip& chip) {
  Plan best{};
  double least = std::numeric_limits<double>::infinity();
  for (const Extent& extent : extents(p.h, p.w, false)) {
    const TileSize tile{extent.down, extent.right, p.hb, p.wb};
    if (stages_of(p, tile).gram.rows() > 2 * tile.y * tile.x) continue;
    const Plan plan = octet_plan_of(p, tile, workspace, chip);
    if (plan.samples == 0) continue;
    const double seconds = octet_seconds(p, plan);
    if (seconds >= least) continue;
    least = seconds;
    best = plan;
  }
  return best;
}

// The sums that are made of products on the chip. Pieces behind a wrapped propagation are taken for one.
Region summed_products(const Problem& p, const TileSize& tile, const Stages& s) {
  const auto axis = [](int64_t count, int64_t size) {
    return Axis{0, int32_t(std::min(count, size)), int32_t(size)};
  };
  constexpr int64_t kReached = 4;
  const Region& r = p.before() ? s.similarity : s.weights;
  if (!s.in_pieces) return {axis(r.y.count, p.h), axis(r.x.count, p.w), axis(p.hb, p.hb), axis(p.wb, p.wb)};
  return {axis(tile.y + kReached, p.h), axis(tile.x + kReached, p.w), axis(p.hb, p.hb), axis(p.wb, p.wb)};
}

// What has run on a GPU: its tensor cores' part has only been emulated yet.
GramPlace gram_place = GramPlace::in_memory;
int64_t shared_instead = 0;

}  // namespace

// For every row of weights and the one behind, and as far as a lane reads beside its cells: two pixels before
// them and, of a lane with four of them, one behind the last.
FactorMap factor_map(const Region& weights, const Region& cells) {
  return {weights.y.first, cells.x.first - 2, weights.y.count + 1, (cells.x.count + 3) / 4 * 4 + 3};
}

int64_t OctetBuffers::total() const {
  return tile.total() + aligned(sums) + aligned(background) + aligned(value) + aligned(gains) +
         aligned(validity) + aligned(taps) + 2 * aligned(factors);
}

OctetBuffers make_octet_buffers(const Problem& p, const TileSize& tile, bool on_chip) {
  const Stages s = stages_of(p, tile);
  const int64_t columns = columns_of(p), cells = cell_columns_of(p);
  const int64_t gram = on_chip ? 0 : s.gram.rows() * columns * kWide, summed = s.cells.rows() * cells * kHalf;
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
    if (!on_chip) buffers.tile.rows = s.gram.rows() * p.channels * kHalf;
    buffers.tile.product = s.cells.rows() * p.value_channels * int64_t(sizeof(float));
  }
  if (!on_chip && columns != p.hb * p.wb) buffers.background = columns * p.channels * kHalf;
  if (cells != (p.hb + 1) * (p.wb + 1)) buffers.value = cells * p.value_channels * kHalf;
  buffers.gains = columns * int64_t(sizeof(float));
  buffers.validity = cells / kOctet * int64_t(sizeof(uint32_t));
  if (propagates_in_pairs(p)) {
    const FactorMap map = factor_map(s.weights, s.cells);
    buffers.factors = int64_t(map.height) * map.width * int64_t(sizeof(uint32_t));
  }
  return buffers;
}

// Rows of features are whole vectors then; of pixels with more channels a large product is faster.
Chip chip_for(const Problem& p, int64_t shared) {
  constexpr int64_t kMostChannels = 512;
  if (gram_place == GramPlace::in_memory || p.channels % kVector != 0 || p.channels > kMostChannels)
    return {0, false};
  if (shared_instead > 0) shared = shared_instead;
  return {shared < kLeastShared ? 0 : shared, gram_place == GramPlace::on_chip};
}

void place_gram(GramPlace place, int64_t shared) {
  gram_place = place;
  shared_instead = shared;
}

// By the bytes that every stage moves of its scores: the filters wait for little else.
double octet_seconds(const Problem& p, const Plan& plan) {
  const TileSize& tile = plan.tile;
  const Stages s = stages_of(p, tile);
  constexpr double kGram = 8, kSums = 4, kSimilarities = 4, kWeights = 2, kLogits = 12, kCells = 4;
  const Region& summed = p.before() ? s.similarity : s.weights;
  const double after = p.before() ? kSimilarities * s.similarity.rows() + kLogits * s.weights.rows()
                                  : kWeights * s.weights.rows();
  const double gram = plan.shared > 0 ? 0 : kGram * s.gram.rows() + kSums * summed.rows();
  const double bytes =
      double(cell_columns_of(p)) * kCells * s.cells.rows() + double(columns_of(p)) * (gram + after);
  double seconds = bytes / kBytesPerSecond + kLaunches;
  if (plan.shared > 0)
    seconds += gram_seconds(summed_products(p, tile, s), padded(p.wb), p.channels, plan.shared);
  return double(ceil_div(p.h, tile.y) * ceil_div(p.w, tile.x)) * seconds;
}

Plan octet_plan_of(const Problem& p, const TileSize& tile, int64_t workspace, const Chip& chip) {
  const Plan in_memory = plan_of_way(p, tile, 0), on_chip = plan_of_way(p, tile, chip.shared);
  const bool fits = in_memory.bytes <= workspace;
  if (chip.shared > 0 && on_chip.bytes <= workspace &&
      (!fits || chip.always || octet_seconds(p, on_chip) < octet_seconds(p, in_memory)))
    return on_chip;
  return fits ? in_memory : Plan{};
}

Plan make_octet_plan(const Problem& p, int64_t most, const Chip& chip) {
  const bool in_pairs = propagates_in_pairs(p);
  const int64_t workspace = in_pairs ? std::min(most, kMostInPairs) : most;
  return kept_plan(p, {workspace, 0, false, true, chip.shared, chip.always, in_pairs}, [&] {
    const TileSize all{p.h, p.w, p.hb, p.wb};
    const Plan one = octet_plan_of(p, all, workspace, chip);
    if (one.samples == 0) return cheapest_cut(p, workspace, chip);
    Plan whole = whole_plan(p, one.bytes, workspace);
    whole.shared = one.shared;
    return whole;
  });
}

}  // namespace contextual_attention::cuda
