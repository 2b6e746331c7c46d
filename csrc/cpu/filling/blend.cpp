// Copies from here and there made one picture: the operator behind models/filling/blend.py, which states the
// energy that is minimised.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <tuple>
#include <utility>
#include <vector>

#include "copy.h"
#include "multigrid.h"

namespace contextual_attention::cpu::filling {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// A picture, where it is missing, and where each missing pixel is copied from.
struct Copies {
  const uint8_t* hole;
  const int64_t* offsets;  // (2, height, width)
  int64_t channels, height, width;

  int64_t size() const { return height * width; }
  int64_t at(Place p) const { return p.y * width + p.x; }
  bool has(Place p) const { return p.y >= 0 && p.y < height && p.x >= 0 && p.x < width; }
  bool knows(Place p) const { return has(p) && !hole[at(p)]; }
  Place source(Place p) const { return {p.y + offsets[at(p)], p.x + offsets[size() + at(p)]}; }
};

// Levels by blocks of `side` x `side` pixels: those to be copied where a picture is smooth, and those it has.
struct Levels {
  const float* share;   // (rows, columns) in [0, 1]: how much they count
  const float* wanted;  // (channels, rows, columns), as `there`
  const float* there;
  int64_t side, rows, columns;

  float share_of(Place at) const { return between(at).of(share); }
  // What to add to a channel of the pixel `from` where it is copied to `at`.
  float change(Place at, Place from, int64_t channel) const {
    const Between to = between(at);
    const float weight = to.of(share);
    if (weight == 0) return 0;
    const int64_t plane = channel * rows * columns;
    return weight * (to.of(wanted + plane) - between(from).of(there + plane));
  }

 private:
  // Between the centres of four blocks.
  struct Between {
    int64_t corners[4];
    float down, right;

    float of(const float* map) const {
      const float above = map[corners[0]] + right * (map[corners[1]] - map[corners[0]]);
      const float below = map[corners[2]] + right * (map[corners[3]] - map[corners[2]]);
      return above + down * (below - above);
    }
  };

  Between between(Place at) const {
    const auto place = [&](int64_t i, int64_t size) {
      return std::clamp((i + 0.5f) / side - 0.5f, 0.0f, static_cast<float>(size - 1));
    };
    const float y = place(at.y, rows), x = place(at.x, columns);
    const int64_t top = static_cast<int64_t>(y), left = static_cast<int64_t>(x);
    const int64_t bottom = std::min(top + 1, rows - 1), last = std::min(left + 1, columns - 1);
    return {{top * columns + left, top * columns + last, bottom * columns + left, bottom * columns + last},
            y - top,
            x - left};
  }
};

// How the step from what is beside a pixel to the pixel is known: by where their copies come from.
struct Link {
  Place at, other;        // a pixel of the hole, and what is beside it
  Place from, before;     // where `at` is copied from, and what is beside that
  Place to, after;        // where `other` is copied from, and what is beside that on the opposite side
  bool missing;           // whether `other` is in the hole
  bool by_own, by_other;  // whether `before` and `after` are known

  bool linked() const { return by_own || by_other; }
};

Link link_of(const Copies& copies, Place at, Place from, int side) {
  Link link{at, at.beside(side), from, from.beside(side), {}, {}, false, false, false};
  if (!copies.has(link.other)) return link;
  link.by_own = copies.knows(link.before);
  link.missing = copies.hole[copies.at(link.other)];
  if (link.missing) {
    link.to = copies.source(link.other);
    link.after = link.to.beside(side ^ 1);
    link.by_other = copies.knows(link.after);
  }
  return link;
}

// By how much the step that is to be kept exceeds that from the other's copy, or colour, to the pixel's copy.
float mismatch(const Copies& copies, const Levels& levels, const Link& link, const float* plane,
               int64_t channel) {
  const auto colour = [&](Place p) { return plane[copies.at(p)]; };
  const float copy = colour(link.from), beside = colour(link.missing ? link.to : link.other);
  float steps = 0;
  if (link.by_own)
    steps += copy - colour(link.before) + levels.change(link.at, link.from, channel) -
             levels.change(link.other, link.before, channel);
  if (link.by_other)
    steps += colour(link.after) - beside + levels.change(link.at, link.after, channel) -
             levels.change(link.other, link.to, channel);
  if (link.by_own && link.by_other) steps /= 2;
  return steps - (copy - beside);
}

void check_offsets(const Copies& copies, const Numbering& numbering) {
  std::atomic<bool> known{true};
  for_pixels(numbering, [&](Place at, int32_t) {
    if (!copies.knows(copies.source(at))) known = false;
  });
  STD_TORCH_CHECK(known, "offsets: expected to lead from every pixel of the hole to a known one");
}

// What the energy's sums are over, apart from the steps of the copies.
struct Aims {
  const Levels& levels;
  float screening, smooth_screening, torn, tolerance;

