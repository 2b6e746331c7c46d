// From the gradient of the cells to that of the logits, the first half of the backward march (backward.cpp
// has the equations).
#pragma once

#include <algorithm>
#include <cstring>
#include <vector>

#include "attend.h"
#include "gemm.h"
#include "march.h"

namespace contextual_attention::cpu {

// A mean by weights, from sum weight x and sum weight; where nothing has a weight it is never used.
inline double mean(double sum, double mass) { return mass > 0 ? sum / mass : 0; }

// c1 and c2 of every pixel: the means of dA1 by A1 and of dA by A2. The weights are made anew, from products
// that may round otherwise than the forward's did; under large logits a row of them sums to 1 only roughly
// then. So each mean is by the sum of the very weights in it: else dA - c would not cancel where it must.
//
// With several blocks a pass of its own collects the two sums of every mean (weight times gradient, and
// mass). For c1 of a propagation after the softmax the first is sum_delta (sum_q A1 valid[q+delta]
// dA[p+delta,q+delta] / Z2 - c2[p+delta] / Z2 * sum_q A1 valid[q+delta]).
struct Centres {
  explicit Centres(const Problem& problem)
      : softmax(problem.h * problem.w), total(problem.after() ? problem.h * problem.w : 0) {}
  std::vector<double> softmax, total;
  // With several blocks only.
  std::vector<double> softmax_mass, total_mass, shifted;  // shifted: (h, w, taps)
};

class LogitGradient : public March {
 public:
  // First of two passes over the blocks: c1 and c2.
  void collect_centres() {
    const int64_t first = first_row(radius(Stage::logit_gradient));
    // Wrapped rows repeat after h: each is counted once.
    const int64_t last = std::min(last_row(radius(Stage::logit_gradient)), first + problem_.h);
    collecting_ = true;
    for (int64_t y = first; y < last; ++y) {
      if (problem_.after())
        collect_propagated(y);
      else
        collect_plain(y);
    }
  }

 protected:
  LogitGradient(const Problem& problem, const Sample& sample, const Statistics& statistics,
                const Block& block, const Plan& plan, const Tile& tile, int64_t lanes, float* scratch,
                const Gradients& gradients, Centres& centres)
      : March(problem, sample, statistics, block, plan, tile, lanes, scratch, true),
        gradients_(gradients),
        centres_(centres),
        next_cell_gradient_(cell_key(first_row(radius(Stage::attention_gradient)))) {
    sums_ = Sums::known;
    std::memset(scratch_end_, 0, kLaneRows * lanes * layout_.size * sizeof(float));
  }
  ~LogitGradient() = default;

  // The weights that paste are made up to this row.
  virtual void on_final(int64_t y) = 0;

  // Rows of scores of a lane's own, behind the rings.
  float* lane_row(int64_t lane, int64_t i) const {
    return scratch_end_ + (kLaneRows * lane + i) * layout_.size;
  }

  // Weights up to row y; after: X up to row y.
  void need_final(int64_t y) {
    const Stage stage = problem_.after() ? Stage::final : Stage::logit_gradient;
    advance(stage, y, [&](int64_t row) {
      if (problem_.after())
        propagate(row);
      else
        need_weights(row);
      if (!collecting_) on_final(row);
    });
  }

  // What dL of row y reads.
  void need_logit_inputs(int64_t y) {
    if (problem_.after()) {
      need_propagated_gradient(last_read(Stage::logit_gradient, y));
    } else {
      need_final(y);
      need_cell_gradient(cell_key(y) + 1);
    }
  }

