// What a plan takes, estimated: of the rates those of products and copies are measured; filters take longer.
#pragma once

#include "plan.h"

namespace contextual_attention::cuda {

// Seconds for one sample, forward or backward, on a device with so much level 2 cache.
double estimated_seconds(const Problem& problem, const Plan& plan, int64_t cache, bool backward);

// Those of them that the host takes for its launches.
double host_seconds(const Problem& problem, const TileSize& tile, bool backward);

}  // namespace contextual_attention::cuda
