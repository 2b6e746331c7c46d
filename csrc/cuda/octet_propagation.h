// The sums of final weights into cells that PastedWeights<3> makes, for weights in float16 of a softmax that
// leaves out what is invalid: two columns at a time in float16.
//
// A row of weights over its sum, gain W, adds up to 1: 2^12 times that are between 0 and 4096, and few that
// count are too small for a float16, however long the row is. Nine of them are at most 36,864, the half of
// what overflows; `total` of such a softmax is 1 / 9 to 1, and then a cell is at most 4 * 4096. At the end it
// is divided by 2^12.
#pragma once

#include "half_pairs.h"
#include "octets.h"
#include "row_factors.h"

namespace contextual_attention::cuda {

template <class T>
struct PropagatedCells;
template <class T>
constexpr int32_t kPixelsAcross<PropagatedCells<T>> = 4;

template <class T>
struct PropagatedCells {
  static constexpr Shape shape = Shape::octets;
  Lines<const Float16> weights;
  Lines<T> out;
  RowFactors factors;
  const uint32_t* valid;  // (samples, hb, line of `out` / kOctet), of BackgroundColumns
  Region region;          // of cells
  int32_t samples;
  WalkSteps steps;

  CA_BOTH void walk(int32_t n, const Path& path, int32_t x, int32_t u) const {
    Walk walk(*this, n, path, x, u);
    walk.run();
  }

 private:
  // Pixels side by side that a lane takes.
  static constexpr int32_t kAcross = kPixelsAcross<PropagatedCells>;

  // Pixels whose weights a row of cells reads, the first of them two before the lane's own; of each an octet
  // and the two columns before it or behind it.
  static constexpr int32_t kRead = kAcross + 3;

  // The octet of a pixel that is read.
  struct Octets {
    Pairs own;
    HalfPair before, behind;  // those that are needed

    // The columns `aside` of those of pair k, and of the pair at -1 before the first one.
    CA_BOTH HalfPair at(int32_t aside, int32_t k) const {
      if (aside == -2) return pair(k - 1);
      if (aside == -1) return inner(pair(k - 1), pair(k));
      return aside == 0 ? pair(k) : inner(pair(k), pair(k + 1));
    }

   private:
    CA_BOTH HalfPair pair(int32_t k) const {
      return k < 0 ? before : k < kPairs ? own[k < 0 || k >= kPairs ? 0 : k] : behind;
    }
  };
  struct Row {
    Octets of[kRead];
    HalfPair factors[kRead];
    uint32_t valid;  // of the background's row above
  };

  // Sums for the pixel before the lane's first at the columns before its own, and for its own pixels; of
  // these all but the last are needed at one more column, before the first, which is the first half of
  // `before`.
  struct Sums {
    Pairs left, own[kAcross];
    HalfPair before[kAcross];

    CA_BOTH Sums operator+(const Sums& other) const {
      Sums sums;
      sums.left = left + other.left;
      CA_UNROLL
      for (int32_t i = 0; i < kAcross; ++i) {
        sums.own[i] = own[i] + other.own[i];
        if (i + 1 < kAcross) sums.before[i] = before[i] + other.before[i];
      }
      return sums;
    }
  };
  struct Cells {
    Pairs of[kAcross];
  };

  class Walk {
   public:
    CA_BOTH Walk(const PropagatedCells& body, int32_t n, const Path& path, int32_t x, int32_t u)
        : body_(body), length_(path.length), across_(body.region.x.first + body.region.x.count - x) {
      const Lines<const Float16>& weights = body.weights;
      const int32_t y = body.region.y.first + path.y, v = path.v;
      const int32_t above = y - weights.y.first, below = weights.y.count - above;
      const int32_t height = body.region.v.size - 1, below_v = height - v;
      first_ = above < v ? -above : -v;
      if (first_ < -2) first_ = -2;
      last_ = (below < below_v ? below : below_v) - 1;
      if (last_ > length_) last_ = length_;

      // Behind the last column only the first one is asked for, and whatever stands there does not count.
      mask_of_own_ = u < weights.line ? ~0u : 0;
      has_before_ = u > 0;
      has_behind_ = u + kOctet < weights.line;
      CA_UNROLL
      for (int32_t j = 0; j < kRead; ++j) {
        const int32_t there = x + j - 2, end = weights.x.first + weights.x.count;
        const int32_t nearest = there < weights.x.first ? weights.x.first : there < end ? there : end - 1;
        at_[j] = octets_from(weights, n, y + first_, nearest, v + first_, u);
      }
      // Where no cells may be.
      cells_at_ = octets_from(body.out, n, y + first_, x, v + first_, u);
      factors_at_ = body.factors.index(n, y + first_, x - 2);
      valid_at_ = uint32_t((n * height + v + first_) * int32_t(body.steps.valid) + u / kOctet);
    }

