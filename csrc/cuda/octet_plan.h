// How a forward by octets is cut: into tiles of the foreground, each with all of the background.
#pragma once

#include "plan.h"

namespace contextual_attention::cuda {

// What it takes for one sample, in bytes.
struct OctetBuffers {
  Buffers tile;               // scores: first the Gram matrix and the summed weights in turn, then weights
  int64_t sums;               // of a tile's rows of weights
  int64_t background, value;  // with padded lines; 0 where they lie as they must
  int64_t gains, validity, taps;  // of the background's columns

  int64_t total() const;
};

OctetBuffers make_octet_buffers(const Problem& problem, const TileSize& tile);

// Of a forward cut into such tiles, one sample of it.
double octet_seconds(const Problem& problem, const TileSize& tile);

// One sample at a time, cut so.
Plan octet_plan_of(const Problem& problem, const TileSize& tile);

// The cheapest plan within `workspace` bytes; samples is 0 where none fits, or where tiles would be so small
// that most of the work were their halos'.
Plan make_octet_plan(const Problem& problem, int64_t workspace);

}  // namespace contextual_attention::cuda
