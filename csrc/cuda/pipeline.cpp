#include "pipeline.h"

#include <torch/csrc/stable/ops.h>

#include <algorithm>

namespace contextual_attention::cuda {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// exp(+-40) and sums of it are far from the ends of float32.
constexpr float kSafeLogit = 40;

Taps taps_of(const Problem& p) { return p.after() ? Taps{int32_t(p.fuse_k), int32_t(p.stride)} : Taps{1, 1}; }

ScalarType dtype_of(Storage storage) {
  if (storage == Storage::float32) return ScalarType::Float;
  return storage == Storage::bfloat16 ? ScalarType::BFloat16 : ScalarType::Half;
}

int64_t entry_bytes(ScalarType dtype) { return bytes_of(storage_of(dtype)); }

bool lie_together(const Axis& down, const Axis& right) {
  return right.first == 0 && right.count == right.size && down.first >= 0 &&
         down.first + down.count <= down.size;
}

}  // namespace

Storage storage_of(ScalarType dtype) {
  if (dtype == ScalarType::Float) return Storage::float32;
  if (dtype == ScalarType::BFloat16) return Storage::bfloat16;
  STD_TORCH_CHECK(dtype == ScalarType::Half,
                  "contextual_attention: operands must be float32, bfloat16 or float16");
  return Storage::float16;
}

// With both norms divided by, a similarity is at most 1, and a propagated one at most the number of taps.
bool logits_are_bounded(const Inputs& inputs) {
  const Problem& p = inputs.problem;
  const float taps = p.before() ? float(p.fuse_k * p.fuse_k) : 1.0f;
  return inputs.alpha && p.softmax_scale * taps <= kSafeLogit;
}

Pipeline::Pipeline(const Inputs& inputs, const Executor& executor, const Plan& plan, const Group& group,
                   const Uses& uses, const Buffers& buffers, Tensor& statistics, char* scratch)
    : inputs_(inputs),
      problem_(inputs.problem),
      executor_(executor),
      plan_(plan),
      group_(group),
      samples_(int32_t(group.count)),
      uses_(uses),
      bounded_(logits_are_bounded(inputs)),
      exact_(storage_of(inputs.foreground.scalar_type()) == Storage::float32),
      taps_(taps_of(inputs.problem)),
      scratch_(scratch + Buffers::kMargin),
      statistics_(statistics),
      sums_(torch::stable::new_empty(inputs.beta, {group.count, problem_.h * problem_.w * taps_.count()},
                                     ScalarType::Double)),
      valid_count_(count_valid()) {
  for (int i = 0; i < Buffers::kScores; ++i) buffers_[i] = take(buffers.scores[i]);
  rows_ = take(buffers.rows);
  columns_ = take(buffers.columns);
  product_ = take(buffers.product);
}

Pipeline::Buffer Pipeline::take(int64_t bytes) {
  char* begin = scratch_;
  scratch_ += plan_.samples * aligned(bytes);
  return {begin, bytes};
}

// Invalid candidates take part in the softmax unless they are excluded.
std::optional<Tensor> Pipeline::count_valid() const {
  if (problem_.masking == Masking::exclude) return std::nullopt;
  count_launch();
  const int64_t axes[] = {1, 2};
  return torch::stable::sum(inputs_.valid, torch::headeronly::IntHeaderOnlyArrayRef(axes, 2));
}

Region Pipeline::everything() const {
  const auto all = [](int64_t size) { return Axis{0, int32_t(size), int32_t(size)}; };
  return {all(problem_.h), all(problem_.w), all(problem_.hb), all(problem_.wb)};
}

void Pipeline::for_tiles(const std::function<void(const Region&, bool, bool)>& each) const {
  const auto axis = [](int64_t first, int64_t count, int64_t size) {
    return Axis{int32_t(first), int32_t(std::min(count, size - first)), int32_t(size)};
  };
  const Problem& p = problem_;
  const TileSize& t = plan_.tile;
  for (int64_t y = 0; y < p.h; y += t.y)
    for (int64_t x = 0; x < p.w; x += t.x)
      for (int64_t v = 0; v < p.hb; v += t.v)
        for (int64_t u = 0; u < p.wb; u += t.u)
          each({axis(y, t.y, p.h), axis(x, t.x, p.w), axis(v, t.v, p.hb), axis(u, t.u, p.wb)},
               y == 0 && x == 0, v == 0 && u == 0);
}

void Pipeline::multiply_features(const Stages& stages, const ScoreMap& gram) {
  const Map foreground = map_of(inputs_.foreground), background = map_of(inputs_.background);
  const Region& r = stages.gram;
  const bool rows_apart = stages.foreground.distinct > 1, columns_apart = stages.background.distinct > 1;
  const Region read = stages.in_pieces ? everything() : r;
  const Matrix rows = rows_apart ? packed(foreground, stages.foreground, r.rows(), rows_)
                                 : rows_of(foreground, read.y, read.x);
  const Matrix columns = columns_apart ? packed(background, stages.background, padded(r.columns()), columns_)
                                       : columns_of(background, read.v, read.u);
  multiply(executor_, samples_, matrix(gram).with_columns(columns.rows), rows, columns.transposed());
}

char* Pipeline::Buffer::holding(int64_t needed) const {
  STD_TORCH_CHECK(needed <= bytes, "contextual_attention: internal error: a tile exceeds its buffer");
  return begin;
}

