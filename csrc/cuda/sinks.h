// What becomes of a sum along a diagonal: start(n, y, x, v, u) begins a walk, put(sum) takes the sum of where
// the walk is, next() goes one row down in both maps.
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

// The place of a walk in a map of scores.
struct ScoreWalk {
  float* here;
  int64_t down;

  CA_BOTH ScoreWalk(const ScoreMap& map, int32_t n, int32_t y, int32_t x, int32_t v, int32_t u)
      : here(&map.at(n, y, x, v, u)), down(map.down) {}
  CA_BOTH float& operator*() const { return *here; }
  CA_BOTH void next() { here += down; }
};

// Similarities, logits, weights: scale * alpha * beta * sum, and what `kind` makes of it.
struct ScoreSink {
  enum class Kind : int32_t {
    plain,
    valid_only,  // 0 for candidates that are not valid
    logits,      // -inf for those, and for rows that are not selected: weights of 0
    weights      // exp(value - offset), with 0 for all of them
  };

  OperandMap out;
  float scale;
  PixelMap<const float> alpha, beta;  // none: 1
  Kind kind;
  PixelMap<const bool> valid, selected;  // no `selected`: all
  PixelMap<const float> offset;          // none: 0

  struct Walk {
    const OperandMap& out;
    int64_t at;
    float scale;
    Kind kind;
    PixelWalk<const float> alpha, beta, offset;
    PixelWalk<const bool> valid, selected;

    CA_BOTH void put(float sum) const {
      float value = scale * sum;
      if (alpha) value *= *alpha;
      if (beta) value *= *beta;
      if (kind == Kind::weights) value = flushed_exp(offset ? value - *offset : value);
      out.store(at, takes_part() ? value : kind == Kind::logits ? -INFINITY : 0.0f);
    }
    CA_BOTH void next() {
      at += out.down;
      alpha.next();
      beta.next();
      offset.next();
      valid.next();
      selected.next();
    }

   private:
    CA_BOTH bool takes_part() const {
      if (kind == Kind::plain) return true;
      if (kind != Kind::valid_only && selected && !*selected) return false;
      return *valid;
    }
  };
  CA_BOTH Walk start(int32_t n, int32_t y, int32_t x, int32_t v, int32_t u) const {
    return {out,
            out.index(n, y, x, v, u),
            scale,
            kind,
            {alpha, n, y, x},
            {beta, n, v, u},
            {offset, n, y, x},
            {valid, n, v, u},
            {selected, n, y, x}};
  }
};

// valid * dA.
struct ValidSink {
  ScoreMap out;
  PixelMap<const bool> valid;

  struct Walk {
    ScoreWalk score;
    PixelWalk<const bool> valid;

    CA_BOTH void put(float gradient) const { *score = *valid ? gradient : 0.0f; }
    CA_BOTH void next() {
      score.next();
      valid.next();
    }
  };
  CA_BOTH Walk start(int32_t n, int32_t y, int32_t x, int32_t v, int32_t u) const {
    return {{out, n, y, x, v, u}, {valid, n, v, u}};
  }
};

// dX = valid * (dA - centre) * scale.
struct AttentionGradientSink {
  ScoreMap out;
  PixelMap<const bool> valid;
  PixelMap<const float> centre, scale;

  struct Walk {
    ScoreWalk score;
    PixelWalk<const bool> valid;
    PixelWalk<const float> centre, scale;

    CA_BOTH void put(float gradient) const {
      const float centred = (gradient - *centre) * *scale;
      *score = *valid ? centred : 0.0f;
    }
    CA_BOTH void next() {
      score.next();
      valid.next();
      centre.next();
      scale.next();
    }
  };
  CA_BOTH Walk start(int32_t n, int32_t y, int32_t x, int32_t v, int32_t u) const {
    return {{out, n, y, x, v, u}, {valid, n, v, u}, {centre, n, y, x}, {scale, n, y, x}};
  }
};

// dL = lambda * A (dA - centre), in the place of the weights that A = weights * inverse_sum is made of.
struct LogitGradientSink {
  ScoreMap weights;
  float scale;
  PixelMap<const float> inverse_sum, centre;

  struct Walk {
    float scale;
    ScoreWalk score;
    PixelWalk<const float> inverse_sum, centre;

    CA_BOTH void put(float gradient) const { *score *= scale * *inverse_sum * (gradient - *centre); }
    CA_BOTH void next() {
      score.next();
      inverse_sum.next();
      centre.next();
    }
  };
  CA_BOTH Walk start(int32_t n, int32_t y, int32_t x, int32_t v, int32_t u) const {
    return {scale, {weights, n, y, x, v, u}, {inverse_sum, n, y, x}, {centre, n, y, x}};
  }
};

// S * dS, whose sums over rows and columns are the gradients of the norms. The product with the norms comes
// first: patch product times gradient overflows where the features are large.
struct NormProductSink {
  ScoreMap out, gradient;
  PixelMap<const float> alpha, beta;

  struct Walk {
    ScoreWalk score, gradient;
    PixelWalk<const float> alpha, beta;

    CA_BOTH void put(float sum) const {
      float similarity = sum * *beta;
      if (alpha) similarity *= *alpha;
      *score = similarity * *gradient;
    }
    CA_BOTH void next() {
      score.next();
      gradient.next();
      alpha.next();
      beta.next();
    }
  };
  CA_BOTH Walk start(int32_t n, int32_t y, int32_t x, int32_t v, int32_t u) const {
    return {{out, n, y, x, v, u}, {gradient, n, y, x, v, u}, {alpha, n, y, x}, {beta, n, v, u}};
  }
};

// The operand of a matrix product.
struct OperandSink {
  OperandMap out;

  struct Walk {
    const OperandMap& out;
    int64_t at;

    CA_BOTH void put(float sum) const { out.store(at, sum); }
    CA_BOTH void next() { at += out.down; }
  };
  CA_BOTH Walk start(int32_t n, int32_t y, int32_t x, int32_t v, int32_t u) const {
    return {out, out.index(n, y, x, v, u)};
  }
};

}  // namespace gpu
}  // namespace contextual_attention
