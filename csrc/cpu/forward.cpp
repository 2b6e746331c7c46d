#include <algorithm>
#include <limits>

#include "attend.h"
#include "gemm.h"
#include "march.h"

namespace contextual_attention::cpu {
namespace {

// Largest final weight of every pixel so far, over the blocks of the background.
struct Offsets {
  int64_t* displacement;      // (2, h, w)
  std::vector<float> weight;  // (h, w)
};

class Forward : public March {
 public:
  Forward(const Problem& problem, const Sample& sample, const Statistics& statistics, const Block& block,
          const Plan& plan, const Tile& tile, int64_t lanes, float* scratch)
      : March(problem, sample, statistics, block, plan, tile, lanes, scratch, false) {}

  // First of two passes over the blocks: the row statistics.
  void accumulate(PartialSums& sums) {
    sums_ = Sums::partial;
    partial_ = &sums;
    // Wrapped rows repeat after h: each is counted once.
    const int64_t first = first_row(radius(Stage::weights));
    need_weights(std::min(last_row(radius(Stage::weights)), first + problem_.h) - 1);
  }

  // `statistics_known`: of the rows; else this block is the whole background.
  void run(bool statistics_known, float* cells, Offsets* offsets) {
    sums_ = statistics_known ? Sums::known : Sums::own;
    int64_t first = tile_.y0;
    for (int64_t y = tile_.y0; y <= tile_.y1; ++y) {
      if (y < tile_.y1) final_weights(y, offsets);
      if (y - first == plan_.chunk) {
        deconvolve(first, y - first, cells);
        first = y;
      }
      const Ring& chunk = ring(Stage::cells);
      const int64_t at = (y - first) * chunk.columns() * chunk.size();
      if (sample_.value16)
        cell_row(final_ring(), reinterpret_cast<uint16_t*>(chunk.memory()) + at, y, final_scale());
      else
        cell_row(final_ring(), chunk.memory() + at, y, final_scale());
    }
    deconvolve(first, tile_.y1 + 1 - first, cells);
  }

 private:
  void final_weights(int64_t y, Offsets* offsets) {
    if (problem_.after())
      propagate(y);
    else
      need_weights(y);
    if (!offsets) return;
    const Ring& weights = final_ring();
    const float* scales = final_scale();
    for_columns(ring(Stage::cells), [&](int64_t, int64_t x) {
      if (x == tile_.x1 || scales[pixel(y, x)] == 0) return;
      find_offset(weights.at(y, x), y, x, scales[pixel(y, x)], *offsets);
    });
  }

  // A2 before its rescaling: the propagated weights that land on valid positions, and their sum.
  void propagate(int64_t y) {
    need_weights(last_read(Stage::final, y));
    const Ring& final = ring(Stage::final);
    const std::vector<float>& valid = block_.valid;
    for_bundles(final, [&](Bundle& bundle, int64_t x0, int64_t x1) {
      for (int64_t x = x0; x < x1; ++x)
        if (!sample_.selected || sample_.selected[pixel(y, x)]) add_propagation(bundle, y, x);
      bundle.run(layout_.final,
                 [&](Bundle::Column& column, const Tap* taps, const Span& span, int64_t start, int64_t n) {
                   float* row = column.target + span.at + start;
                   filters_.diagonal_sum(row, taps, column.count, span.at + start, n, 1.0f, valid.data());
                   if (sums_ == Sums::own) column.sum += filters_.sum(row, n);
                 });
      if (sums_ != Sums::own) return;
      for (const Bundle::Column& column : bundle.columns())
        statistics_.inverse_total[pixel(y, column.x)] =
            column.sum < kLeastTotal ? 0.0f : static_cast<float>(1.0 / column.sum);
    });
  }

  void find_offset(const float* row, int64_t y, int64_t x, float scale, Offsets& offsets) const {
    const int64_t p = pixel(y, x);
    for (const Span& span : layout_.owned) {
      int64_t index = 0;
      const float weight = filters_.argmax(row + span.at, span.length, &index) * scale;
      // Blocks and spans come in ascending order: the smallest index keeps a tie.
      if (weight <= offsets.weight[p]) continue;
      offsets.weight[p] = weight;
      offsets.displacement[p] = layout_.row_of(span.at + index) - y;
      offsets.displacement[problem_.h * problem_.w + p] = layout_.column_of(span.at + index) - x;
    }
  }

