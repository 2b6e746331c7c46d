// The gradients, by the same march: scores are recomputed from the features and the row statistics.
//
//   dE = dO V^T                                dV = E^T dO
//   dA = D2^T dE                               (the cell sum's transpose)
//   after:  dX = valid / Z2 (dA - c2), c2 = sum_q A2 dA;  dA1 = D_fuse dX
//   dL = lambda A1 (dA1 - c1), c1 = sum_q A1 dA1
//   dS = D_fuse dL (before) or dL;  dR = alpha beta dS;  dG = D_ksize dR
//   dalpha = sum_q beta R dS;  dbeta = sum_p alpha R dS;  df = dG b;  db = dG^T f
//
// c1 and c2 need whole rows: with the background in several blocks a first pass over them collects both.
#include <algorithm>

#include "attend.h"
#include "gemm.h"
#include "logit_gradient.h"

namespace contextual_attention::cpu {
namespace {

class Backward : public LogitGradient {
 public:
  Backward(const Problem& problem, const Sample& sample, const Statistics& statistics, const Block& block,
           const Plan& plan, const Tile& tile, int64_t lanes, float* scratch, const Gradients& gradients,
           Centres& centres)
      : LogitGradient(problem, sample, statistics, block, plan, tile, lanes, scratch, gradients, centres) {}

  // `centres_known`: c1 and c2; else this block is the whole background.
  void run(bool centres_known) {
    centres_known_ = centres_known;
    if (gradients_.background) background_.assign(layout_.size * problem_.channels, 0.0f);
    int64_t first = tile_.y0;
    for (int64_t y = tile_.y0; y < tile_.y1; ++y) {
      if (!gradients_.scores()) {
        need_final(y);
        continue;
      }
      need_product(last_read(Stage::gram_gradient, y));
      if (!gradients_.foreground && !gradients_.background) continue;
      if (y - first == plan_.chunk) {
        feature_gradients(first, y - first);
        first = y;
      }
      gram_gradient_row(y, y - first);
    }
    if (gradients_.foreground || gradients_.background) feature_gradients(first, tile_.y1 - first);
    add_background_gradients();
  }

 private:
  float* product(int64_t lane) const { return lane_row(lane, 1); }
  float* beta_sums(int64_t lane) const { return lane_row(lane, 2); }

  void on_final(int64_t y) override {
    if (!gradients_.value || y < tile_.y0 || y >= tile_.y1) return;
    add_cells(y);
    if (y + 1 < tile_.y1) return;
    // The cells below the last row, before its weights leave their ring.
    add_cells(tile_.y1);
    flush_cells(tile_.y1 + 1);
  }

  void add_cells(int64_t y) {
    if (y - first_cells_ == plan_.chunk || first_cells_ < tile_.y0) flush_cells(y);
    const Ring& chunk = ring(Stage::cells);
    cell_row(final_ring(), chunk.memory() + (y - first_cells_) * chunk.columns() * chunk.size(), y,
             final_scale());
  }

  // dV += E^T dO for the cell rows up to y.
  void flush_cells(int64_t y) {
    const int64_t first = first_cells_, rows = y - first;
    first_cells_ = y;
    if (first < tile_.y0) return;
    const Ring& chunk = ring(Stage::cells);
    const int64_t k = problem_.value_channels, pitch = problem_.wb + 1, columns = chunk.columns();
    std::vector<float> buffer;
    const float* output =
        gather_rows(gradients_.cells, problem_.w + 1, k, first, rows, chunk.first(), columns, buffer);
    for (const CellRun& run : layout_.cell_runs)
      multiply(
          row_major(gradients_.value + run.first * pitch * k, run.count * pitch, k, k),
          row_major(chunk.memory() + run.at, rows * columns, run.count * pitch, chunk.size()).transposed(),
          row_major(output, rows * columns, k, k), true);
  }

  // dS of row y, then the gradients of the norms, then dR.
  void need_product(int64_t y) {
    advance(Stage::product_gradient, y, [&](int64_t row) {
      if (problem_.wrap())
        need_columnwise(last_read(Stage::product_gradient, row));
      else if (problem_.before())
        need_logits(last_read(Stage::columnwise_gradient, row));
      else
        need_logit_inputs(row);
      const Ring& products = ring(Stage::product_gradient);
      for_columns(products, [&](int64_t lane, int64_t x) {
        float* target = products.at(row, x);
        similarity_gradient(target, row, x, lane);
        divide_norms(target, row, x, lane);
      });
    });
  }

