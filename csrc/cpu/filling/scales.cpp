#include "scales.h"

#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "../simd.h"

namespace contextual_attention::cpu::filling {
namespace {

constexpr int kTextureReach = 2;

uint8_t byte_of(float x) { return static_cast<uint8_t>(std::lround(std::min(255.f, std::max(0.f, x)))); }

template <class F>
void for_rows(int rows, const F& f) {
  torch::stable::parallel_for(0, rows, 16, [&](int64_t begin, int64_t end) {
    for (int64_t y = begin; y < end; ++y) f(static_cast<int>(y));
  });
}

}  // namespace

void describe(const float* planes, const bool* hole, int channels, int height, int width, float texture,
              uint8_t* features) {
  const int64_t plane = static_cast<int64_t>(height) * width;
  const int colours = std::min(channels, kFeatures - 2);
  const auto grey = [&](int64_t i) {
    float sum = 0;
    for (int c = 0; c < channels; ++c) sum += planes[c * plane + i];
    return sum / static_cast<float>(channels);
  };
  torch::stable::parallel_for(0, height, 16, [&](int64_t begin, int64_t end) {
    std::vector<float> steps[2], counts[2];
    for (int axis = 0; axis < 2; ++axis) steps[axis].resize(width), counts[axis].resize(width);
    for (int64_t y = begin; y < end; ++y) {
      for (int axis = 0; axis < 2; ++axis) {
        std::fill(steps[axis].begin(), steps[axis].end(), 0.f);
        std::fill(counts[axis].begin(), counts[axis].end(), 0.f);
        for (int64_t row = std::max<int64_t>(0, y - kTextureReach);
             row <= std::min<int64_t>(height - 1, y + kTextureReach); ++row)
          for (int x = 0; x < width; ++x) {
            const int64_t here = row * width + x, there = axis ? here + width : here + 1;
            if (axis ? row + 1 == height : x + 1 == width) continue;
            if (hole[here] || hole[there]) continue;
            steps[axis][x] += std::fabs(grey(here) - grey(there));
            counts[axis][x] += 1;
          }
      }
      for (int x = 0; x < width; ++x) {
        const int64_t at = y * width + x;
        uint8_t* out = features + at * kFeatures;
        std::memset(out, 0, kFeatures);
        if (hole[at]) continue;
        for (int c = 0; c < colours; ++c) out[c] = byte_of((planes[c * plane + at] + 1) * 127.5f);
        for (int axis = 0; axis < 2; ++axis) {
          float sum = 0, count = 0;
          for (int i = std::max(0, x - kTextureReach); i <= std::min(width - 1, x + kTextureReach); ++i) {
            sum += steps[axis][i];
            count += counts[axis][i];
          }
          out[colours + axis] = count > 0 ? byte_of(texture * 127.5f * sum / count) : 0;
        }
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

uint64_t mixed(uint64_t z) {
  z += 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

}  // namespace

void start(const bool* whole, int height, int width, const Field& field, const Field* coarse, int coarse_width,
           int coarse_height, uint64_t seed) {
  const int64_t size = static_cast<int64_t>(height) * width;
  for (int64_t t = 0; t < field.count; ++t) {
    const int y = field.targets[t] / width, x = field.targets[t] % width;
    for (int k = 0; k < field.candidates; ++k) {
      int32_t source = -1;
      if (coarse) {
        int64_t parent = -1;
        for (int r = 0; r <= 6 && parent < 0; ++r)
          for (int row = y / 2 - r; row <= y / 2 + r && parent < 0; ++row)
            for (int column = x / 2 - r; column <= x / 2 + r && parent < 0; ++column)
              if (row >= 0 && column >= 0 && row < coarse_height && column < coarse_width)
                parent = coarse->index[row * coarse_width + column];
        if (parent >= 0) {
          const int32_t from = coarse->sources[parent * coarse->candidates + std::min(k, coarse->candidates - 1)];
          const int32_t to = coarse->targets[parent];
          if (from >= 0)
            source = nearest_whole(whole, height, width,
                                   y + 2 * (from / coarse_width - to / coarse_width),
                                   x + 2 * (from % coarse_width - to % coarse_width), 6);
        }
      }
      for (int trial = 0; source < 0 && trial < 400; ++trial) {
        const int64_t at = static_cast<int64_t>(mixed(seed ^ mixed(t * 977 + k * 7919 + trial)) % size);
        if (whole[at]) source = static_cast<int32_t>(at);
      }
      if (source < 0) source = static_cast<int32_t>(std::find(whole, whole + size, true) - whole);
      int32_t* own = field.sources + t * field.candidates;
      field.costs[t * field.candidates + k] = 0;
      own[k] = std::find(own, own + k, source) == own + k ? source : -1;
    }
  }
}

}  // namespace contextual_attention::cpu::filling
