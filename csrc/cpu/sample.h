// What the CPU's kernels take of one sample, and what they keep of its rows.
#pragma once

#include "../common/problem.h"

namespace contextual_attention::cpu {

// One sample's operands, float32, contiguous.
struct Sample {
  const float* foreground;  // (h, w, C)
  const float* background;  // (hb, wb, C)
  const float* alpha;       // (h, w), or null: 1
  const float* beta;        // (hb, wb)
  const bool* valid;        // (hb, wb)
  const bool* selected;     // (h, w), or null: all
  const float* value;       // (hb+1, wb+1, K), or null:
  const uint16_t* value16;  // the same in bfloat16
  int64_t invalid_candidates;
};

// Row statistics kept for the backward: A1[p,q] = exp(logit - offset[p]) * inverse_sum[p], and for a
// propagation after the softmax A2[p,q] = valid[q] * (D A1)[p,q] * inverse_total[p].
struct Statistics {
  float* offset;         // (h, w)
  float* inverse_sum;    // (h, w), 0 for a row without weights
  float* inverse_total;  // (h, w), 0 for a row without weights
};

}  // namespace contextual_attention::cpu
