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

// What is known of a picture by blocks of `side` x `side` pixels.
struct Blocks {
  const float* screening;  // (rows, columns): the weight of staying as copied
  const float* slopes;     // (channels, 2, rows, columns): change to the right, and down, not to be copied
  int64_t side, rows, columns, width;

  int64_t of(int64_t at) const { return at / width / side * columns + at % width / side; }
  // The change from a position to what is beside it that is not to be copied.
  float change(int64_t at, int64_t channel, int side) const {
    const float* const plane = slopes + 2 * channel * rows * columns + of(at);
    return kRight[side] * plane[0] + kDown[side] * plane[rows * columns];
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
float mismatch(const Copies& copies, const Blocks& blocks, const Link& link, const float* plane,
               int64_t channel, int side) {
  const float copy = plane[link.from];
  const float beside = link.to >= 0 ? plane[link.to] : plane[link.other];
  float steps = 0;
  if (link.before >= 0)
    steps += copy - plane[link.before] + blocks.change(link.from, channel, side);
  if (link.after >= 0)
    steps += plane[link.after] - beside + blocks.change(link.to, channel, side);
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

Multigrid equations_of(const Copies& copies, const Numbering& numbering, const Blocks& blocks) {
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
        staying[i] = blocks.screening[blocks.of(y * copies.width + x)];
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

void blend_channel(const Copies& copies, const Numbering& numbering, const Blocks& blocks,
                   const float* plane, const float* estimate, int64_t channel,
                   float tolerance, Multigrid& equations, float* result) {
  std::vector<float>& residual = equations.residual();
  for_pixels(numbering, [&](int64_t at, int32_t number) {
    float sum = estimate ? blocks.screening[blocks.of(at)] * (estimate[at] - plane[copies.source(at)]) : 0;
    for (int side = 0; side < kSides; ++side) {
      const Link link = link_of(copies, at, side);
      if (link.linked()) sum += mismatch(copies, blocks, link, plane, channel, side);
    }
    residual[number] = sum;
  });
  std::vector<float> change;
  equations.solve(change, tolerance);
  for_pixels(numbering, [&](int64_t at, int32_t number) {
    result[at] = plane[copies.source(at)] + change[number];
  });
}

void blend_planes(const Copies& copies, const Blocks& blocks, const float* image, const float* estimate,
                  float tolerance, float* result) {
  const Numbering numbering(copies.hole, copies.height, copies.width);
  if (numbering.count() == 0) return;
  check_offsets(copies, numbering);
  const auto [least, most] = range_of_known(copies, image);
  Multigrid equations = equations_of(copies, numbering, blocks);
  for (int64_t c = 0; c < copies.channels; ++c) {
    const int64_t plane = c * copies.size();
    float* const filled = result + plane;
    blend_channel(copies, numbering, blocks, image + plane, estimate ? estimate + plane : nullptr, c,
                  tolerance, equations, filled);
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

void check_blocks(const Tensor& screening, const Tensor& slopes, int64_t block, const Tensor& image) {
  STD_TORCH_CHECK(screening.scalar_type() == ScalarType::Float && screening.dim() == 2 && block >= 1 &&
                      screening.size(0) * block >= image.size(2) &&
                      screening.size(1) * block >= image.size(3),
                  "screening: expected float32, a weight for each block of the image");
  STD_TORCH_CHECK(slopes.scalar_type() == ScalarType::Float && slopes.dim() == 4 &&
                      slopes.size(0) == image.size(1) && slopes.size(1) == 2 &&
                      slopes.size(2) == screening.size(0) && slopes.size(3) == screening.size(1),
                  "slopes: expected float32, two for each channel and block of the image");
}

Tensor blend_cpu(Tensor image, Tensor hole, Tensor offsets, Tensor screening, Tensor slopes, int64_t block,
                 std::optional<Tensor> estimate, double tolerance) {
  STD_TORCH_CHECK(image.dim() == 4, "image: expected 1 x C x H x W");
  check_map(image, ScalarType::Float, image.size(1), image, "image");
  check_map(hole, ScalarType::Bool, 1, image, "hole");
  check_map(offsets, ScalarType::Long, 2, image, "offsets");
  if (estimate) check_map(*estimate, ScalarType::Float, image.size(1), image, "estimate");
  check_blocks(screening, slopes, block, image);
  const Tensor planes = torch::stable::contiguous(image), missing = torch::stable::contiguous(hole);
  const Tensor moves = torch::stable::contiguous(offsets), weights = torch::stable::contiguous(screening);
  const Tensor changes = torch::stable::contiguous(slopes);
  const Tensor levels = torch::stable::contiguous(estimate ? *estimate : image);
  const Copies copies{static_cast<const uint8_t*>(missing.data_ptr()), moves.const_data_ptr<int64_t>(),
                      image.size(1), image.size(2), image.size(3)};
  const Blocks blocks{weights.const_data_ptr<float>(), changes.const_data_ptr<float>(), block,
                      weights.size(0), weights.size(1), copies.width};
  Tensor result = torch::stable::clone(planes);
  blend_planes(copies, blocks, planes.const_data_ptr<float>(),
               estimate ? levels.const_data_ptr<float>() : nullptr, static_cast<float>(tolerance),
               result.mutable_data_ptr<float>());
  return result;
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(contextual_attention_filling, m) {
  m.def(
      "blend(Tensor image, Tensor hole, Tensor offsets, Tensor screening, Tensor slopes, int block, Tensor? "
      "estimate, float tolerance) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(contextual_attention_filling, CPU, m) { m.impl("blend", TORCH_BOX(&blend_cpu)); }

}  // namespace contextual_attention::cpu::filling
