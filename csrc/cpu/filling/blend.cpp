// Copies from here and there made one picture: the operator behind models/filling/blend.py, which states the
// energy that is minimised.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <algorithm>
#include <atomic>
#include <limits>
#include <optional>
#include <tuple>
#include <utility>
#include <vector>

#include "multigrid.h"

namespace contextual_attention::cpu::filling {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// A picture, where it is missing, and where each missing pixel is copied from. Positions are y * width + x.
struct Copies {
  const uint8_t* hole;
  const int64_t* offsets;  // (2, height, width)
  int64_t channels, height, width;

  int64_t size() const { return height * width; }
  int64_t source(int64_t at) const { return at + offsets[at] * width + offsets[size() + at]; }
  bool leads_to_known(int64_t y, int64_t x) const {
    const int64_t at = y * width + x, row = y + offsets[at], column = x + offsets[size() + at];
    return row >= 0 && row < height && column >= 0 && column < width && !hole[row * width + column];
  }
  // What is beside a position on a side; -1 beyond the picture.
  int64_t beside(int64_t at, int side) const {
    const int64_t y = at / width + kDown[side], x = at % width + kRight[side];
    return y >= 0 && y < height && x >= 0 && x < width ? y * width + x : -1;
  }
  int64_t known_beside(int64_t at, int side) const {
    const int64_t found = beside(at, side);
    return found >= 0 && !hole[found] ? found : -1;
  }
};

// Levels by blocks of `side` x `side` pixels: those to be copied where a picture is smooth, and those it has.
struct Levels {
  const float* share;   // (rows, columns) in [0, 1]: how much they count
  const float* wanted;  // (channels, rows, columns), as `there`
  const float* there;
  int64_t side, rows, columns, width;

  float share_of(int64_t at) const { return between(at).of(share); }
  // What to add to a channel of the pixel `from` where it is copied to `at`.
  float change(int64_t at, int64_t from, int64_t channel) const {
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

  Between between(int64_t at) const {
    const auto place = [&](int64_t i, int64_t size) {
      return std::clamp((i + 0.5f) / side - 0.5f, 0.0f, static_cast<float>(size - 1));
    };
    const float y = place(at / width, rows), x = place(at % width, columns);
    const int64_t top = static_cast<int64_t>(y), left = static_cast<int64_t>(x);
    const int64_t bottom = std::min(top + 1, rows - 1), last = std::min(left + 1, columns - 1);
    return {{top * columns + left, top * columns + last, bottom * columns + left, bottom * columns + last},
            y - top,
            x - left};
  }
};

// How the step from what is beside a pixel to the pixel is known: where the copies come from.
struct Link {
  int64_t at, other;     // a pixel of the hole, and what is beside it, -1 beyond the picture
  int64_t from, before;  // where `at` is copied from, and what is beside that, -1 not known
  int64_t to, after;     // where `other` is copied from, and what is beside that on the opposite side, or -1

  bool linked() const { return other >= 0 && (before >= 0 || after >= 0); }
};

Link link_of(const Copies& copies, int64_t at, int side) {
  Link link{at, copies.beside(at, side), copies.source(at), -1, -1, -1};
  if (link.other < 0) return link;
  link.before = copies.known_beside(link.from, side);
  if (copies.hole[link.other]) {
    link.to = copies.source(link.other);
    link.after = copies.known_beside(link.to, side ^ 1);
  }
  return link;
}

// By how much the step that is to be kept exceeds that from the other's copy, or colour, to the pixel's copy.
float mismatch(const Levels& levels, const Link& link, const float* plane, int64_t channel) {
  const float copy = plane[link.from];
  const float beside = link.to >= 0 ? plane[link.to] : plane[link.other];
  float steps = 0;
  if (link.before >= 0)
    steps += copy - plane[link.before] + levels.change(link.at, link.from, channel) -
             levels.change(link.other, link.before, channel);
  if (link.after >= 0)
    steps += plane[link.after] - beside + levels.change(link.at, link.after, channel) -
             levels.change(link.other, link.to, channel);
  if (link.before >= 0 && link.after >= 0) steps /= 2;
  return steps - (copy - beside);
}

// f(position, number) for the pixels of the hole.
template <class F>
void for_pixels(const Numbering& numbering, const F& f) {
  torch::stable::parallel_for(0, numbering.height(), 8, [&](int64_t first, int64_t last) {
    std::vector<int32_t> numbers;
    for (int64_t y = first; y < last; ++y) {
      if (numbering.before(y) == numbering.before(y + 1)) continue;
      numbering.read_row(y, numbers);
      for (int64_t x = 0; x < numbering.width(); ++x)
        if (numbers[x] >= 0) f(y * numbering.width() + x, numbers[x]);
    }
  });
}

void check_offsets(const Copies& copies, const Numbering& numbering) {
  std::atomic<bool> known{true};
  for_pixels(numbering, [&](int64_t at, int32_t) {
    if (!copies.leads_to_known(at / copies.width, at % copies.width)) known = false;
  });
  STD_TORCH_CHECK(known, "offsets: expected to lead from every pixel of the hole to a known one");
}

// What the energy's sums are over, apart from the steps of the copies.
struct Aims {
  const Levels& levels;
  const float* estimate;  // (channels, height, width); null: stay near the copies
  float screening, smooth_screening, tolerance;

