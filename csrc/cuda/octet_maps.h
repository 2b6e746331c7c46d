// What the filters by octets need beside the scores, made once for all tiles: factors, validity and taps of
// the background's columns in lines, and operands whose rows of pixels take a line, too.
#pragma once

#include "half_pairs.h"
#include "octets.h"
#include "pixels.h"

namespace contextual_attention::cuda {

// The columns that sum up a row of weights; a product takes multiples of eight.
constexpr int32_t kTapColumns = 16;

// What the filters ask of a column of the background:
//
//   gains     factor * beta; for weights -1 where there is no valid candidate
//   validity  of an octet at u, flag k: whether u + k - 1 is valid, from the column before it on
//   taps      1 in column t where q - d of tap t is valid, for T[p, t] = sum over q of W[p, q] valid[q - d]
template <class T>
struct BackgroundColumns {
  static constexpr Shape shape = Shape::points;
  PixelMap<const float> beta;
  PixelMap<const bool> valid;
  float factor;
  bool of_weights;
  Taps tap_order;
  float* gains;        // (samples, hb, line)
  uint32_t* validity;  // (samples, hb, cell_line / kOctet)
  T* taps;             // (samples, hb, line, kTapColumns); none: they are not asked for
  int32_t line, cell_line, samples;

  CA_BOTH int32_t rows() const { return valid.height; }
  CA_BOTH int32_t columns() const { return cell_line; }
  CA_BOTH void operator()(int32_t n, int32_t v, int32_t u) const {
    const int64_t row = int64_t(n) * rows() + v;
    if (u % kOctet == 0) validity[(row * cell_line + u) / kOctet] = octet(n, v, u);
    if (u >= line) return;
    gains[row * line + u] = gain(n, v, u);
    if (taps == nullptr) return;
    for (int32_t first = 0; first < kTapColumns; first += kOctet)
      store(taps + (row * line + u) * kTapColumns + first, counts_for(n, v, u, first));
  }

 private:
  CA_BOTH float gain(int32_t n, int32_t v, int32_t u) const {
    if (of_weights ? !counts(n, v, u) : !beta.inside(v, u)) return of_weights ? -1.0f : 0.0f;
    return factor * beta.at(n, v, u);
  }
  CA_BOTH bool counts(int32_t n, int32_t v, int32_t u) const {
    return valid.inside(v, u) && valid.at(n, v, u);
  }
  CA_BOTH uint32_t octet(int32_t n, int32_t v, int32_t u) const {
    uint32_t bits = 0;
    for (int32_t k = 0; k <= kOctet; ++k) bits |= uint32_t(counts(n, v, u + k - 1)) << place_of_flag(k);
    return bits;
  }
  CA_BOTH Octet counts_for(int32_t n, int32_t v, int32_t u, int32_t first) const {
    Octet found;
    CA_UNROLL
    for (int32_t k = 0; k < kOctet; ++k) {
      const int32_t t = first + k;
      const bool does = t < tap_order.count() && counts(n, v - tap_order.down(t), u - tap_order.right(t));
      found[k] = does ? 1.0f : 0.0f;
    }
    return found;
  }
};

// Those sums to where the row statistics are made of them.
struct TakeTapSums {
  static constexpr Shape shape = Shape::items;
  const float* from;  // (samples, rows, kTapColumns)
  Axis y, x;          // of the rows
  TapSums sums;
  int32_t samples;
  int64_t items;  // rows * taps

  CA_BOTH void operator()(int32_t n, int64_t i) const {
    const int64_t row = i / sums.taps, t = i % sums.taps;
    const float sum = from[(n * (items / sums.taps) + row) * kTapColumns + t];
    sums.at(n, y.first + int32_t(row / x.count), x.first + int32_t(row % x.count))[t] = sum;
  }
};

// A map whose rows of pixels take a line each, zeros behind the last one; in pieces of a pixel's entries.
template <class Piece>
struct PadLines {
  static constexpr Shape shape = Shape::points;
  const Piece* map;  // (samples, height, width, pieces)
  Piece* out;        // (samples, height, line, pieces)
  int32_t height, width, line, pieces, samples;

  CA_BOTH int32_t rows() const { return height * line; }
  CA_BOTH int32_t columns() const { return pieces; }
  CA_BOTH void operator()(int32_t n, int32_t pixel, int32_t piece) const {
    const int32_t row = pixel / line, column = pixel % line;
    const int64_t from = (int64_t(n) * height + row) * width + column;
    out[(int64_t(n) * rows() + pixel) * pieces + piece] =
        column < width ? map[from * pieces + piece] : Piece{};
  }
};

}  // namespace contextual_attention::cuda