  // dL of one pixel.
  void logit_gradient(float* target, int64_t y, int64_t x, int64_t lane) {
    const int64_t p = pixel(y, x);
    if (!has_weights(p)) {
      for (const Span& span : layout_.logit_gradient) std::fill_n(target + span.at, span.length, 0.0f);
      return;
    }
    float* gradient = lane_row(lane, 0);
    if (problem_.after()) {
      std::vector<Tap>& terms = taps(lane);
      fuse_taps(ring(Stage::attention_gradient), y, x, terms,
                [&](int64_t n) { return has_total(n) ? 1.0f : 0.0f; });
      sum_spans(gradient, terms, layout_.logit_gradient, 1.0f, nullptr);
    } else {
      attention_gradient(gradient, y, x);
    }
    const float* weights = ring(Stage::weights).at(y, x);
    const float scale = statistics_.inverse_sum[p];
    double& centre = centres_.softmax[p];
    if (!centres_known_) {
      double mass = invalid_mass(problem_, sample_, statistics_.offset[p]);
      const double sum = weighted_sum(weights, gradient, layout_.logit_gradient, mass);
      centre = mean(sum, mass);
    }
    for (const Span& span : layout_.logit_gradient)
      filters_.centred(target + span.at, weights + span.at, gradient + span.at, span.length,
                       problem_.softmax_scale * scale, static_cast<float>(centre));
  }

  void need_logits(int64_t y) {
    for (; next_logits_ <= y && next_logits_ < last_row(radius(Stage::logit_gradient)); ++next_logits_)
      logit_row(next_logits_);
  }

  const Gradients& gradients_;
  Centres& centres_;
  bool centres_known_ = false;  // c1 and c2 are known

 private:
  void propagate(int64_t y) {
    need_weights(last_read(Stage::final, y));
    for_bundles(ring(Stage::final), [&](Bundle& bundle, int64_t x0, int64_t x1) {
      for (int64_t x = x0; x < x1; ++x)
        if (has_total(pixel(y, x))) add_propagation(bundle, y, x);
      sum_bundle(bundle, layout_.final, block_.valid.data());
    });
  }

  // Row y of dA reads the cell rows key(y) and key(y) + 1; a wrapped map has h + 1 cell rows a period.
  int64_t cell_key(int64_t y) const { return problem_.wrap() ? y + floor_div(y, problem_.h) : y; }

  // dE = dO V^T.
  void need_cell_gradient(int64_t key) {
    const Ring& cells = ring(Stage::cell_gradient);
    const int64_t k = problem_.value_channels, pitch = problem_.wb + 1;
    const int64_t last = cell_key(last_row(radius(Stage::attention_gradient)) - 1) + 2;
    std::vector<float> buffer;
    while (next_cell_gradient_ <= key) {
      const int64_t count = std::min(plan_.chunk, last - next_cell_gradient_);
      for (int64_t done = 0; done < count;) {
        const int64_t row = next_cell_gradient_ + done, actual = floor_mod(row, problem_.h + 1);
        const int64_t rows = std::min({count - done, cells.contiguous(row), problem_.h + 1 - actual});
        const float* output = gather_rows(gradients_.cells, problem_.w + 1, k, actual, rows, cells.first(),
                                          cells.columns(), buffer);
        for (const CellRun& run : layout_.gradient_runs)
          multiply(row_major(cells.at(row, cells.first()) + run.at, rows * cells.columns(), run.count * pitch,
                             cells.size()),
                   row_major(output, rows * cells.columns(), k, k),
                   row_major(sample_.value + run.first * pitch * k, run.count * pitch, k, k).transposed(),
                   false);
        done += rows;
      }
      next_cell_gradient_ += count;
    }
  }

  // dA of one pixel, from the 2 x 2 cells that its patch covers.
  void attention_gradient(float* target, int64_t y, int64_t x) const {
    const Ring& cells = ring(Stage::cell_gradient);
    const int64_t key = cell_key(y), pitch = problem_.wb + 1;
    const Tap terms[] = {{cells.at(key, x), 1.0f},
                         {cells.at(key, x + 1) + 1, 1.0f},
                         {cells.at(key + 1, x) + pitch, 1.0f},
                         {cells.at(key + 1, x + 1) + pitch + 1, 1.0f}};
    for (const CellSpan& span : layout_.gradient_cells)
      filters_.diagonal_sum(target + span.at, terms, 4, span.cell_at, span.length, 1.0f, nullptr);
  }

