// What a tile holds of the scores at each stage: what it answers for, and the halo that its filters read.
//
// A tile answers for its pixels, and for the cells of the same index; the last tile of a line also for the
// last cell. Where the propagation wraps, backward and with long windows, tiles are as wide as the maps and
// their halo runs over the ends.
#pragma once

#include "../common/stages.h"
#include "score_maps.h"

namespace contextual_attention::cuda {

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

// The largest numbers of pixels along each axis that a tile answers for.
struct TileSize {
  int64_t y, x, v, u;

  bool whole_foreground(const Problem& p) const { return y >= p.h && x >= p.w; }
  bool whole_background(const Problem& p) const { return v >= p.hb && u >= p.wb; }
  bool whole(const Problem& p) const { return whole_foreground(p) && whole_background(p); }
  // Whether what a tile reads of a map lies together there, its halo included: whole rows, and none that are
  // beyond an end.
  bool foreground_lies_together(const Problem& p) const { return x >= p.w && (y >= p.h || !p.wrap()); }
  bool background_lies_together(const Problem& p) const { return u >= p.wb && (v >= p.hb || !p.wrap()); }
};

// Pixels that lie together as one piece, found by taps that run over no end.
Pieces one_piece(const Axis& down, const Axis& right);

// Of a line of pixels, those whose patches of 3 x 3 are among them.
Axis within_patches(const Axis& pixels);

// Whether one filter does both passes of a wrapped propagation; `rowwise` is then held by no map.
bool wraps_at_once(const Problem& problem);

// The stages of the tile whose own pixels are these; `whole_background`: it holds every background pixel.
Stages make_stages(const Problem& problem, const Region& own, Pass pass, bool whole_background);

// Those of a tile of this size that no edge cuts: none is larger. Cells as if it were the last of each line.
Stages largest_stages(const Problem& problem, const TileSize& tile, Pass pass);

}  // namespace contextual_attention::cuda
