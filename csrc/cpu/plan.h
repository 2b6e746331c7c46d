// How a problem is cut so that its scores fit into the workspace.
//
// The march goes down the rows of a tile of the foreground and holds, for every stage, only the rows
// that the next stage still reads (a ring). Where even that is too much, the tile is cut into narrower
// ones, side by side, and the background into blocks of rows; more than one block needs a pass of its own for
// the row statistics. The cheapest cut that fits is taken.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "../common/stages.h"
#include "layout.h"

namespace contextual_attention::cpu {

// How far beyond the tile each stage goes, in rows and columns. What its pixels paste on it shares with its
// neighbours: it needs none of theirs.
class Radii {
 public:
  Radii(const Problem& problem, bool backward);
  int64_t operator()(Stage stage) const { return radii_[static_cast<int>(stage)]; }
  // How far the stage reads in the one before it: a search asks for that thousands of times.
  int64_t read_by(Stage stage) const { return read_[static_cast<int>(stage)]; }

 private:
  std::array<int64_t, kStages> radii_, read_;
};

// A stage's ring: its rows (0: the stage is not used), how far beyond the tile it reaches, in foreground
// rows and columns, and the floats that one foreground pixel (or cell) takes.
struct RingShape {
  int64_t rows, radius, size;
  bool cells;  // one column more than pixels
};

RingShape ring_shape(Stage stage, const Problem& problem, const Radii& radius, const Layout& layout,
                     int64_t chunk, bool backward);

// Backward, rows of scores that every lane has to itself: dA, R, and the sums of the gradient of beta.
constexpr int64_t kLaneRows = 3;

// Fewer scores than this take less time than waking the other threads and waiting for them.
constexpr int64_t kScoresWorthSharing = 1 << 14;

struct Plan {
  std::vector<Layout> layouts;
  int64_t tiles_across = 1;  // in place of each
  int64_t chunk = 0;         // foreground rows that one GEMM takes
  int64_t scratch = 0;       // floats

  // One block, and not several.
  bool whole_background() const { return layouts.size() == 1; }
};

// An area of the foreground that is worked on as a whole: rows [y0, y1), columns [x0, x1).
struct Tile {
  int64_t y0, y1, x0, x1;
  // The part of the map within `radius` of the tile; all of it where the propagation wraps.
  Tile around(const Problem& problem, int64_t radius) const;
  int64_t height() const { return y1 - y0; }
  int64_t width() const { return x1 - x0; }
};

// What there is to do for the selected part of the foreground (all of it without `selected`) as few tight
// tiles; backward that includes the pixels around it that have a gradient. Wrapped propagation runs over
// row ends, so its tiles are as wide as the map.
std::vector<Tile> make_tiles(const Problem& problem, const bool* selected, bool backward);

// The cheapest plan whose scratch is at most `workspace` bytes; one with chunk 0 if there is none.
Plan make_plan(const Problem& problem, const std::vector<char>& row_valid, const std::vector<Tile>& tiles,
               int64_t lanes, int64_t workspace, bool backward);

// The least bytes that any plan for this problem can need, whatever its masks.
int64_t least_workspace(const Problem& problem, int64_t lanes, bool backward);

}  // namespace contextual_attention::cpu
