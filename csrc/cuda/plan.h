// How a problem is cut so that its scores fit into the workspace: into tiles of the foreground by tiles of
// the background, each with the halo that its filters read.
#pragma once

#include <array>
#include <functional>
#include <vector>

#include "tile_stages.h"

namespace contextual_attention::cuda {

struct Plan {
  TileSize tile;
  int64_t samples;  // worked on at once
  int64_t bytes;    // of scratch
  // By octets: the Gram matrix stays on the chip, whose blocks have so much shared memory for it; 0: it is in
  // memory.
  int64_t shared = 0;

  bool whole_background(const Problem& p) const { return tile.whole_background(p); }
  bool whole(const Problem& p) const { return tile.whole(p); }
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

// Entries of a row of scores.
inline int64_t pitch_of(const Region& region) { return padded(region.columns()); }

// Rounded so that every buffer begins where a vector may be loaded.
inline int64_t aligned(int64_t bytes) { return (bytes + 255) / 256 * 256; }

Buffers make_buffers(const Problem& problem, const TileSize& tile, bool backward);

// The bound on the scratch where the caller sets none: a 64th of the device's memory, but at least 256 MiB.
// In steps, so that what a driver keeps for itself does not change the plans.
inline int64_t default_workspace(int64_t memory) {
  constexpr int64_t kMib = 1 << 20, kStep = 64 * kMib;
  const int64_t share = memory / 64 / kStep * kStep;
  return share > 256 * kMib ? share : 256 * kMib;
}

// Rows and columns of a piece of a map.
struct Extent {
  int64_t down, right;
};

// Pieces that a map may be cut into: bands of whole lines and, unless only those will do, about squares.
std::vector<Extent> extents(int64_t height, int64_t width, bool whole_lines);

// Everything at once, as many samples as fit, of which each takes so many bytes; samples is 0 where none
// does.
Plan whole_plan(const Problem& problem, int64_t bytes, int64_t workspace);

// What a plan for a problem depends on besides.
struct Question {
  int64_t workspace, cache;
  bool backward, by_octets;
  int64_t shared;
  bool always_shares, in_pairs;
};

// The plan that was found when the same was asked before: a search takes milliseconds, and shapes come again.
Plan kept_plan(const Problem& problem, const Question& question, const std::function<Plan()>& search);

// How a call was cut.
struct Tiling {
  Plan plan;
  bool by_octets;  // the plan is octet_plan.h's
};

// Of the last forward or backward that this process began; samples is 0 before the first.
void note_tiling(const Tiling& tiling, bool backward);
Tiling last_tiling(bool backward);

// One sample at a time, cut so.
Plan plan_of(const Problem& problem, const TileSize& tile, bool backward);

// The cheapest plan within `workspace` bytes, for a device with so much level 2 cache; samples is 0 where
// there is none.
Plan make_plan(const Problem& problem, int64_t workspace, int64_t cache, bool backward);

// The plan that takes the least bytes.
Plan least_plan(const Problem& problem, bool backward);

}  // namespace contextual_attention::cuda
