// What becomes of sums along diagonals: start(n, y, x, v, comb) begins a walk down the columns of a comb,
// put(sums) takes the sums of where the walk is, next() goes one row down in both maps.
#pragma once

#include <math.h>

#include "score_maps.h"

namespace contextual_attention::cuda {

// exp(x), 0 where it would come near the denormals.
CA_BOTH float flushed_exp(float x) {
  const float weight = expf(x);
  return weight < 1e-30f ? 0.0f : weight;
}

// 2^x to 2^-22, in one instruction.
CA_BOTH float rough_power_of_two(float x) {
#if defined(__CUDA_ARCH__)
  float power;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(power) : "f"(x));
  return power;
#else
  return exp2f(x);
#endif
}

constexpr float kPowersOfTwo = 1.4426950408889634f;  // exp(x) = 2^(x * kPowersOfTwo)

// exp(x) for half precision: to 2^-22 and the rounding of x.
CA_BOTH float rough_exp(float x) { return rough_power_of_two(x * kPowersOfTwo); }

CA_BOTH float weight_of(float logit, bool exact) { return exact ? flushed_exp(logit) : rough_exp(logit); }

// exp of each, with one look at `exact`.
template <int32_t kCount>
CA_BOTH void to_weights(float (&logits)[kCount], bool exact) {
  if (exact) {
    CA_UNROLL
    for (int32_t i = 0; i < kCount; ++i) logits[i] = flushed_exp(logits[i]);
  } else {
    CA_UNROLL
    for (int32_t i = 0; i < kCount; ++i) logits[i] = rough_exp(logits[i]);
  }
}

// The place of a walk in a map of scores.
struct ScoreWalk {
  float* here;
  int64_t down;

  CA_BOTH ScoreWalk(const ScoreMap& map, int32_t n, int32_t y, int32_t x, int32_t v, int32_t u)
      : here(&map.at(n, y, x, v, u)), down(map.down) {}
  CA_BOTH float& operator[](int32_t k) const { return here[k * kLanes]; }
  CA_BOTH void next() { here += down; }
};

// What a ScoreSink makes of its values.
enum class ScoreKind : int32_t {
  plain,
  valid_only,  // 0 for candidates that are not valid
  logits,      // -inf for those, and for rows that are not selected: weights of 0
  weights      // exp(value - offset), with 0 for all of them
};

// Similarities, logits, weights: scale * alpha * beta * sum, and what `kind` makes of it.
template <ScoreKind kKind>
struct ScoreSink {
  OperandMap out;
  float scale;
  PixelMap<const float> alpha, beta;     // none: 1
  bool exact;                            // exp to float32's precision
  PixelMap<const bool> valid, selected;  // no `selected`: all
  PixelMap<const float> offset;          // none: 0

  template <ScoreKind kOther>
  ScoreSink<kOther> as() const {
    return {out, scale, alpha, beta, exact, valid, selected, offset};
  }

  template <int32_t kColumns>
  struct Walk {
    const ScoreSink& sink;
    Comb<kColumns> comb;
    int64_t at;
    PixelWalk<const float> alpha, beta, offset;
    PixelWalk<const bool> valid, selected;

    CA_BOTH void put(const Values<kColumns>& sums) const {
      Values<kColumns> values;
      const float factor = alpha ? sink.scale * *alpha : sink.scale;
      CA_UNROLL
      for (int32_t k = 0; k < kColumns; ++k) {
        const float norm = beta && comb.has(k) ? beta[k] : 1.0f;
        values[k] = sums[k] * factor * norm;
      }
      if (kKind == ScoreKind::weights) {
        if (offset) follow(values);
        to_weights(values.of, sink.exact);
      }
      if (kKind != ScoreKind::plain) drop(values);
      sink.out.store(at, values, comb);
    }
    CA_BOTH void next() {
      at += sink.out.down;
      alpha.next();
      beta.next();
      if (kKind == ScoreKind::weights) offset.next();
      if (kKind != ScoreKind::plain) valid.next();
      if (kKind != ScoreKind::plain && kKind != ScoreKind::valid_only) selected.next();
    }