  void need_columnwise(int64_t y) {
    advance(Stage::columnwise_gradient, y, [&](int64_t row) {
      need_logits(last_read(Stage::columnwise_gradient, row));
      const Ring& columnwise = ring(Stage::columnwise_gradient);
      for_columns(columnwise, [&](int64_t lane, int64_t x) {
        top_down(columnwise.at(row, x), ring(Stage::logit_gradient), row, x, layout_.columnwise_gradient,
                 1.0f, taps(lane));
      });
    });
  }

  void similarity_gradient(float* target, int64_t y, int64_t x, int64_t lane) {
    if (problem_.wrap()) {
      left_right(target, ring(Stage::columnwise_gradient), y, x, layout_.product_gradient, taps(lane));
    } else if (problem_.before()) {
      std::vector<Tap>& terms = taps(lane);
      fuse_taps(ring(Stage::logit_gradient), y, x, terms, [](int64_t) { return 1.0f; });
      sum_spans(target, terms, layout_.product_gradient, 1.0f, nullptr);
    } else {
      logit_gradient(target, y, x, lane);
    }
  }

  void divide_norms(float* target, int64_t y, int64_t x, int64_t lane) {
    const int64_t p = pixel(y, x);
    const float scale = alpha(p);
    const bool owned = y >= tile_.y0 && y < tile_.y1 && x >= tile_.x0 && x < tile_.x1;
    if (owned && (gradients_.alpha || gradients_.beta)) {
      std::vector<Tap>& terms = taps(lane);
      patch_taps(ring(Stage::gram), y, x, terms);
      sum_spans(product(lane), terms, layout_.owned_product, 1.0f, nullptr);
      double total = 0;
      for (const Span& span : layout_.owned_product)
        total +=
            filters_.norm_gradients(target + span.at, product(lane) + span.at, block_.beta.data() + span.at,
                                    span.length, scale, beta_sums(lane) + span.at);
      if (gradients_.alpha) gradients_.alpha[p] += static_cast<float>(total);
    }
    for (const Span& span : layout_.product_gradient)
      filters_.scale(target + span.at, block_.beta.data() + span.at, span.length, scale);
  }

  void gram_gradient_row(int64_t y, int64_t row) {
    const Ring& gram = ring(Stage::gram_gradient);
    for_bundles(gram, [&](Bundle& bundle, int64_t x0, int64_t x1) {
      for (int64_t x = x0; x < x1; ++x)
        bundle.add(x, gram.memory() + (row * gram.columns() + x - gram.first()) * gram.size(), 1.0f,
                   [&](std::vector<Tap>& taps) { patch_taps(ring(Stage::product_gradient), y, x, taps); });
      sum_bundle(bundle, layout_.gram_gradient, nullptr);
    });
  }

  // df += dG b and db += dG^T f for `rows` rows from y on.
  void feature_gradients(int64_t y, int64_t rows) {
    const Ring& gram = ring(Stage::gram_gradient);
    const int64_t c = problem_.channels, columns = gram.columns(), pixels = rows * columns;
    std::vector<float> buffer, sums(gradients_.foreground ? pixels * c : 0);
    const float* features =
        gather_rows(sample_.foreground, problem_.w, c, y, rows, gram.first(), columns, buffer);
    for (const Span& span : layout_.gram_gradient) {
      const Matrix scores = row_major(gram.memory() + span.at, pixels, span.length, gram.size());
      if (gradients_.foreground)
        multiply(row_major(sums.data(), pixels, c, c), scores,
                 row_major(block_.background.data() + span.at * c, span.length, c, c), true);
      if (gradients_.background)
        multiply(row_major(background_.data() + span.at * c, span.length, c, c), scores.transposed(),
                 row_major(features, pixels, c, c), true);
    }
    if (!gradients_.foreground) return;
    for (int64_t row = 0; row < rows; ++row)
      filters_.add(gradients_.foreground + ((y + row) * problem_.w + gram.first()) * c,
                   sums.data() + row * columns * c, columns * c);
  }

