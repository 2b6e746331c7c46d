// What forward and backward share: the operands of a group of samples, the buffers of a tile, and the way
// from features to softmax weights.
//
//   GEMM  G = f b^T  ->  filter 1 (D_ksize, norms, [propagation], validity, exp, row sums)
//         ->  filter 2 ([propagation, rescaling], cell sum)  ->  GEMM  O = E V
#pragma once

#include <torch/csrc/stable/tensor.h>

#include <functional>
#include <optional>

#include "executor.h"
#include "plan.h"
#include "products.h"

namespace contextual_attention::cuda {

// The operands of a call, contiguous; foreground and background share a dtype with each other.
struct Inputs {
  Problem problem;
  torch::stable::Tensor foreground, background;
  std::optional<torch::stable::Tensor> alpha;  // float32, as beta
  torch::stable::Tensor beta, valid;
  std::optional<torch::stable::Tensor> selected;
  torch::stable::Tensor value;
};

// Samples first ... first + count, worked on at once.
struct Group {
  int64_t first, count;
};

Storage storage_of(torch::headeronly::ScalarType dtype);

// Whether |logit| is so small that exp(logit) itself is safe, and a logit made anew differs by no more than a
// rounding of its weight.
bool logits_are_bounded(const Inputs& inputs);

class Pipeline {
 protected:
  // A map of pixels or cells with `depth` entries each, contiguous, for the whole batch; `rows` of them for a
  // sample, which may be more than its pixels.
  struct Map {
    void* data;
    torch::headeronly::ScalarType dtype;
    int64_t rows, depth;

    int64_t sample() const { return rows * depth; }
  };
  // (B, height, width, depth) or (B, rows, depth).
  static Map map_of(const torch::stable::Tensor& t) {
    const int64_t last = t.dim() - 1;
    return {const_cast<void*>(t.const_data_ptr()), t.scalar_type(),
            last == 3 ? t.size(1) * t.size(2) : t.size(1), t.size(last)};
  }
  // Which of the buffers holds what.
  struct Uses {
    int gram, similarity, rowwise, weights;
  };

  Pipeline(const Inputs& inputs, const Executor& executor, const Plan& plan, const Group& group,
           const Uses& uses, const Buffers& buffers, torch::stable::Tensor& statistics, char* scratch);

  // A part of the scratch, so many bytes for each sample.
  struct Buffer {
    char* begin;
    int64_t bytes;

    // Where a tile puts so much of each sample.
    char* holding(int64_t needed) const;
  };
  // The next part of the scratch.
  Buffer take(int64_t bytes);

  // run(unit) with what rows of so many bytes are copied by. The buffers are aligned; where a map begins is
  // its caller's business.
  template <class Run>
  static void in_units(const void* map, int64_t row_bytes, const Run& run) {
    if (row_bytes % sizeof(Vector) == 0 && reinterpret_cast<uintptr_t>(map) % sizeof(Vector) == 0)
      run(Vector{});
    else
      run(uint16_t{});
  }

  // Every pixel of both maps.
  Region everything() const;
  // each(own pixels, first tile of the foreground, first of the background).
  void for_tiles(const std::function<void(const Region&, bool, bool)>& each) const;

  // Weights exp(logit - offset) of the valid, where the offsets are known or not needed, else logits.
  OperandMap make_weights(const Stages& stages, bool statistics_known, Storage storage);
  // Whether it leaves logits, for later kernels to take off the offset.
  bool leaves_logits(bool statistics_known) const { return !bounded_ && !statistics_known; }
  // Row sums over the own columns of what make_weights made before the statistics were known.
  void collect_statistics(const OperandMap& weights, const Stages& stages, bool first);
  template <class T>
  void collect_statistics(const Scores<T>& weights, const Reduction& reduction);
  // From those sums, or from those that the centres are made of.
  void finish_statistics(const Region& rows) { finish_statistics(rows, sums_); }
  void finish_statistics(const Region& rows, torch::stable::Tensor& sums);
  SoftmaxSums softmax_sums(torch::stable::Tensor& sums) const;

  template <class Source, class Sink>
  void sum_diagonals(int64_t k, int64_t step, const Source& source, const Sink& sink, const Region& region);
  template <ScoreKind kKind>
  void sum_wrapped(bool top_down, const ScoreMap& source, const ScoreSink<kKind>& sink, const Region& region);
  // E, from weights or logits.
  OperandMap sum_cells(const OperandMap& weights, bool are_logits, const Region& cells, int buffer);

  ScoreMap scores(int buffer, const Region& region) const;
  OperandMap operand(int buffer, const Region& region, Storage storage) const;
  Matrix matrix(const ScoreMap& scores) const;
  Matrix matrix(const OperandMap& scores) const;
  // The pixels of a tile: in place where they lie together, else packed.
  Matrix rows_of(const Map& map, const Axis& down, const Axis& right);
  // Those that are the columns of scores: where they are packed, with rows of zeros up to whole vectors.
  Matrix columns_of(const Map& map, const Axis& down, const Axis& right);
  // Those of a map in pieces.
  Matrix rows_of(const Map& map, const Pieces& pieces) { return packed(map, pieces, pieces.count, rows_); }
  // map += a * b at the pixels of a tile; `fresh`: neither they nor those behind hold anything yet. Rows of
  // `a` beyond the pixels are padding.
  void add_product(const Map& map, const Axis& down, const Axis& right, bool fresh, const Matrix& a,
                   const Matrix& b);

