// How a forward by octets is cut: into tiles of the foreground, each with all of the background; and whether
// its Gram matrix is in memory, or stays on the chip (gram_sums.h).
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

// `on_chip`: without a Gram matrix.
OctetBuffers make_octet_buffers(const Problem& problem, const TileSize& tile, bool on_chip);

// What a chip offers for products that stay there.
struct Chip {
  int64_t shared;  // bytes of a block's memory; 0: nothing
  bool always;     // they stay there wherever they can, not only where that is estimated to be faster
};

// What of a device's shared memory is offered for such a problem.
Chip chip_for(const Problem& problem, int64_t shared);

// A switch for comparisons, of the calls that follow in this process: where Gram matrices are, and how much
// shared memory a block is taken to have, 0: as much as it has.
enum class GramPlace { by_estimate, in_memory, on_chip };
void place_gram(GramPlace place, int64_t shared);

// Of a forward cut so, one sample of it.
double octet_seconds(const Problem& problem, const Plan& plan);

// One sample at a time, cut so, the faster way of those that fit; samples is 0 where none does.
Plan octet_plan_of(const Problem& problem, const TileSize& tile, int64_t workspace, const Chip& chip);

// The cheapest plan within `workspace` bytes; samples is 0 where none fits, or where tiles would be so small
// that most of the work were their halos'.
Plan make_octet_plan(const Problem& problem, int64_t workspace, const Chip& chip);

}  // namespace contextual_attention::cuda
