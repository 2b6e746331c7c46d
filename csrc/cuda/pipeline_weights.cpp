// From features to the weights of the softmax, their row sums, and their sums over cells.
#include <torch/csrc/stable/ops.h>

#include <type_traits>

#include "pipeline.h"

namespace contextual_attention::cuda {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

OperandMap Pipeline::make_weights(const Stages& stages, bool statistics_known, Storage storage) {
  const ScoreMap gram = scores(uses_.gram, stages.gram);
  multiply_features(stages, gram);
  const bool are_logits = leaves_logits(statistics_known);
  auto sink = plain(operand(uses_.weights, stages.weights, are_logits ? Storage::float32 : storage));
  sink.scale = problem_.softmax_scale;
  if (!bounded_) sink.offset = reading(statistic(0));
  if (are_logits)
    filter(stages, gram, sink.as<ScoreKind::logits>());
  else
    filter(stages, gram, sink.as<ScoreKind::weights>());
  return sink.out;
}

// From the Gram matrix to logits or weights.
template <ScoreKind kKind>
void Pipeline::filter(const Stages& stages, const ScoreMap& gram, const ScoreSink<kKind>& logits) {
  const Problem& p = problem_;
  if (!p.before()) return sum_diagonals(p.ksize, 1, Plain{gram}, with_norms(logits), stages.weights);
  const ScoreMap similarities = scores(uses_.similarity, stages.similarity);
  const auto sink = with_norms(plain(similarities));
  if (stages.in_pieces)
    for_pieces(stages, gram, sink);
  else
    sum_diagonals(p.ksize, 1, Plain{gram}, sink, stages.similarity);
  if (!p.wrap()) return sum_diagonals(p.fuse_k, p.stride, Plain{similarities}, logits, stages.weights);
  if (stages.in_pieces)
    return executor_.run(WrappedSum3<kKind>{
        {similarities, stages.foreground, stages.background, stages.weights}, logits, samples_});
  const ScoreMap rowwise = scores(uses_.rowwise, stages.rowwise);
  sum_wrapped(false, similarities, plain(rowwise), stages.rowwise);
  sum_wrapped(true, rowwise, logits, stages.weights);
}

// Similarities, piece by piece of both maps, where the pieces hold their patches.
void Pipeline::for_pieces(const Stages& stages, const ScoreMap& gram,
                          const ScoreSink<ScoreKind::plain>& similarities) {
  for (int i = 0; i < stages.foreground.distinct; ++i)
    for (int j = 0; j < stages.background.distinct; ++j) {
      const Piece &p = stages.foreground.pieces[i], &q = stages.background.pieces[j];
      if (p.rows.count == 0 || q.rows.count == 0) continue;
      const Region region{p.rows, p.columns, q.rows, q.columns};
      const int64_t begin = p.begin * gram.pitch + q.begin,
                    down = p.columns.count * gram.pitch + q.columns.count;
      auto sink = similarities;
      sink.out = {static_cast<float*>(similarities.out.data) + begin,
                  Storage::float32,
                  region,
                  gram.pitch,
                  gram.sample,
                  down};
      executor_.run(DiagonalSum3<Plain, ScoreSink<ScoreKind::plain>>{
          {{gram.data + begin, region, gram.pitch, gram.sample, down}},
          sink,
          {within_patches(p.rows), within_patches(p.columns), within_patches(q.rows),
           within_patches(q.columns)},
          samples_});
    }
}

Pipeline::Shifted Pipeline::shifted_validity() {
  const PixelMap<const bool> valid = pixels<bool>(inputs_.valid);
  const int64_t group = problem_.hb * problem_.wb, items = taps_.groups() * group;
  if (!bits_) {
    const int32_t samples = valid.sample == 0 ? 1 : samples_;
    bits_ = torch::stable::new_empty(inputs_.beta, {samples * items}, ScalarType::Int);
    auto* bits = static_cast<uint32_t*>(bits_->mutable_data_ptr());
    executor_.run(TapBits{valid, bits, taps_, samples, items});
  }
  return {static_cast<const uint32_t*>(bits_->const_data_ptr()), valid.sample == 0 ? 0 : items, group};
}

void Pipeline::collect_statistics(const OperandMap& weights, const Stages& stages, bool first) {
  // Rows with their halo where they are summed tile by tile; the columns that the tile answers for.
  const Reduction reduction{{stages.weights.y, stages.weights.x, stages.own.v, stages.own.u}, first};
  if (leaves_logits(false))
    collect_statistics(weights.as<Logit>(), reduction);
  else if (weights.storage == Storage::float32)
    collect_statistics(weights.as<float>(), reduction);
  else
    collect_statistics(weights.as<Bfloat16>(), reduction);
}

template <class T>
void Pipeline::collect_statistics(const Scores<T>& weights, const Reduction& reduction) {
  const Shifted shifted = problem_.after() ? shifted_validity() : Shifted{};
  executor_.run(RowStatistics<T>{weights, reduction, shifted.bits, shifted.sample, shifted.group,
                                 statistic(0), exact_, tap_sums(sums_), samples_, taps_.groups()});
}

SoftmaxSums Pipeline::softmax_sums(Tensor& sums) const {
  const int64_t* valid = valid_count_ ? valid_count_->const_data_ptr<int64_t>() : nullptr;
  const bool shared = valid_count_ && valid_count_->size(0) == 1;
  return {tap_sums(sums),
          taps_,
          reading(statistic(0)),
          valid == nullptr || shared ? valid : valid + group_.first,
          shared ? 0 : 1,
          problem_.candidates(),
          bounded_};
}

void Pipeline::finish_statistics(const Region& rows, Tensor& sums) {
  executor_.run(FinishStatistics{softmax_sums(sums), rows, statistic(0), statistic(1), statistic(2),
                                 pixels<bool>(inputs_.selected), problem_.after(), samples_, rows.rows()});
}

OperandMap Pipeline::sum_cells(const OperandMap& weights, bool are_logits, const Region& cells, int buffer) {
  const OperandMap out = operand(buffer, cells, storage_of(inputs_.value.scalar_type()));
  if (are_logits)
    sum_cells(weights.as<Logit>(), out);
  else if (weights.storage == Storage::float32)
    sum_cells(weights.as<float>(), out);
  else
    sum_cells(weights.as<Bfloat16>(), out);
  return out;
}

template <class T>
void Pipeline::sum_cells(const Scores<T>& weights, const OperandMap& out) {
  const PixelMap<const float> none{};
  const FinalWeights<T> source{weights,
                               is_logit<T> ? reading(statistic(0)) : none,
                               exact_,
                               reading(statistic(1)),
                               problem_.after() ? reading(statistic(2)) : none,
                               pixels<bool>(inputs_.valid)};
  if constexpr (!std::is_same_v<T, Bfloat16>) {
    if (!rolls_cells())
      return executor_.run(CellSumAny<T>{source, out, out.region, samples_, int32_t(problem_.fuse_radius()),
                                         int32_t(problem_.stride)});
  }
  if (problem_.after() && problem_.fuse_k == 3)
    executor_.run(CellSum<3, T>{source, out, out.region, samples_});
  else
    executor_.run(CellSum<1, T>{source, out, out.region, samples_});
}

}  // namespace contextual_attention::cuda