   private:
    // No logit is larger than its row's offset but by the rounding of products that were made anew, of which
    // exp could make anything where logits are large.
    CA_BOTH void follow(Values<kColumns>& values) const {
      const float largest = *offset;
      CA_UNROLL
      for (int32_t k = 0; k < kColumns; ++k) {
        const float logit = values[k] - largest;
        values[k] = logit > 0 ? 0.0f : logit;
      }
    }
    CA_BOTH void drop(Values<kColumns>& values) const {
      const bool takes_part = kKind == ScoreKind::valid_only || !selected || *selected;
      const float nothing = kKind == ScoreKind::logits ? -INFINITY : 0.0f;
      CA_UNROLL
      for (int32_t k = 0; k < kColumns; ++k) {
        const uint32_t counts = takes_part && comb.has(k) ? valid[k] : 0;
        values[k] = counts ? values[k] : nothing;
      }
    }
  };
  template <int32_t kColumns>
  CA_BOTH Walk<kColumns> start(int32_t n, int32_t y, int32_t x, int32_t v, const Comb<kColumns>& comb) const {
    return {*this,
            comb,
            out.index(n, y, x, v, comb.u),
            {alpha, n, y, x},
            {beta, n, v, comb.u},
            {offset, n, y, x},
            {valid, n, v, comb.u},
            {selected, n, y, x}};
  }
};

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

// dL = lambda * A (dA - centre), in the place of the weights that A = weights * inverse_sum is made of.
struct LogitGradientSink {
  ScoreMap weights;
  float scale;
  PixelMap<const float> inverse_sum, centre;

  template <int32_t kColumns>
  struct Walk {
    Comb<kColumns> comb;
    float scale;
    ScoreWalk score;
    PixelWalk<const float> inverse_sum, centre;

    CA_BOTH void put(const Values<kColumns>& gradients) const {
      const float factor = scale * *inverse_sum, middle = *centre;
      CA_UNROLL
      for (int32_t k = 0; k < kColumns; ++k)
        if (comb.has(k)) score[k] *= factor * (gradients[k] - middle);
    }
    CA_BOTH void next() {
      score.next();
      inverse_sum.next();
      centre.next();
    }
  };
  template <int32_t kColumns>
  CA_BOTH Walk<kColumns> start(int32_t n, int32_t y, int32_t x, int32_t v, const Comb<kColumns>& comb) const {
    return {comb, scale, {weights, n, y, x, v, comb.u}, {inverse_sum, n, y, x}, {centre, n, y, x}};
  }
};

// S * dS, whose sums over rows and columns are the gradients of the norms. The product with the norms comes
// first: patch product times gradient overflows where the features are large.
struct NormProductSink {
  ScoreMap out, gradient;
  PixelMap<const float> alpha, beta;

  template <int32_t kColumns>
  struct Walk {
    Comb<kColumns> comb;
    ScoreWalk score, gradient;
    PixelWalk<const float> alpha, beta;

    CA_BOTH void put(const Values<kColumns>& sums) const {
      const float norm = alpha ? *alpha : 1.0f;
      CA_UNROLL
      for (int32_t k = 0; k < kColumns; ++k)
        if (comb.has(k)) score[k] = sums[k] * beta[k] * norm * load(&gradient[k]);
    }
    CA_BOTH void next() {
      score.next();
      gradient.next();
      alpha.next();
      beta.next();
    }
  };
  template <int32_t kColumns>
  CA_BOTH Walk<kColumns> start(int32_t n, int32_t y, int32_t x, int32_t v, const Comb<kColumns>& comb) const {
    return {comb,
            {out, n, y, x, v, comb.u},
            {gradient, n, y, x, v, comb.u},
            {alpha, n, y, x},
            {beta, n, v, comb.u}};
  }
};

// The operand of a matrix product.
struct OperandSink {
  OperandMap out;

  template <int32_t kColumns>
  struct Walk {
    const OperandMap& out;
    Comb<kColumns> comb;
    int64_t at;

    CA_BOTH void put(const Values<kColumns>& sums) const { out.store(at, sums, comb); }
    CA_BOTH void next() { at += out.down; }
  };
  template <int32_t kColumns>
  CA_BOTH Walk<kColumns> start(int32_t n, int32_t y, int32_t x, int32_t v, const Comb<kColumns>& comb) const {
    out.pad(n, y, x, v, comb.u);
    return {out, comb, out.index(n, y, x, v, comb.u)};
  }
};

}  // namespace contextual_attention::cuda
