#include "patches.h"

#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "../simd.h"
#include "random.h"

namespace contextual_attention::cpu::filling {
namespace {

constexpr int32_t kMost = std::numeric_limits<int32_t>::max();
// Targets are improved one after the other in blocks of this many; what other blocks have found is read as it
// was before the iteration. So no result depends on the number of threads.
constexpr int64_t kBlock = 2048;

// The part of a target's patch that lies in the picture, its rows one after the other.
class Target {
 public:
  Target(const Picture& picture, const uint8_t* mask, int radius)
      : picture_(picture), mask_(mask), radius_(radius), distance_(active_filters().squared_distance) {
    const int side = 2 * radius + 1;
    pixels_.resize(side * side * kFeatures);
    if (mask) flags_.resize(side * side * kFeatures);
  }

  void move_to(int32_t position) {
    const int y = position / picture_.width, x = position % picture_.width;
    top_ = std::min(radius_, y);
    left_ = std::min(radius_, x);
    rows_ = top_ + 1 + std::min(radius_, picture_.height - 1 - y);
    bytes_ = (left_ + 1 + std::min(radius_, picture_.width - 1 - x)) * kFeatures;
    compared_ = 0;
    for (int row = 0; row < rows_; ++row) {
      const int64_t first = position + static_cast<int64_t>(row - top_) * picture_.width - left_;
      std::memcpy(&pixels_[row * bytes_], picture_.at(first), bytes_);
      if (!mask_) continue;
      for (int i = 0; i < bytes_ / kFeatures; ++i) {
        std::memset(&flags_[row * bytes_ + i * kFeatures], mask_[first + i], kFeatures);
        compared_ += mask_[first + i] != 0;
      }
    }
    if (!mask_) compared_ = rows_ * bytes_ / kFeatures;
  }

  // Of the patch around a whole one's centre; beyond `limit` no more than that it is.
  int32_t distance(int32_t source, int32_t limit) const {
    const uint8_t* first = picture_.at(source - static_cast<int64_t>(top_) * picture_.width - left_);
    return distance_(pixels_.data(), mask_ ? flags_.data() : nullptr, first, rows_, bytes_,
                     static_cast<int64_t>(picture_.width) * kFeatures, limit);
  }

  int compared() const { return compared_; }

  // Of the pixels that are compared, summed over the features.
  int64_t variance() const {
    uint32_t sums[kFeatures] = {}, squares[kFeatures] = {};
    for (int i = 0; i < rows_ * bytes_; i += kFeatures)
      for (int f = 0; f < kFeatures; ++f) {
        const uint32_t x = mask_ ? pixels_[i + f] & flags_[i + f] : pixels_[i + f];
        sums[f] += x;
        squares[f] += x * x;
      }
    int64_t total = 0;
    for (int f = 0; f < kFeatures; ++f)
      total += static_cast<int64_t>(compared_) * squares[f] - static_cast<int64_t>(sums[f]) * sums[f];
    return compared_ ? total / (static_cast<int64_t>(compared_) * compared_) : 0;
  }

  // A distance as if all of a patch had been compared.
  int32_t scaled(int32_t distance) const {
    if (distance == kMost || compared_ == 0) return kMost;
    const int64_t all = (2 * radius_ + 1) * (2 * radius_ + 1);
    return static_cast<int32_t>(std::min<int64_t>(kMost - 1, distance * all / compared_));
  }

 private:
  const Picture& picture_;
  const uint8_t* mask_;
  int radius_;
  int32_t (*distance_)(const uint8_t*, const uint8_t*, const uint8_t*, int, int, int64_t, int32_t);
  std::vector<uint8_t> pixels_, flags_;
  int top_ = 0, left_ = 0, rows_ = 0, bytes_ = 0, compared_ = 0;
};

// The best candidates of one target, ascending.
class Candidates {
 public:
  Candidates(int32_t* sources, int32_t* costs, int count) : sources_(sources), costs_(costs), count_(count) {}

  int32_t worst() const { return costs_[count_ - 1]; }
  bool has(int32_t source) const {
    return std::find(sources_, sources_ + count_, source) != sources_ + count_;
  }

