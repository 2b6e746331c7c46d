// How a forward by octets is cut: into tiles of the foreground, each with all of the background.
#pragma once

#include "plan.h"

namespace contextual_attention::cuda {

// exp of a logit up to this is a float16.
constexpr float kLargestFloat16Logit = 11;

// Whether weights are propagated as float16, two at a time (octet_propagation.h): those of half precision,
// after a softmax that leaves out what is invalid.
inline bool propagates_in_pairs(const Problem& p) {
  return p.after() && p.masking == Masking::exclude && p.softmax_scale <= kLargestFloat16Logit;
}

// Where the factors of its rows lie.
struct FactorMap {
  int32_t y, x, height, width;
};
FactorMap factor_map(const Region& weights, const Region& cells);

// What it takes for one sample, in bytes.
struct OctetBuffers {
  Buffers tile;               // scores: first the Gram matrix and the summed weights in turn, then weights
  int64_t sums;               // of a tile's rows of weights
  int64_t background, value;  // with padded lines; 0 where they lie as they must
  int64_t gains, validity, taps;  // of the background's columns
  int64_t factors;                // of the rows of weights; twice

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
