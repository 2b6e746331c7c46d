// What becomes of a sum along a diagonal: put(n, y, x, v, u, sum).
#pragma once

#include <math.h>

#include "maps.h"

namespace contextual_attention {
namespace gpu {

// exp(x), 0 where it would come near the denormals.
CA_BOTH float flushed_exp(float x) {
  const float weight = expf(x);
  return weight < 1e-30f ? 0.0f : weight;
}

// Similarities, logits, weights: scale * alpha * beta * sum, and what `kind` makes of it.
struct ScoreSink {
  enum class Kind : int32_t { plain, valid_only, weights };

  ScoreMap out;
  float scale;
  PixelMap<const float> alpha, beta;  // none: 1
  Kind kind;
  PixelMap<const bool> valid, selected;  // no `selected`: all
  PixelMap<const float> offset;          // none: 0

  CA_BOTH void put(int32_t n, int32_t y, int32_t x, int32_t v, int32_t u, float sum) const {
    float score = scale * sum * (alpha ? alpha.at(n, y, x) : 1.0f);
    if (beta) score *= beta.at(n, v, u);
    if (kind != Kind::plain && !valid.at(n, v, u))
      score = 0;
    else if (kind == Kind::weights)
      score = selected && !selected.at(n, y, x) ? 0.0f
                                                : flushed_exp(score - (offset ? offset.at(n, y, x) : 0.0f));
    out.at(n, y, x, v, u) = score;
  }
};

// dX = valid * (dA - centre) * scale; without a scale valid * dA.
struct AttentionGradientSink {
  ScoreMap out;
  PixelMap<const bool> valid;
  PixelMap<const float> centre, scale;

  CA_BOTH void put(int32_t n, int32_t y, int32_t x, int32_t v, int32_t u, float gradient) const {
    if (scale) gradient = (gradient - centre.at(n, y, x)) * scale.at(n, y, x);
    out.at(n, y, x, v, u) = valid.at(n, v, u) ? gradient : 0.0f;
  }
};

// dL = lambda * A (dA - centre), in the place of the weights that A = weights * inverse_sum is made of.
struct LogitGradientSink {
  ScoreMap weights;
  float scale;
  PixelMap<const float> inverse_sum, centre;

  CA_BOTH void put(int32_t n, int32_t y, int32_t x, int32_t v, int32_t u, float gradient) const {
    float& score = weights.at(n, y, x, v, u);
    score = scale * score * inverse_sum.at(n, y, x) * (gradient - centre.at(n, y, x));
  }
};

// S * dS, whose sums over rows and columns are the gradients of the norms. The product with the norms comes
// first: patch product times gradient overflows where the features are large.
struct NormProductSink {
  ScoreMap out, gradient;
  PixelMap<const float> alpha, beta;

  CA_BOTH void put(int32_t n, int32_t y, int32_t x, int32_t v, int32_t u, float sum) const {
    const float similarity = sum * (alpha ? alpha.at(n, y, x) : 1.0f) * beta.at(n, v, u);
    out.at(n, y, x, v, u) = similarity * gradient.at(n, y, x, v, u);
  }
};

// The operand of a matrix product.
struct OperandSink {
  OperandMap out;

  CA_BOTH void put(int32_t n, int32_t y, int32_t x, int32_t v, int32_t u, float sum) const {
    const Region& r = out.region;
    out.store(n, r.y.slot(y) * r.x.count + x - r.x.first, r.v.slot(v) * r.u.count + u - r.u.first, sum);
  }
};

}  // namespace gpu
}  // namespace contextual_attention
