// The sums of the final weights into cells by octets, as CellSum makes them:
//
//   E[P, Q] = sum over d in {0, 1}^2 of A[P - d, Q - d], where A = gain W or, with three taps,
//
//   A[p, q] = total[p] valid[q] sum over the window of gain[p + i] W[p + i, q + i].
//
// Where scores are logits still, W = exp(logit - offset[p]).
#pragma once

#include "half_pairs.h"
#include "octets.h"
#include "sinks.h"

namespace contextual_attention::cuda {

template <int32_t kTaps, class Score, class T>
struct PastedWeights {
  static_assert(kTaps == 1 || kTaps == 3, "other windows are CellSum's");
  static constexpr Shape shape = Shape::octets;
  Lines<const Score> weights;
  Lines<T> out;
  PixelMap<const float> gain, total, offset;  // those that there are
  const uint32_t* valid;                      // (samples, hb, line of `out` / kOctet), of BackgroundColumns
  Region region;                              // of cells
  int32_t samples;

  CA_BOTH void walk(int32_t n, const Path& path, int32_t x, int32_t u) const {
    Walk walk(*this, n, region.y.first + path.y, x, path.v, u);
    Octet before = walk.row();
    T* at = out.at(n, region.y.first + path.y, x, path.v, u);
    for (int32_t i = 0; i < path.length; ++i) {
      walk.next();
      const Octet here = walk.row();
      store(at, sum_of(before, here));
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
    Packed<Score> octets[kAsides];
    PackedPair<Score> beside[kAsides];
    float gains[kAsides], offsets[kAsides];
    float own;  // 0 where the octet lies behind the last column, else 1
  };
  // Sums for the weights at (x, u) and at (x - 1, u - 1).
  struct Sums {
    Octet right, left;

    CA_BOTH Sums operator+(const Sums& other) const {
      return {sum_of(right, other.right), sum_of(left, other.left)};
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
          offset_(body.offset.of(n) + rows_.y() * width_ + x),
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
      if (kTaps == 1) return sum_of(window_.right, window_.left);
      constexpr int32_t kOwn = kReach + 1;
      const uint32_t valid = pasted_.exists() ? load(valid_) : 0;
      const float right = has_[kOwn] ? load(total_ + away_[kOwn]) : 0.0f;
      const float left = has_[kOwn - 1] ? load(total_ + away_[kOwn - 1]) : 0.0f;
      Octet sums;
      CA_UNROLL
      for (int32_t k = 0; k < kOctet; ++k) {
        const float of_right = valid >> place_of_flag(k + 1) & 1 ? right : 0.0f,
                    of_left = valid >> place_of_flag(k) & 1 ? left : 0.0f;
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
        const Score* at = here_ + from_[j];
        row.octets[j] = Packed<Score>::at(at);
        // The columns beside the octet at u, which the one that is read lies before if that is no octet.
        const Score* beside = (has_own_ ? at : at + kOctet) + (is_before ? -2 : kOctet);
        row.beside[j] =
            j - 1 - kReach != 0 && has_beside ? PackedPair<Score>::at(beside) : PackedPair<Score>::none();
        row.gains[j] = exists && has_[j] ? load(gain_ + away_[j]) : 0.0f;
        row.offsets[j] = is_logit<Score> ? load(offset_ + away_[j]) : 0.0f;
      }
      if (rows_.next()) here_ += down_, gain_ += width_, offset_ += width_;
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
      const Octet own = row.octets[j].unpacked();
      float first, second;
      row.beside[j].unpacked(first, second);
      const float gain = row.gains[j], gain_of_own = row.own * gain;
      Octet terms;
      CA_UNROLL
      for (int32_t k = 0; k < kOctet; ++k) {
        const int32_t from = k + aside;
        const bool is_own = from >= 0 && from < kOctet;
        const float column = is_own                         ? own.of[is_own ? from : 0]
                             : from == -2 || from == kOctet ? first
                                                            : second;
        const float weight = is_logit<Score> ? rough_exp(column - row.offsets[j]) : column;
        terms[k] = (is_own ? gain_of_own : gain) * weight;
      }
      return terms;
    }

    RowsOfBoth rows_, pasted_;  // of the next row to read, and of the middle of the window
    bool has_own_, has_before_, has_behind_;
    int32_t width_, octets_;
    int64_t down_;
    const Score* here_;
    const float *gain_, *total_, *offset_;
    const uint32_t* valid_;
    bool has_[kAsides];
    int32_t away_[kAsides], from_[kAsides];  // in pixels and in entries
    Sums window_, two_, one_;                // of the whole window, of its last two rows, of its last one
    Row coming_;
  };
};

}  // namespace contextual_attention::cuda
