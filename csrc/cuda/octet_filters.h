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
    Octet before = reader.next().sums(), here = reader.next().sums();
    Read coming = reader.next();
    const float* gain = gains + (int64_t(n) * region.v.count + v) * out.line + u;
    T* at = out.at(n, y, x, v, u);
    for (int32_t i = 0; i < path.length; ++i) {
      const Octet column = load_octet(gain);
      const float row = alpha.at(n, y + i, x);
      const bool takes_part = !selected || selected.at(n, y + i, x);
      const Octet after = coming.sums();
      // On its way while this row is worked on.
      coming = reader.next();
      store(at, weights(sum_of(before, here, after), takes_part ? row : -1.0f, column));
      before = here;
      here = after;
      gain += out.line;
      at += out.down();
    }
  }

 private:
  // What a row of the window is made of: G at (x - 1, u - 1), (x, u), (x + 1, u + 1) and so on.
  struct Read {
    Octet left, middle, right;
    float before, behind;  // the columns beside the octets

    CA_BOTH Octet sums() const {
      Octet sums;
      CA_UNROLL
      for (int32_t k = 0; k < kOctet; ++k) {
        const float on_left = k > 0 ? left.of[k > 0 ? k - 1 : 0] : before;
        const float on_right = k + 1 < kOctet ? right.of[k + 1 < kOctet ? k + 1 : k] : behind;
        sums[k] = middle[k] + on_left + on_right;
      }
      return sums;
    }
  };

  // From the row above the first one on; rows that a map does not have are zeros.
  class Reader {
   public:
    CA_BOTH Reader(const PatchWeights& body, int32_t n, int32_t y, int32_t x, int32_t v, int32_t u)
        : rows_(y, v, body.region.y.size, body.region.v.size),
          i_(-1),
          has_left_(x > 0),
          has_right_(x + 1 < body.region.x.size),
          has_before_(has_left_ && u > 0),
          has_behind_(has_right_ && u + kOctet < body.region.u.size),
          pitch_(body.gram.pitch),
          down_(body.gram.down()),
          here_(body.gram.at(n, y, x, v, u) - down_) {}

    CA_BOTH Read next() {
      Read read{};
      if (rows_.have(i_)) {
        const float *left = here_ - pitch_, *right = here_ + pitch_;
        read.middle = load_octet(here_);
        if (has_left_) read.left = load_octet(left);
        if (has_right_) read.right = load_octet(right);
        if (has_before_) read.before = load(left - 1);
        if (has_behind_) read.behind = load(right + kOctet);
      }
      ++i_;
      here_ += down_;
      return read;
    }

   private:
    RowsOfBoth rows_;
    int32_t i_;
    bool has_left_, has_right_, has_before_, has_behind_;
    int64_t pitch_, down_;
    const float* here_;
  };

  // `row` < 0: not selected.
  CA_BOTH static Octet weights(const Octet& sums, float row, const Octet& column) {
    Octet weights;
    CA_UNROLL
    for (int32_t k = 0; k < kOctet; ++k) {
      const float weight = rough_power_of_two(sums[k] * row * column[k]);
      weights[k] = row >= 0 && column[k] >= 0 ? weight : 0.0f;
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
    const int32_t y = region.y.first + path.y, v = path.v;
    Walk walk(*this, n, y, x, v, u);
    Octet before = walk.row();
    T* at = out.at(n, y, x, v, u);
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
  // behind it that a shift by as many columns needs.
  struct Read {
    Words octets[kAsides];
    uint32_t beside[kAsides];
    float gains[kAsides];
  };
  // The window's sums over columns for the weights at (x, u) and at (x - 1, u - 1).
  struct Line {
    Octet right, left;
  };

  class Walk {
   public:
    // At the row of weights above the cells.
    CA_BOTH Walk(const PastedWeights& body, int32_t n, int32_t y, int32_t x, int32_t v, int32_t u)
        : body_(body),
          height_(body.region.y.size - 1),
          rows_(y, v, height_, body.region.v.size - 1),
          n_(n),
          y_(y),
          x_(x),
          i_(-1 - kReach),
          has_own_(u < body.weights.line),
          has_before_(u > 0),
          has_behind_(u + kOctet < body.weights.line),
          down_(body.weights.down()),
          here_(body.weights.at(n, y, x, v, u) + i_ * down_),
          valid_(body.valid + (int64_t(n) * (body.region.v.size - 1) + v - 1) * (body.out.line / kOctet) +
                 u / kOctet),
          above_{},
          here_line_{},
          below_{} {
      coming_ = read();
      for (int32_t i = 0; i < kTaps; ++i) take();
    }

    // One row down.
    CA_BOTH void next() {
      take();
      valid_ += body_.out.line / kOctet;
    }

    // The sums of the two weights that paste into the cells.
    CA_BOTH Octet row() const {
      // `coming_` is the line i_ - 1, the last taken one i_ - 2.
      const int32_t middle = i_ - 2 - kReach;
      Octet sums{};
      if (!rows_.have(middle)) return sums;
      if (kTaps == 1) {
        CA_UNROLL
        for (int32_t k = 0; k < kOctet; ++k) sums[k] = below_.right[k] + below_.left[k];
        return sums;
      }
      const uint32_t valid = load(valid_);
      const float right = x_ < width() ? body_.total.at(n_, y_ + middle, x_) : 0.0f;
      const float left = x_ > 0 ? body_.total.at(n_, y_ + middle, x_ - 1) : 0.0f;
      CA_UNROLL
      for (int32_t k = 0; k < kOctet; ++k) {
        const float of_right = above_.right[k] + here_line_.right[k] + below_.right[k];
        const float of_left = above_.left[k] + here_line_.left[k] + below_.left[k];
        sums[k] = (valid >> (k + 1) & 1 ? right * of_right : 0.0f) + (valid >> k & 1 ? left * of_left : 0.0f);
      }
      return sums;
    }

   private:
    CA_BOTH int32_t width() const { return body_.region.x.size - 1; }

    // The line that has come, and the next one on its way.
    CA_BOTH void take() {
      if (kTaps == 3) above_ = here_line_, here_line_ = below_;
      below_ = line(coming_);
      coming_ = read();
    }

    CA_BOTH Read read() {
      Read read{};
      if (rows_.have(i_)) {
        CA_UNROLL
        for (int32_t j = 0; j < kAsides; ++j) {
          const int32_t aside = j - 1 - kReach, x = x_ + aside;
          if (x < 0 || x >= width()) continue;
          const T* at = here_ + aside * body_.weights.pitch;
          if (has_own_) read.octets[j] = load(reinterpret_cast<const Words*>(at));
          if (aside < 0 && has_before_) read.beside[j] = load(reinterpret_cast<const uint32_t*>(at - 2));
          if (aside > 0 && has_behind_) read.beside[j] = load(reinterpret_cast<const uint32_t*>(at + kOctet));
          read.gains[j] = body_.gain.at(n_, y_ + i_, x);
        }
      }
      ++i_;
      here_ += down_;
      return read;
    }

    CA_BOTH static Line line(const Read& read) {
      Octet terms[kAsides];
      CA_UNROLL
      for (int32_t j = 0; j < kAsides; ++j) terms[j] = shifted(read, j);
      Line line;
      CA_UNROLL
      for (int32_t k = 0; k < kOctet; ++k) {
        line.right[k] = terms[kReach + 1][k];
        line.left[k] = terms[kReach][k];
        if (kTaps == 1) continue;
        const float both = line.left[k] + line.right[k];
        line.right[k] = both + terms[kAsides - 1][k];
        line.left[k] = terms[0][k] + both;
      }
      return line;
    }

    // gain W of a pixel aside, at as many columns aside.
    CA_BOTH static Octet shifted(const Read& read, int32_t j) {
      const int32_t aside = j - 1 - kReach;
      // The columns u - 2 ... u + 9.
      float columns[kOctet + 4] = {};
      const Octet own = unpacked<T>(read.octets[j]);
      CA_UNROLL
      for (int32_t k = 0; k < kOctet; ++k) columns[k + 2] = own[k];
      const int32_t beside = aside < 0 ? 0 : kOctet + 2;
      unpack(read.beside[j], static_cast<const T*>(nullptr), columns[beside], columns[beside + 1]);
      Octet terms;
      CA_UNROLL
      for (int32_t k = 0; k < kOctet; ++k) terms[k] = read.gains[j] * columns[k + 2 + aside];
      return terms;
    }

    const PastedWeights& body_;
    int32_t height_;
    RowsOfBoth rows_;
    int32_t n_, y_, x_;
    int32_t i_;  // of the next line to read, counted from the cell's row
    bool has_own_, has_before_, has_behind_;
    int64_t down_;
    const T* here_;
    const uint16_t* valid_;
    Line above_, here_line_, below_;
    Read coming_;
  };
};

}  // namespace gpu
}  // namespace contextual_attention
