// The forward by octets.
#include <algorithm>

#include "attend.h"
#include "gram_sums.h"
#include "octet_cells.h"
#include "octet_maps.h"
#include "octet_plan.h"
#include "octet_propagation.h"
#include "octet_sums.h"

namespace contextual_attention::cuda {
namespace {

using torch::headeronly::ScalarType;

template <class T>
constexpr ScalarType dtype_of = ScalarType::Float;
template <>
constexpr ScalarType dtype_of<Bfloat16> = ScalarType::BFloat16;
template <>
constexpr ScalarType dtype_of<Float16> = ScalarType::Half;

// With operands in T, and in most cases weights.
template <class T>
class OctetForward : public Pipeline {
 public:
  OctetForward(const Inputs& inputs, const Executor& executor, const Plan& plan, const Group& group,
               const OctetBuffers& buffers, char* scratch, Results& results)
      : Pipeline(inputs, executor, plan, group, {0, 1, 0, 1}, buffers.tile, results.statistics, scratch),
        results_(results),
        line_(padded(int32_t(problem_.wb))),
        cell_line_(padded(int32_t(problem_.wb) + 1)),
        sums_of_tile_(take<float>(buffers.sums)),
        gains_(take<float>(buffers.gains)),
        validity_(take<uint32_t>(buffers.validity)),
        taps_of_columns_(take<uint16_t>(buffers.taps)),
        factors_(take<uint32_t>(buffers.factors)),
        seconds_(take<uint32_t>(buffers.factors)),
        background_(plan.shared > 0 ? Matrix{}
                                    : in_lines(map_of(inputs.background), problem_.hb, problem_.wb, line_,
                                               take<void>(buffers.background))),
        value_(in_lines(map_of(inputs.value), problem_.hb + 1, problem_.wb + 1, cell_line_,
                        take<void>(buffers.value))) {}

  void run() {
    const bool of_weights = !problem_.before(), in_pairs = propagates_in_pairs(problem_);
    in_pairs ? describe_background<Float16>(of_weights) : describe_background<T>(of_weights);
    for_tiles([&](const Region& own, bool, bool) {
      const Stages stages = make_stages(problem_, own, Pass::forward, true);
      const auto cells = lines<T>(of_weights ? kFirst : kSecond, stages.cells, cell_line_, problem_.hb + 1);
      if (in_pairs)
        paste_in_pairs(stages, cells);
      else if (of_weights)
        paste_weights(stages, cells);
      else
        paste_logits(stages, cells);
      add_product(map_of(results_.cells), stages.cells.y, stages.cells.x, true,
                  matrix(cells, problem_.hb + 1), value_);
    });
  }

 private:
  // The two buffers of scores, in which the stages take turns.
  static constexpr int kFirst = 0, kSecond = 1;

  // What the filters ask of the background, for weights of this type.
  template <class Weight>
  void describe_background(bool of_weights) {
    executor_.run(BackgroundColumns<Weight>{
        pixels<float>(inputs_.beta), pixels<bool>(inputs_.valid),
        of_weights ? problem_.softmax_scale * kPowersOfTwo : 1.0f, of_weights, taps_, gains_, validity_,
        reinterpret_cast<Weight*>(taps_of_columns_), line_, cell_line_, samples_});
  }

  // G, W and its row sums: logits are bounded.
  template <class Weight>
  Lines<Weight> make_weights(const Stages& stages) {
    const Region& region = stages.weights;
    const auto weights = lines<Weight>(kSecond, region, line_, problem_.hb);
    const WeightOctets<Weight> sink{weights, pixels<float>(inputs_.alpha), pixels<bool>(inputs_.selected),
                                    gains_, int32_t(problem_.hb)};
    if (gram_on_chip())
      sum_products(sink, region);
    else
      sum_gram(multiply_features(stages), sink, region);
    sum_rows(weights, region);
    finish_statistics(region);
    return weights;
  }

  // W, E.
  void paste_in_pairs(const Stages& stages, const Lines<T>& cells) {
    const auto weights = make_weights<Float16>(stages);
    const FactorMap map = factor_map(stages.weights, stages.cells);
    const RowFactors factors{factors_, seconds_, map.y, map.x, map.height, map.width};
    executor_.run(FactorRows{reading(statistic(1)), reading(statistic(2)), factors, samples_});
    executor_.run(PropagatedCells<T>{weights.read_only(), cells, factors, validity_, stages.cells, samples_,
                                     WalkSteps::of(weights, cells)});
  }

  void paste_weights(const Stages& stages, const Lines<T>& cells) {
    const auto weights = make_weights<T>(stages);
    if (problem_.after())
      paste<3>(weights, cells, stages.cells);
    else
      paste<1>(weights, cells, stages.cells);
  }

