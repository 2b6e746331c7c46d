#include <torch/csrc/stable/ops.h>

#include <algorithm>

#include "attend.h"

namespace contextual_attention::cuda {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

class Forward : public Pipeline {
 public:
  Forward(const Inputs& inputs, const Executor& executor, const Plan& plan, const Group& group, char* scratch,
          Results& results)
      : Pipeline(inputs, executor, plan, group, uses_of(inputs.problem),
                 make_buffers(inputs.problem, plan.tile, false), results.statistics, scratch),
        results_(results),
        storage_(rounds_weights() && !results.offsets ? Storage::bfloat16 : Storage::float32) {
    if (!results.offsets) return;
    largest_ =
        torch::stable::new_empty(inputs.beta, {group.count, problem_.h, problem_.w}, ScalarType::Float);
  }

  void run() {
    const bool whole_background = plan_.whole_background(problem_);
    if (!whole_background) {
      for_tiles([&](const Region& own, bool, bool first) {
        const Stages stages = make_stages(problem_, own, Pass::statistics, whole_background);
        collect_statistics(make_weights(stages, false, storage_), stages, first);
      });
      finish_statistics(everything());
    }
    for_tiles([&](const Region& own, bool, bool first) {
      const Stages stages = make_stages(problem_, own, Pass::forward, whole_background);
      const OperandMap weights = make_weights(stages, !whole_background, storage_);
      const bool are_logits = leaves_logits(!whole_background);
      if (whole_background) {
        collect_statistics(weights, stages, true);
        finish_statistics(stages.weights);
      }
      if (results_.offsets) find_offsets(weights.as<float>(), are_logits, own, first);
      deconvolve(weights, are_logits, stages.cells, first);
    });
  }

 private:
  // The Gram matrix and the weights take turns in two buffers, with what lies between and after them.
  static Uses uses_of(const Problem& p) {
    const bool third_stage = p.before() && (!p.wrap() || wraps_at_once(p));
    return {0, 1, 0, third_stage ? 0 : 1};
  }
  int spare_buffer() const { return 1 - uses_.weights; }

  void find_offsets(ScoreMap weights, bool are_logits, const Region& own, bool first) {
    const PixelMap<const float> offset = are_logits ? reading(statistic(0)) : PixelMap<const float>{};
    if (problem_.after()) {
      auto propagated = plain(scores(spare_buffer(), own)).as<ScoreKind::valid_only>();
      sum_diagonals(problem_.fuse_k, problem_.stride, Gained{weights, reading(statistic(1)), offset},
                    propagated, own);
      weights = propagated.out.as<float>();
      are_logits = false;
    }
    const int32_t h = int32_t(problem_.h), w = int32_t(problem_.w);
    const int64_t pixels = problem_.h * problem_.w;
    int64_t* down = results_.offsets->mutable_data_ptr<int64_t>() + group_.first * 2 * pixels;
    executor_.run(RowOffsetsOfLargest{weights,
                                      are_logits ? -INFINITY : 0.0f,
                                      {own, first},
                                      reading(statistic(problem_.after() ? 2 : 1)),
                                      {largest_->mutable_data_ptr<float>(), h, w, pixels},
                                      {down, h, w, 2 * pixels},
                                      {down + pixels, h, w, 2 * pixels},
                                      samples_});
  }

  // O += E V.
  void deconvolve(const OperandMap& weights, bool are_logits, const Region& cells, bool first) {
    const OperandMap summed = sum_cells(weights, are_logits, cells, spare_buffer());
    const Matrix value = columns_of(map_of(inputs_.value), cells.v, cells.u);
    add_product(map_of(results_.cells), cells.y, cells.x, first, matrix(summed).with_columns(value.rows),
                value);
  }

  Results& results_;
  // Of weights; the largest is looked for in float32.
  const Storage storage_;
  std::optional<Tensor> largest_;  // (samples, h, w), the weight that the offset leads to
};

}  // namespace

void attend(const Inputs& inputs, const Executor& executor, const Plan& plan, char* scratch,
            Results& results) {
  const int64_t batch = inputs.problem.batch;
  for (int64_t first = 0; first < batch; first += plan.samples)
    Forward(inputs, executor, plan, {first, std::min(plan.samples, batch - first)}, scratch, results).run();
}

}  // namespace contextual_attention::cuda