  // From the layout back to the map.
  void add_background_gradients() {
    const int64_t wb = problem_.wb, c = problem_.channels;
    for (size_t row = 0; row < layout_.rows.size(); ++row) {
      const int64_t v = layout_.rows[row], at = layout_.at(static_cast<int64_t>(row));
      if (v < 0) continue;
      if (gradients_.background)
        filters_.add(gradients_.background + v * wb * c, background_.data() + at * c, wb * c);
      if (!gradients_.beta) continue;
      for (int64_t lane = 0; lane < lanes_; ++lane)
        filters_.add(gradients_.beta + v * wb, beta_sums(lane) + at, wb);
    }
  }

  int64_t first_cells_ = tile_.y0 - 1;  // first row of the chunk of cells; before the tile: none yet
  std::vector<float> background_;       // (size, C): db in the layout
};

void clear(const Problem& problem, const Tile& area, Centres& centres) {
  const int64_t taps = problem.fuse_k * problem.fuse_k, pixels = problem.h * problem.w;
  centres.softmax_mass.resize(pixels);
  if (problem.after()) {
    centres.total_mass.resize(pixels);
    centres.shifted.resize(pixels * taps);
  }
  for (int64_t y = area.y0; y < area.y1; ++y)
    for (int64_t x = area.x0; x < area.x1; ++x) {
      const int64_t p = y * problem.w + x;
      centres.softmax[p] = centres.softmax_mass[p] = 0;
      if (!problem.after()) continue;
      centres.total[p] = centres.total_mass[p] = 0;
      std::fill_n(centres.shifted.begin() + p * taps, taps, 0.0);
    }
}

// c2 of the pixels in `area`, from its two sums.
void finish_total(const Problem& problem, const Tile& area, Centres& centres) {
  if (!problem.after()) return;
  for (int64_t y = area.y0; y < area.y1; ++y)
    for (int64_t x = area.x0; x < area.x1; ++x) {
      const int64_t p = y * problem.w + x;
      centres.total[p] = mean(centres.total[p], centres.total_mass[p]);
    }
}

// c1 likewise, now that c2 is whole.
void finish_softmax(const Problem& problem, const Sample& sample, const Statistics& statistics,
                    const Tile& area, Centres& centres) {
  const int64_t reach = problem.fuse_radius(), step = problem.stride, k = problem.fuse_k;
  const int64_t taps = problem.after() ? k * k : 0;
  for (int64_t y = area.y0; y < area.y1; ++y)
    for (int64_t x = area.x0; x < area.x1; ++x) {
      const int64_t p = y * problem.w + x;
      for (int64_t t = 0; t < taps; ++t) {
        const int64_t row = y - reach + t / k * step, column = x - reach + t % k * step;
        if (row < 0 || row >= problem.h || column < 0 || column >= problem.w) continue;
        centres.softmax[p] -= centres.total[row * problem.w + column] * centres.shifted[p * taps + t];
      }
      centres.softmax[p] = mean(
          centres.softmax[p], centres.softmax_mass[p] + invalid_mass(problem, sample, statistics.offset[p]));
    }
}

}  // namespace

void attend_backward(const Problem& problem, const Sample& sample, const Schedule& schedule, int64_t lanes,
                     float* scratch, const Statistics& statistics, const Gradients& gradients) {
  const Plan& plan = schedule.plan;
  const bool whole_background = plan.whole_background();
  const Radii radius(problem, true);
  Centres centres(problem);
  for (const Tile& tile : schedule.tiles) {
    const auto march = [&](const Block& block) {
      return Backward(problem, sample, statistics, block, plan, tile, lanes, scratch, gradients, centres);
    };
    if (!whole_background && gradients.scores()) {
      clear(problem, tile.around(problem, radius(Stage::attention_gradient)), centres);
      for (const Layout& layout : plan.layouts) march(Block(problem, sample, layout)).collect_centres();
      finish_total(problem, tile.around(problem, radius(Stage::attention_gradient)), centres);
      finish_softmax(problem, sample, statistics, tile.around(problem, radius(Stage::logit_gradient)),
                     centres);
    }
    for (const Layout& layout : plan.layouts) march(Block(problem, sample, layout)).run(!whole_background);
  }
}

}  // namespace contextual_attention::cpu