  float screening_of(int64_t at) const {
    return screening + levels.share_of(at) * (smooth_screening - screening);
  }
};

Multigrid equations_of(const Copies& copies, const Numbering& numbering, const Aims& aims) {
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
        staying[i] = aims.screening_of(y * copies.width + x);
        for (int side = 0; side < kSides; ++side) {
          const Link link = link_of(copies, y * copies.width + x, side);
          const bool missing = link.linked() && link.to >= 0;
          beside[i][side] = missing ? rows[1 + kDown[side]][x + kRight[side]] : -1;
          known[i] += link.linked() && !missing;
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

void blend_channel(const Copies& copies, const Numbering& numbering, const Aims& aims, const float* plane,
                   int64_t channel, Multigrid& equations, float* result) {
  std::vector<float>& residual = equations.residual();
  const float* const estimate = aims.estimate ? aims.estimate + channel * copies.size() : nullptr;
  for_pixels(numbering, [&](int64_t at, int32_t number) {
    const int64_t from = copies.source(at);
    float sum = aims.screening_of(at) *
                (estimate ? estimate[at] - plane[from] : aims.levels.change(at, from, channel));
    for (int side = 0; side < kSides; ++side) {
      const Link link = link_of(copies, at, side);
      if (link.linked()) sum += mismatch(aims.levels, link, plane, channel);
    }
    residual[number] = sum;
  });
  std::vector<float> change;
  equations.solve(change, aims.tolerance);
  for_pixels(numbering, [&](int64_t at, int32_t number) {
    result[at] = plane[copies.source(at)] + change[number];
  });
}

void blend_planes(const Copies& copies, const Aims& aims, const float* image, float* result) {
  const Numbering numbering(copies.hole, copies.height, copies.width);
  if (numbering.count() == 0) return;
  check_offsets(copies, numbering);
  const auto [least, most] = range_of_known(copies, image);
  Multigrid equations = equations_of(copies, numbering, aims);
  for (int64_t c = 0; c < copies.channels; ++c) {
    float* const filled = result + c * copies.size();
    blend_channel(copies, numbering, aims, image + c * copies.size(), c, equations, filled);
    for_pixels(numbering, [&, low = least, high = most](int64_t at, int32_t) {
      filled[at] = std::clamp(filled[at], low, high);
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
  STD_TORCH_CHECK(levels.scalar_type() == ScalarType::Float && share.scalar_type() == ScalarType::Float &&
                      block >= 1 && share.dim() == 2 && share.size(0) * block >= image.size(2) &&
                      share.size(1) * block >= image.size(3) && levels.dim() == 3 &&
                      levels.size(0) == image.size(1) && levels.size(1) == share.size(0) &&
                      levels.size(2) == share.size(1),
                  name, ": expected float32, one for each channel and block of the image, as share has blocks");
}

Tensor blend_cpu(Tensor image, Tensor hole, Tensor offsets, Tensor share, Tensor wanted, Tensor there,
                 int64_t block, std::optional<Tensor> estimate, double screening, double smooth_screening,
                 double tolerance) {
  STD_TORCH_CHECK(image.dim() == 4, "image: expected 1 x C x H x W");
  check_map(image, ScalarType::Float, image.size(1), image, "image");
  check_map(hole, ScalarType::Bool, 1, image, "hole");
  check_map(offsets, ScalarType::Long, 2, image, "offsets");
  if (estimate) check_map(*estimate, ScalarType::Float, image.size(1), image, "estimate");
  check_levels(wanted, share, block, image, "wanted");
  check_levels(there, share, block, image, "there");
  const auto packed = [](const Tensor& x) { return torch::stable::contiguous(x); };
  const Tensor planes = packed(image), missing = packed(hole), moves = packed(offsets);
  const Tensor shares = packed(share), wanted_levels = packed(wanted), levels_there = packed(there);
  const Tensor stay = packed(estimate ? *estimate : image);
  const Copies copies{static_cast<const uint8_t*>(missing.data_ptr()), moves.const_data_ptr<int64_t>(),
                      image.size(1), image.size(2), image.size(3)};
  const Levels levels{shares.const_data_ptr<float>(),
                      wanted_levels.const_data_ptr<float>(),
                      levels_there.const_data_ptr<float>(),
                      block,
                      share.size(0),
                      share.size(1),
                      copies.width};
  const Aims aims{levels, estimate ? stay.const_data_ptr<float>() : nullptr, static_cast<float>(screening),
                  static_cast<float>(smooth_screening),                   static_cast<float>(tolerance)};
  Tensor result = torch::stable::clone(planes);
  blend_planes(copies, aims, planes.const_data_ptr<float>(), result.mutable_data_ptr<float>());
  return result;
}

// The continuation of maps

// Of one plane: what is `missing` such that its steps are those of `slopes`, next to what is `used`.
void continue_plane(const Numbering& numbering, const uint8_t* missing, const uint8_t* used,
                    const float* slopes, float tolerance, Multigrid& equations, float* plane) {
  const int64_t height = numbering.height(), width = numbering.width();
  std::vector<float>& residual = equations.residual();
  for_pixels(numbering, [&](int64_t at, int32_t number) {
    float sum = 0;
    for (int side = 0; side < kSides; ++side) {
      const int64_t y = at / width + kDown[side], x = at % width + kRight[side], other = y * width + x;
      if (y < 0 || y >= height || x < 0 || x >= width || !(missing[other] || used[other])) continue;
      const float* const slope = slopes + (kDown[side] ? height * width : 0);
      const float step = (kDown[side] + kRight[side]) * (slope[at] + slope[other]) / 2;
      sum += plane[other] - plane[at] - step;
    }
    residual[number] = sum;
  });
  std::vector<float> change;
  equations.solve(change, tolerance);
  for_pixels(numbering, [&](int64_t at, int32_t number) { plane[at] += change[number]; });
}

Multigrid equations_of(const Numbering& numbering, const uint8_t* missing, const uint8_t* used,
                       float anchor) {
  const int64_t height = numbering.height(), width = numbering.width();
  std::vector<std::array<int32_t, kSides>> beside(numbering.count());
  std::vector<float> known(numbering.count());
  std::vector<int32_t> rows[3];
  for (int64_t y = 0; y < height; ++y) {
    for (int64_t k = 0; k < 3; ++k) numbering.read_row(y + k - 1, rows[k]);
    for (int64_t x = 0; x < width; ++x) {
      if (rows[1][x] < 0) continue;
      for (int side = 0; side < kSides; ++side) {
        const int64_t row = y + kDown[side], column = x + kRight[side];
        const bool inside = row >= 0 && row < height && column >= 0 && column < width;
        beside[rows[1][x]][side] = inside ? rows[1 + kDown[side]][column] : -1;
        known[rows[1][x]] += inside && !missing[row * width + column] && used[row * width + column];
      }
    }
  }
  return {numbering, std::move(beside), std::move(known), std::vector<float>(numbering.count(), anchor)};
}

Tensor continue_cpu(Tensor levels, Tensor missing, Tensor used, Tensor slopes, double anchor,
                    double tolerance) {
  const auto is_mask = [&](const Tensor& x) {
    return x.scalar_type() == ScalarType::Bool && x.dim() == 2 && x.size(0) == levels.size(1) &&
           x.size(1) == levels.size(2);
  };
  STD_TORCH_CHECK(levels.scalar_type() == ScalarType::Float && levels.dim() == 3,
                  "levels: expected float32, K x h x w");
  STD_TORCH_CHECK(is_mask(missing) && is_mask(used), "missing, used: expected bool, h x w as levels");
  STD_TORCH_CHECK(slopes.scalar_type() == ScalarType::Float && slopes.numel() == 2 * levels.numel(),
                  "slopes: expected float32, K x 2 x h x w");
  const Tensor mask = torch::stable::contiguous(missing), others = torch::stable::contiguous(used);
  const Tensor steps = torch::stable::contiguous(slopes);
  Tensor result = torch::stable::clone(torch::stable::contiguous(levels));
  const uint8_t* const inside = static_cast<const uint8_t*>(mask.data_ptr());
  const uint8_t* const border = static_cast<const uint8_t*>(others.data_ptr());
  const Numbering numbering(inside, levels.size(1), levels.size(2));
  if (numbering.count() == 0) return result;
  Multigrid equations = equations_of(numbering, inside, border, static_cast<float>(anchor));
  const int64_t plane = levels.size(1) * levels.size(2);
  for (int64_t k = 0; k < levels.size(0); ++k)
    continue_plane(numbering, inside, border, steps.const_data_ptr<float>() + 2 * k * plane,
                   static_cast<float>(tolerance), equations, result.mutable_data_ptr<float>() + k * plane);
  return result;
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(contextual_attention_filling, m) {
  m.def(
      "blend(Tensor image, Tensor hole, Tensor offsets, Tensor share, Tensor wanted, Tensor there, int block, "
      "Tensor? estimate, float screening, float smooth_screening, float tolerance) -> Tensor");
  m.def(
      "continue_levels(Tensor levels, Tensor missing, Tensor used, Tensor slopes, float anchor, float "
      "tolerance) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(contextual_attention_filling, CPU, m) {
  m.impl("blend", TORCH_BOX(&blend_cpu));
  m.impl("continue_levels", TORCH_BOX(&continue_cpu));
}

}  // namespace contextual_attention::cpu::filling
