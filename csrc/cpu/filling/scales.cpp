#include "scales.h"

#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>
#include <limits>
#include <vector>

#include "random.h"

namespace contextual_attention::cpu::filling {
namespace {

// In pixels: how far what a coarser scale says is looked for.
constexpr int kFurthest = 6;
// Draws for a whole patch at random, before the first one is taken.
constexpr int kTrials = 400;

uint8_t byte_of(float x) { return static_cast<uint8_t>(std::lround(std::min(255.f, std::max(0.f, x)))); }

// Of a row of pixels, the steps of grey to the right and down: how large, and whether both pixels are known.
struct Steps {
  std::vector<float> sizes[2], counts[2];

  explicit Steps(int width) {
    for (int axis = 0; axis < 2; ++axis) sizes[axis].assign(width, 0), counts[axis].assign(width, 0);
  }
  void add(const Steps& other) {
    for (int axis = 0; axis < 2; ++axis)
      for (std::size_t x = 0; x < sizes[axis].size(); ++x) {
        sizes[axis][x] += other.sizes[axis][x];
        counts[axis][x] += other.counts[axis][x];
      }
  }
  // Of those around a pixel the mean along an axis, times a gain; 0: none.
  float mean(int axis, int x, int reach, float gain) const {
    const int last = std::min(static_cast<int>(sizes[axis].size()) - 1, x + reach);
    float size = 0, count = 0;
    for (int i = std::max(0, x - reach); i <= last; ++i) {
      size += sizes[axis][i];
      count += counts[axis][i];
    }
    return count > 0 ? gain * size / count : 0;
  }
};

template <class F>
void for_rows(int rows, const F& f) {
  torch::stable::parallel_for(0, rows, 16, [&](int64_t begin, int64_t end) {
    for (int64_t y = begin; y < end; ++y) f(static_cast<int>(y));
  });
}

}  // namespace

void describe(const float* planes, const bool* hole, int channels, int height, int width, int reach,
              float texture, uint8_t* features) {
  const int64_t plane = static_cast<int64_t>(height) * width;
  const int colours = std::min(channels, kFeatures - 2);
  const auto grey = [&](int64_t i) {
    float sum = 0;
    for (int c = 0; c < channels; ++c) sum += planes[c * plane + i];
    return sum / static_cast<float>(channels);
  };
  const auto measure = [&](int64_t row, Steps& steps) {
    for (int axis = 0; axis < 2; ++axis)
      for (int x = 0; x < width; ++x) {
        const int64_t here = row * width + x, there = axis ? here + width : here + 1;
        const bool inside = axis ? row + 1 < height : x + 1 < width;
        const bool known = inside && !hole[here] && !hole[there];
        steps.sizes[axis][x] = known ? std::fabs(grey(here) - grey(there)) : 0;
        steps.counts[axis][x] = known;
      }
  };
  torch::stable::parallel_for(0, height, 16, [&](int64_t begin, int64_t end) {
    // Those of the rows around the last one.
    std::vector<Steps> around(2 * reach + 1, Steps(width));
    int64_t next = std::max<int64_t>(0, begin - reach);
    for (int64_t y = begin; y < end; ++y) {
      const int64_t last = std::min<int64_t>(height - 1, y + reach);
      for (; next <= last; ++next) measure(next, around[next % around.size()]);
      Steps steps(width);
      for (int64_t row = std::max<int64_t>(0, y - reach); row <= last; ++row)
        steps.add(around[row % around.size()]);
      for (int x = 0; x < width; ++x) {
        const int64_t at = y * width + x;
        uint8_t* out = features + at * kFeatures;
        std::memset(out, 0, kFeatures);
        if (hole[at]) continue;
        for (int c = 0; c < colours; ++c) out[c] = byte_of((planes[c * plane + at] + 1) * 127.5f);
        for (int axis = 0; axis < 2; ++axis)
          out[colours + axis] = byte_of(steps.mean(axis, x, reach, texture * 127.5f));
      }
    }
  });
}

void halve(const Picture& picture, const uint8_t* known, uint8_t* features, uint8_t* known_share) {
  const int height = (picture.height + 1) / 2, width = (picture.width + 1) / 2;
  for_rows(height, [&](int y) {
    for (int x = 0; x < width; ++x) {
      uint32_t sums[kFeatures] = {}, total = 0, count = 0;
      for (int row = 2 * y; row < std::min(picture.height, 2 * y + 2); ++row)
        for (int column = 2 * x; column < std::min(picture.width, 2 * x + 2); ++column) {
          const int64_t at = static_cast<int64_t>(row) * picture.width + column;
          for (int f = 0; f < kFeatures; ++f) sums[f] += known[at] * picture.at(at)[f];
          total += known[at];
          ++count;
        }
      const int64_t at = static_cast<int64_t>(y) * width + x;
      for (int f = 0; f < kFeatures; ++f)
        features[at * kFeatures + f] = total ? static_cast<uint8_t>((sums[f] + total / 2) / total) : 0;
      known_share[at] = static_cast<uint8_t>(total / count);
    }
  });
}

void find_clear(const bool* missing, int height, int width, int radius, bool may_reach_beyond, bool* clear) {
  // Along rows, then down columns. What is beyond counts as missing, unless patches may reach there.
  std::vector<uint8_t> rows(static_cast<int64_t>(height) * width);
  for_rows(height, [&](int y) {
    const bool* row = missing + static_cast<int64_t>(y) * width;
    uint8_t* out = rows.data() + static_cast<int64_t>(y) * width;
    int run = may_reach_beyond ? 2 * radius + 1 : 0;
    for (int x = 0; x < width + radius; ++x) {
      run = (x < width ? row[x] : !may_reach_beyond) ? 0 : run + 1;
      if (x >= radius) out[x - radius] = run > 2 * radius;
    }
  });
  for_rows(height, [&](int y) {
    bool* out = clear + static_cast<int64_t>(y) * width;
    const bool inside = y >= radius && y + radius < height;
    std::fill(out, out + width, inside || may_reach_beyond);
    if (!inside && !may_reach_beyond) return;
    for (int row = std::max(0, y - radius); row <= std::min(height - 1, y + radius); ++row)
      for (int x = 0; x < width; ++x) out[x] = out[x] && rows[static_cast<int64_t>(row) * width + x];
  });
}

void measure_depths(const bool* hole, int height, int width, int16_t* depths) {
  constexpr int kDeepest = std::numeric_limits<int16_t>::max();
  const int64_t size = static_cast<int64_t>(height) * width;
  for (int64_t i = 0; i < size; ++i) depths[i] = hole[i] ? kDeepest : 0;
  // There and back again, each pixel from the four neighbours that are done.
  for (const int sign : {1, -1})
    for (int64_t n = 0; n < size; ++n) {
      const int64_t at = sign > 0 ? n : size - 1 - n;
      if (!depths[at]) continue;
      const int y = static_cast<int>(at / width), x = static_cast<int>(at % width);
      int least = depths[at];
      const auto look = [&](int row, int column) {
        if (row >= 0 && column >= 0 && row < height && column < width)
          least = std::min(least, depths[static_cast<int64_t>(row) * width + column] + 1);
      };
      look(y, x - sign);
      for (int i = -1; i <= 1; ++i) look(y - sign, x + i);
      depths[at] = static_cast<int16_t>(std::min(least, kDeepest));
    }
}

namespace {

// A whole centre near a position, at most `reach` away; -1: none.
int32_t nearest_whole(const bool* whole, int height, int width, int y, int x, int reach) {
  for (int r = 0; r <= reach; ++r)
    for (int row = y - r; row <= y + r; ++row) {
      if (row < 0 || row >= height) continue;
      const bool edge = row == y - r || row == y + r;
      for (int column = x - r; column <= x + r; column += edge || r == 0 ? 1 : 2 * r)
        if (column >= 0 && column < width && whole[static_cast<int64_t>(row) * width + column])
          return row * width + column;
    }
  return -1;
}

// The target of the coarser scale that is nearest to a position of its pixels, at most 6 away; -1: none.
int64_t nearest_target(const Coarser& coarser, int y, int x) {
  for (int r = 0; r <= kFurthest; ++r)
    for (int row = std::max(0, y - r); row <= std::min(coarser.height - 1, y + r); ++row)
      for (int column = std::max(0, x - r); column <= std::min(coarser.width - 1, x + r); ++column) {
        const int64_t target = coarser.field.index[static_cast<int64_t>(row) * coarser.width + column];
        if (target >= 0) return target;
      }
  return -1;
}

}  // namespace

void start(const bool* whole, int height, int width, const Field& field, const Coarser* coarser,
           uint64_t seed) {
  const int64_t size = static_cast<int64_t>(height) * width;
  const auto from_coarser = [&](int y, int x, int k) {
    const int64_t parent = nearest_target(*coarser, y / 2, x / 2);
    if (parent < 0) return -1;
    const Field& found = coarser->field;
    const int32_t from = found.sources[parent * found.candidates + std::min(k, found.candidates - 1)];
    if (from < 0) return -1;
    const int32_t to = found.targets[parent];
    return nearest_whole(whole, height, width, y + 2 * (from / coarser->width - to / coarser->width),
                         x + 2 * (from % coarser->width - to % coarser->width), kFurthest);
  };
  const auto anywhere = [&](Random& random) {
    for (int trial = 0; trial < kTrials; ++trial) {
      const int64_t at = random.below(size);
      if (whole[at]) return static_cast<int32_t>(at);
    }
    return static_cast<int32_t>(std::find(whole, whole + size, true) - whole);
  };
  for (int64_t t = 0; t < field.count; ++t) {
    const int y = field.targets[t] / width, x = field.targets[t] % width;
    Random random(seed, t);
    int32_t* own = field.sources + t * field.candidates;
    for (int k = 0; k < field.candidates; ++k) {
      int32_t source = coarser ? from_coarser(y, x, k) : -1;
      if (source < 0) source = anywhere(random);
      own[k] = std::find(own, own + k, source) == own + k ? source : -1;
      field.costs[t * field.candidates + k] = 0;
    }
  }
}

}  // namespace contextual_attention::cpu::filling