  // sum weight x; adds sum weight to `mass`.
  double weighted_sum(const float* weight, const float* x, const std::vector<Span>& spans,
                      double& mass) const {
    double total = 0;
    for (const Span& span : spans)
      total += filters_.weighted_sum(weight + span.at, x + span.at, span.length, &mass);
    return total;
  }

  // dX of the propagation after the softmax; while the centres are collected, without c2.
  void need_propagated_gradient(int64_t y) {
    advance(Stage::attention_gradient, y, [&](int64_t row) {
      need_final(row);
      need_cell_gradient(cell_key(row) + 1);
      const Ring& gradient = ring(Stage::attention_gradient);
      for_columns(gradient, [&](int64_t, int64_t x) {
        const int64_t p = pixel(row, x);
        const float scale = statistics_.inverse_total[p];
        if (scale == 0) return;
        float* target = gradient.at(row, x);
        attention_gradient(target, row, x);
        double& centre = centres_.total[p];
        const float* weights = ring(Stage::final).at(row, x);
        if (collecting_) {
          centre += weighted_sum(weights, target, layout_.owned, centres_.total_mass[p]);
        } else if (!centres_known_) {
          double mass = 0;
          const double sum = weighted_sum(weights, target, layout_.final, mass);
          centre = mean(sum, mass);
        }
        const float shift = collecting_ ? 0.0f : static_cast<float>(centre);
        for (const Span& span : layout_.final)
          filters_.centred(target + span.at, block_.valid.data() + span.at, target + span.at, span.length,
                           scale, shift);
      });
    });
  }

  bool has_total(int64_t p) const { return statistics_.inverse_total[p] != 0; }

  void logit_row(int64_t y) {
    need_logit_inputs(y);
    const Ring& logits = ring(Stage::logit_gradient);
    for_columns(logits, [&](int64_t lane, int64_t x) { logit_gradient(logits.at(y, x), y, x, lane); });
  }

  void collect_plain(int64_t y) {
    need_logit_inputs(y);
    for_columns(ring(Stage::logit_gradient), [&](int64_t lane, int64_t x) {
      const int64_t p = pixel(y, x);
      if (!has_weights(p)) return;
      attention_gradient(lane_row(lane, 0), y, x);
      centres_.softmax[p] += weighted_sum(ring(Stage::weights).at(y, x), lane_row(lane, 0), layout_.owned,
                                          centres_.softmax_mass[p]);
    });
  }

  void collect_propagated(int64_t y) {
    const int64_t reach = problem_.fuse_radius(), step = problem_.stride, k = problem_.fuse_k;
    need_propagated_gradient(y + reach);
    for_columns(ring(Stage::logit_gradient), [&](int64_t, int64_t x) {
      const int64_t p = pixel(y, x);
      if (!has_weights(p)) return;
      const float* weights = ring(Stage::weights).at(y, x);
      const float* valid = block_.valid.data();
      for (const Span& span : layout_.owned)
        centres_.softmax_mass[p] += filters_.sum(weights + span.at, span.length);
      for (int64_t t = 0; t < k * k; ++t) {
        const int64_t i = t / k * step - reach, j = t % k * step - reach;
        if (y + i < 0 || y + i >= problem_.h || x + j < 0 || x + j >= problem_.w) continue;
        const int64_t n = pixel(y + i, x + j), shift = i * layout_.pitch + j;
        if (!has_total(n)) continue;
        const float* gradient = ring(Stage::attention_gradient).at(y + i, x + j);
        for (const Span& span : layout_.owned) {
          centres_.softmax[p] += filters_.dot(weights + span.at, gradient + span.at + shift, span.length);
          centres_.shifted[p * k * k + t] +=
              statistics_.inverse_total[n] *
              filters_.dot(weights + span.at, valid + span.at + shift, span.length);
        }
      }
    });
  }

  bool collecting_ = false;
  int64_t next_cell_gradient_;
  int64_t next_logits_ = first_row(radius(Stage::logit_gradient));
};

}  // namespace contextual_attention::cpu
