#include "gram_tiles.h"

#include <algorithm>
#include <limits>

#include "../common/problem.h"

namespace contextual_attention::cuda {
namespace {

// Of an H100: multiprocessors, and of each the memory that its blocks share and how many warps of so many
// registers it holds. A block takes a little of the memory for itself.
constexpr int64_t kMultiprocessors = 132, kSharedMemory = 228 << 10, kOfEachBlock = 1 << 10;

int64_t blocks_at_once(const GramShape& shape) {
  return std::max<int64_t>(
      1, std::min(kSharedMemory / (shape.bytes() + kOfEachBlock), int64_t(kMostWarps / shape.warps())));
}

// Tiles of `size` that cover a line of `count`, each beginning `overlap` before the one before ends.
int32_t tiles_of(int64_t count, int64_t size, int64_t overlap) {
  return count <= size ? 1 : int32_t(1 + ceil_div(count - size, size - overlap));
}

GramTiles tiles_of(const Region& region, int64_t line, const GramShape& shape) {
  // With a pixel behind the last one.
  const int64_t x_end = std::min(region.x.first + region.x.count + 1, region.x.size);
  return {shape, tiles_of(x_end - GramTiles::first_x(region), shape.x(), 2),
          tiles_of(line, shape.u(), 2 * kVector), 1, std::min(region.y.count, region.v.count)};
}

// Of the scores that are made, with those at the ends of tiles: 1.6 ps each at 128 channels where so many
// warps hide how long everything takes. An estimate.
double seconds_of_tiles(const GramTiles& tiles, const Region& region, int64_t depth) {
  constexpr double kOfScore = 0.8e-12, kOfChannel = 0.8e-12 / 128, kEnoughWarps = 6;
  const GramShape& shape = tiles.shape;
  const double scores =
      double(region.y.count) * region.v.count * tiles.x_tiles * tiles.u_tiles * shape.x() * shape.u();
  const double warps = double(blocks_at_once(shape)) * shape.warps();
  // A smaller tile reads more features for each score.
  const double reads = double(shape.x() + shape.u()) / (shape.x() * shape.u()) * 64;
  return scores * (kOfScore + kOfChannel * depth * (0.5 + 0.5 * reads)) * std::max(1.0, kEnoughWarps / warps);
}

// As long marches as leave all multiprocessors their share: each begins and ends with a row that is
// another's.
void cut_diagonals(const Region& region, int64_t samples, GramTiles& tiles) {
  const int64_t longest = std::min(region.y.count, region.v.count);
  const int64_t at_once = kMultiprocessors * blocks_at_once(tiles.shape);
  const int64_t rows = samples * tiles.x_tiles * tiles.u_tiles * region.y.count * region.v.count;
  double least = std::numeric_limits<double>::infinity();
  for (int64_t most = longest;; most = ceil_div(most, 2)) {
    const double more = most < longest ? 2 : 0;
    const double time = std::max(most + more, double(rows) * (most + more) / most / at_once);
    if (time < least) {
      least = time;
      tiles.most_rows = int32_t(most);
      tiles.pieces = int32_t(ceil_div(longest, most));
    }
    if (most <= 8) return;
  }
}

}  // namespace

GramTiles make_gram_tiles(const Region& region, int64_t line, int64_t samples, int64_t depth,
                          int64_t shared) {
  GramTiles best{};
  double least = std::numeric_limits<double>::infinity();
  for (int32_t down = 1; down <= kMostDown; ++down)
    for (int32_t across = 1; across <= kMostAcross; ++across) {
      const GramShape shape{down, across};
      if (shape.bytes() > shared) continue;
      const GramTiles tiles = tiles_of(region, line, shape);
      const double seconds = seconds_of_tiles(tiles, region, depth);
      if (seconds >= least) continue;
      least = seconds;
      best = tiles;
    }
  cut_diagonals(region, samples, best);
  return best;
}

double gram_seconds(const Region& region, int64_t line, int64_t depth, int64_t shared) {
  return seconds_of_tiles(make_gram_tiles(region, line, 1, depth, shared), region, depth);
}

}  // namespace contextual_attention::cuda
