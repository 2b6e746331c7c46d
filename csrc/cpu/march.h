// The march down the rows of a tile: from features to softmax weights, shared by forward and backward.
//
// Every stage has a ring of rows and a counter of rows made; need_...(y) makes what is missing up to row
// y, asking the stage before it for its rows. Rows are virtual where the propagation wraps: row -1 is the
// last row, one column to the left (top-down runs on the column-major index).
#pragma once

#include <algorithm>
#include <functional>
#include <limits>
#include <vector>

#include "../common/problem.h"
#include "filters.h"
#include "layout.h"
#include "plan.h"
#include "sample.h"

namespace contextual_attention::cpu {

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
  Block(const Problem& problem, const Sample& sample, const Layout& layout);

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

// What invalid candidates that are not excluded, whose logit is 0, add to the sum of a row's exponentials.
double invalid_mass(const Problem& problem, const Sample& sample, float offset);

// 1 / (sum of a row's exponentials, with the invalid candidates where they count), 0 for an empty row.
float inverse_of_sum(const Problem& problem, const Sample& sample, float offset, double sum);

// Diagonal sums of a bundle of neighbouring columns, taken run by run: what one column reads, the next ones
// find in the nearest cache.
class Bundle {
 public:
  struct Column {
    int64_t x;
    float* target;
    float scale;
    int64_t first_tap;
    int count;
    double sum = 0;  // for the caller
  };

  void clear() {
    columns_.clear();
    taps_.clear();
  }
  // The column's taps are those that `add_taps(taps)` appends.
  template <class AddTaps>
  void add(int64_t x, float* target, float scale, const AddTaps& add_taps) {
    const int64_t first = static_cast<int64_t>(taps_.size());
    add_taps(taps_);
    columns_.push_back({x, target, scale, first, static_cast<int>(taps_.size() - first)});
  }
  // visit(column, taps, span, start of the run in the span, its length).
  template <class AnySpan, class Visit>
  void run(const std::vector<AnySpan>& spans, const Visit& visit) {
    constexpr int64_t kRun = 512;  // with nine taps it stays in 32 KiB
    for (const AnySpan& span : spans)
      for (int64_t start = 0; start < span.length; start += kRun)
        for (Column& column : columns_)
          visit(column, taps_.data() + column.first_tap, span, start, std::min(kRun, span.length - start));
  }
  std::vector<Column>& columns() { return columns_; }

 private:
  std::vector<Column> columns_;
  std::vector<Tap> taps_;
};

class March {
 public:
  // The row statistics: of this pass alone, parts of them, or known before it.
  enum class Sums { own, partial, known };

 protected:
  March(const Problem& problem, const Sample& sample, const Statistics& statistics, const Block& block,
        const Plan& plan, const Tile& tile, int64_t lanes, float* scratch, bool backward);

  // Virtual rows that exist, within `radius` of the tile.
  int64_t first_row(int64_t radius) const;
  int64_t last_row(int64_t radius) const;
  int64_t actual_row(int64_t y) const { return problem_.wrap() ? floor_mod(y, problem_.h) : y; }
  int64_t pixel(int64_t y, int64_t x) const { return actual_row(y) * problem_.w + x; }

  const Ring& ring(Stage stage) const { return rings_[static_cast<int>(stage)]; }
  int64_t radius(Stage stage) const { return radii_[static_cast<int>(stage)]; }
  // The last row of the stage before that this row of a stage reads.
  int64_t last_read(Stage stage, int64_t row) const {
    return row + reach_into(stage, problem_, problem_.w).after;
  }
  // Calls make(y) for every row of the stage not made so far, up to y.
  template <class Make>
  void advance(Stage stage, int64_t y, Make make) {
    int64_t& next = next_[static_cast<int>(stage)];
    const int64_t last = last_row(radius(stage));
    for (; next <= y && next < last; ++next) make(next);
  }
  // f(lane, x0, x1) for the columns of the stage, shared out among the lanes; f(lane, x) for every column;
  // f(bundle, x0, x1) with an empty bundle of the lane's own.
  void for_lanes(const Ring& ring, const std::function<void(int64_t, int64_t, int64_t)>& f) const;
  template <class F>
  void for_columns(const Ring& ring, const F& f) const {
    for_lanes(ring, [&](int64_t lane, int64_t x0, int64_t x1) {
      for (int64_t x = x0; x < x1; ++x) f(lane, x);
    });
  }
  template <class F>
  void for_bundles(const Ring& ring, const F& f) {
    for_lanes(ring, [&](int64_t lane, int64_t x0, int64_t x1) {
      bundles_[lane].clear();
      f(bundles_[lane], x0, x1);
    });
  }