  // O += E V for `rows` cell rows from y on.
  void deconvolve(int64_t y, int64_t rows, float* cells) {
    const Ring& chunk = ring(Stage::cells);
    const int64_t k = problem_.value_channels, pitch = problem_.wb + 1, columns = chunk.columns();
    const int64_t pixels = rows * columns;
    for (const CellRun& run : layout_.cell_runs) {
      const int64_t length = run.count * pitch, first = run.first * pitch * k;
      if (sample_.value16) {
        product16_.resize(pixels * k);
        multiply_bfloat16(product16_.data(), reinterpret_cast<uint16_t*>(chunk.memory()) + run.at,
                          chunk.size(), sample_.value16 + first, pixels, length, k);
        add_rows(y, rows, product16_.data(), cells, filters_.add_bfloat16);
        continue;
      }
      const Matrix weights = row_major(chunk.memory() + run.at, pixels, length, chunk.size());
      const Matrix value = row_major(sample_.value + first, length, k, k);
      if (columns == problem_.w + 1) {
        multiply(row_major(cells + y * columns * k, pixels, k, k), weights, value, true);
      } else {
        product_.resize(pixels * k);
        multiply(row_major(product_.data(), pixels, k, k), weights, value, false);
        add_rows(y, rows, product_.data(), cells, filters_.add);
      }
    }
  }

  // Adds the cells of the tile's columns to their place in the map.
  template <class T>
  void add_rows(int64_t y, int64_t rows, const T* product, float* cells,
                void (*add)(float*, const T*, int64_t)) const {
    const int64_t k = problem_.value_channels, floats = ring(Stage::cells).columns() * k;
    for (int64_t row = 0; row < rows; ++row)
      add(cells + ((y + row) * (problem_.w + 1) + tile_.x0) * k, product + row * floats, floats);
  }

  std::vector<float> product_;
  std::vector<uint16_t> product16_;
};

// The statistics of a tile and the pixels around it, from the sums over all blocks.
void finish_statistics(const Problem& problem, const Sample& sample, const Tile& area, const Tile& tile,
                       const PartialSums& sums, const Statistics& statistics) {
  for (int64_t y = area.y0; y < area.y1; ++y)
    for (int64_t x = area.x0; x < area.x1; ++x) {
      const int64_t p = y * problem.w + x;
      const bool empty = sums.weights[p] == 0;
      if (empty) statistics.offset[p] = 0;
      statistics.inverse_sum[p] =
          empty ? 0.0f : inverse_of_sum(problem, sample, statistics.offset[p], sums.weights[p]);
    }
  if (!problem.after()) return;
  const int64_t reach = problem.fuse_radius(), step = problem.stride, k = problem.fuse_k;
  for (int64_t y = tile.y0; y < tile.y1; ++y)
    for (int64_t x = tile.x0; x < tile.x1; ++x) {
      const int64_t p = y * problem.w + x;
      if (sample.selected && !sample.selected[p]) continue;
      double total = 0;
      for (int64_t t = 0; t < k * k; ++t) {
        const int64_t row = y - reach + t / k * step, column = x - reach + t % k * step;
        if (row < 0 || row >= problem.h || column < 0 || column >= problem.w) continue;
        const int64_t n = row * problem.w + column;
        total += sums.shifted[n * k * k + t] * statistics.inverse_sum[n];
      }
      statistics.inverse_total[p] = total < kLeastTotal ? 0.0f : static_cast<float>(1.0 / total);
    }
}

void clear(const Problem& problem, const Tile& area, PartialSums& sums, const Statistics& statistics) {
  const int64_t taps = problem.fuse_k * problem.fuse_k;
  for (int64_t y = area.y0; y < area.y1; ++y)
    for (int64_t x = area.x0; x < area.x1; ++x) {
      const int64_t p = y * problem.w + x;
      statistics.offset[p] = -std::numeric_limits<float>::infinity();
      sums.weights[p] = 0;
      if (problem.after()) std::fill_n(sums.shifted.begin() + p * taps, taps, 0.0);
    }
}

}  // namespace

void attend(const Problem& problem, const Sample& sample, const Schedule& schedule, int64_t lanes,
            float* scratch, float* cells, int64_t* displacement, const Statistics& statistics) {
  const Plan& plan = schedule.plan;
  Offsets offsets{displacement, std::vector<float>(displacement ? problem.h * problem.w : 0)};
  Offsets* wanted = displacement ? &offsets : nullptr;
  if (plan.whole_background()) {
    const Block block(problem, sample, plan.layouts[0]);
    for (const Tile& tile : schedule.tiles)
      Forward(problem, sample, statistics, block, plan, tile, lanes, scratch).run(false, cells, wanted);
    return;
  }
  PartialSums sums(problem);
  const int64_t reach = reach_into(Stage::final, problem, problem.w).before;
  for (const Tile& tile : schedule.tiles) {
    const Tile area = tile.around(problem, reach);
    clear(problem, area, sums, statistics);
    for (const Layout& layout : plan.layouts) {
      const Block block(problem, sample, layout);
      Forward(problem, sample, statistics, block, plan, tile, lanes, scratch).accumulate(sums);
    }
    finish_statistics(problem, sample, area, tile, sums, statistics);
    for (const Layout& layout : plan.layouts) {
      const Block block(problem, sample, layout);
      Forward(problem, sample, statistics, block, plan, tile, lanes, scratch).run(true, cells, wanted);
    }
  }
}

}  // namespace contextual_attention::cpu
