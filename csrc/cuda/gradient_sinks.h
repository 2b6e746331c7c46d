// What becomes of the backward's sums: gradients, as sinks.h has it.
#pragma once

#include "sinks.h"

namespace contextual_attention::cuda {

// valid * dA.
struct ValidSink {
  ScoreMap out;
  PixelMap<const bool> valid;

  template <int32_t kColumns>
  struct Walk {
    Comb<kColumns> comb;
    ScoreWalk score;
    PixelWalk<const bool> valid;

    CA_BOTH void put(const Values<kColumns>& gradients) const {
      CA_UNROLL
      for (int32_t k = 0; k < kColumns; ++k)
        if (comb.has(k)) score[k] = valid[k] ? gradients[k] : 0.0f;
    }
    CA_BOTH void next() {
      score.next();
      valid.next();
    }
  };
  template <int32_t kColumns>
  CA_BOTH Walk<kColumns> start(int32_t n, int32_t y, int32_t x, int32_t v, const Comb<kColumns>& comb) const {
    return {comb, {out, n, y, x, v, comb.u}, {valid, n, v, comb.u}};
  }
};

// dX = valid * (dA - centre) * scale.
struct AttentionGradientSink {
  ScoreMap out;
  PixelMap<const bool> valid;
  PixelMap<const float> centre, scale;

  template <int32_t kColumns>
  struct Walk {
    Comb<kColumns> comb;
    ScoreWalk score;
    PixelWalk<const bool> valid;
    PixelWalk<const float> centre, scale;

    CA_BOTH void put(const Values<kColumns>& gradients) const {
      const float middle = *centre, factor = *scale;
      CA_UNROLL
      for (int32_t k = 0; k < kColumns; ++k)
        if (comb.has(k)) score[k] = valid[k] ? (gradients[k] - middle) * factor : 0.0f;
    }
    CA_BOTH void next() {
      score.next();
      valid.next();
      centre.next();
      scale.next();
    }
  };
  template <int32_t kColumns>
  CA_BOTH Walk<kColumns> start(int32_t n, int32_t y, int32_t x, int32_t v, const Comb<kColumns>& comb) const {
    return {comb, {out, n, y, x, v, comb.u}, {valid, n, v, comb.u}, {centre, n, y, x}, {scale, n, y, x}};
  }
};

// dL = lambda * A (dA - centre), in the place of the weights that A = weights * inverse_sum is made of; with
// norms times them.
struct LogitGradientSink {
  ScoreMap weights;
  float scale;
  PixelMap<const float> inverse_sum, centre;
  PixelMap<const float> alpha, beta;  // none: 1

  template <int32_t kColumns>
  struct Walk {
    Comb<kColumns> comb;
    float scale;
    ScoreWalk score;
    PixelWalk<const float> inverse_sum, centre, alpha, beta;

    CA_BOTH void put(const Values<kColumns>& gradients) const {
      const float middle = *centre, factor = (alpha ? scale * *alpha : scale) * *inverse_sum;
      // All are read before the first is written: what is read behind the end counts for nothing (plan.h).
      Values<kColumns> logits, norms;
      CA_UNROLL
      for (int32_t k = 0; k < kColumns; ++k) {
        logits[k] = score[k];
        norms[k] = beta && comb.has(k) ? beta[k] : 1.0f;
      }
      CA_UNROLL
      for (int32_t k = 0; k < kColumns; ++k) logits[k] *= factor * norms[k] * (gradients[k] - middle);
      CA_UNROLL
      for (int32_t k = 0; k < kColumns; ++k)
        if (comb.has(k)) score[k] = logits[k];
    }
    CA_BOTH void next() {
      score.next();
      inverse_sum.next();
      centre.next();
      alpha.next();
      beta.next();
    }
  };
  template <int32_t kColumns>
  CA_BOTH Walk<kColumns> start(int32_t n, int32_t y, int32_t x, int32_t v, const Comb<kColumns>& comb) const {
    return {comb,
            scale,
            {weights, n, y, x, v, comb.u},
            {inverse_sum, n, y, x},
            {centre, n, y, x},
            {alpha, n, y, x},
            {beta, n, v, comb.u}};
  }
};

// R * dR of the products of patches, whose sums over rows and columns are the gradients of the norms. The
// norms are in dR already: R times dS overflows where the features are large.
struct NormProductSink {
  ScoreMap out, gradient;

  template <int32_t kColumns>
  struct Walk {
    Comb<kColumns> comb;
    ScoreWalk score, gradient;

    CA_BOTH void put(const Values<kColumns>& sums) const {
      // All are read before the first is written: what is read behind the end counts for nothing (plan.h).
      Values<kColumns> products;
      CA_UNROLL
      for (int32_t k = 0; k < kColumns; ++k) products[k] = load(&gradient[k]);
      CA_UNROLL
      for (int32_t k = 0; k < kColumns; ++k)
        if (comb.has(k)) score[k] = sums[k] * products[k];
    }
    CA_BOTH void next() {
      score.next();
      gradient.next();
    }
  };
  template <int32_t kColumns>
  CA_BOTH Walk<kColumns> start(int32_t n, int32_t y, int32_t x, int32_t v, const Comb<kColumns>& comb) const {
    return {comb, {out, n, y, x, v, comb.u}, {gradient, n, y, x, v, comb.u}};
  }
};

}  // namespace contextual_attention::cuda
