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

// Where a walk is: the score in a map, its foreground pixel p and its background pixel q.
struct Place {
  float* score;
  int64_t down;
  int32_t n, p, q, width, background_width;

  CA_BOTH static Place of(const ScoreMap& map, int32_t n, int32_t y, int32_t x, int32_t v, int32_t u) {
    const Region& r = map.region;
    return {&map.at(n, y, x, v, u), map.down(), n, y * r.x.size + x, v * r.u.size + u, r.x.size, r.u.size};
  }
  CA_BOTH void next() {
    score += down;
    p += width;
    q += background_width;
  }
};

// Similarities, logits, weights: scale * alpha * beta * sum, and what `kind` makes of it.
struct ScoreSink {
  enum class Kind : int32_t { plain, valid_only, weights };

  ScoreMap out;
  float scale;
  PixelMap<const float> alpha, beta;  // none: 1
  Kind kind;
  PixelMap<const bool> valid, selected;  // no `selected`: all
  PixelMap<const float> offset;          // none: 0

  struct Walk {
    const ScoreSink& sink;
    Place place;

    CA_BOTH void put(float sum) const {
      const int32_t n = place.n, p = place.p, q = place.q;
      float score = sink.scale * sum;
      if (sink.alpha) score *= sink.alpha.at(n, p);
      if (sink.beta) score *= sink.beta.at(n, q);
      if (sink.kind != Kind::plain) {
        bool counts = sink.valid.at(n, q);
        if (sink.kind == Kind::weights) {
          if (sink.selected) counts = counts && sink.selected.at(n, p);
          score = flushed_exp(sink.offset ? score - sink.offset.at(n, p) : score);
        }
        if (!counts) score = 0;
      }
      *place.score = score;
    }
    CA_BOTH void next() { place.next(); }
  };
  CA_BOTH Walk start(int32_t n, int32_t y, int32_t x, int32_t v, int32_t u) const {
    return {*this, Place::of(out, n, y, x, v, u)};
  }
};

// dX = valid * (dA - centre) * scale; without a scale valid * dA.
struct AttentionGradientSink {
  ScoreMap out;
  PixelMap<const bool> valid;
  PixelMap<const float> centre, scale;

  struct Walk {
    const AttentionGradientSink& sink;
    Place place;

    CA_BOTH void put(float gradient) const {
      const int32_t n = place.n, p = place.p;
      if (sink.scale) gradient = (gradient - sink.centre.at(n, p)) * sink.scale.at(n, p);
      *place.score = sink.valid.at(n, place.q) ? gradient : 0.0f;
    }
    CA_BOTH void next() { place.next(); }
  };
  CA_BOTH Walk start(int32_t n, int32_t y, int32_t x, int32_t v, int32_t u) const {
    return {*this, Place::of(out, n, y, x, v, u)};
  }
};

// dL = lambda * A (dA - centre), in the place of the weights that A = weights * inverse_sum is made of.
struct LogitGradientSink {
  ScoreMap weights;
  float scale;
  PixelMap<const float> inverse_sum, centre;

  struct Walk {
    const LogitGradientSink& sink;
    Place place;

    CA_BOTH void put(float gradient) const {
      const int32_t n = place.n, p = place.p;
      *place.score *= sink.scale * sink.inverse_sum.at(n, p) * (gradient - sink.centre.at(n, p));
    }
    CA_BOTH void next() { place.next(); }
  };
  CA_BOTH Walk start(int32_t n, int32_t y, int32_t x, int32_t v, int32_t u) const {
    return {*this, Place::of(weights, n, y, x, v, u)};
  }
};

// S * dS, whose sums over rows and columns are the gradients of the norms. The product with the norms comes
// first: patch product times gradient overflows where the features are large.
struct NormProductSink {
  ScoreMap out, gradient;
  PixelMap<const float> alpha, beta;

  struct Walk {
    const NormProductSink& sink;
    Place place;
    const float* gradient;

    CA_BOTH void put(float sum) const {
      float similarity = sum * sink.beta.at(place.n, place.q);
      if (sink.alpha) similarity *= sink.alpha.at(place.n, place.p);
      *place.score = similarity * *gradient;
    }
    CA_BOTH void next() {
      place.next();
      gradient += sink.gradient.down();
    }
  };
  CA_BOTH Walk start(int32_t n, int32_t y, int32_t x, int32_t v, int32_t u) const {
    return {*this, Place::of(out, n, y, x, v, u), &gradient.at(n, y, x, v, u)};
  }
};

// The operand of a matrix product.
struct OperandSink {
  OperandMap out;

  struct Walk {
    const OperandSink& sink;
    int64_t at;

    CA_BOTH void put(float sum) const { sink.out.store(at, sum); }
    CA_BOTH void next() { at += sink.out.down(); }
  };
  CA_BOTH Walk start(int32_t n, int32_t y, int32_t x, int32_t v, int32_t u) const {
    const Region& r = out.region;
    return {*this,
            out.index(n, r.y.slot(y) * r.x.count + x - r.x.first, r.v.slot(v) * r.u.count + u - r.u.first)};
  }
};

}  // namespace gpu
}  // namespace contextual_attention
