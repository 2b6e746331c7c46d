// The vectorised filters: everything that touches a score, over one contiguous run of scores; and the
// distance of two patches of a picture.
//
// filters.cpp is compiled once per SIMD level; simd.cpp picks one table at run time. This header and
// filters.cpp include nothing of std or torch, so that no inline function of a higher level can end up
// being the one that the linker keeps for the whole program.
#pragma once

#include <stdint.h>

namespace contextual_attention::cpu {

// One term of a diagonal sum: a row of scores, already shifted to the neighbour, and its weight.
struct Tap {
  const float* source;
  float weight;
};

struct Filters {
  // y[i] = scale * gain[at+i] * sum_t taps[t].weight * taps[t].source[at+i]; no gain: 1.
  void (*diagonal_sum)(float* y, const Tap* taps, int count, int64_t at, int64_t n, float scale,
                       const float* gain);
  // The same without scale and gain, rounded to bfloat16.
  void (*diagonal_sum_bfloat16)(uint16_t* y, const Tap* taps, int count, int64_t at, int64_t n);
  // y[i] = valid[at+i] * exp(min(l - offset, 0)), l the diagonal sum with scale and gain, weights under 1e-30
  // flushed to 0; returns their sum. For logits that `offset` bounds: a single look at every score.
  double (*softmax_weights)(float* y, const Tap* taps, int count, int64_t at, int64_t n, float scale,
                            const float* gain, const float* valid, float offset);
  // Largest x[i] with valid[i] != 0; -infinity where there is none.
  float (*largest)(const float* x, const float* valid, int64_t n);
  // x[i] <- valid[i] * exp(min(x[i] - offset, 0)), weights under 1e-30 flushed to 0; returns the sum.
  double (*exponentials)(float* x, const float* valid, int64_t n, float offset);
  double (*sum)(const float* x, int64_t n);
  double (*dot)(const float* x, const float* y, int64_t n);
  // sum_i weight[i] * x[i]; adds sum_i weight[i] to *mass.
  double (*weighted_sum)(const float* weight, const float* x, int64_t n, double* mass);
  // The largest x[i] and the smallest index that reaches it.
  float (*argmax)(const float* x, int64_t n, int64_t* index);
  // y[i] = scale * weight[i] * (gradient[i] - centre); y may be gradient.
  void (*centred)(float* y, const float* weight, const float* gradient, int64_t n, float scale, float centre);
  // The gradient of the norms: beta_gradient[i] += alpha * product[i] * gradient[i]; returns
  // sum_i beta[i] * product[i] * gradient[i]. `product` is the raw patch product R.
  double (*norm_gradients)(const float* gradient, const float* product, const float* beta, int64_t n,
                           float alpha, float* beta_gradient);
  // x[i] *= scale * gain[i].
  void (*scale)(float* x, const float* gain, int64_t n, float scale);
  void (*add)(float* y, const float* x, int64_t n);
  // The same for x in bfloat16.
  void (*add_bfloat16)(float* y, const uint16_t* x, int64_t n);
  // The sum of squared differences of two patches: `rows` rows of `bytes` bytes, a multiple of 8, which
  // follow each other in `a` and in `mask` (255: compared, 0: not; null: all are), and are `pitch` apart in
  // `b`. Exact; once a row has taken it beyond `limit`, what it is then.
  int32_t (*squared_distance)(const uint8_t* a, const uint8_t* mask, const uint8_t* b, int rows, int bytes,
                              int64_t pitch, int32_t limit);
};

}  // namespace contextual_attention::cpu