  // G, S, logits, E.
  void paste_logits(const Stages& stages, const Lines<T>& cells) {
    const Region& region = stages.weights;
    const auto logits = lines<float>(kFirst, region, line_, problem_.hb);
    const LogitOctets sink{logits,    problem_.softmax_scale, pixels<bool>(inputs_.selected),
                           validity_, int32_t(problem_.hb),   cell_line_ / kOctet};
    const auto similarities = compare(stages);
    if (stages.in_pieces) {
      executor_.run(
          OctetSum3<WrappedOctets, LogitOctets>{wrapped(stages, similarities), sink, region, samples_});
    } else {
      executor_.run(OctetSum3<PlainOctets, LogitOctets>{{similarities.read_only()}, sink, region, samples_});
    }
    const Lines<Logit> scores{
        reinterpret_cast<Logit*>(logits.data), logits.y, logits.x, logits.line, logits.pitch, logits.sample};
    const Scores<Logit> map = map_of(scores);
    collect_statistics(map, {map.region, true});
    finish_statistics(region);
    paste<1>(scores, cells, stages.cells);
  }

  // G, of the pixels in pieces where a propagation wraps.
  Lines<float> multiply_features(const Stages& stages) {
    const auto gram = lines<float>(kFirst, stages.gram, line_, problem_.hb);
    const Map foreground = map_of(inputs_.foreground);
    const Region read = stages.in_pieces ? everything() : stages.gram;
    const Matrix rows = stages.foreground.distinct > 1 ? rows_of(foreground, stages.foreground)
                                                       : rows_of(foreground, read.y, read.x);
    multiply(executor_, samples_, matrix(gram, problem_.hb), rows, background_.transposed());
    return gram;
  }

  // S.
  Lines<float> compare(const Stages& stages) {
    const auto similarities = lines<float>(kSecond, stages.similarity, line_, problem_.hb);
    const SimilarityOctets sink{similarities, pixels<float>(inputs_.alpha), gains_, int32_t(problem_.hb)};
    const auto gram = gram_on_chip() ? Lines<float>{} : multiply_features(stages);
    const auto sum = [&](const Lines<float>& from, const SimilarityOctets& to, const Region& region) {
      if (gram_on_chip())
        sum_products(to, region);
      else
        sum_gram(from, to, region);
    };
    if (!stages.in_pieces) {
      sum(gram, sink, stages.similarity);
      return similarities;
    }
    const Region all = everything();
    for (int i = 0; i < stages.foreground.distinct; ++i) {
      const Piece& piece = stages.foreground.pieces[i];
      if (piece.rows.count == 0) continue;
      auto to = sink;
      to.out = piece_of(similarities, piece);
      sum(piece_of(gram, piece), to,
          {within_patches(piece.rows), within_patches(piece.columns), all.v, all.u});
    }
    return similarities;
  }

  // D_3 of a Gram matrix, and of one that is never in memory.
  template <class Sink>
  void sum_gram(const Lines<float>& gram, const Sink& sink, const Region& region) {
    executor_.run(OctetSum3<PlainOctets, Sink>{{gram.read_only()}, sink, region, samples_});
  }
  template <class Sink>
  void sum_products(const Sink& sink, const Region& region) {
    const auto tiles = make_gram_tiles(region, line_, samples_, problem_.channels, plan_.shared);
    executor_.run(GramSums3<T, Sink>{features(inputs_.foreground), features(inputs_.background), sink, region,
                                     samples_, tiles});
  }
  bool gram_on_chip() const { return plan_.shared > 0; }

  Features<T> features(const torch::stable::Tensor& map) const {
    const int64_t sample = map.size(1) * map.size(2) * map.size(3);
    return {static_cast<const T*>(map.const_data_ptr()) + group_.first * sample, int32_t(map.size(1)),
            int32_t(map.size(2)), int32_t(map.size(3))};
  }

  static Lines<float> piece_of(const Lines<float>& scores, const Piece& piece) {
    return {scores.data + piece.begin * scores.pitch,
            piece.rows,
            piece.columns,
            scores.line,
            scores.pitch,
            scores.sample};
  }

  WrappedOctets wrapped(const Stages& stages, const Lines<float>& similarities) const {
    const Axis rows{0, int32_t(problem_.hb), int32_t(problem_.hb)}, columns{0, line_, line_};
    return {{{similarities.data, stages.similarity, similarities.pitch, similarities.sample, 0},
             stages.foreground,
             one_piece(rows, columns),
             stages.weights}};
  }

  // By a matrix product: it reads the weights once for all taps.
  template <class Weight>
  void sum_rows(const Lines<Weight>& weights, const Region& rows) {
    const int64_t count = rows.rows(), columns = problem_.hb * line_;
    multiply(
        executor_, samples_,
        {sums_of_tile_, ScalarType::Float, count, kTapColumns, kTapColumns, 1, count * kTapColumns},
        matrix(weights, problem_.hb),
        {taps_of_columns_, dtype_of<Weight>, columns, kTapColumns, kTapColumns, 1, columns * kTapColumns});
    executor_.run(TakeTapSums{sums_of_tile_, rows.y, rows.x, tap_sums(), samples_, count * taps_.count()});
  }

