// The forward's filters by octets. They make what DiagonalSum3 and CellSum make, of what most calls ask for:
// patches of 3 x 3 pixels, after the softmax a propagation by 3 x 3 taps or none, logits that are bounded,
// and all of the background in every tile.
#pragma once

#include "octets.h"
#include "sinks.h"

namespace contextual_attention {
namespace gpu {

// W[p, q] = exp(scale alpha[p] beta[q] (D_3 G)[p, q]), 0 unless p is selected and q is valid.
template <class T>
struct PatchWeights {
  static constexpr Shape shape = Shape::octets;
  Lines<const float> gram;
  Lines<T> out;
  PixelMap<const float> alpha;
  PixelMap<const bool> selected;  // none: all
  const float* gains;             // (samples, hb, line), of ColumnGains
  Region region;                  // of `out`
  int32_t samples;

  CA_BOTH void walk(int32_t n, const Path& path, int32_t x, int32_t u) const {
    const int32_t y = region.y.first + path.y, v = path.v;
    Reader reader(*this, n, y, x, v, u);
    Row above = reader.next(), row = reader.next(), coming = reader.next();
    Octet here = row.sums(), two = sum_of(above.sums(), above.exists, here);
    const float* gain = gains + (int64_t(n) * region.v.count + v) * out.line + u;
    PixelWalk<const float> factor(alpha, n, y, x);
    PixelWalk<const bool> counts(selected, n, y, x);
    T* at = out.at(n, y, x, v, u);
    CA_UNROLL_TWICE
    for (int32_t i = 0; i < path.length; ++i) {
      const Octet column = load_octet(gain), below = coming.sums();
      const float exists = coming.exists, of_row = *factor;
      // Columns with less take no part.
      const float least = !counts || *counts ? 0.0f : INFINITY;
      // On its way while this row is worked on.
      coming = reader.next();
      store(at, weights(sum_of(below, exists, two), of_row, column, least));
      two = sum_of(below, 1.0f, here);
      here = below;
      gain += out.line;
      factor.next();
      counts.next();
      at += out.down();
    }
  }

 private:
  // x * factor + y, where the factor is 0 or 1.
  CA_BOTH static Octet sum_of(const Octet& x, float factor, const Octet& y) {
    Octet sums;
    CA_UNROLL
    for (int32_t k = 0; k < kOctet; ++k) sums[k] = x[k] * factor + y[k];
    return sums;
  }

  // What a row of the window is made of: G at (x - 1, u - 1), (x, u), (x + 1, u + 1) and so on. A factor is
  // 1, or 0 for what the maps do not have: then its numbers are those of another row of the window.
  struct Row {
    Octet left, middle, right;
    float before, behind;  // the columns beside the octets
    float has_left, has_right, exists;

    CA_BOTH Octet sums() const {
      Octet sums;
      CA_UNROLL
      for (int32_t k = 0; k < kOctet; ++k) {
        const float on_left = k > 0 ? left.of[k > 0 ? k - 1 : 0] : before;
        const float on_right = k + 1 < kOctet ? right.of[k + 1 < kOctet ? k + 1 : k] : behind;
        sums[k] = middle[k] + has_left * on_left + has_right * on_right;
      }
      return sums;
    }
  };

  // From the row above the first one on.
  class Reader {
   public:
    CA_BOTH Reader(const PatchWeights& body, int32_t n, int32_t y, int32_t x, int32_t v, int32_t u)
        : rows_(body.gram.y, y, body.region.v.size, v, 1),
          has_left_(x > 0),
          has_right_(x + 1 < body.region.x.size),
          has_before_(has_left_ && u > 0),
          has_behind_(has_right_ && u + kOctet < body.region.u.size),
          pitch_(body.gram.pitch),
          down_(body.gram.down()),
          here_(body.gram.at(n, rows_.y(), x, rows_.v(), u)) {}

    CA_BOTH Row next() {
      const float *left = has_left_ ? here_ - pitch_ : here_, *right = has_right_ ? here_ + pitch_ : here_;
      const Row row{load_octet(left),
                    load_octet(here_),
                    load_octet(right),
                    has_before_ ? load(left - 1) : 0.0f,
                    has_behind_ ? load(right + kOctet) : 0.0f,
                    has_left_ ? 1.0f : 0.0f,
                    has_right_ ? 1.0f : 0.0f,
                    rows_.exists() ? 1.0f : 0.0f};
      if (rows_.next()) here_ += down_;
      return row;
    }