  // Whether their window is one that a walk keeps in registers.
  bool rolls_cells() const {
    return !problem_.after() || problem_.fuse_k == 1 || (problem_.fuse_k == 3 && problem_.stride == 1);
  }
  // bfloat16 is enough for weights whose features it is enough for; but long windows read them in float32.
  bool rounds_weights() const {
    return rolls_cells() && inputs_.foreground.scalar_type() == torch::headeronly::ScalarType::BFloat16;
  }
  ScoreSink<ScoreKind::plain> plain(const OperandMap& out) const;
  ScoreSink<ScoreKind::plain> plain(const ScoreMap& out) const;
  // The same, times the norms.
  template <class Sink>
  Sink with_norms(Sink sink) const;
  template <class T>
  PixelMap<const T> pixels(const torch::stable::Tensor& map) const;
  template <class T>
  PixelMap<const T> pixels(const std::optional<torch::stable::Tensor>& map) const;
  // Offset, inverse sum, inverse total.
  PixelMap<float> statistic(int which) const;
  TapSums tap_sums(torch::stable::Tensor& sums) const;
  TapSums tap_sums() { return tap_sums(sums_); }
  template <class T>
  static PixelMap<const T> reading(const PixelMap<T>& map) {
    return {map.data, map.height, map.width, map.sample};
  }

  // Validity under the shifts of the taps, for the sums of a propagation after the softmax.
  struct Shifted {
    const uint32_t* bits;
    int64_t sample, group;
  };
  // Of q - d for every tap d.
  Shifted shifted_validity();

  const Inputs& inputs_;
  const Problem& problem_;
  const Executor& executor_;
  const Plan& plan_;
  const Group group_;
  const int32_t samples_;
  const Uses uses_;
  // Logits are bounded: no offset.
  const bool bounded_;
  // exp to float32's precision: the features are not of half precision.
  const bool exact_;
  const Taps taps_;
  Buffer buffers_[Buffers::kScores];

 private:
  void multiply_features(const Stages& stages, const ScoreMap& gram);
  void for_pieces(const Stages& stages, const ScoreMap& gram,
                  const ScoreSink<ScoreKind::plain>& similarities);
  template <ScoreKind kKind>
  void filter(const Stages& stages, const ScoreMap& gram, const ScoreSink<kKind>& logits);
  template <class T>
  void sum_cells(const Scores<T>& weights, const OperandMap& out);
  // `rows` in all, those beyond the pixels zeros.
  Matrix packed(const Map& map, const Axis& down, const Axis& right, int64_t rows, const Buffer& buffer);
  Matrix packed(const Map& map, const Pieces& pieces, int64_t rows, const Buffer& buffer);
  // Copies a rectangle of each sample to the rows from `first` on, with zeros up to `end`, of `rows` of each.
  void pack(const Map& map, const Axis& down, const Axis& right, char* buffer, int64_t first, int64_t end,
            int64_t rows);
  std::optional<torch::stable::Tensor> count_valid() const;

  char* scratch_;  // what is not taken yet
  torch::stable::Tensor& statistics_;
  torch::stable::Tensor sums_;
  std::optional<torch::stable::Tensor> valid_count_, bits_;
  Buffer rows_, columns_, product_;
};

template <class Source, class Sink>
void Pipeline::sum_diagonals(int64_t k, int64_t step, const Source& source, const Sink& sink,
                             const Region& region) {
  if (k == 3 && step == 1)
    executor_.run(DiagonalSum3<Source, Sink>{source, sink, region, samples_});
  else
    executor_.run(
        DiagonalSum<Source, Sink>{source, sink, region, samples_, int32_t(k / 2 * step), int32_t(step)});
}

template <ScoreKind kKind>
void Pipeline::sum_wrapped(bool top_down, const ScoreMap& source, const ScoreSink<kKind>& sink,
                           const Region& region) {
  if (problem_.fuse_k == 3 && sink.out.storage == Storage::float32)
    executor_.run(WrappedPass3<kKind>{source, sink, region, samples_, top_down});
  else
    executor_.run(
        WrappedSum<kKind>{source, sink, region, samples_, int32_t(problem_.fuse_radius()), top_down});
}

template <class Sink>
Sink Pipeline::with_norms(Sink sink) const {
  sink.alpha = pixels<float>(inputs_.alpha);
  sink.beta = pixels<float>(inputs_.beta);
  return sink;
}

template <class T>
PixelMap<const T> Pipeline::pixels(const torch::stable::Tensor& map) const {
  const int64_t size = map.size(1) * map.size(2), sample = map.size(0) == 1 ? 0 : size;
  return {map.const_data_ptr<T>() + group_.first * sample, int32_t(map.size(1)), int32_t(map.size(2)),
          sample};
}

template <class T>
PixelMap<const T> Pipeline::pixels(const std::optional<torch::stable::Tensor>& map) const {
  return map ? pixels<T>(*map) : PixelMap<const T>{};
}

}  // namespace contextual_attention::cuda