  template <int32_t kTaps, class Score>
  void paste(const Lines<Score>& scores, const Lines<T>& cells, const Region& region) {
    executor_.run(PastedWeights<kTaps, Score, T>{scores.read_only(), cells, reading(statistic(1)),
                                                 reading(statistic(2)), reading(statistic(0)), validity_,
                                                 region, samples_});
  }

  // As rows that a reduction reads, the columns behind a map's last one among them.
  Scores<Logit> map_of(const Lines<Logit>& scores) const {
    const Axis rows{0, int32_t(problem_.hb), int32_t(problem_.hb)}, columns{0, line_, line_};
    return {scores.data, {scores.y, scores.x, rows, columns}, scores.pitch, scores.sample, 0};
  }
  using Pipeline::map_of;

  template <class Entry>
  Lines<Entry> lines(int buffer, const Region& region, int32_t line, int64_t count) const {
    const int64_t pitch = count * line, sample = region.rows() * pitch;
    void* data = buffers_[buffer].holding(sample * int64_t(sizeof(Entry)));
    return {static_cast<Entry*>(data), region.y, region.x, line, pitch, sample};
  }

  template <class Entry>
  Matrix matrix(const Lines<Entry>& scores, int64_t lines) const {
    const int64_t rows = int64_t(scores.y.count) * scores.x.count;
    return {scores.data, dtype_of<Entry>, rows, lines * scores.line, scores.pitch, 1, scores.sample};
  }

  // A map as the rows of a matrix, in lines; where it lies so already, in its place.
  Matrix in_lines(const Map& map, int64_t height, int64_t width, int32_t line, void* out) {
    const int64_t rows = height * line, bytes = int64_t(sizeof(T)) * map.depth;
    char* first = static_cast<char*>(map.data) + group_.first * height * width * bytes;
    if (out == nullptr) return {first, map.dtype, rows, map.depth, map.depth, 1, rows * map.depth};
    in_units(first, bytes, [&](auto unit) {
      using Unit = decltype(unit);
      executor_.run(PadLines<Unit>{reinterpret_cast<const Unit*>(first), static_cast<Unit*>(out),
                                   int32_t(height), int32_t(width), line,
                                   int32_t(bytes / int64_t(sizeof(Unit))), samples_});
    });
    return {out, map.dtype, rows, map.depth, map.depth, 1, rows * map.depth};
  }

  // The next part of the scratch; null where nothing is needed of it.
  template <class Entry>
  Entry* take(int64_t bytes) {
    return bytes == 0 ? nullptr : reinterpret_cast<Entry*>(Pipeline::take(bytes).begin);
  }

  Results& results_;
  const int32_t line_, cell_line_;
  float *const sums_of_tile_, *const gains_;
  uint32_t* const validity_;
  uint16_t* const taps_of_columns_;  // float16 or bfloat16
  uint32_t *const factors_, *const seconds_;
  const Matrix background_, value_;
};

template <class T>
void attend(const Inputs& inputs, const Executor& executor, const Plan& plan, char* scratch,
            Results& results) {
  const OctetBuffers buffers = make_octet_buffers(inputs.problem, plan.tile, plan.shared > 0);
  const int64_t batch = inputs.problem.batch;
  for (int64_t first = 0; first < batch; first += plan.samples) {
    const Group group{first, std::min(plan.samples, batch - first)};
    OctetForward<T>(inputs, executor, plan, group, buffers, scratch, results).run();
  }
}

}  // namespace

bool octets_suit(const Inputs& inputs, bool return_offsets) {
  const Problem& p = inputs.problem;
  const ScalarType dtype = inputs.foreground.scalar_type();
  if (dtype == ScalarType::Float || inputs.value.scalar_type() != dtype || return_offsets) return false;
  if (p.ksize != 3 || p.stride != 1) return false;
  if (p.propagation != Propagation::none && p.fuse_k != 3) return false;
  // Logits wait in float32 for the largest of their row, weights in 16 bits for nothing.
  const bool bounded = logits_are_bounded(inputs);
  if (p.before()) return !bounded;
  return bounded && (dtype == ScalarType::BFloat16 || p.softmax_scale <= kLargestFloat16Logit);
}

void attend_by_octets(const Inputs& inputs, const Executor& executor, const Plan& plan, char* scratch,
                      Results& results) {
  if (inputs.foreground.scalar_type() == ScalarType::BFloat16)
    attend<Bfloat16>(inputs, executor, plan, scratch, results);
  else
    attend<Float16>(inputs, executor, plan, scratch, results);
}

}  // namespace contextual_attention::cuda
