// How a region's scores are cut for blocks of threads that make products of features themselves: into tiles
// of columns (x, u), and diagonals of rows into marches.
#pragma once

#include "bodies.h"

namespace contextual_attention::cuda {

// A warp's scores are products of fragments, 16 pixels by 8 columns each. So that a lane's lie side by side,
// fragment (m, n) has every fourth pixel and pairs of columns that are an octet apart: of a lane, of which
// each has the rows r and r + 8 and a pair of columns, they are two groups of four pixels by an octet.
constexpr int32_t kDown = 4, kAcross = 4;
constexpr int32_t kHalves = 2;  // the groups of a lane, kGroupsApart from each other
constexpr int32_t kFragmentRows = 16, kFragmentColumns = 8, kGroupsApart = kFragmentRows / kHalves;
constexpr int32_t kWarpDown = kFragmentRows * kDown, kWarpAcross = kFragmentColumns * kAcross;
constexpr int32_t kMostDown = 2, kMostAcross = 4, kMostWarps = kMostDown * kMostAcross;

// Of a pixel as much as is fetched at once, in channels, and how many fetches are on their way or worked on.
constexpr int32_t kChunk = 64, kStages = 3;
constexpr int32_t kPixelBytes = kChunk * 2;

// What lanes tell each other: floats of a line of octets, and of a strip of their columns for each pixel. So
// long that what the lanes of a warp tell is in different banks of memory.
constexpr int32_t kEdgePairs = kMostAcross * kWarpAcross / 4, kEdgeLine = 4 * kEdgePairs + 8;
constexpr int32_t kEdgeStrip = kMostAcross * kAcross + 1;

// The warps of a block, down (x) and across (u); what it fetches, and what its lanes tell each other.
struct GramShape {
  int32_t down, across;

  CA_BOTH constexpr int32_t warps() const { return down * across; }
  CA_BOTH constexpr int32_t threads() const { return warps() * kLanes; }
  CA_BOTH constexpr int32_t x() const { return down * kWarpDown; }
  CA_BOTH constexpr int32_t u() const { return across * kWarpAcross; }
  CA_BOTH constexpr int32_t groups() const { return down * kFragmentRows; }

  CA_BOTH constexpr int32_t stage_bytes() const { return (x() + u()) * kPixelBytes; }
  // Of octets' lines and of their columns' strips, one more than there are.
  CA_BOTH constexpr int32_t lines() const { return (groups() + 1) * kEdgeLine; }
  CA_BOTH constexpr int32_t strips() const { return (groups() + 1) * kDown * kEdgeStrip; }
  CA_BOTH constexpr int32_t edge_floats() const { return 2 * (lines() + strips()); }
  CA_BOTH constexpr int32_t bytes() const { return kStages * stage_bytes() + edge_floats() * 4; }
};

// Where a block works. Of its scores those at the tile's ends serve their neighbours alone, unless the map
// ends there.
struct March {
  int32_t x, u;                            // of its first score
  int32_t x_first, x_end, u_first, u_end;  // whose sums it makes
  int32_t y, v, count;                     // the rows of these
  int32_t begin, end;                      // of the rows that they are made of, counted from there
  bool ends;                               // the maps have no row behind them
};

struct GramTiles {
  GramShape shape;
  int32_t x_tiles, u_tiles, pieces;  // of a diagonal
  int32_t most_rows;                 // of a march

  CA_BOTH int64_t marches(const Region& region) const {
    return int64_t(Path::count(region)) * pieces * u_tiles * x_tiles;
  }
  // `line`: the columns of the background with those that fill the last octet. A march may have no rows.
  CA_BOTH March march(const Region& region, int32_t line, int32_t i) const {
    const int32_t x_tile = i % x_tiles, u_tile = i / x_tiles % u_tiles;
    const int32_t piece = i / (x_tiles * u_tiles) % pieces;
    const Path path = Path::of(region, i / (x_tiles * u_tiles * pieces));
    March m;
    m.x = first_x(region) + x_tile * (shape.x() - 2);
    m.u = u_tile * (shape.u() - 2 * kVector);
    m.x_first = x_tile == 0 ? region.x.first : m.x + 1;
    const int32_t x_end = region.x.first + region.x.count;
    m.x_end = x_tile + 1 == x_tiles ? x_end : m.x + shape.x() - 1;
    m.u_first = u_tile == 0 ? 0 : m.u + kVector;
    m.u_end = u_tile + 1 == u_tiles ? line : m.u + shape.u() - kVector;
    const int32_t begin = piece * most_rows, left = path.length - begin;
    m.count = left < most_rows ? left : most_rows;
    m.y = region.y.first + path.y + begin;
    m.v = path.v + begin;
    m.begin = m.y > 0 && m.v > 0 ? -1 : 0;
    m.ends = m.y + m.count == region.y.size || m.v + m.count == region.v.size;
    m.end = m.ends ? m.count : m.count + 1;
    return m;
  }
  CA_BOTH static int32_t first_x(const Region& region) { return region.x.first > 0 ? region.x.first - 1 : 0; }
};

// The fastest cut, where a block may have so much shared memory.
GramTiles make_gram_tiles(const Region& region, int64_t line, int64_t samples, int64_t depth, int64_t shared);

// What that takes for a sample, by estimate.
double gram_seconds(const Region& region, int64_t line, int64_t depth, int64_t shared);

// The least shared memory that a cut needs.
constexpr int64_t kLeastShared = GramShape{1, 1}.bytes();

}  // namespace contextual_attention::cuda
