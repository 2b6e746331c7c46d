#include "march.h"

#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "gemm.h"
#include "simd.h"

namespace contextual_attention::cpu {

Block::Block(const Problem& problem, const Sample& sample, const Layout& layout)
    : layout(layout), background(layout.size * problem.channels), beta(layout.size), valid(layout.size) {
  const int64_t wb = problem.wb, c = problem.channels;
  torch::stable::parallel_for(0, static_cast<int64_t>(layout.rows.size()), kScoresWorthSharing / (wb * c) + 1,
                              [&](int64_t begin, int64_t end) {
                                for (int64_t row = begin; row < end; ++row) {
                                  const int64_t v = layout.rows[row], at = layout.at(row);
                                  if (v < 0) continue;
                                  std::copy_n(sample.background + v * wb * c, wb * c,
                                              background.begin() + at * c);
                                  std::copy_n(sample.beta + v * wb, wb, beta.begin() + at);
                                  for (int64_t u = 0; u < wb; ++u)
                                    valid[at + u] = sample.valid[v * wb + u] ? 1.0f : 0.0f;
                                }
                              });
}

PartialSums::PartialSums(const Problem& problem)
    : weights(problem.h * problem.w),
      shifted(problem.after() ? problem.h * problem.w * problem.fuse_k * problem.fuse_k : 0) {}

// Cosines of patches are bounded, and with a small softmax scale even the least of them has a weight that
// does not vanish against the greatest. A little more than the scale, for what rounding adds.
static float bound_of_logits(const Problem& problem, const Sample& sample) {
  const bool bounded = sample.alpha && !problem.before() && std::abs(problem.softmax_scale) <= 20.0f;
  return bounded ? 1.0001f * std::abs(problem.softmax_scale) : std::numeric_limits<float>::infinity();
}

March::March(const Problem& problem, const Sample& sample, const Statistics& statistics, const Block& block,
             const Plan& plan, const Tile& tile, int64_t lanes, float* scratch, bool backward)
    : problem_(problem),
      sample_(sample),
      statistics_(statistics),
      block_(block),
      layout_(block.layout),
      plan_(plan),
      tile_(tile),
      lanes_(lanes),
      filters_(active_filters()),
      taps_(lanes),
      bundles_(lanes),
      logit_bound_(bound_of_logits(problem, sample)) {
  const Radii radius(problem, backward);
  for (int s = 0; s < kStages; ++s) {
    const Stage stage = static_cast<Stage>(s);
    const RingShape shape = ring_shape(stage, problem, radius, layout_, plan.chunk, backward);
    const int64_t first = std::max<int64_t>(0, tile.x0 - shape.radius);
    const int64_t last = std::min(problem.w, tile.x1 + shape.radius) + (shape.cells ? 1 : 0);
    rings_[s] = Ring(scratch, shape.rows, first, last - first, shape.size);
    radii_[s] = shape.radius;
    next_[s] = first_row(shape.radius);
    scratch += rings_[s].floats();
    // Everything but the results of matrix products keeps zeros around the rows that are written.
    const bool written_whole = stage == Stage::gram || stage == Stage::cells || stage == Stage::cell_gradient;
    if (!written_whole) std::memset(rings_[s].memory(), 0, rings_[s].floats() * sizeof(float));
  }
  scratch_end_ = scratch;
}

int64_t March::first_row(int64_t radius) const {
  return problem_.wrap() ? tile_.y0 - radius : std::max<int64_t>(0, tile_.y0 - radius);
}

int64_t March::last_row(int64_t radius) const {
  return problem_.wrap() ? tile_.y1 + radius : std::min(problem_.h, tile_.y1 + radius);
}

void March::for_lanes(const Ring& ring, const std::function<void(int64_t, int64_t, int64_t)>& f) const {
  const int64_t first = ring.first(), columns = ring.columns();
  const auto run = [&](int64_t lane) {
    f(lane, first + columns * lane / lanes_, first + columns * (lane + 1) / lanes_);
  };
  if (lanes_ == 1 || columns * layout_.size < kScoresWorthSharing) {
    for (int64_t lane = 0; lane < lanes_; ++lane) run(lane);
    return;
  }
  torch::stable::parallel_for(0, lanes_, 1, [&](int64_t begin, int64_t end) {
    for (int64_t lane = begin; lane < end; ++lane) run(lane);
  });
}

void March::patch_taps(const Ring& source, int64_t y, int64_t x, std::vector<Tap>& taps) const {
  const int64_t reach = problem_.patch_radius(), row = actual_row(y);
  for (int64_t i = -reach; i <= reach; ++i) {
    if (row + i < 0 || row + i >= problem_.h) continue;
    for (int64_t j = -reach; j <= reach; ++j) {
      if (x + j < 0 || x + j >= problem_.w) continue;
      taps.push_back({source.at(y + i, x + j) + i * layout_.pitch + j, 1.0f});
    }
  }
}

void March::sum_spans(float* target, const std::vector<Tap>& taps, const std::vector<Span>& spans,
                      float scale, const float* gain) const {
  for (const Span& span : spans)
    filters_.diagonal_sum(target + span.at, taps.data(), static_cast<int>(taps.size()), span.at, span.length,
                          scale, gain);
}

void March::sum_bundle(Bundle& bundle, const std::vector<Span>& spans, const float* gain) const {
  bundle.run(spans,
             [&](const Bundle::Column& column, const Tap* taps, const Span& span, int64_t start, int64_t n) {
               const int64_t at = span.at + start;
               filters_.diagonal_sum(column.target + at, taps, column.count, at, n, column.scale, gain);
             });
}

void March::add_propagation(Bundle& bundle, int64_t y, int64_t x) const {
  bundle.add(x, ring(Stage::final).at(y, x), 1.0f, [&](std::vector<Tap>& taps) {
    fuse_taps(ring(Stage::weights), y, x, taps, [&](int64_t n) { return statistics_.inverse_sum[n]; });
  });
}

// The up to four patches that paste on cell (y, x).
void March::cell_taps(const Ring& source, int64_t y, int64_t x, const float* scale,
                      std::vector<Tap>& taps) const {
  for (int64_t i = 0; i < 2; ++i) {
    for (int64_t j = 0; j < 2; ++j) {
      const int64_t row = y - i, column = x - j;
      if (row < tile_.y0 || row >= tile_.y1 || column < tile_.x0 || column >= tile_.x1) continue;
      const float weight = scale[pixel(row, column)];
      if (weight != 0) taps.push_back({source.at(row, column) - i * layout_.pitch - j, weight});
    }
  }
}

// Sum over i of source[n + i, m + i], n and m row-major indices: within a row by plain offsets (the zeros
// between rows take what runs over), over the row ends one score at a time.
void March::left_right(float* target, const Ring& source, int64_t y, int64_t x,
                       const std::vector<Span>& spans, std::vector<Tap>& taps) const {
  const int64_t w = problem_.w, wb = problem_.wb, reach = problem_.fuse_radius(), n = pixel(y, x);
  const auto neighbour = [&](int64_t i) {
    const int64_t crossed = floor_div(x + i, w);
    return source.at(y + crossed, x + i - crossed * w);
  };
  const auto exists = [&](int64_t i) { return n + i >= 0 && n + i < problem_.h * w; };
  for (int64_t i = -reach; i <= reach; ++i)
    if (exists(i)) taps.push_back({neighbour(i) + i, 1.0f});
  sum_spans(target, taps, spans, 1.0f, nullptr);
  for (int64_t i = -reach; i <= reach; ++i) {
    if (i == 0 || !exists(i)) continue;
    const float* row = neighbour(i);
    const int64_t first = i > 0 ? std::max<int64_t>(0, wb - i) : 0;
    const int64_t last = i > 0 ? wb : std::min(wb, -i);
    for (const Span& span : spans) {
      for (int64_t at = span.at; at < span.at + span.length; at += layout_.pitch) {
        const int64_t v = layout_.row_of(at);
        for (int64_t u = first; u < last; ++u) {
          const int64_t m = v * wb + u + i;
          if (m < 0 || m >= problem_.hb * wb || layout_.position[m / wb] < 0) continue;
          target[at + u] += row[layout_.at(layout_.position[m / wb]) + m % wb];
        }
      }
    }
  }
}

// Sum over i of source[n + i, m + i], n and m column-major indices: rows further down, and over the last
// row into the first row of the next column.
void March::top_down(float* target, const Ring& source, int64_t y, int64_t x, const std::vector<Span>& spans,
                     float scale, std::vector<Tap>& taps) const {
  const int64_t hb = problem_.hb, wb = problem_.wb, reach = problem_.fuse_radius(), row = actual_row(y);
  std::vector<int64_t> steps;
  std::vector<const float*> sources;
  for (int64_t i = -reach; i <= reach; ++i) {
    const int64_t column = x + floor_div(row + i, problem_.h);
    if (column < 0 || column >= problem_.w) continue;
    steps.push_back(i);
    sources.push_back(source.at(y + i, column));
    taps.push_back({sources.back() + i * layout_.pitch, 1.0f});
  }
  for (const Span& span : spans) {
    // Rows whose neighbours all lie in the same column are one plain sum.
    const int64_t v0 = layout_.row_of(span.at), v1 = v0 + span.length / layout_.pitch;
    const int64_t inner0 = std::clamp(reach, v0, v1), inner1 = std::clamp(hb - reach, inner0, v1);
    filters_.diagonal_sum(target + span.at + (inner0 - v0) * layout_.pitch, taps.data(),
                          static_cast<int>(taps.size()), span.at + (inner0 - v0) * layout_.pitch,
                          (inner1 - inner0) * layout_.pitch, scale, nullptr);
    for (int64_t v = v0; v < v1; ++v) {
      if (v >= inner0 && v < inner1) continue;
      float* out = target + span.at + (v - v0) * layout_.pitch;
      std::fill_n(out, layout_.pitch, 0.0f);
      for (size_t t = 0; t < steps.size(); ++t) {
        const int64_t over = floor_div(v + steps[t], hb);
        const int64_t position = layout_.position[v + steps[t] - over * hb];
        if (position < 0) continue;
        const float* in = sources[t] + layout_.at(position) + over;
        for (int64_t u = std::max<int64_t>(0, -over); u < std::min(wb, wb - over); ++u)
          out[u] += scale * in[u];
      }
    }
  }
}

// G[p, q] = <f_p, b_q> for all columns of the stage and the whole layout.
void March::gram_rows(int64_t y, int64_t count) {
  const Ring& gram = ring(Stage::gram);
  const int64_t c = problem_.channels;
  std::vector<float> buffer;
  for (int64_t done = 0; done < count;) {
    // Rows that follow each other in the map and in the ring are one product.
    const int64_t row = y + done, actual = actual_row(row);
    const int64_t rows = std::min({count - done, gram.contiguous(row), problem_.h - actual});
    const float* features =
        gather_rows(sample_.foreground, problem_.w, c, actual, rows, gram.first(), gram.columns(), buffer);
    multiply(row_major(gram.at(row, gram.first()), rows * gram.columns(), gram.size(), gram.size()),
             row_major(features, rows * gram.columns(), c, c),
             row_major(block_.background.data(), gram.size(), c, c).transposed(), false);
    done += rows;
  }
}

void March::need_gram(int64_t y) {
  int64_t& next = next_[static_cast<int>(Stage::gram)];
  const int64_t last = last_row(radius(Stage::gram));
  while (next <= y && next < last) {
    const int64_t count = std::min(plan_.chunk, last - next);
    gram_rows(next, count);
    next += count;
  }
}

// S[p, q] = alpha_p beta_q (D_ksize G)[p, q], where the propagation reads it before the softmax.
void March::similarity_row(int64_t y) {
  need_gram(last_read(Stage::similarity, y));
  const Ring& similarity = ring(Stage::similarity);
  for_bundles(similarity, [&](Bundle& bundle, int64_t x0, int64_t x1) {
    for (int64_t x = x0; x < x1; ++x)
      bundle.add(x, similarity.at(y, x), alpha(pixel(y, x)),
                 [&](std::vector<Tap>& taps) { patch_taps(ring(Stage::gram), y, x, taps); });
    sum_bundle(bundle, layout_.similarity, block_.beta.data());
  });
}

void March::add_logits(Bundle& bundle, float* row, int64_t y, int64_t x) const {
  const float scale = problem_.softmax_scale;
  if (problem_.before())
    bundle.add(x, row, scale, [&](std::vector<Tap>& taps) {
      fuse_taps(ring(Stage::similarity), y, x, taps, [](int64_t) { return 1.0f; });
    });
  else
    bundle.add(x, row, scale * alpha(pixel(y, x)),
               [&](std::vector<Tap>& taps) { patch_taps(ring(Stage::gram), y, x, taps); });
}

double invalid_mass(const Problem& problem, const Sample& sample, float offset) {
  if (problem.masking != Masking::multiply || sample.invalid_candidates == 0) return 0;
  return static_cast<double>(sample.invalid_candidates) * std::exp(-static_cast<double>(offset));
}

float inverse_of_sum(const Problem& problem, const Sample& sample, float offset, double sum) {
  sum += invalid_mass(problem, sample, offset);
  return sum == 0 ? 0.0f : static_cast<float>(1.0 / sum);
}

// exp(logit - offset) of the valid positions, and with the whole row at hand its statistics.
void March::normalise(float* row, int64_t p) {
  float& offset = statistics_.offset[p];
  if (sums_ == Sums::own) {
    offset = -std::numeric_limits<float>::infinity();
    for (const Span& span : layout_.weights)
      offset = std::max(offset, filters_.largest(row + span.at, block_.valid.data() + span.at, span.length));
  }
  double sum = 0;
  for (const Span& span : layout_.weights)
    sum += filters_.exponentials(row + span.at, block_.valid.data() + span.at, span.length, offset);
  if (sums_ == Sums::own) statistics_.inverse_sum[p] = inverse_of_sum(problem_, sample_, offset, sum);
}

// Adds what this block owns to the sums of the row, which move to the larger offset.
void March::accumulate(float* row, int64_t p) {
  float& offset = statistics_.offset[p];
  const float before = offset;
  for (const Span& span : layout_.owned)
    offset = std::max(offset, filters_.largest(row + span.at, block_.valid.data() + span.at, span.length));
  const double rescale = std::exp(static_cast<double>(before) - static_cast<double>(offset));
  double sum = 0;
  for (const Span& span : layout_.owned)
    sum += filters_.exponentials(row + span.at, block_.valid.data() + span.at, span.length, offset);
  partial_->weights[p] = partial_->weights[p] * rescale + sum;
  if (!problem_.after()) return;
  const int64_t taps = problem_.fuse_k * problem_.fuse_k;
  for (int64_t t = 0; t < taps; ++t) partial_->shifted[p * taps + t] *= rescale;
  for (const Span& span : layout_.owned) add_shifted(row, p, span);
}

// The weights of a span to the sums under the shifted validity masks.
void March::add_shifted(const float* row, int64_t p, const Span& span) const {
  const int64_t reach = problem_.fuse_radius(), step = problem_.stride;
  double* shifted = partial_->shifted.data() + p * problem_.fuse_k * problem_.fuse_k;
  for (int64_t i = -reach; i <= reach; i += step)
    for (int64_t j = -reach; j <= reach; j += step, ++shifted)
      *shifted +=
          filters_.dot(row + span.at, block_.valid.data() + span.at - i * layout_.pitch - j, span.length);
}

bool March::needs_weights(int64_t p, bool any_span) {
  const bool empty = (sample_.selected && !sample_.selected[p]) || !any_span;
  if (empty && sums_ == Sums::own) statistics_.offset[p] = statistics_.inverse_sum[p] = 0;
  return !empty && (sums_ != Sums::known || has_weights(p));
}

void March::weigh(Bundle& bundle, int64_t y, const std::vector<Span>& spans) {
  if (sums_ != Sums::known)
    for (const Bundle::Column& column : bundle.columns())
      statistics_.offset[pixel(y, column.x)] = logit_bound_;
  const bool shifted = sums_ == Sums::partial && problem_.after();
  const float* gain = problem_.before() ? nullptr : block_.beta.data();
  bundle.run(spans, [&](Bundle::Column& column, const Tap* taps, const Span& span, int64_t start, int64_t n) {
    const int64_t at = span.at + start, p = pixel(y, column.x);
    column.sum += filters_.softmax_weights(column.target + at, taps, column.count, at, n, column.scale, gain,
                                           block_.valid.data(), statistics_.offset[p]);
    if (shifted) add_shifted(column.target, p, {at, n});
  });
  for (const Bundle::Column& column : bundle.columns()) {
    const int64_t p = pixel(y, column.x);
    if (sums_ == Sums::own)
      statistics_.inverse_sum[p] = inverse_of_sum(problem_, sample_, logit_bound_, column.sum);
    if (sums_ == Sums::partial) partial_->weights[p] += column.sum;
  }
}

void March::weights_row(int64_t y) {
  const auto make_similarity = [&](int64_t row) { similarity_row(row); };
  if (problem_.wrap()) {
    advance(Stage::rowwise, last_read(Stage::weights, y), [&](int64_t row) {
      advance(Stage::similarity, last_read(Stage::rowwise, row), make_similarity);
      const Ring& rowwise = ring(Stage::rowwise);
      for_columns(rowwise, [&](int64_t lane, int64_t x) {
        left_right(rowwise.at(row, x), ring(Stage::similarity), row, x, layout_.rowwise, taps(lane));
      });
    });
  } else if (problem_.before()) {
    advance(Stage::similarity, last_read(Stage::weights, y), make_similarity);
  } else {
    need_gram(last_read(Stage::similarity, y));
  }
  const std::vector<Span>& spans = sums_ == Sums::partial ? layout_.owned : layout_.weights;
  const Ring& weights = ring(Stage::weights);
  for_bundles(weights, [&](Bundle& bundle, int64_t x0, int64_t x1) {
    for (int64_t x = x0; x < x1; ++x)
      if (needs_weights(pixel(y, x), !spans.empty())) add_logits(bundle, weights.at(y, x), y, x);
    const bool known = std::isfinite(logit_bound_) || sums_ == Sums::known;
    if (known && !problem_.wrap()) return weigh(bundle, y, spans);
    if (!problem_.wrap()) sum_bundle(bundle, spans, problem_.before() ? nullptr : block_.beta.data());
    for (const Bundle::Column& column : bundle.columns()) {
      std::vector<Tap> taps;
      if (problem_.wrap())
        top_down(column.target, ring(Stage::rowwise), y, column.x, spans, problem_.softmax_scale, taps);
      if (sums_ == Sums::partial)
        accumulate(column.target, pixel(y, column.x));
      else
        normalise(column.target, pixel(y, column.x));
    }
  });
}

void March::need_weights(int64_t y) {
  advance(Stage::weights, y, [&](int64_t row) { weights_row(row); });
}

}  // namespace contextual_attention::cpu
