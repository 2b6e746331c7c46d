// The gradients: scores are recomputed from the features.
//
//   dE = dO V^T                                dV = E^T dO
//   dA = D2^T dE                               (the cell sum's transpose)
//   after:  dX = valid / Z2 (dA - c2), c2 = sum_q A2 dA;  dA1 = D_fuse dX
//   dL = lambda A1 (dA1 - c1), c1 = sum_q A1 dA1
//   dS = D_fuse dL (before) or dL;  dR = alpha beta dS;  dG = D_ksize dR
//   dalpha = sum_q R dR / alpha;  dbeta = sum_p R dR / beta;  df = dG b;  db = dG^T f
//
// The centres c1 and c2 need whole rows: a first pass over the tiles collects the sums behind both, or with
// the whole background at hand the tile itself does (centres.h, pixels.h).
//
// So do the row statistics. A product made anew may round otherwise than the forward's, and a large logit's
// last bit is a factor of its weight: rows of logits that are not bounded have statistics of the backward's
// own, made where the centres are, so that their weights add up to 1.
#include <torch/csrc/stable/ops.h>

#include <algorithm>

#include "attend.h"

namespace contextual_attention::cuda {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

class Backward : public Pipeline {
 public:
  Backward(const Inputs& inputs, const Executor& executor, const Plan& plan, const Group& group,
           char* scratch, Tensor& statistics, const Tensor& upstream, Gradients& gradients)
      : Pipeline(inputs, executor, plan, group, {kGram, kSpare, kTurns, kWeights},
                 make_buffers(inputs.problem, plan.tile, true), statistics, scratch),
        upstream_(upstream),
        gradients_(gradients),
        wide_(storage_of(inputs.foreground.scalar_type()) == Storage::bfloat16 ? ScalarType::BFloat16
                                                                               : ScalarType::Float),
        foreground_(in_dtype(inputs.foreground, wide_)),
        background_(in_dtype(inputs.background, wide_)),
        products_(new_sums()),
        counts_(new_sums()),
        centre_(new_centre()),
        total_centre_(problem_.after() ? new_centre() : centre_) {}

  void run() {
    const bool whole_background = plan_.whole_background(problem_);
    if (!whole_background && gradients_.scores()) {
      for_tiles([&](const Region& own, bool, bool first) {
        const Stages stages = make_stages(problem_, own, Pass::centres, whole_background);
        const ScoreMap weights = make_weights(stages, false, Storage::float32).as<float>();
        if (!bounded_)
          executor_.run(FollowRows{weights, first, statistic(0), exact_, tap_sums(products_),
                                   tap_sums(counts_), samples_});
        collect_centres(weights, make_cell_gradient(stages), stages, stages.own, first);
      });
      if (!bounded_) finish_statistics(everything(), counts_);
      finish_centres(everything(), everything());
    }
    for_tiles([&](const Region& own, bool first_rows, bool first_columns) {
      const Stages stages = make_stages(problem_, own, Pass::backward, whole_background);
      const OperandMap operand_weights = make_weights(stages, !whole_background, Storage::float32);
      const ScoreMap weights = operand_weights.as<float>();
      if (whole_background && !bounded_) {
        collect_statistics(operand_weights, stages, true);
        finish_statistics(stages.weights);
        executor_.run(WeighRows{weights, reading(statistic(0)), exact_, samples_});
      }
      if (gradients_.value) value_gradient(operand_weights, stages.cells, first_rows);
      if (!gradients_.scores()) return;
      const ScoreMap cells = make_cell_gradient(stages);
      if (whole_background) {
        const Region& rows = problem_.after() ? stages.weights : stages.logit;
        collect_centres(weights, cells, stages, {rows.y, rows.x, own.v, own.u}, true);
        finish_centres(stages.attention, stages.logit);
      }
      logit_gradient(weights, cells, stages);
      const ScoreMap products = product_gradient(weights, stages);
      norm_gradients(products, stages);
      feature_gradients(products, stages, first_rows, first_columns);
    });
  }