  void need_gram(int64_t y);
  void need_weights(int64_t y);
  float alpha(int64_t pixel) const { return sample_.alpha ? sample_.alpha[pixel] : 1.0f; }
  bool has_weights(int64_t pixel) const { return statistics_.inverse_sum[pixel] != 0; }

  // An empty list of the lane's own.
  std::vector<Tap>& taps(int64_t lane) const {
    taps_[lane].clear();
    return taps_[lane];
  }
  // Append the taps of the patch sum D_ksize around (y, x), and of the zero-bounded propagation D_fuse;
  // `weight` of a pixel, 0 to leave it out.
  void patch_taps(const Ring& source, int64_t y, int64_t x, std::vector<Tap>& taps) const;
  template <class Weight>
  void fuse_taps(const Ring& source, int64_t y, int64_t x, std::vector<Tap>& taps, Weight weight) const;
  void cell_taps(const Ring& source, int64_t y, int64_t x, const float* scale, std::vector<Tap>& taps) const;
  void sum_spans(float* target, const std::vector<Tap>& taps, const std::vector<Span>& spans, float scale,
                 const float* gain) const;
  void sum_bundle(Bundle& bundle, const std::vector<Span>& spans, const float* gain) const;
  // The propagation after the softmax, of normalised weights.
  void add_propagation(Bundle& bundle, int64_t y, int64_t x) const;
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
  const Sample& sample_;
  const Statistics& statistics_;
  const Block& block_;
  const Layout& layout_;
  const Plan& plan_;
  const Tile tile_;
  const int64_t lanes_;
  const Filters& filters_;
  float* scratch_end_;
  Sums sums_ = Sums::own;
  PartialSums* partial_ = nullptr;

 private:
  void gram_rows(int64_t y, int64_t count);
  void similarity_row(int64_t y);
  void weights_row(int64_t y);
  void sum_cells(float* target, const Tap* taps, int count, int64_t at, int64_t n) const {
    filters_.diagonal_sum(target, taps, count, at, n, 1.0f, nullptr);
  }
  void sum_cells(uint16_t* target, const Tap* taps, int count, int64_t at, int64_t n) const {
    filters_.diagonal_sum_bfloat16(target, taps, count, at, n);
  }
  // Whether a row has weights to be made; one that has none gets its statistics here.
  bool needs_weights(int64_t p, bool any_span);
  void add_logits(Bundle& bundle, float* row, int64_t y, int64_t x) const;
  // Weights of logits with a known bound, in one look; of any logits.
  void weigh(Bundle& bundle, int64_t y, const std::vector<Span>& spans);
  void normalise(float* row, int64_t p);
  void accumulate(float* row, int64_t p);
  void add_shifted(const float* row, int64_t p, const Span& span) const;

  Ring rings_[kStages];
  int64_t radii_[kStages];
  int64_t next_[kStages];  // first row not made yet
  mutable std::vector<std::vector<Tap>> taps_;
  std::vector<Bundle> bundles_;
  // No logit lies above it (infinity: nothing is known).
  float logit_bound_;
};

template <class Weight>
void March::fuse_taps(const Ring& source, int64_t y, int64_t x, std::vector<Tap>& taps, Weight weight) const {
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
  for_bundles(shape, [&](Bundle& bundle, int64_t x0, int64_t x1) {
    for (int64_t x = x0; x < x1; ++x)
      bundle.add(x, nullptr, 1.0f, [&](std::vector<Tap>& taps) { cell_taps(source, y, x, scale, taps); });
    bundle.run(layout_.cells, [&](const Bundle::Column& column, const Tap* taps, const CellSpan& span,
                                  int64_t start, int64_t n) {
      Cell* target = cells + (column.x - shape.first()) * shape.size();
      sum_cells(target + span.cell_at + start, taps, column.count, span.at + start, n);
    });
  });
}

}  // namespace contextual_attention::cpu
