// The march down the rows of a tile: from features to softmax weights, shared by forward and backward.
//
// Every stage has a ring of rows and a counter of rows made; need_...(y) makes what is missing up to row
// y, asking the stage before it for its rows. Rows are virtual where the propagation wraps: row -1 is the
// last row, one column to the left (top-down runs on the column-major index).
#pragma once

#include <functional>
#include <limits>
#include <vector>

#include "../problem.h"
#include "filters.h"
#include "layout.h"
#include "plan.h"

namespace contextual_attention {

// Rows of pixels' scores, row y in slot y mod rows.
class Ring {
 public:
  Ring() = default;
  Ring(float* memory, int64_t rows, int64_t first, int64_t columns, int64_t size)
      : memory_(memory), rows_(rows), first_(first), columns_(columns), size_(size) {}

  float* at(int64_t y, int64_t x) const {
    return memory_ + (floor_mod(y, rows_) * columns_ + x - first_) * size_;
  }
  // Rows from y on that lie one after the other.
  int64_t contiguous(int64_t y) const { return rows_ - floor_mod(y, rows_); }
  int64_t first() const { return first_; }
  int64_t columns() const { return columns_; }
  int64_t size() const { return size_; }
  int64_t floats() const { return rows_ * columns_ * size_; }
  float* memory() const { return memory_; }

 private:
  float* memory_ = nullptr;
  int64_t rows_ = 0, first_ = 0, columns_ = 0, size_ = 0;
};

// The background as one block of the march sees it: gathered into the layout, zeros elsewhere.
struct Block {
  Block(const Problem& problem, const Operands& operands, const Layout& layout);

  const Layout& layout;
  std::vector<float> background;  // (size, C)
  std::vector<float> beta;        // (size)
  std::vector<float> valid;       // (size): 1 or 0
};

// Sums that need the whole background when a tile sees it in several blocks.
struct PartialSums {
  explicit PartialSums(const Problem& problem);
  std::vector<double> weights;  // (h, w): sum of exp(logit - offset)
  std::vector<double> shifted;  // (h, w, taps): the same under valid[q - delta], for the row rescaling
};

// 1 / (sum of a row's exponentials, with the invalid candidates where they count), 0 for an empty row.
float inverse_of_sum(const Problem& problem, const Operands& operands, float offset, double sum);

class March {
 public:
  // What the row of weights does with the row statistics.
  enum class Sums { compute, accumulate, apply };

 protected:
  March(const Problem& problem, const Operands& operands, const Statistics& statistics, const Block& block,
        const Plan& plan, const Tile& tile, int64_t lanes, float* scratch, bool backward);

  // Virtual rows that exist, within `radius` of the tile.
  int64_t first_row(int64_t radius) const;
  int64_t last_row(int64_t radius) const;
  int64_t actual_row(int64_t y) const { return problem_.wrap() ? floor_mod(y, problem_.h) : y; }
  int64_t pixel(int64_t y, int64_t x) const { return actual_row(y) * problem_.w + x; }

  const Ring& ring(Stage stage) const { return rings_[static_cast<int>(stage)]; }
  int64_t radius(Stage stage) const { return radii_[static_cast<int>(stage)]; }
  // Calls make(y) for every row of the stage not made so far, up to y.
  template <class Make>
  void advance(Stage stage, int64_t y, Make make) {
    int64_t& next = next_[static_cast<int>(stage)];
    const int64_t last = last_row(radius(stage));
    for (; next <= y && next < last; ++next) make(next);
  }
  // f(lane, x) for every column of the stage, columns shared out among the lanes.
  void for_columns(const Ring& ring, const std::function<void(int64_t, int64_t)>& f) const;

  void need_gram(int64_t y);
  void need_weights(int64_t y);
  float alpha(int64_t pixel) const { return operands_.alpha ? operands_.alpha[pixel] : 1.0f; }
  bool has_weights(int64_t pixel) const { return statistics_.inverse_sum[pixel] != 0; }