  void add(int32_t source, int32_t cost) {
    int at = count_ - 1;
    for (; at > 0 && costs_[at - 1] > cost; --at) {
      sources_[at] = sources_[at - 1];
      costs_[at] = costs_[at - 1];
    }
    sources_[at] = source;
    costs_[at] = cost;
  }

 private:
  int32_t* sources_;
  int32_t* costs_;
  int count_;
};

class Improver {
 public:
  Improver(const Picture& picture, const uint8_t* mask, const bool* whole, const Field& field,
           const Search& search, std::vector<int32_t>& proximities)
      : picture_(picture),
        whole_(whole),
        field_(field),
        search_(search),
        proximities_(proximities),
        target_(picture, mask, search.radius) {}

  // Costs are of the picture as it was.
  void rescore(int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      target_.move_to(field_.targets[t]);
      if (search_.proximity)
        proximities_[t] = static_cast<int32_t>(std::min<int64_t>(search_.proximity, target_.variance()));
      Candidates found = of(t);
      int32_t sources[kMostCandidates];
      std::copy_n(field_.sources + t * field_.candidates, field_.candidates, sources);
      std::fill_n(field_.sources + t * field_.candidates, field_.candidates, -1);
      std::fill_n(field_.costs + t * field_.candidates, field_.candidates, kMost);
      for (int k = 0; k < field_.candidates; ++k)
        if (sources[k] >= 0 && !found.has(sources[k]))
          found.add(sources[k], target_.distance(sources[k], kMost / 2) + penalty(t, sources[k]));
    }
  }

  // Propagation along the scan, then random steps around the best, ever smaller.
  void iterate(int64_t begin, int64_t end, int iteration, const std::vector<int32_t>& before) {
    const bool forwards = iteration % 2 == 0;
    const int step = forwards ? 1 : -1;
    for (int64_t i = begin; i < end; ++i) {
      const int64_t t = forwards ? i : end - 1 - (i - begin);
      const int32_t position = field_.targets[t];
      const int y = position / picture_.width, x = position % picture_.width;
      target_.move_to(position);
      Candidates found = of(t);
      if (x - step >= 0 && x - step < picture_.width) propagate(found, t, -step, 0, begin, end, before);
      if (y - step >= 0 && y - step < picture_.height) propagate(found, t, 0, -step, begin, end, before);
      Random random(search_.seed, static_cast<uint64_t>(iteration) * field_.count + t);
      for (int reach = search_.reach; reach >= 1; reach /= 2) {
        const int32_t best = field_.sources[t * field_.candidates];
        if (best < 0) break;
        const int row = best / picture_.width + random.step(reach);
        const int column = best % picture_.width + random.step(reach);
        propose(found, t, row, column);
      }
    }
  }

  void scale(int64_t begin, int64_t end) {
    for (int64_t t = begin; t < end; ++t) {
      target_.move_to(field_.targets[t]);
      for (int k = 0; k < field_.candidates; ++k) {
        int32_t& cost = field_.costs[t * field_.candidates + k];
        cost = target_.scaled(cost);
      }
    }
  }

 private:
  Candidates of(int64_t t) const {
    return {field_.sources + t * field_.candidates, field_.costs + t * field_.candidates, field_.candidates};
  }

  void propagate(Candidates& found, int64_t t, int dx, int dy, int64_t begin, int64_t end,
                 const std::vector<int32_t>& before) {
    const int64_t other = field_.index[field_.targets[t] + dy * picture_.width + dx];
    if (other < 0) return;
    const bool own = other >= begin && other < end;
    const int32_t* sources = (own ? field_.sources : before.data()) + other * field_.candidates;
    for (int k = 0; k < field_.candidates; ++k)
      if (sources[k] >= 0)
        propose(found, t, sources[k] / picture_.width - dy, sources[k] % picture_.width - dx);
  }