    CA_BOTH void run() {
      if (last_ < first_) {
        cells_at_ -= first_ * body_.steps.cells;
        for (int32_t i = 0; i < length_; ++i) put(before_, true);
        return;
      }
      coming_ = read(false, false);
      one_ = sums_of(coming_);
      coming_ = read(first_ < last_, true);
      two_ = one_;
      // In steps of two, the second of which finds its sums where the first one leaves them.
      int32_t i = first_ + 1;
      CA_NO_UNROLL
      for (; i < last_; i += 2) {
        step(i, true);
        step(i + 1, i + 1 < last_);
      }
      if (i == last_) step(i, false);
      if (last_ == length_) return;
      const Cells here = pasted(two_, coming_);
      put(sum_of(before_, here), last_ >= 0);
      put(here, last_ + 1 < length_);
    }

   private:
    // In octets from the first of the first sample on, modulo 2^32 where there are none: of so many scores
    // that 32 bits would not do no plan has room (octet_plan.h).
    template <class Entry>
    CA_BOTH static uint32_t octets_from(const Lines<Entry>& lines, int32_t n, int32_t y, int32_t x, int32_t v,
                                        int32_t u) {
      return uint32_t((lines.at(n, y, x, v, u) - lines.data) / kOctet);
    }

    // The next row, which the weights do not have behind their last one: then others stand there.
    CA_BOTH Row read(bool goes_on, bool has_row_above) {
      const auto* const weights = reinterpret_cast<const Vector*>(body_.weights.data);
      Row row;
      CA_UNROLL
      for (int32_t j = 0; j < kRead; ++j) {
        if (goes_on) at_[j] += body_.steps.weights;
        const Vector* at = entry(weights, at_[j]);
        const Vector octet = load(at);
        CA_UNROLL
        for (int32_t k = 0; k < kPairs; ++k) row.of[j].own[k] = {octet.words[k]};
        row.of[j].before = row.of[j].behind = {0};
        if (j <= kAcross && has_before_) row.of[j].before = {load(&at[-1].words[3])};
        if (j > 2 && has_behind_) row.of[j].behind = {load(&at[1].words[0])};
        row.factors[j] = {load(entry(body_.factors.factors, factors_at_) + j)};
      }
      factors_at_ += uint32_t(body_.factors.width);
      row.valid = 0;
      if (has_row_above) {
        row.valid = load(entry(body_.valid, valid_at_));
        valid_at_ += body_.steps.valid;
      }
      return row;
    }

    // From the sums up to row i - 1 to those up to row i, and the cells of row i - 1.
    CA_BOTH void step(int32_t i, bool goes_on) {
      const Sums newest = sums_of(coming_);
      const Cells here = pasted(two_ + newest, coming_);
      put(sum_of(before_, here), i > 0);
      before_ = here;
      coming_ = read(goes_on, true);
      two_ = one_ + newest;
      one_ = newest;
    }

    // gain W over the columns of the window.
    CA_BOTH Sums sums_of(Row& row) const {
      uint32_t signs = 0;
      CA_UNROLL
      for (int32_t j = 0; j < kRead; ++j) signs |= row.factors[j].word;
      if (int32_t(signs) < 0) multiply_by_seconds(row);
      HalfPair gains[kRead];
      CA_UNROLL
      for (int32_t j = 0; j < kRead; ++j) gains[j] = twice_second(row.factors[j]);
      CA_UNROLL
      for (int32_t j = 2; j < kRead - 1; ++j) row.of[j].own[0].word &= mask_of_own_;
      const auto window = [&](int32_t middle, int32_t aside, int32_t k) {
        HalfPair sum = gains[middle - 1] * row.of[middle - 1].at(aside - 1, k);
        sum = multiply_add(gains[middle], row.of[middle].at(aside, k), sum);
        return multiply_add(gains[middle + 1], row.of[middle + 1].at(aside + 1, k), sum);
      };
      Sums sums;
      CA_UNROLL
      for (int32_t k = 0; k < kPairs; ++k) {
        // The first two terms of both.
        HalfPair sum = gains[1] * row.of[1].at(-1, k);
        sum = multiply_add(gains[2], row.of[2].at(0, k), sum);
        sums.left[k] = multiply_add(gains[0], row.of[0].at(-2, k), sum);
        sums.own[0][k] = multiply_add(gains[3], row.of[3].at(1, k), sum);
        CA_UNROLL
        for (int32_t i = 1; i < kAcross; ++i) sums.own[i][k] = window(i + 2, 0, k);
      }
      CA_UNROLL
      for (int32_t i = 0; i + 1 < kAcross; ++i) sums.before[i] = window(i + 2, -1, 0);
      return sums;
    }

