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

void find_whole(const bool* missing, int height, int width, int radius, bool* whole) {
  // Along rows, then down columns.
  std::vector<uint8_t> clear(static_cast<int64_t>(height) * width);
  for_rows(height, [&](int y) {
    const bool* row = missing + static_cast<int64_t>(y) * width;
    uint8_t* out = clear.data() + static_cast<int64_t>(y) * width;
    int count = 0;
    for (int x = 0; x < width; ++x) {
      count = row[x] ? 0 : count + 1;
      if (x - radius >= 0) out[x - radius] = count >= 2 * radius + 1;
    }
    for (int x = std::max(0, width - radius); x < width; ++x) out[x] = 0;
    for (int x = 0; x < std::min(radius, width); ++x) out[x] = 0;
  });
  for_rows(height, [&](int y) {
    bool* out = whole + static_cast<int64_t>(y) * width;
    if (y < radius || y >= height - radius) return std::fill(out, out + width, false);
    std::fill(out, out + width, true);
    for (int row = y - radius; row <= y + radius; ++row)
      for (int x = 0; x < width; ++x) out[x] = out[x] && clear[static_cast<int64_t>(row) * width + x];
  });
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

namespace {

class Peel {
 public:
  Peel(uint8_t* features, int height, int width, const bool* hole, const bool* whole, int radius, int32_t* copied)
      : features_(features),
        height_(height),
        width_(width),
        radius_(radius),
        copied_(copied),
        confidence_(static_cast<size_t>(height) * width) {
    for (int64_t i = 0; i < int64_t(height) * width; ++i) {
      confidence_[i] = hole[i] ? 0.f : 1.f;
      if (whole[i]) sources_.push_back(static_cast<int32_t>(i));
      if (hole[i]) ++left_;
      copied[i] = -1;
    }
    defined_.assign(hole, hole + int64_t(height) * width);
    for (auto& d : defined_) d = d ? 0 : 255;
  }

  void run() {
    while (left_ > 0) {
      const int32_t next = most_urgent();
      if (next < 0) return;  // nothing is known
      paste(next, best_source(next));
    }
  }

 private:
  bool inside(int y, int x) const { return y >= 0 && x >= 0 && y < height_ && x < width_; }
  bool defined(int y, int x) const { return inside(y, x) && defined_[int64_t(y) * width_ + x]; }
  float grey(int y, int x) const {
    const uint8_t* f = features_ + (int64_t(y) * width_ + x) * kFeatures;
    return float(f[0] + f[1] + f[2]) / 3;
  }

  bool at_front(int y, int x) const {
    if (defined(y, x)) return false;
    for (int j = -1; j <= 1; ++j)
      for (int i = -1; i <= 1; ++i)
        if (defined(y + j, x + i)) return true;
    return false;
  }

  float urgency(int y, int x) const {
    float confidence = 0, strongest = 0, gy = 0, gx = 0, ny = 0, nx = 0;
    for (int j = -radius_; j <= radius_; ++j)
      for (int i = -radius_; i <= radius_; ++i) {
        if (!inside(y + j, x + i)) continue;
        confidence += confidence_[int64_t(y + j) * width_ + x + i];
        const float share = defined(y + j, x + i) ? 1.f : 0.f;
        ny += share * float(j);
        nx += share * float(i);
        if (!(defined(y + j, x + i) && defined(y + j + 1, x + i) && defined(y + j - 1, x + i) &&
              defined(y + j, x + i + 1) && defined(y + j, x + i - 1)))
          continue;
        const float dy = grey(y + j + 1, x + i) - grey(y + j - 1, x + i);
        const float dx = grey(y + j, x + i + 1) - grey(y + j, x + i - 1);
        if (dy * dy + dx * dx > strongest) strongest = dy * dy + dx * dx, gy = dy, gx = dx;
      }
    const float side = float(2 * radius_ + 1), length = std::sqrt(ny * ny + nx * nx);
    const float data = length > 0 ? std::fabs(gx * ny - gy * nx) / (length * 255) : 0;
    return confidence / (side * side) * (data + 0.02f);
  }

  int32_t most_urgent() const {
    int32_t best = -1;
    float most = -1;
    for (int y = 0; y < height_; ++y)
      for (int x = 0; x < width_; ++x) {
        if (!at_front(y, x)) continue;
        const float urgent = urgency(y, x);
        if (urgent > most) most = urgent, best = y * width_ + x;
      }
    return best;
  }

  int32_t best_source(int32_t position) const {
    const int y = position / width_, x = position % width_;
    const int top = std::min(radius_, y), left = std::min(radius_, x);
    const int rows = top + 1 + std::min(radius_, height_ - 1 - y);
    const int pixels = left + 1 + std::min(radius_, width_ - 1 - x);
    std::vector<uint8_t> own(rows * pixels * kFeatures), mask(own.size());
    for (int row = 0; row < rows; ++row)
      for (int i = 0; i < pixels; ++i) {
        const int64_t at = position + int64_t(row - top) * width_ - left + i;
        std::memcpy(&own[(row * pixels + i) * kFeatures], features_ + at * kFeatures, kFeatures);
        std::memset(&mask[(row * pixels + i) * kFeatures], defined_[at], kFeatures);
      }
    const auto distance = active_filters().squared_distance;
    int32_t best = sources_.front(), least = std::numeric_limits<int32_t>::max();
    for (int32_t source : sources_) {
      const uint8_t* b = features_ + (source - int64_t(top) * width_ - left) * kFeatures;
      const int32_t d =
          distance(own.data(), mask.data(), b, rows, pixels * kFeatures, int64_t(width_) * kFeatures, least);
      if (d < least) least = d, best = source;
    }
    return best;
  }

  void paste(int32_t position, int32_t source) {
    const int y = position / width_, x = position % width_;
    float confidence = 0;
    for (int j = -radius_; j <= radius_; ++j)
      for (int i = -radius_; i <= radius_; ++i)
        if (inside(y + j, x + i)) confidence += confidence_[int64_t(y + j) * width_ + x + i];
    confidence /= float((2 * radius_ + 1) * (2 * radius_ + 1));
    for (int j = -radius_; j <= radius_; ++j)
      for (int i = -radius_; i <= radius_; ++i) {
        if (!inside(y + j, x + i) || defined(y + j, x + i)) continue;
        const int64_t to = position + int64_t(j) * width_ + i, from = source + int64_t(j) * width_ + i;
        std::memcpy(features_ + to * kFeatures, features_ + from * kFeatures, kFeatures);
        defined_[to] = 255;
        confidence_[to] = confidence;
        copied_[to] = static_cast<int32_t>(from);
        --left_;
      }
  }

  uint8_t* features_;
  int height_, width_, radius_;
  int32_t* copied_;
  std::vector<float> confidence_;
  std::vector<uint8_t> defined_;
  std::vector<int32_t> sources_;
  int64_t left_ = 0;
};

}  // namespace

void peel(uint8_t* features, int height, int width, const bool* hole, const bool* whole, int radius,
          int32_t* copied) {
  Peel(features, height, width, hole, whole, radius, copied).run();
}

}  // namespace contextual_attention::cpu::filling
