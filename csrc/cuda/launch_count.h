// Counts of launches: what a change adds to small maps, where they are the time, is seen without a device.
#pragma once

#include <cstdint>

namespace contextual_attention::cuda {

// Kernels and matrix products started by this process since the last call.
int64_t take_launch_count();
void count_launch();

}  // namespace contextual_attention::cuda
