// From features to the weights of the softmax, their row sums, and their sums over cells.
#include <torch/csrc/stable/ops.h>

#include "pipeline.h"

namespace contextual_attention {
namespace gpu {

using torch::headeronly::ScalarType;

void Pipeline::sum_wrapped(bool top_down, const ScoreMap& source, const ScoreSink& sink,
                           const Region& region) {
  executor_.run(WrappedSum{source, sink, region, samples_, int32_t(problem_.fuse_radius()), top_down});
}

ScoreMap Pipeline::make_weights(const Stages& stages, bool statistics_are_known) {
  const Problem& p = problem_;
  const ScoreMap gram = scores(uses_.gram, stages.gram), weights = scores(uses_.weights, stages.weights);
  multiply(executor_, samples_, matrix(gram),
           rows_of(map_of(inputs_.foreground), stages.gram.y, stages.gram.x),
           columns_of(map_of(inputs_.background), stages.gram.v, stages.gram.u).transposed());

  ScoreSink logits = plain(weights);
  logits.scale = p.softmax_scale;
  logits.valid = pixels<bool>(inputs_.valid);
  logits.selected = pixels<bool>(inputs_.selected);
  if (bounded_ || statistics_are_known) logits.kind = ScoreSink::Kind::weights;
  if (!bounded_) logits.offset = reading(statistic(0));
  ScoreSink similarities = p.before() ? plain(scores(uses_.similarity, stages.similarity)) : logits;
  similarities.alpha = pixels<float>(inputs_.alpha);
  similarities.beta = pixels<float>(inputs_.beta);
  sum_diagonals(p.ksize, 1, Plain{gram}, similarities, p.before() ? stages.similarity : stages.weights);
  if (p.wrap()) {
    const ScoreMap rowwise = scores(uses_.rowwise, stages.rowwise);
    sum_wrapped(false, similarities.out, plain(rowwise), stages.rowwise);
    sum_wrapped(true, rowwise, logits, stages.weights);
  } else if (p.before()) {
    sum_diagonals(p.fuse_k, p.stride, Plain{similarities.out}, logits, stages.weights);
  }
  return weights;
}

Pipeline::Shifted Pipeline::shifted_validity(int sign) {
  const PixelMap<const bool> valid = pixels<bool>(inputs_.valid);
  const int64_t group = problem_.hb * problem_.wb, items = taps_.groups() * group;
  if (bits_sign_ != sign) {
    const int32_t samples = valid.sample == 0 ? 1 : samples_;
    bits_ = torch::stable::new_empty(inputs_.beta, {samples * items}, ScalarType::Int);
    auto* bits = static_cast<uint32_t*>(bits_->mutable_data_ptr());
    executor_.run(TapBits{valid, bits, taps_, sign, samples, items});
    bits_sign_ = sign;
  }
  return {static_cast<const uint32_t*>(bits_->const_data_ptr()), valid.sample == 0 ? 0 : items, group};
}

void Pipeline::collect_statistics(const ScoreMap& weights, const Stages& stages, bool first) {
  // Rows with their halo where they are summed tile by tile; the columns that the tile answers for.
  const Reduction reduction{{stages.weights.y, stages.weights.x, stages.own.v, stages.own.u}, first};
  if (!bounded_)
    executor_.run(RowOffsets{weights, reduction, pixels<bool>(inputs_.valid), pixels<bool>(inputs_.selected),
                             statistic(0), tap_sums(sums_), samples_});
  const Shifted shifted = problem_.after() ? shifted_validity(-1) : Shifted{};
  executor_.run(RowSums{weights, reduction, shifted.bits, shifted.sample, shifted.group, tap_sums(sums_),
                        samples_, taps_.groups()});
}

void Pipeline::finish_statistics(const Region& rows, const Region& totals) {
  const int64_t* valid = valid_count_ ? valid_count_->const_data_ptr<int64_t>() : nullptr;
  const bool shared = valid_count_ && valid_count_->size(0) == 1;
  executor_.run(FinishStatistics{tap_sums(sums_), taps_, rows, totals, statistic(0), statistic(1),
                                 statistic(2), pixels<bool>(inputs_.selected),
                                 valid == nullptr || shared ? valid : valid + group_.first, shared ? 0 : 1,
                                 problem_.candidates(), bounded_, problem_.after(), samples_, rows.rows()});
}

OperandMap Pipeline::sum_cells(const ScoreMap& weights, const Region& cells, int buffer) {
  const OperandMap out = operand(buffer, cells, storage_of(inputs_.value.scalar_type()));
  const PixelMap<const float> total = problem_.after() ? reading(statistic(2)) : PixelMap<const float>{};
  const FinalWeights source{weights, reading(statistic(1)), total, pixels<bool>(inputs_.valid)};
  const int64_t k = problem_.after() ? problem_.fuse_k : 1;
  if (k == 1)
    executor_.run(CellSum<1>{source, out, cells, samples_});
  else if (k == 3 && problem_.stride == 1)
    executor_.run(CellSum<3>{source, out, cells, samples_});
  else
    executor_.run(
        CellSumAny{source, out, cells, samples_, int32_t(problem_.fuse_radius()), int32_t(problem_.stride)});
  return out;
}

}  // namespace gpu
}  // namespace contextual_attention