   private:
    RowsOfBoth rows_;
    bool has_left_, has_right_, has_before_, has_behind_;
    int64_t pitch_, down_;
    const float* here_;
  };

  CA_BOTH static Octet weights(const Octet& sums, float of_row, const Octet& column, float least) {
    Octet weights;
    CA_UNROLL
    for (int32_t k = 0; k < kOctet; ++k) {
      const float weight = rough_power_of_two(sums[k] * of_row * column[k]);
      weights[k] = column[k] >= least ? weight : 0.0f;
    }
    return weights;
  }
};

// E[P, Q] = sum over d in {0, 1}^2 of A[P - d, Q - d], where A = gain W or, with three taps,
//
//   A[p, q] = total[p] valid[q] sum over the window of gain[p + i] W[p + i, q + i].
template <int32_t kTaps, class T>
struct PastedWeights {
  static_assert(kTaps == 1 || kTaps == 3, "other windows are CellSum's");
  static constexpr Shape shape = Shape::octets;
  Lines<const T> weights;
  Lines<T> out;
  PixelMap<const float> gain, total;
  const uint16_t* valid;  // (samples, hb, line of `out` / kOctet), of OctetValidity
  Region region;          // of cells
  int32_t samples;

  CA_BOTH void walk(int32_t n, const Path& path, int32_t x, int32_t u) const {
    Walk walk(*this, n, region.y.first + path.y, x, path.v, u);
    Octet before = walk.row();
    T* at = out.at(n, region.y.first + path.y, x, path.v, u);
    for (int32_t i = 0; i < path.length; ++i) {
      walk.next();
      const Octet here = walk.row();
      Octet cells;
      CA_UNROLL
      for (int32_t k = 0; k < kOctet; ++k) cells[k] = before[k] + here[k];
      store(at, cells);
      before = here;
      at += out.down();
    }
  }

 private:
  // Pixels aside of the cell's own that a row of it reads, from -1 - kReach to kReach.
  static constexpr int32_t kReach = kTaps / 2, kAsides = 2 + 2 * kReach;

  // What a row of weights holds: for each pixel aside an octet of its own columns, and the two before it or
  // behind it that a shift by as many columns needs. A gain is 0 for what the maps do not have: then the
  // octet is that of another pixel of the window.
  struct Row {
    Words octets[kAsides];
    uint32_t beside[kAsides];
    float gains[kAsides];
    float own;  // 0 where the octet lies behind the last column, else 1
  };
  // Sums for the weights at (x, u) and at (x - 1, u - 1).
  struct Sums {
    Octet right, left;

    CA_BOTH Sums operator+(const Sums& other) const {
      Sums sums;
      CA_UNROLL
      for (int32_t k = 0; k < kOctet; ++k) {
        sums.right[k] = right[k] + other.right[k];
        sums.left[k] = left[k] + other.left[k];
      }
      return sums;
    }
  };

  class Walk {
   public:
    // At the row of weights above the cells.
    CA_BOTH Walk(const PastedWeights& body, int32_t n, int32_t y, int32_t x, int32_t v, int32_t u)
        : rows_(body.weights.y, y, body.region.v.size - 1, v, 1 + kReach),
          pasted_(body.weights.y, y, body.region.v.size - 1, v, 1),
          has_own_(u < body.weights.line),
          has_before_(u > 0),
          has_behind_(u + kOctet < body.weights.line),
          width_(body.gain.width),
          octets_(body.out.line / kOctet),
          down_(body.weights.down()),
          here_(body.weights.at(n, rows_.y(), x, rows_.v(), has_own_ ? u : u - kOctet)),
          gain_(body.gain.of(n) + rows_.y() * width_ + x),
          total_(body.total.of(n) + pasted_.y() * width_ + x),
          valid_(body.valid + (int64_t(n) * (body.region.v.size - 1) + pasted_.v()) * octets_ + u / kOctet),
          window_{},
          two_{},
          one_{} {
      CA_UNROLL
      for (int32_t j = 0; j < kAsides; ++j) {
        const int32_t there = x + j - 1 - kReach;
        has_[j] = there >= 0 && there < width_;
        away_[j] = (there < 0 ? 0 : has_[j] ? there : width_ - 1) - x;
        from_[j] = int32_t(away_[j] * body.weights.pitch);
      }
      coming_ = read();
      CA_UNROLL
      for (int32_t i = 0; i < kTaps; ++i) move();
    }