 private:
  // The buffers: the Gram matrix and its gradient; weights, then the logits' gradient; E, dE and more in
  // turn; similarities, dX, dR. That of valid dA has others on both sides: ShiftedCentreSums reads beyond it.
  enum : int { kGram, kWeights, kSpare, kTurns };

  static Tensor in_dtype(const Tensor& t, ScalarType dtype) {
    return t.scalar_type() == dtype ? t : torch::stable::to(t, dtype);
  }
  Tensor new_sums() const {
    return torch::stable::new_empty(
        inputs_.beta, {group_.count, problem_.h * problem_.w * int64_t(taps_.count())}, ScalarType::Double);
  }
  Tensor new_centre() const {
    return torch::stable::new_empty(inputs_.beta, {group_.count, problem_.h, problem_.w}, ScalarType::Float);
  }
  PixelMap<float> centre_map(Tensor& centre) const {
    return {centre.mutable_data_ptr<float>(), int32_t(problem_.h), int32_t(problem_.w),
            problem_.h * problem_.w};
  }

  // dV += E^T dO.
  void value_gradient(const OperandMap& weights, const Region& cells, bool first) {
    const OperandMap summed = sum_cells(weights, false, cells, kTurns);
    add_product(map_of(*gradients_.value), cells.v, cells.u, first,
                matrix(summed).with_columns(summed.pitch).transposed(),
                rows_of(map_of(upstream_), cells.y, cells.x));
  }

  // dE = dO V^T.
  ScoreMap make_cell_gradient(const Stages& stages) {
    const Region& region = stages.cell_gradient;
    const ScoreMap cells = scores(kTurns, region);
    const Matrix value = columns_of(map_of(inputs_.value), region.v, region.u);
    multiply(executor_, samples_, matrix(cells).with_columns(value.rows),
             rows_of(map_of(upstream_), region.y, region.x), value.transposed());
    return cells;
  }

  // The sums behind the centres, of these rows and columns.
  void collect_centres(const ScoreMap& weights, const ScoreMap& cells, const Stages& stages,
                       const Region& region, bool first) {
    const Reduction reduction{region, first};
    if (!problem_.after()) {
      executor_.run(CentreSums{weights, cells, reduction, tap_sums(products_), tap_sums(counts_), samples_});
      return;
    }
    const ValidSink gradient{scores(kSpare, stages.attention), pixels<bool>(inputs_.valid)};
    executor_.run(CellGradient<ValidSink>{cells, gradient, stages.attention, samples_});
    const Shifted shifted = shifted_validity();
    executor_.run(ShiftedCentreSums{weights, gradient.out, reduction, shifted.bits, shifted.sample,
                                    shifted.group, taps_, tap_sums(products_), tap_sums(counts_), samples_});
  }

  void finish_centres(const Region& totals, const Region& rows) {
    FinishCentres finish{
        tap_sums(products_), softmax_sums(counts_),     totals, reading(statistic(1)), reading(statistic(2)),
        centre_map(centre_), centre_map(total_centre_), true,   problem_.after(),      samples_,
        totals.rows()};
    if (problem_.after()) executor_.run(finish);
    finish.region = rows;
    finish.items = rows.rows();
    finish.of_totals = false;
    executor_.run(finish);
  }

  // dL, in the place of the weights; times the norms, dR, unless it is propagated.
  void logit_gradient(const ScoreMap& weights, const ScoreMap& cells, const Stages& stages) {
    LogitGradientSink logits{
        weights, problem_.softmax_scale, reading(statistic(1)), reading(centre_map(centre_)), {}, {}};
    if (!problem_.before()) logits = with_norms(logits);
    if (!problem_.after()) {
      executor_.run(CellGradient<LogitGradientSink>{cells, logits, stages.logit, samples_});
      return;
    }
    const AttentionGradientSink gradient{scores(kSpare, stages.attention), pixels<bool>(inputs_.valid),
                                         reading(centre_map(total_centre_)), reading(statistic(2))};
    executor_.run(CellGradient<AttentionGradientSink>{cells, gradient, stages.attention, samples_});
    sum_diagonals(problem_.fuse_k, problem_.stride, Plain{gradient.out}, logits, stages.logit);
  }

