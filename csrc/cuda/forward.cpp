#include <torch/csrc/stable/ops.h>

#include <algorithm>

#include "attend.h"

namespace contextual_attention {
namespace gpu {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

class Forward : public Pipeline {
 public:
  Forward(const Inputs& inputs, const Executor& executor, const Plan& plan, const Group& group, char* scratch,
          Results& results)
      : Pipeline(inputs, executor, plan, group, uses_of(inputs.problem), false, results.statistics, scratch),
        results_(results) {
    if (!results.offsets) return;
    largest_ =
        torch::stable::new_empty(inputs.beta, {group.count, problem_.h, problem_.w}, ScalarType::Float);
  }

  void run() {
    const bool whole_rows = plan_.whole_background(problem_);
    if (!whole_rows) {
      for_tiles([&](const Region& own, bool, bool first) {
        const Stages stages = make_stages(problem_, own, Pass::statistics, whole_rows);
        collect_statistics(make_weights(stages, false), stages, first);
      });
      const Region all = everything();
      finish_statistics(all, all);
    }
    for_tiles([&](const Region& own, bool, bool first) {
      const Stages stages = make_stages(problem_, own, Pass::forward, whole_rows);
      const ScoreMap weights = make_weights(stages, !whole_rows);
      if (whole_rows) {
        collect_statistics(weights, stages, true);
        finish_statistics(stages.weights, pasting_rows(stages));
      }
      if (results_.offsets) find_offsets(weights, own, first);
      deconvolve(weights, stages.cells, first);
    });
  }

 private:
  // The Gram matrix and the weights take turns in two buffers, with what lies between and after them.
  static Uses uses_of(const Problem& p) { return {0, 1, 0, p.before() && !p.wrap() ? 0 : 1}; }
  int spare_buffer() const { return 1 - uses_.weights; }

  // The pixels that paste into the tile's cells: their propagation reads no row beyond the tile's.
  static Region pasting_rows(const Stages& stages) {
    const auto before = [](const Axis& a) {
      return Axis{std::max(0, a.first - 1), a.count + (a.first > 0 ? 1 : 0), a.size};
    };
    return {before(stages.own.y), before(stages.own.x), stages.own.v, stages.own.u};
  }

  void find_offsets(ScoreMap weights, const Region& own, bool first) {
    if (problem_.after()) {
      ScoreSink propagated = plain(scores(spare_buffer(), own));
      propagated.kind = ScoreSink::Kind::valid_only;
      propagated.valid = pixels<bool>(inputs_.valid);
      sum_diagonals(problem_.fuse_k, problem_.stride, Gained{weights, reading(statistic(1)), {}}, propagated,
                    own);
      weights = propagated.out;
    }
    const int32_t h = int32_t(problem_.h), w = int32_t(problem_.w);
    const int64_t pixels = problem_.h * problem_.w;
    int64_t* down = results_.offsets->mutable_data_ptr<int64_t>() + group_.first * 2 * pixels;
    executor_.run(RowOffsetsOfLargest{weights,
                                      {own, first},
                                      reading(statistic(problem_.after() ? 2 : 1)),
                                      {largest_->mutable_data_ptr<float>(), h, w, pixels},
                                      {down, h, w, 2 * pixels},
                                      {down + pixels, h, w, 2 * pixels},
                                      samples_});
  }

  // O += E V.
  void deconvolve(const ScoreMap& weights, const Region& cells, bool first) {
    const OperandMap summed = sum_cells(weights, cells, spare_buffer());
    add_product(map_of(results_.cells), cells.y, cells.x, first, matrix(summed),
                columns_of(map_of(inputs_.value), cells.v, cells.u));
  }

  Results& results_;
  std::optional<Tensor> largest_;  // (samples, h, w), the weight that the offset leads to
};

}  // namespace

void attend(const Inputs& inputs, const Executor& executor, const Plan& plan, char* scratch,
            Results& results) {
  const int64_t batch = inputs.problem.batch;
  for (int64_t first = 0; first < batch; first += plan.samples)
    Forward(inputs, executor, plan, {first, std::min(plan.samples, batch - first)}, scratch, results).run();
}

}  // namespace gpu
}  // namespace contextual_attention
