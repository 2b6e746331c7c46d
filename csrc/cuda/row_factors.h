// What rows of weights are multiplied with before they are propagated as float16 (octet_propagation.h).
#pragma once

#include "bodies.h"
#include "half_pairs.h"

namespace contextual_attention::cuda {

constexpr float kShareOfRow = 4096;

// Factors of the foreground's pixels, as float16:
//
//   factors  total[y - 1, x] and `first`, which is the sign of the word
//   seconds  `second`, twice, where first * second = kShareOfRow gain[y, x]
//
// `first` is negative where `second` is not 1, because the product is no float16 or an imprecise one. Outside
// of the map factors are 0.
struct RowFactors {
  uint32_t *factors, *seconds;
  int32_t y, x;           // of the first
  int32_t height, width;  // of each sample

  CA_BOTH uint32_t index(int32_t n, int32_t row, int32_t column) const {
    return uint32_t((n * height + row - y) * width + column - x);
  }
};

struct FactorRows {
  static constexpr Shape shape = Shape::points;
  PixelMap<const float> gain, total;
  RowFactors to;
  int32_t samples;

  CA_BOTH int32_t rows() const { return to.height; }
  CA_BOTH int32_t columns() const { return to.width; }
  CA_BOTH void operator()(int32_t n, int32_t row, int32_t column) const {
    const int32_t y = to.y + row, x = to.x + column;
    const float share = gain.inside(y, x) ? kShareOfRow * gain.at(n, y, x) : 0.0f;
    // Of weights between exp(-11) and exp(11), and a row of 2^20 of them.
    const float second = share >= 32768 ? -32768.0f : share > 0 && share < 0x1p-14f ? -0x1p-10f : 1.0f;
    const float above = total.inside(y - 1, x) ? total.at(n, y - 1, x) : 0.0f;
    const uint32_t at = to.index(n, y, x);
    to.factors[at] = pair_of(above, share / second).word;
    to.seconds[at] = pair_of(second, second).word;
  }
};

}  // namespace contextual_attention::cuda