    // One row down.
    CA_BOTH void next() {
      move();
      if (pasted_.next()) total_ += width_, valid_ += octets_;
    }

    // The sums of the two weights that paste into the cells.
    CA_BOTH Octet row() const {
      Octet sums;
      if (kTaps == 1) {
        CA_UNROLL
        for (int32_t k = 0; k < kOctet; ++k) sums[k] = window_.right[k] + window_.left[k];
        return sums;
      }
      constexpr int32_t kOwn = kReach + 1;
      const uint32_t valid = pasted_.exists() ? load(valid_) : 0;
      const float right = has_[kOwn] ? load(total_ + away_[kOwn]) : 0.0f;
      const float left = has_[kOwn - 1] ? load(total_ + away_[kOwn - 1]) : 0.0f;
      CA_UNROLL
      for (int32_t k = 0; k < kOctet; ++k) {
        const float of_right = valid >> (k + 1) & 1 ? right : 0.0f, of_left = valid >> k & 1 ? left : 0.0f;
        sums[k] = of_right * window_.right[k] + of_left * window_.left[k];
      }
      return sums;
    }

   private:
    // The window moves on by the row that has come, and the next one is on its way.
    CA_BOTH void move() {
      const Sums newest = sums_of(coming_);
      coming_ = read();
      if (kTaps == 1) {
        window_ = newest;
      } else {
        window_ = two_ + newest;
        two_ = one_ + newest;
        one_ = newest;
      }
    }

    CA_BOTH Row read() {
      Row row;
      const bool exists = rows_.exists();
      row.own = has_own_ ? 1.0f : 0.0f;
      CA_UNROLL
      for (int32_t j = 0; j < kAsides; ++j) {
        const bool is_before = j - 1 - kReach < 0, has_beside = is_before ? has_before_ : has_behind_;
        const T* at = here_ + from_[j];
        row.octets[j] = load(reinterpret_cast<const Words*>(at));
        // The columns beside the octet at u, which the one that is read lies before if that is no octet.
        const T* beside = has_own_ ? at : at + kOctet;
        const auto* pair = reinterpret_cast<const uint32_t*>(is_before ? beside - 2 : beside + kOctet);
        row.beside[j] = j - 1 - kReach != 0 && has_beside ? load(pair) : 0;
        row.gains[j] = exists && has_[j] ? load(gain_ + away_[j]) : 0.0f;
      }
      if (rows_.next()) here_ += down_, gain_ += width_;
      return row;
    }

    // Over the columns of the window.
    CA_BOTH static Sums sums_of(const Row& row) {
      Octet terms[kAsides];
      CA_UNROLL
      for (int32_t j = 0; j < kAsides; ++j) terms[j] = shifted(row, j);
      Sums sums;
      CA_UNROLL
      for (int32_t k = 0; k < kOctet; ++k) {
        const float right = terms[kReach + 1][k], left = terms[kReach][k];
        sums.right[k] = kTaps == 1 ? right : left + right + terms[kAsides - 1][k];
        sums.left[k] = kTaps == 1 ? left : terms[0][k] + (left + right);
      }
      return sums;
    }

    // gain W of a pixel aside, at as many columns aside.
    CA_BOTH static Octet shifted(const Row& row, int32_t j) {
      const int32_t aside = j - 1 - kReach;
      const Octet own = unpacked<T>(row.octets[j]);
      float first, second;
      unpack(row.beside[j], static_cast<const T*>(nullptr), first, second);
      const float gain = row.gains[j], gain_of_own = row.own * gain;
      Octet terms;
      CA_UNROLL
      for (int32_t k = 0; k < kOctet; ++k) {
        const int32_t from = k + aside;
        const bool is_own = from >= 0 && from < kOctet;
        const float column = is_own                         ? own.of[is_own ? from : 0]
                             : from == -2 || from == kOctet ? first
                                                            : second;
        terms[k] = (is_own ? gain_of_own : gain) * column;
      }
      return terms;
    }

    RowsOfBoth rows_, pasted_;  // of the next row to read, and of the middle of the window
    bool has_own_, has_before_, has_behind_;
    int32_t width_, octets_;
    int64_t down_;
    const T* here_;
    const float *gain_, *total_;
    const uint16_t* valid_;
    bool has_[kAsides];
    int32_t away_[kAsides], from_[kAsides];  // in pixels and in entries
    Sums window_, two_, one_;                // of the whole window, of its last two rows, of its last one
    Row coming_;
  };
};

}  // namespace gpu
}  // namespace contextual_attention