  // dR, from dL.
  ScoreMap product_gradient(const ScoreMap& logits, const Stages& stages) {
    if (!problem_.before()) return logits;
    const ScoreMap products = scores(kSpare, stages.product);
    if (problem_.wrap()) {
      // The adjoint runs the passes in reverse order.
      const ScoreMap columnwise = scores(kTurns, stages.columnwise);
      sum_wrapped(true, logits, plain(columnwise), stages.columnwise);
      sum_wrapped(false, columnwise, with_norms(plain(products)), stages.product);
    } else {
      sum_diagonals(problem_.fuse_k, problem_.stride, Plain{logits}, with_norms(plain(products)),
                    stages.product);
    }
    return products;
  }

  void norm_gradients(const ScoreMap& products, const Stages& stages) {
    if (!gradients_.alpha && !gradients_.beta) return;
    const Region& own = stages.own;
    const NormProductSink sink{scores(kTurns, own), products};
    sum_diagonals(problem_.ksize, 1, Plain{scores(kGram, stages.gram)}, sink, own);
    const auto add = [&](Tensor& gradient, const Tensor& sums, const Axis& down, const Axis& right,
                         const PixelMap<const float>& norm) {
      const int64_t pixels = int64_t(down.size) * right.size;
      executor_.run(AddSums{sums.const_data_ptr<float>(),
                            gradient.mutable_data_ptr<float>() + group_.first * pixels, down, right,
                            int32_t(sums.size(1)), samples_, norm});
    };
    if (gradients_.alpha)
      add(*gradients_.alpha, sum_columns(executor_, samples_, matrix(sink.out), inputs_.beta), own.y, own.x,
          pixels<float>(inputs_.alpha));
    if (gradients_.beta)
      add(*gradients_.beta, sum_rows(executor_, samples_, matrix(sink.out), inputs_.beta), own.v, own.u,
          pixels<float>(inputs_.beta));
  }

  // df += dG b and db += dG^T f.
  void feature_gradients(const ScoreMap& products, const Stages& stages, bool first_rows,
                         bool first_columns) {
    if (!gradients_.foreground && !gradients_.background) return;
    const Region& own = stages.own;
    const OperandMap gram = operand(kGram, own, storage_of(wide_));
    sum_diagonals(problem_.ksize, 1, Plain{products}, OperandSink{gram}, own);
    if (gradients_.foreground) {
      const Matrix background = columns_of(map_of(background_), own.v, own.u);
      add_product(map_of(*gradients_.foreground), own.y, own.x, first_columns,
                  matrix(gram).with_columns(background.rows), background);
    }
    if (gradients_.background)
      add_product(map_of(*gradients_.background), own.v, own.u, first_rows,
                  matrix(gram).with_columns(gram.pitch).transposed(),
                  rows_of(map_of(foreground_), own.y, own.x));
  }

  const Tensor& upstream_;
  Gradients& gradients_;
  // Gradients of scores do not fit into float16's range: those are taken with features in float32.
  const ScalarType wide_;
  const Tensor foreground_, background_;
  Tensor products_, counts_;      // (samples, h * w * taps) float64
  Tensor centre_, total_centre_;  // (samples, h, w)
};

}  // namespace

void attend_backward(const Inputs& inputs, const Executor& executor, const Plan& plan, char* scratch,
                     Tensor& statistics, const Tensor& upstream, Gradients& gradients) {
  const int64_t batch = inputs.problem.batch;
  // The gradient of the value alone asks for no pass over the rows before its own.
  const bool makes_statistics =
      !logits_are_bounded(inputs) && (plan.whole_background(inputs.problem) || gradients.scores());
  Tensor rows = makes_statistics ? torch::stable::new_empty(statistics, statistics.sizes(), ScalarType::Float)
                                 : statistics;
  for (int64_t first = 0; first < batch; first += plan.samples)
    Backward(inputs, executor, plan, {first, std::min(plan.samples, batch - first)}, scratch, rows, upstream,
             gradients)
        .run();
}

}  // namespace contextual_attention::cuda