ScoreMap Pipeline::scores(int buffer, const Region& region) const {
  const int64_t pitch = pitch_of(region), sample = region.rows() * pitch;
  char* data = buffers_[buffer].holding(sample * int64_t(sizeof(float)));
  const int64_t down = region.x.count * pitch + region.u.count;
  return {reinterpret_cast<float*>(data), region, pitch, sample, down};
}

OperandMap Pipeline::operand(int buffer, const Region& region, Storage storage) const {
  const ScoreMap map = scores(buffer, region);
  return {map.data, storage, region, map.pitch, map.sample, map.down};
}

Matrix Pipeline::matrix(const ScoreMap& s) const {
  return {s.data, ScalarType::Float, s.region.rows(), s.region.columns(), s.pitch, 1, s.sample};
}

Matrix Pipeline::matrix(const OperandMap& s) const {
  return {s.data, dtype_of(s.storage), s.region.rows(), s.region.columns(), s.pitch, 1, s.sample};
}

Matrix Pipeline::rows_of(const Map& map, const Axis& down, const Axis& right) {
  return packed(map, down, right, int64_t(down.count) * right.count, rows_);
}

Matrix Pipeline::columns_of(const Map& map, const Axis& down, const Axis& right) {
  const int64_t count = int64_t(down.count) * right.count;
  return packed(map, down, right, lie_together(down, right) ? count : padded(count), columns_);
}

Matrix Pipeline::packed(const Map& map, const Axis& down, const Axis& right, int64_t rows,
                        const Buffer& buffer) {
  const int64_t bytes = entry_bytes(map.dtype);
  if (lie_together(down, right)) {
    char* first = static_cast<char*>(map.data) + group_.first * map.sample() * bytes;
    first += int64_t(down.first) * right.size * map.depth * bytes;
    return {first, map.dtype, rows, map.depth, map.depth, 1, map.sample()};
  }
  char* data = buffer.holding(rows * map.depth * bytes);
  pack(map, down, right, data, 0, rows, rows);
  return {data, map.dtype, rows, map.depth, map.depth, 1, rows * map.depth};
}

Matrix Pipeline::packed(const Map& map, const Pieces& pieces, int64_t rows, const Buffer& buffer) {
  char* data = buffer.holding(rows * map.depth * entry_bytes(map.dtype));
  for (const Piece& piece : pieces.pieces) {
    const int64_t count = int64_t(piece.rows.count) * piece.columns.count, end = piece.begin + count;
    if (count > 0)
      pack(map, piece.rows, piece.columns, data, piece.begin, end == pieces.count ? rows : end, rows);
  }
  return {data, map.dtype, rows, map.depth, map.depth, 1, rows * map.depth};
}

void Pipeline::pack(const Map& map, const Axis& down, const Axis& right, char* buffer, int64_t first,
                    int64_t end, int64_t rows) {
  const int64_t row_bytes = map.depth * entry_bytes(map.dtype);
  const char* from = static_cast<const char*>(map.data) + group_.first * map.rows * row_bytes;
  char* to = buffer + first * row_bytes;
  in_units(from, row_bytes, [&](auto unit) {
    using Unit = decltype(unit);
    const int64_t depth = row_bytes / int64_t(sizeof(Unit));
    executor_.run(Pack<Unit>{reinterpret_cast<const Unit*>(from), reinterpret_cast<Unit*>(to), down, right,
                             int32_t(end - first), int32_t(depth), samples_, map.rows * depth, rows * depth});
  });
}

void Pipeline::add_product(const Map& map, const Axis& down, const Axis& right, bool fresh, const Matrix& a,
                           const Matrix& b) {
  const int64_t rows = int64_t(down.count) * right.count, depth = map.depth;
  float* begin = static_cast<float*>(map.data) + group_.first * map.sample();
  if (fresh && lie_together(down, right)) {
    const int64_t first = int64_t(down.first) * right.size;
    // Padding is written too where the map goes on: its pixels there are written later.
    const int64_t written = first + a.rows <= map.rows ? a.rows : rows;
    const Matrix out{begin + first * depth, ScalarType::Float, written, depth, depth, 1, map.sample()};
    return multiply(executor_, samples_, out, a.with_rows(written), b);
  }
  const int64_t sample = a.rows * depth;
  const auto* product = reinterpret_cast<const float*>(product_.holding(sample * int64_t(sizeof(float))));
  multiply(executor_, samples_, {product, ScalarType::Float, a.rows, depth, depth, 1, sample}, a, b);
  executor_.run(AddToMap{product, begin, down, right, int32_t(depth), samples_, map.sample(), sample});
}

ScoreSink<ScoreKind::plain> Pipeline::plain(const ScoreMap& out) const {
  return plain({out.data, Storage::float32, out.region, out.pitch, out.sample, out.down});
}

ScoreSink<ScoreKind::plain> Pipeline::plain(const OperandMap& out) const {
  return {out, 1.0f, {}, {}, exact_, pixels<bool>(inputs_.valid), pixels<bool>(inputs_.selected), {}};
}

PixelMap<float> Pipeline::statistic(int which) const {
  const int64_t pixels = problem_.h * problem_.w;
  return {statistics_.mutable_data_ptr<float>() + (group_.first * 3 + which) * pixels, int32_t(problem_.h),
          int32_t(problem_.w), 3 * pixels};
}

TapSums Pipeline::tap_sums(Tensor& sums) const {
  return {sums.mutable_data_ptr<double>(), problem_.h * problem_.w, int32_t(problem_.w), taps_.count()};
}

}  // namespace contextual_attention::cuda