  std::vector<Tap>& taps(int64_t lane) const { return taps_[lane]; }
  // The patch sum D_ksize around (y, x), and the zero-bounded propagation D_fuse; `weight` of a pixel, 0
  // to leave it out.
  void patch_taps(const Ring& source, int64_t y, int64_t x, std::vector<Tap>& taps) const;
  template <class Weight>
  void fuse_taps(const Ring& source, int64_t y, int64_t x, std::vector<Tap>& taps, Weight weight) const;
  void sum_spans(float* target, const std::vector<Tap>& taps, const std::vector<Span>& spans, float scale,
                 const float* gain) const;
  // The wrapped passes; each is its own adjoint.
  void left_right(float* target, const Ring& source, int64_t y, int64_t x, const std::vector<Span>& spans,
                  std::vector<Tap>& taps) const;
  void top_down(float* target, const Ring& source, int64_t y, int64_t x, const std::vector<Span>& spans,
                float scale, std::vector<Tap>& taps) const;

  // Cell row y of E from the weights of the rows y - 1 and y of the tile, `scale`d by pixel.
  // Cells are float, or uint16_t for bfloat16.
  template <class Cell>
  void cell_row(const Ring& source, Cell* cells, int64_t y, const float* scale);

  // The weights that paste, and what makes a row of them sum to 1.
  const Ring& final_ring() const { return ring(problem_.after() ? Stage::final : Stage::weights); }
  const float* final_scale() const {
    return problem_.after() ? statistics_.inverse_total : statistics_.inverse_sum;
  }

  const Problem& problem_;
  const Operands& operands_;
  const Statistics& statistics_;
  const Block& block_;
  const Layout& layout_;
  const Plan& plan_;
  const Tile tile_;
  const int64_t lanes_;
  const Filters& filters_;
  float* scratch_end_;
  Sums sums_ = Sums::compute;
  PartialSums* partial_ = nullptr;

 private:
  void gram_rows(int64_t y, int64_t count);
  void similarity_row(int64_t y);
  void weights_row(int64_t y);
  void sum_cells(float* target, const std::vector<Tap>& taps, const CellSpan& span) const {
    filters_.diagonal_sum(target, taps.data(), static_cast<int>(taps.size()), span.at, span.length, 1.0f,
                          nullptr);
  }
  void sum_cells(uint16_t* target, const std::vector<Tap>& taps, const CellSpan& span) const {
    filters_.diagonal_sum_bfloat16(target, taps.data(), static_cast<int>(taps.size()), span.at, span.length);
  }
  void logits(float* row, int64_t y, int64_t x, const std::vector<Span>& spans, std::vector<Tap>& taps) const;
  void normalise(float* row, int64_t p);
  void accumulate(float* row, int64_t p);

  Ring rings_[static_cast<int>(Stage::count)];
  int64_t radii_[static_cast<int>(Stage::count)];
  int64_t next_[static_cast<int>(Stage::count)];  // first row not made yet
  mutable std::vector<std::vector<Tap>> taps_;
};

template <class Weight>
void March::fuse_taps(const Ring& source, int64_t y, int64_t x, std::vector<Tap>& taps, Weight weight) const {
  taps.clear();
  const int64_t reach = problem_.fuse_radius(), step = problem_.stride;
  for (int64_t i = -reach; i <= reach; i += step) {
    if (y + i < 0 || y + i >= problem_.h) continue;
    for (int64_t j = -reach; j <= reach; j += step) {
      if (x + j < 0 || x + j >= problem_.w) continue;
      const float scale = weight(pixel(y + i, x + j));
      if (scale != 0) taps.push_back({source.at(y + i, x + j) + i * layout_.pitch + j, scale});
    }
  }
}

template <class Cell>
void March::cell_row(const Ring& source, Cell* cells, int64_t y, const float* scale) {
  const Ring& shape = ring(Stage::cells);
  for_columns(shape, [&](int64_t lane, int64_t x) {
    std::vector<Tap>& terms = taps(lane);
    terms.clear();
    for (int64_t i = 0; i < 2; ++i) {
      for (int64_t j = 0; j < 2; ++j) {
        const int64_t row = y - i, column = x - j;
        if (row < tile_.y0 || row >= tile_.y1 || column < tile_.x0 || column >= tile_.x1) continue;
        const float weight = scale[pixel(row, column)];
        if (weight != 0) terms.push_back({source.at(row, column) - i * layout_.pitch - j, weight});
      }
    }
    Cell* target = cells + (x - shape.first()) * shape.size();
    for (const CellSpan& span : layout_.cells) sum_cells(target + span.cell_at, terms, span);
  });
}

}  // namespace contextual_attention
