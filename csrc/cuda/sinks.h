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
      uint32_t counts[kColumns] = {};
      if (kKind != ScoreKind::plain) {
        const bool takes_part = kKind == ScoreKind::valid_only || !selected || *selected;
        CA_UNROLL
        for (int32_t k = 0; k < kColumns; ++k) counts[k] = takes_part && comb.has(k) ? valid[k] : 0;
      }
      sink.finish(values.of, offset ? offset.here : nullptr, counts);
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

  // Along a row, whose columns lie as those of the background do.
  struct Row {
    const ScoreSink& sink;
    const float *beta, *offset;
    const bool* valid;
    float factor;
    bool takes_part;

    // Of the sums at a column and those kApart from it.
    template <int32_t kApart, int32_t kCount>
    CA_BOTH void finish(float (&values)[kCount], int32_t column) const {
      uint32_t counts[kCount] = {};
      CA_UNROLL
      for (int32_t k = 0; k < kCount; ++k) {
        const float norm = beta != nullptr ? load(beta + column + k * kApart) : 1.0f;
        values[k] = values[k] * factor * norm;
        if (kKind != ScoreKind::plain) counts[k] = load(valid + column + k * kApart) & takes_part;
      }
      sink.finish(values, offset, counts);
    }
  };
  // From column (v, u) on.
  CA_BOTH Row row(int32_t n, int32_t y, int32_t x, int32_t v, int32_t u) const {
    return {*this,
            beta ? &beta.at(n, v, u) : nullptr,
            offset ? &offset.at(n, y, x) : nullptr,
            &valid.at(n, v, u),
            alpha ? scale * alpha.at(n, y, x) : scale,
            !selected || selected.at(n, y, x)};
  }

 private:
  // `offset`: the row's, none where the values need none; `counts`: 0 where a value counts for nothing.
  template <int32_t kCount>
  CA_BOTH void finish(float (&values)[kCount], const float* offset, const uint32_t (&counts)[kCount]) const {
    if (kKind == ScoreKind::weights) {
      if (offset != nullptr) follow(values, load(offset));
      to_weights(values, exact);
    }
    if (kKind != ScoreKind::plain) {
      const float nothing = kKind == ScoreKind::logits ? -INFINITY : 0.0f;
      CA_UNROLL
      for (int32_t k = 0; k < kCount; ++k) values[k] = counts[k] ? values[k] : nothing;
    }
  }
  // No logit is larger than its row's offset but by the rounding of products that were made anew, of which
  // exp could make anything where logits are large.
  template <int32_t kCount>
  CA_BOTH static void follow(float (&values)[kCount], float largest) {
    CA_UNROLL
    for (int32_t k = 0; k < kCount; ++k) {
      const float logit = values[k] - largest;
      values[k] = logit > 0 ? 0.0f : logit;
    }
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