    CA_BOTH void multiply_by_seconds(Row& row) const {
      // Of the row that is worked on, not of the next one.
      const uint32_t* seconds = entry(body_.factors.seconds, factors_at_ - uint32_t(body_.factors.width));
      CA_UNROLL
      for (int32_t j = 0; j < kRead; ++j) {
        const HalfPair second{load(seconds + j)};
        Octets& octets = row.of[j];
        CA_UNROLL
        for (int32_t k = 0; k < kPairs; ++k) octets.own[k] = octets.own[k] * second;
        octets.before = octets.before * second;
        octets.behind = octets.behind * second;
      }
    }

    // Of the sums in the middle of a window, which is the row above: total valid times them, and the two that
    // paste into a cell together.
    CA_BOTH static Cells pasted(const Sums& sums, const Row& row) {
      Cells cells;
      Pairs left;
      CA_UNROLL
      for (int32_t k = 0; k < kPairs; ++k) left[k] = kept(row.valid, 2 * k, sums.left[k]);
      const HalfPair total_of_left = twice_first(row.factors[1]);
      CA_UNROLL
      for (int32_t i = 0; i < kAcross; ++i) {
        const HalfPair total = twice_first(row.factors[i + 2]);
        Pairs own;
        CA_UNROLL
        for (int32_t k = 0; k < kPairs; ++k) own[k] = kept(row.valid, 2 * k + 1, sums.own[i][k]) * total;
        CA_UNROLL
        for (int32_t k = 0; k < kPairs; ++k)
          cells.of[i][k] = i == 0 ? multiply_add(left[k], total_of_left, own[k]) : left[k] + own[k];
        if (i + 1 == kAcross) continue;
        left[0] = firsts(kept(row.valid, 0, sums.before[i]) * total, own[0]);
        CA_UNROLL
        for (int32_t k = 1; k < kPairs; ++k) left[k] = inner(own[k - 1], own[k]);
      }
      return cells;
    }

    CA_BOTH static Cells sum_of(const Cells& a, const Cells& b) {
      Cells sums;
      CA_UNROLL
      for (int32_t i = 0; i < kAcross; ++i) sums.of[i] = a.of[i] + b.of[i];
      return sums;
    }

    // And on to the next row.
    CA_BOTH void put(const Cells& cells, bool exists) {
      auto* const out = reinterpret_cast<Vector*>(body_.out.data);
      const int32_t across = exists ? across_ : 0;
      CA_UNROLL
      for (int32_t i = 0; i < kAcross; ++i) {
        Vector vector;
        CA_UNROLL
        for (int32_t k = 0; k < kPairs; ++k)
          vector.words[k] = scaled(cells.of[i][k], 1 / kShareOfRow, static_cast<const T*>(nullptr));
        if (i < across) *entry(out, cells_at_ + i * body_.steps.across) = vector;
      }
      cells_at_ += body_.steps.cells;
    }

    const PropagatedCells& body_;
    int32_t length_, across_;  // rows of cells, and pixels that there are
    int32_t first_, last_;     // of the rows of weights that count, from that of the first cells on
    bool has_before_, has_behind_;
    uint32_t mask_of_own_;
    // Where the walk is in them, and steps.
    uint32_t at_[kRead], cells_at_, factors_at_, valid_at_;
    Row coming_;
    Sums one_, two_;  // of the last row and of the last two
    Cells before_{};
  };
};

}  // namespace contextual_attention::cuda