  int32_t penalty(int64_t t, int32_t source) const {
    if (!search_.proximity) return 0;
    const int32_t position = field_.targets[t];
    const int64_t far = std::abs(position / picture_.width - source / picture_.width) +
                        std::abs(position % picture_.width - source % picture_.width);
    return static_cast<int32_t>(far * proximities_[t] * target_.compared() /
                                std::max(picture_.width, picture_.height));
  }

  void propose(Candidates& found, int64_t t, int row, int column) {
    if (row < 0 || column < 0 || row >= picture_.height || column >= picture_.width) return;
    const int32_t source = row * picture_.width + column;
    if (!whole_[source] || found.has(source)) return;
    const int32_t worst = found.worst();
    const int32_t extra = penalty(t, source);
    if (extra >= worst) return;
    const int32_t cost = target_.distance(source, worst - extra) + extra;
    if (cost < worst) found.add(source, cost);
  }

  const Picture& picture_;
  const bool* whole_;
  const Field& field_;
  const Search& search_;
  std::vector<int32_t>& proximities_;  // of each target, as far as its patch varies
  Target target_;
};

}  // namespace

void improve(const Picture& picture, const uint8_t* mask, const bool* whole, const Field& field,
             const Search& search) {
  const int64_t blocks = (field.count + kBlock - 1) / kBlock;
  std::vector<int32_t> proximities(search.proximity ? field.count : 0);
  const auto in_blocks = [&](const auto& each) {
    torch::stable::parallel_for(0, blocks, 1, [&](int64_t first, int64_t last) {
      Improver improver(picture, mask, whole, field, search, proximities);
      for (int64_t block = first; block < last; ++block)
        each(improver, block * kBlock, std::min(field.count, (block + 1) * kBlock));
    });
  };
  in_blocks([](Improver& improver, int64_t begin, int64_t end) { improver.rescore(begin, end); });
  std::vector<int32_t> before;
  for (int iteration = 0; iteration < search.iterations; ++iteration) {
    before.assign(field.sources, field.sources + field.count * field.candidates);
    in_blocks([&](Improver& improver, int64_t begin, int64_t end) {
      improver.iterate(begin, end, iteration, before);
    });
  }
  in_blocks([](Improver& improver, int64_t begin, int64_t end) { improver.scale(begin, end); });
}

void vote(const Picture& picture, const Field& field, const uint16_t* weights, const int16_t* depths,
          double trust, const int32_t* pixels, int64_t count, int radius, uint8_t* voted) {
  // By how much deeper a patch lies than the pixel; neighbours differ by one at most.
  std::vector<uint64_t> shares(2 * radius + 1);
  for (int i = 0; i <= 2 * radius; ++i)
    shares[i] = std::max<uint64_t>(1, static_cast<uint64_t>(std::llround(65536 * std::pow(trust, -i))));
  torch::stable::parallel_for(0, count, 256, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int y = pixels[i] / picture.width, x = pixels[i] % picture.width;
      const int shallowest = depths[pixels[i]] - radius;
      uint64_t sums[kFeatures] = {}, total = 0;
      for (int row = std::max(0, y - radius); row <= std::min(picture.height - 1, y + radius); ++row)
        for (int column = std::max(0, x - radius); column <= std::min(picture.width - 1, x + radius);
             ++column) {
          const int64_t centre = static_cast<int64_t>(row) * picture.width + column;
          const int64_t t = field.index[centre];
          if (t < 0) continue;
          const int64_t move = pixels[i] - centre;
          const uint64_t share = shares[std::max(0, depths[centre] - shallowest)];
          for (int k = 0; k < field.candidates; ++k) {
            const int64_t at = t * field.candidates + k;
            if (field.sources[at] < 0) continue;
            const uint8_t* pasted = picture.at(field.sources[at] + move);
            const uint64_t weight = share * weights[at];
            for (int f = 0; f < kFeatures; ++f) sums[f] += weight * pasted[f];
            total += weight;
          }
        }
      for (int f = 0; f < kFeatures; ++f)
        voted[i * kFeatures + f] = total ? static_cast<uint8_t>((sums[f] + total / 2) / total) : 0;
    }
  });
}

}  // namespace contextual_attention::cpu::filling
