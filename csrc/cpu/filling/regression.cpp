#include "regression.h"

#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "tiles.h"

namespace contextual_attention::cpu::filling {
namespace {

// Without larger SIMD levels: the same sums in the same order on every machine.
typedef float Four __attribute__((vector_size(16)));
constexpr int kLanes = 4;
constexpr int kBlock = 4;             // Rows of the covariance at once,
constexpr int kColumns = 2 * kLanes;  // and columns: as many sums as registers hold.
constexpr int kRun = 3 * kLanes;      // Patches compared at once.
constexpr int kChunk = 64;            // Samples at once: they stay in the first cache.
// The scale of how similar patches are here: a quarter of the distance that a tenth of them stay below.
constexpr int kTenth = 10;
constexpr float kQuarter = 0.25f;
// Known pixels that would count less, in a patch's corners, are left out.
constexpr float kFaint = 0.01f;

template <class Values>
Values get(const float* p) {
  Values v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
template <class Values>
void put(float* p, Values v) {
  std::memcpy(p, &v, sizeof v);
}

// What a pixel counts, by how near it is: `offset` pixels after the first of a tile, along one axis.
float closeness(const Regression& options, int offset) {
  const int outside = std::max({0, -offset, offset - options.tile + 1});
  return std::exp(-0.5f * outside * outside / (options.spread * options.spread));
}

// The linear regression of one tile, its patch cut at the picture's edge.
class Predictor {
 public:
  Predictor(const Planes& picture, const bool* hole, const Regression& options)
      : picture_(picture), hole_(hole), options_(options) {}

  // estimates (side, side, channels), by place in the uncut patch; false: nothing to learn from.
  bool predict(int row, int column, float* estimates) {
    place(row * options_.tile - options_.margin, column * options_.tile - options_.margin);
    if (known_ == 0 || !compare()) return false;
    choose();
    learn();
    covariance();
    solve(estimates);
    return true;
  }

 private:
  // Which pixels the patch has: known ones first.
  void place(int top, int left) {
    const int side = options_.tile + 2 * options_.margin;
    top_ = std::max(0, top), left_ = std::max(0, left);
    rows_ = std::min(picture_.height, top + side) - top_;
    columns_ = std::min(picture_.width, left + side) - left_;
    pixels_.clear();
    for (const bool missing : {false, true}) {
      for (int y = top_; y < top_ + rows_; ++y)
        for (int x = left_; x < left_ + columns_; ++x) {
          const int64_t at = int64_t(y) * picture_.width + x;
          if (hole_[at] != missing) continue;
          const float weight = closeness(options_, y - top - options_.margin) *
                               closeness(options_, x - left - options_.margin);
          if (!missing && weight < kFaint) continue;
          pixels_.push_back({at, (y - top) * side + x - left, weight, 0});
        }
      if (!missing) known_ = static_cast<int>(pixels_.size());
    }
    count_ = static_cast<int>(pixels_.size());
    float total = 0;
    for (int i = 0; i < known_; ++i) total += pixels_[i].weight;
    for (int i = 0; i < known_; ++i) pixels_[i].share = pixels_[i].weight / total;
    means_.assign(picture_.channels, 0);
    for (int c = 0; c < picture_.channels; ++c)
      for (int i = 0; i < known_; ++i) means_[c] += pixels_[i].share * plane(c)[pixels_[i].at];
  }

  // The mean squared difference of every patch around from this one, by known pixels, their means removed.
  bool compare() {
    const int up = std::min(options_.reach, top_), before = std::min(options_.reach, left_);
    const int tall = up + 1 + std::min(options_.reach, picture_.height - top_ - rows_);
    wide_ = before + 1 + std::min(options_.reach, picture_.width - left_ - columns_);
    around_ = tall * wide_;
    first_ = -int64_t(up) * picture_.width - before;
    if (around_ < 2) return false;
    steps_.resize(int64_t(picture_.channels) * around_);
    distances_.resize(around_);
    for (int y = 0; y < tall; ++y) {
      if (wide_ < kRun)
        for (int x = 0; x < wide_; ++x) compare_run<float, 1>(y, x);
      else
        for (int x = 0; x < wide_; x += kRun) compare_run<Four, kRun / kLanes>(y, std::min(x, wide_ - kRun));
    }
    distances_[up * wide_ + before] = std::numeric_limits<float>::infinity();  // The patch itself.
    return true;
  }

  // The same for patches side by side, from the x-th of the y-th row on, their sums held in registers.
  template <class Values, int Count>
  void compare_run(int y, int x) {
    constexpr int kWidth = sizeof(Values) / sizeof(float);
    const int64_t from = first_ + int64_t(y) * picture_.width + x, to = int64_t(y) * wide_ + x;
    Values distance[Count] = {};
    for (int c = 0; c < picture_.channels; ++c) {
      Values sums[Count] = {}, squares[Count] = {};
      for (int i = 0; i < known_; ++i) {
        const float *own = plane(c) + pixels_[i].at, *others = own + from;
#pragma GCC unroll 4
        for (int k = 0; k < Count; ++k) {
          const Values step = get<Values>(others + k * kWidth) - *own, part = pixels_[i].share * step;
          sums[k] += part;
          squares[k] += part * step;
        }
      }
      for (int k = 0; k < Count; ++k) {
        put(&steps_[c * int64_t(around_) + to + k * kWidth], sums[k]);
        distance[k] += squares[k] - sums[k] * sums[k];
      }
    }
    for (int k = 0; k < Count; ++k) put(&distances_[to + k * kWidth], distance[k] / float(picture_.channels));
  }

  // The most similar patches, in the order of the picture, and their weights, summing to 1.
  void choose() {
    ranks_.resize(around_);
    for (int i = 0; i < around_; ++i) ranks_[i] = i;
    const auto nearer = [&](int a, int b) {
      return distances_[a] != distances_[b] ? distances_[a] < distances_[b] : a < b;
    };
    const int tenth = (around_ - 2) / kTenth;
    const int samples = std::min(options_.samples, around_ - 1);
    std::nth_element(ranks_.begin(), ranks_.begin() + tenth, ranks_.end(), nearer);
    const float scale = std::max(options_.alike * options_.alike, kQuarter * distances_[ranks_[tenth]]);
    const auto parted = ranks_.begin() + tenth, last = ranks_.begin() + samples - 1;
    std::nth_element(last < parted ? ranks_.begin() : parted, last, last < parted ? parted : ranks_.end(),
                     nearer);
    ranks_.resize(samples);
    std::sort(ranks_.begin(), ranks_.end());
    weights_.resize(samples);
    float sum = 0;
    for (int t = 0; t < samples; ++t) sum += weights_[t] = std::exp(-distances_[ranks_[t]] / scale);
    for (float& weight : weights_) weight /= sum;
  }

  int64_t shift(int candidate) const {
    return first_ + int64_t(candidate / wide_) * picture_.width + candidate % wide_;
  }

  // The samples' mean colours, and their grey without that mean by the roots of their weights: what the
  // covariance is the product of with itself. One covariance serves all colours, for they change together.
  void learn() {
    const int samples = static_cast<int>(ranks_.size());
    pitch_ = (count_ + kColumns - 1) / kColumns * kColumns;
    centres_.assign(int64_t(picture_.channels) * count_, 0);
    grey_.assign(int64_t(samples) * pitch_, 0);
    for (int c = 0; c < picture_.channels; ++c)
      for (int t = 0; t < samples; ++t) {
        const float* values = plane(c) + shift(ranks_[t]);
        const float mean = means_[c] + steps_[int64_t(c) * around_ + ranks_[t]];
        float *centre = &centres_[int64_t(c) * count_], *row = &grey_[int64_t(t) * pitch_];
        for (int i = 0; i < count_; ++i) {
          const float value = values[pixels_[i].at] - mean;
          centre[i] += weights_[t] * value;
          row[i] += value;
        }
      }
    centre_.assign(count_, 0);
    for (int c = 0; c < picture_.channels; ++c)
      for (int i = 0; i < count_; ++i) centre_[i] += centres_[int64_t(c) * count_ + i];
    for (int t = 0; t < samples; ++t) {
      const float root = std::sqrt(weights_[t]) / picture_.channels;
      float* row = &grey_[int64_t(t) * pitch_];
      for (int i = 0; i < count_; ++i) row[i] = root * (row[i] - centre_[i]);
    }
  }

  // Its upper triangle, rows of known pixels only: nothing is predicted from a missing one.
  void covariance() {
    const int samples = static_cast<int>(ranks_.size());
    const int rows = (known_ + kBlock - 1) / kBlock * kBlock;
    products_.assign(int64_t(rows) * pitch_, 0);
    for (int start = 0; start < samples; start += kChunk) {
      const int end = std::min(samples, start + kChunk);
      for (int i = 0; i < rows; i += kBlock)
        for (int j = i / kColumns * kColumns; j < pitch_; j += kColumns) {
          Four sums[kBlock][2] = {};
          for (int t = start; t < end; ++t) {
            const float* row = &grey_[int64_t(t) * pitch_];
            const Four left = get<Four>(row + j), right = get<Four>(row + j + kLanes);
#pragma GCC unroll 4
            for (int k = 0; k < kBlock; ++k) {
              sums[k][0] += row[i + k] * left;
              sums[k][1] += row[i + k] * right;
            }
          }
          for (int k = 0; k < kBlock; ++k) {
            float* out = &products_[int64_t(i + k) * pitch_ + j];
            put(out, get<Four>(out) + sums[k][0]);
            put(out + kLanes, get<Four>(out + kLanes) + sums[k][1]);
          }
        }
    }
  }

  // (known, known) of the covariance, with the noise, times x = what the known pixels differ by from the
  // mean: by elimination, which leaves the factors in the upper triangle. Then the missing ones' share of it,
  // no further beyond the known ones' range than it is wide: what is missing of one colour keeps it.
  void solve(float* estimates) {
    float variance = 0;
    for (int i = 0; i < known_; ++i) variance += products_[int64_t(i) * pitch_ + i];
    const float noise = options_.grain * options_.grain + options_.damping * variance / known_;
    for (int i = 0; i < known_; ++i) products_[int64_t(i) * pitch_ + i] += noise / pixels_[i].weight;
    for (int j = 0; j < known_; ++j) {
      const float* pivot = &products_[int64_t(j) * pitch_];
      for (int i = j + 1; i < known_; ++i) {
        const float factor = pivot[i] / pivot[j];
        float* row = &products_[int64_t(i) * pitch_];
        for (int k = i; k < known_; ++k) row[k] -= factor * pivot[k];
      }
    }
    for (int c = 0; c < picture_.channels; ++c) {
      const float* centre = &centres_[int64_t(c) * count_];
      answer_.resize(known_);
      float low = plane(c)[pixels_[0].at], high = low;
      for (int i = 0; i < known_; ++i) {
        const float value = plane(c)[pixels_[i].at];
        low = std::min(low, value), high = std::max(high, value);
        answer_[i] = value - means_[c] - centre[i];
      }
      for (int j = 0; j < known_; ++j) {
        const float* row = &products_[int64_t(j) * pitch_];
        const float factor = answer_[j] / row[j];
        for (int i = j + 1; i < known_; ++i) answer_[i] -= factor * row[i];
      }
      for (int j = known_ - 1; j >= 0; --j) {
        const float* row = &products_[int64_t(j) * pitch_];
        float sum = answer_[j];
        for (int i = j + 1; i < known_; ++i) sum -= row[i] * answer_[i];
        answer_[j] = sum / row[j];
      }
      for (int i = known_; i < count_; ++i) {
        float sum = means_[c] + centre[i];
        for (int j = 0; j < known_; ++j) sum += products_[int64_t(j) * pitch_ + i] * answer_[j];
        sum = std::min(high + (high - low), std::max(low - (high - low), sum));
        estimates[int64_t(pixels_[i].place) * picture_.channels + c] = sum;
      }
    }
  }

  const float* plane(int c) const { return picture_.values + c * picture_.size(); }

  struct Pixel {
    int64_t at;  // in the picture
    int place;   // in the uncut patch
    float weight;
    float share;  // of the weights of all that are known
  };

  const Planes picture_;
  const bool* hole_;
  const Regression options_;
  int top_, left_, rows_, columns_;
  int known_, count_, pitch_;
  int wide_, around_;  // candidates in a row, in all
  int64_t first_;      // where the first of them is, from the patch
  std::vector<Pixel> pixels_;
  std::vector<int> ranks_;
  std::vector<float> means_, steps_, distances_, weights_, centres_, centre_, grey_, products_, answer_;
};

}  // namespace

void regress(const Planes& picture, const bool* hole, const Regression& options, float* filled) {
  const Tiles tiles(hole, picture.height, picture.width, options.tile);
  const int side = options.tile + 2 * options.margin, channels = picture.channels;
  const int64_t room = int64_t(side) * side * channels;
  std::vector<float> estimates(tiles.count() * room);
  std::vector<uint8_t> done(tiles.count());
  torch::stable::parallel_for(0, tiles.count(), 8, [&](int64_t begin, int64_t end) {
    Predictor predictor(picture, hole, options);
    for (int64_t i = begin; i < end; ++i)
      done[i] = predictor.predict(tiles[i].row, tiles[i].column, &estimates[i * room]);
  });
  // Every pixel: the mean of what the patches over it predict, in the order of the tiles whatever thread
  // predicted which.
  const int near = (options.margin + options.tile - 1) / options.tile;
  torch::stable::parallel_for(0, tiles.count(), 64, [&](int64_t begin, int64_t end) {
    std::vector<float> sums(channels);
    for (int64_t i = begin; i < end; ++i)
      for (int y = tiles[i].row * options.tile;
           y < std::min(picture.height, (tiles[i].row + 1) * options.tile); ++y)
        for (int x = tiles[i].column * options.tile;
             x < std::min(picture.width, (tiles[i].column + 1) * options.tile); ++x) {
          const int64_t at = int64_t(y) * picture.width + x;
          if (!hole[at]) continue;
          std::fill(sums.begin(), sums.end(), 0.f);
          float total = 0;
          for (int row = tiles[i].row - near; row <= tiles[i].row + near; ++row)
            for (int column = tiles[i].column - near; column <= tiles[i].column + near; ++column) {
              const int64_t tile = tiles.at(row, column);
              const int down = y - row * options.tile + options.margin,
                        right = x - column * options.tile + options.margin;
              if (tile < 0 || !done[tile] || down < 0 || right < 0 || down >= side || right >= side) continue;
              const float weight =
                  closeness(options, down - options.margin) * closeness(options, right - options.margin);
              const float* estimate = &estimates[tile * room + int64_t(down * side + right) * channels];
              for (int c = 0; c < channels; ++c) sums[c] += weight * estimate[c];
              total += weight;
            }
          if (total == 0) continue;
          for (int c = 0; c < channels; ++c)
            filled[c * picture.size() + at] = std::min(1.f, std::max(-1.f, sums[c] / total));
        }
  });
}

}  // namespace contextual_attention::cpu::filling