  float screening_of(Place at) const {
    return screening + levels.share_of(at) * (smooth_screening - screening);
  }
};

// Whether copies side by side fit together so badly that levels made to meet would only smear them.
bool is_torn(const Copies& copies, const Aims& aims, const Link& link, const float* image) {
  for (int64_t c = 0; c < copies.channels; ++c) {
    const float apart = mismatch(copies, aims.levels, link, image + c * copies.size(), c) -
                        aims.levels.change(link.at, link.from, c) +
                        aims.levels.change(link.other, link.to, c);
    if (std::abs(apart) > aims.torn) return true;
  }
  return false;
}

// Which of the steps around each pixel of the hole are kept: bit k tells it of side k.
std::vector<uint8_t> ties_of(const Copies& copies, const Numbering& numbering, const Aims& aims,
                             const float* image) {
  std::vector<uint8_t> ties(numbering.count());
  for_pixels(numbering, [&](Place at, int32_t number) {
    for (int side = 0; side < kSides; ++side) {
      const Link link = link_of(copies, at, copies.source(at), side);
      if (!link.linked()) continue;
      // Both pixels of a pair look at it from the same one, so that rounding does not part them.
      const bool turned = side % 2 && link.missing;
      const Link pair = turned ? link_of(copies, link.other, link.to, side ^ 1) : link;
      if (!link.missing || !is_torn(copies, aims, pair, image)) ties[number] |= 1 << side;
    }
  });
  return ties;
}

Multigrid equations_of(const Copies& copies, const Numbering& numbering, const Aims& aims,
                       const std::vector<uint8_t>& ties) {
  std::vector<std::array<int32_t, kSides>> beside(numbering.count());
  std::vector<float> known(numbering.count()), staying(numbering.count());
  torch::stable::parallel_for(0, copies.height, 8, [&](int64_t first, int64_t last) {
    std::vector<int32_t> rows[3];
    for (int64_t y = first; y < last; ++y) {
      if (numbering.before(y) == numbering.before(y + 1)) continue;
      for (int64_t k = 0; k < 3; ++k) numbering.read_row(y + k - 1, rows[k]);
      for (int64_t x = 0; x < copies.width; ++x) {
        const int32_t i = rows[1][x];
        if (i < 0) continue;
        const Place at{y, x};
        staying[i] = aims.screening_of(at);
        for (int side = 0; side < kSides; ++side) {
          const bool tied = ties[i] >> side & 1;
          beside[i][side] = tied ? rows[1 + kDown[side]][x + kRight[side]] : -1;
          known[i] += tied && beside[i][side] < 0;
        }
      }
    }
  });
  return {numbering, std::move(beside), std::move(known), std::move(staying)};
}

std::pair<float, float> range_of_known(const Copies& copies, const float* image) {
  float least = std::numeric_limits<float>::infinity(), most = -least;
  for (int64_t c = 0; c < copies.channels; ++c)
    for (int64_t at = 0; at < copies.size(); ++at) {
      if (copies.hole[at]) continue;
      least = std::min(least, image[c * copies.size() + at]);
      most = std::max(most, image[c * copies.size() + at]);
    }
  return {least, most};
}

void blend_channel(const Copies& copies, const Numbering& numbering, const Aims& aims,
                   const std::vector<uint8_t>& ties, const float* plane, int64_t channel,
                   Multigrid& equations, float* result) {
  std::vector<float>& residual = equations.residual();
  for_pixels(numbering, [&](Place at, int32_t number) {
    const Place from = copies.source(at);
    float sum = aims.screening_of(at) * aims.levels.change(at, from, channel);
    for (int side = 0; side < kSides; ++side)
      if (ties[number] >> side & 1)
        sum += mismatch(copies, aims.levels, link_of(copies, at, from, side), plane, channel);
    residual[number] = sum;
  });
  std::vector<float> change;
  equations.solve(change, aims.tolerance);
  for_pixels(numbering, [&](Place at, int32_t number) {
    result[copies.at(at)] = plane[copies.at(copies.source(at))] + change[number];
  });
}

void blend_planes(const Copies& copies, const Aims& aims, const float* image, float* result) {
  const Numbering numbering(copies.hole, copies.height, copies.width);
  if (numbering.count() == 0) return;
  check_offsets(copies, numbering);
  const auto [least, most] = range_of_known(copies, image);
  const std::vector<uint8_t> ties = ties_of(copies, numbering, aims, image);
  Multigrid equations = equations_of(copies, numbering, aims, ties);
  for (int64_t c = 0; c < copies.channels; ++c) {
    float* const filled = result + c * copies.size();
    blend_channel(copies, numbering, aims, ties, image + c * copies.size(), c, equations, filled);
    for_pixels(numbering, [&, low = least, high = most](Place at, int32_t) {
      filled[copies.at(at)] = std::clamp(filled[copies.at(at)], low, high);
    });
  }
}

void check_map(const Tensor& x, ScalarType dtype, int64_t channels, const Tensor& image, const char* name) {
  STD_TORCH_CHECK(x.scalar_type() == dtype && x.dim() == 4 && x.size(0) == 1 && x.size(1) == channels &&
                      x.size(2) == image.size(2) && x.size(3) == image.size(3),
                  name, ": expected a map of the size of the image, 1 x ", channels, " x ", image.size(2),
                  " x ", image.size(3), ", of the documented dtype");
}

void check_levels(const Tensor& levels, const Tensor& share, int64_t block, const Tensor& image,
                  const char* name) {
  STD_TORCH_CHECK(
      levels.scalar_type() == ScalarType::Float && share.scalar_type() == ScalarType::Float && block >= 1 &&
          share.dim() == 2 && share.size(0) * block >= image.size(2) &&
          share.size(1) * block >= image.size(3) && levels.dim() == 3 && levels.size(0) == image.size(1) &&
          levels.size(1) == share.size(0) && levels.size(2) == share.size(1),
      name, ": expected float32, one for each channel and block of the image, as share has blocks");
}

Tensor blend_cpu(Tensor image, Tensor hole, Tensor offsets, Tensor share, Tensor wanted, Tensor there,
                 int64_t block, double screening, double smooth_screening, double torn, double tolerance) {
  STD_TORCH_CHECK(image.dim() == 4, "image: expected 1 x C x H x W");
  check_map(image, ScalarType::Float, image.size(1), image, "image");
  check_map(hole, ScalarType::Bool, 1, image, "hole");
  check_map(offsets, ScalarType::Long, 2, image, "offsets");
  check_levels(wanted, share, block, image, "wanted");
  check_levels(there, share, block, image, "there");
  const auto packed = [](const Tensor& x) { return torch::stable::contiguous(x); };
  const Tensor planes = packed(image), missing = packed(hole), moves = packed(offsets);
  const Tensor shares = packed(share), wanted_levels = packed(wanted), levels_there = packed(there);
  const Copies copies{static_cast<const uint8_t*>(missing.data_ptr()), moves.const_data_ptr<int64_t>(),
                      image.size(1), image.size(2), image.size(3)};
  const Levels levels{shares.const_data_ptr<float>(),
                      wanted_levels.const_data_ptr<float>(),
                      levels_there.const_data_ptr<float>(),
                      block,
                      share.size(0),
                      share.size(1)};
  const Aims aims{levels, static_cast<float>(screening), static_cast<float>(smooth_screening),
                  static_cast<float>(torn), static_cast<float>(tolerance)};
  Tensor result = copy_of(planes);
  blend_planes(copies, aims, planes.const_data_ptr<float>(), result.mutable_data_ptr<float>());
  return result;
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(contextual_attention_filling, m) {
  m.def(
      "blend(Tensor image, Tensor hole, Tensor offsets, Tensor share, Tensor wanted, Tensor there, int "
      "block, float screening, float smooth_screening, float torn, float tolerance) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(contextual_attention_filling, CPU, m) { m.impl("blend", TORCH_BOX(&blend_cpu)); }

}  // namespace contextual_attention::cpu::filling
