// The forward by the filters of octet_filters.h.
#include <algorithm>

#include "attend.h"
#include "octet_filters.h"
#include "octet_maps.h"
#include "octet_plan.h"

namespace contextual_attention {
namespace gpu {
namespace {

using torch::headeronly::ScalarType;

// exp of a logit up to this is a float16.
constexpr float kLargestFloat16Logit = 11;

// With weights and operands in T.
template <class T>
class OctetForward : public Pipeline {
 public:
  OctetForward(const Inputs& inputs, const Executor& executor, const Plan& plan, const Group& group,
               const OctetBuffers& buffers, char* scratch, Results& results)
      : Pipeline(inputs, executor, plan, group, {0, 1, 0, 1}, buffers.tile, results.statistics, scratch),
        results_(results),
        dtype_(inputs.foreground.scalar_type()),
        line_(line_of(int32_t(problem_.wb))),
        cell_line_(line_of(int32_t(problem_.wb) + 1)),
        sums_of_tile_(take<float>(buffers.sums)),
        gains_(take<float>(buffers.gains)),
        validity_(take<uint16_t>(buffers.validity)),
        taps_of_columns_(take<T>(buffers.taps)),
        background_(padded(map_of(inputs.background), problem_.hb, problem_.wb, line_,
                           take<void>(buffers.background))),
        value_(padded(map_of(inputs.value), problem_.hb + 1, problem_.wb + 1, cell_line_,
                      take<void>(buffers.value))) {}

  void run() {
    executor_.run(BackgroundColumns<T>{pixels<float>(inputs_.beta), pixels<bool>(inputs_.valid),
                                       problem_.softmax_scale * kPowersOfTwo, taps_, gains_, validity_,
                                       taps_of_columns_, line_, cell_line_, samples_});
    for_tiles([&](const Region& own, bool, bool) {
      const Stages stages = make_stages(problem_, own, Pass::forward, true);
      const Lines<T> weights = weigh(stages);
      sum_rows(weights, stages.weights);
      finish_statistics(stages.weights);
      add_product(map_of(results_.cells), stages.cells.y, stages.cells.x, true,
                  matrix(paste(weights, stages.cells), problem_.hb + 1), value_);
    });
  }

 private:
  // G, and W of it.
  Lines<T> weigh(const Stages& stages) {
    const auto gram = lines<float>(0, stages.gram, line_, problem_.hb);
    const auto weights = lines<T>(1, stages.weights, line_, problem_.hb);
    multiply(executor_, samples_, matrix(gram, problem_.hb),
             rows_of(map_of(inputs_.foreground), stages.gram.y, stages.gram.x), background_.transposed());
    executor_.run(PatchWeights<T>{gram.read_only(), weights, pixels<float>(inputs_.alpha),
                                  pixels<bool>(inputs_.selected), gains_, stages.weights, samples_});
    return weights;
  }

  // By a matrix product: it reads the weights once for all taps.
  void sum_rows(const Lines<T>& weights, const Region& rows) {
    const int64_t count = rows.rows(), columns = problem_.hb * line_;
    multiply(executor_, samples_,
             {sums_of_tile_, ScalarType::Float, count, kTapColumns, kTapColumns, 1, count * kTapColumns},
             matrix(weights, problem_.hb),
             {taps_of_columns_, dtype_, columns, kTapColumns, kTapColumns, 1, columns * kTapColumns});
    executor_.run(TakeTapSums{sums_of_tile_, rows.y, rows.x, tap_sums(), samples_, count * taps_.count()});
  }

  // E.
  Lines<T> paste(const Lines<T>& weights, const Region& cells) {
    const auto out = lines<T>(0, cells, cell_line_, problem_.hb + 1);
    const auto run = [&](auto body) {
      executor_.run(decltype(body){weights.read_only(), out, reading(statistic(1)), reading(statistic(2)),
                                   validity_, cells, samples_});
    };
    if (problem_.after())
      run(PastedWeights<3, T>{});
    else
      run(PastedWeights<1, T>{});
    return out;
  }

  template <class Entry>
  Lines<Entry> lines(int buffer, const Region& region, int32_t line, int64_t count) const {
    const int64_t pitch = count * line, sample = region.rows() * pitch;
    void* data = buffers_[buffer].holding(sample * int64_t(sizeof(Entry)));
    return {static_cast<Entry*>(data), region.y, region.x, line, pitch, sample};
  }

  template <class Entry>
  Matrix matrix(const Lines<Entry>& scores, int64_t lines) const {
    const ScalarType dtype = sizeof(Entry) == 4 ? ScalarType::Float : dtype_;
    const int64_t rows = int64_t(scores.y.count) * scores.x.count;
    return {scores.data, dtype, rows, lines * scores.line, scores.pitch, 1, scores.sample};
  }

  // A map as the rows of a matrix, in lines; where it lies so already, in its place.
  Matrix padded(const Map& map, int64_t height, int64_t width, int32_t line, void* out) {
    const int64_t rows = height * line, bytes = int64_t(sizeof(T)) * map.depth;
    char* first = static_cast<char*>(map.data) + group_.first * height * width * bytes;
    if (out == nullptr) return {first, map.dtype, rows, map.depth, map.depth, 1, rows * map.depth};
    const auto pad = [&](auto piece) {
      using Piece = decltype(piece);
      executor_.run(PadLines<Piece>{reinterpret_cast<const Piece*>(first), static_cast<Piece*>(out),
                                    int32_t(height), int32_t(width), line,
                                    int32_t(bytes / int64_t(sizeof(Piece))), samples_});
    };
    const bool in_words =
        bytes % sizeof(Words) == 0 && reinterpret_cast<uintptr_t>(first) % sizeof(Words) == 0;
    if (in_words)
      pad(Words{});
    else
      pad(uint16_t{});
    return {out, map.dtype, rows, map.depth, map.depth, 1, rows * map.depth};
  }

  // The next part of the scratch; null where nothing is needed of it.
  template <class Entry>
  Entry* take(int64_t bytes) {
    return bytes == 0 ? nullptr : reinterpret_cast<Entry*>(Pipeline::take(bytes).begin);
  }

  Results& results_;
  const ScalarType dtype_;
  const int32_t line_, cell_line_;
  float *const sums_of_tile_, *const gains_;
  uint16_t* const validity_;
  T* const taps_of_columns_;
  const Matrix background_, value_;
};

template <class T>
void attend(const Inputs& inputs, const Executor& executor, const Plan& plan, char* scratch,
            Results& results) {
  const OctetBuffers buffers = make_octet_buffers(inputs.problem, plan.tile);
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
  const bool holds_weights =
      dtype == ScalarType::BFloat16 || (dtype == ScalarType::Half && p.softmax_scale <= kLargestFloat16Logit);
  const bool filters =
      p.ksize == 3 && p.stride == 1 && (p.propagation == Propagation::none || (p.after() && p.fuse_k == 3));
  return filters && holds_weights && inputs.value.scalar_type() == dtype && !return_offsets &&
         logits_are_bounded(inputs);
}

void attend_by_octets(const Inputs& inputs, const Executor& executor, const Plan& plan, char* scratch,
                      Results& results) {
  if (inputs.foreground.scalar_type() == ScalarType::BFloat16)
    attend<Bfloat16>(inputs, executor, plan, scratch, results);
  else
    attend<Float16>(inputs, executor, plan, scratch, results);
}

}  // namespace gpu
}  // namespace contextual_attention
