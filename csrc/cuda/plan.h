// How a problem is cut so that its scores fit into the workspace: into tiles of the foreground by tiles of
// the background, each with the halo that its filters read.
//
// A tile answers for its pixels, and for the cells of the same index; the last tile of a line also for the
// last cell. Where the propagation wraps, backward and with long windows, tiles are as wide as the maps and
// their halo runs over the ends.
#pragma once

#include "../problem.h"
#include "maps.h"

namespace contextual_attention {
namespace gpu {

// What a pass over the tiles is for. One tile of background needs no pass of its own for the row sums.
enum class Pass { statistics, forward, centres, backward };

// Which scores of a tile each stage holds.
struct Stages {
  Region own, cells;                                            // what the tile answers for
  Region gram, similarity, rowwise, weights;                    // down to the softmax
  Region cell_gradient, attention, logit, columnwise, product;  // and back
  // Where the propagation wraps at once, the pixels behind `similarity`. Forward, if the tile does not hold
  // the whole of a map, `gram` has them too: they lie in pieces, and both count them in a single row for each
  // map.
  Pieces foreground, background;
  bool in_pieces;
};

// Whether one filter does both passes of a wrapped propagation; `rowwise` is then held by no map.
bool wraps_at_once(const Problem& problem);

// The largest numbers of pixels along each axis that a tile answers for.
struct TileSize {
  int64_t y, x, v, u;
};

struct Plan {
  TileSize tile;
  int64_t samples;  // worked on at once
  int64_t bytes;    // of scratch

  bool whole_background(const Problem& p) const { return tile.v >= p.hb && tile.u >= p.wb; }
  bool whole(const Problem& p) const { return whole_background(p) && tile.y >= p.h && tile.x >= p.w; }
};

// Scores that the buffers hold at different times, in bytes for one sample.
struct Buffers {
  // Before the first and behind the last of them: what filters may read beside a score, if not use.
  static constexpr int64_t kMargin = 1024;
  static constexpr int kScores = 4;
  // Forward: the Gram matrix, the weights, and in turn what comes between and after them. Backward more of
  // them live at once.
  int64_t scores[kScores];
  int64_t rows, columns, product;  // packed operands, and a product before it is added to its map

  int64_t total() const;
};

// The stages of the tile whose own pixels are these; `whole_background`: it holds every background pixel.
Stages make_stages(const Problem& problem, const Region& own, Pass pass, bool whole_background);

// Entries of a row of scores, so padded that a matrix product may load it in vectors.
inline int64_t pitch_of(const Region& region) { return (int64_t(region.columns()) + 7) / 8 * 8; }

Buffers make_buffers(const Problem& problem, const TileSize& tile, bool backward);

// The cheapest plan within `workspace` bytes, for a device with so much level 2 cache; samples is 0 where
// there is none.
Plan make_plan(const Problem& problem, int64_t workspace, int64_t cache, bool backward);

// The plan that takes the least bytes.
Plan least_plan(const Problem& problem, bool backward);

}  // namespace gpu
}  // namespace contextual_attention
