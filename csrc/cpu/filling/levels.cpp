// Pictures by blocks of pixels, and smooth maps continued into holes: the operators behind
// models/filling/smooth.py.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <tuple>
#include <utility>
#include <vector>

#include "copy.h"
#include "multigrid.h"

namespace contextual_attention::cpu::filling {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

bool has_missing(const uint8_t* hole, int64_t width, int64_t side) {
  for (int64_t y = 0; y < side; ++y)
    for (int64_t x = 0; x < side; ++x)
      if (hole[y * width + x]) return true;
  return false;
}

float mean_of(const float* block, int64_t width, int64_t side) {
  float sum = 0;
  for (int64_t y = 0; y < side; ++y)
    for (int64_t x = 0; x < side; ++x) sum += block[y * width + x];
  return sum / (side * side);
}

// The variance of a block's grey as its second differences show it, which have six times that of a pixel if
// pixels are independent; the planes of a picture lie `plane` apart.
float variance_of(const float* block, int64_t channels, int64_t plane, int64_t width, int64_t side) {
  const auto grey = [&](int64_t y, int64_t x) {
    float sum = 0;
    for (int64_t c = 0; c < channels; ++c) sum += block[c * plane + y * width + x];
    return sum / channels;
  };
  float sum = 0;
  for (int64_t y = 0; y < side; ++y)
    for (int64_t x = 1; x + 1 < side; ++x) {
      const float across = grey(y, x - 1) - 2 * grey(y, x) + grey(y, x + 1);
      const float down = grey(x - 1, y) - 2 * grey(x, y) + grey(x + 1, y);
      sum += across * across + down * down;
    }
  return sum / (12 * side * (side - 2));
}

std::tuple<Tensor, Tensor, Tensor> measure_cpu(Tensor image, Tensor hole, int64_t side) {
  STD_TORCH_CHECK(image.scalar_type() == ScalarType::Float && image.dim() == 4 && image.size(0) == 1,
                  "image: expected float32, 1 x C x H x W");
  STD_TORCH_CHECK(hole.scalar_type() == ScalarType::Bool && hole.dim() == 4 && hole.size(0) == 1 &&
                      hole.size(1) == 1 && hole.size(2) == image.size(2) && hole.size(3) == image.size(3),
                  "hole: expected bool, 1 x 1 x H x W as image");
  STD_TORCH_CHECK(side >= 3, "side: expected 3 at least");
  const Tensor planes = torch::stable::contiguous(image), mask = torch::stable::contiguous(hole);
  const int64_t channels = image.size(1), height = image.size(2), width = image.size(3);
  const int64_t rows = (height + side - 1) / side, columns = (width + side - 1) / side;
  Tensor means = torch::stable::new_zeros(planes, {{1, channels, rows, columns}});
  Tensor variances = torch::stable::new_zeros(planes, {{1, 1, rows, columns}});
  Tensor known = torch::stable::new_zeros(planes, {{1, 1, rows, columns}});
  const float* const first = planes.const_data_ptr<float>();
  const uint8_t* const missing = static_cast<const uint8_t*>(mask.data_ptr());
  float* const mean = means.mutable_data_ptr<float>();
  float* const variance = variances.mutable_data_ptr<float>();
  float* const is_known = known.mutable_data_ptr<float>();
  // A block that the edge of the picture cuts off is not used.
  torch::stable::parallel_for(0, height / side, 8, [&](int64_t begin, int64_t end) {
    for (int64_t y = begin; y < end; ++y)
      for (int64_t x = 0; x < width / side; ++x) {
        const int64_t at = y * side * width + x * side, block = y * columns + x;
        if (has_missing(missing + at, width, side)) continue;
        is_known[block] = 1;
        variance[block] = variance_of(first + at, channels, height * width, width, side);
        for (int64_t c = 0; c < channels; ++c)
          mean[c * rows * columns + block] = mean_of(first + c * height * width + at, width, side);
      }
  });
  return {means, variances, known};
}

// Of what is missing, what can be reached from what is used. Nothing says what the rest would be: its
// equations have no solution, or any number of them.
std::vector<uint8_t> reached_of(const uint8_t* missing, const uint8_t* used, int64_t height, int64_t width) {
  std::vector<uint8_t> reached(height * width);
  std::vector<Place> open;
  const auto reach = [&](Place from) {
    for (int side = 0; side < kSides; ++side) {
      const Place to = from.beside(side);
      if (to.y < 0 || to.y >= height || to.x < 0 || to.x >= width) continue;
      const int64_t at = to.y * width + to.x;
      if (!missing[at] || reached[at]) continue;
      reached[at] = 1;
      open.push_back(to);
    }
  };
  for (int64_t y = 0; y < height; ++y)
    for (int64_t x = 0; x < width; ++x)
      if (used[y * width + x] && !missing[y * width + x]) reach({y, x});
  while (!open.empty()) {
    const Place from = open.back();
    open.pop_back();
    reach(from);
  }
  return reached;
}

// Of one plane: what is `missing` such that its steps are those of `slopes`, next to what is `used`.
void continue_plane(const Numbering& numbering, const uint8_t* missing, const uint8_t* used,
                    const float* slopes, float tolerance, Multigrid& equations, float* plane) {
  const int64_t height = numbering.height(), width = numbering.width();
  std::vector<float>& residual = equations.residual();
  for_pixels(numbering, [&](Place p, int32_t number) {
    const int64_t at = p.y * width + p.x;
    float sum = 0;
    for (int side = 0; side < kSides; ++side) {
      const auto [y, x] = p.beside(side);
      const int64_t other = y * width + x;
      if (y < 0 || y >= height || x < 0 || x >= width || !(missing[other] || used[other])) continue;
      const float* const slope = slopes + (kDown[side] ? height * width : 0);
      const float step = (kDown[side] + kRight[side]) * (slope[at] + slope[other]) / 2;
      sum += plane[other] - plane[at] - step;
    }
    residual[number] = sum;
  });
  std::vector<float> change;
  equations.solve(change, tolerance);
  for_pixels(numbering, [&](Place p, int32_t number) { plane[p.y * width + p.x] += change[number]; });
}

Multigrid equations_of(const Numbering& numbering, const uint8_t* missing, const uint8_t* used) {
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
  return {numbering, std::move(beside), std::move(known), std::vector<float>(numbering.count())};
}

Tensor continue_cpu(Tensor levels, Tensor missing, Tensor used, Tensor slopes, double tolerance) {
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
  Tensor result = copy_of(torch::stable::contiguous(levels));
  const uint8_t* const border = static_cast<const uint8_t*>(others.data_ptr());
  const std::vector<uint8_t> reached =
      reached_of(static_cast<const uint8_t*>(mask.data_ptr()), border, levels.size(1), levels.size(2));
  const uint8_t* const inside = reached.data();
  const Numbering numbering(inside, levels.size(1), levels.size(2));
  if (numbering.count() == 0) return result;
  Multigrid equations = equations_of(numbering, inside, border);
  const int64_t plane = levels.size(1) * levels.size(2);
  for (int64_t k = 0; k < levels.size(0); ++k)
    continue_plane(numbering, inside, border, steps.const_data_ptr<float>() + 2 * k * plane,
                   static_cast<float>(tolerance), equations, result.mutable_data_ptr<float>() + k * plane);
  return result;
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(contextual_attention_filling, m) {
  m.def("measure_blocks(Tensor image, Tensor hole, int side) -> (Tensor, Tensor, Tensor)");
  m.def(
      "continue_levels(Tensor levels, Tensor missing, Tensor used, Tensor slopes, float tolerance) -> "
      "Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(contextual_attention_filling, CPU, m) {
  m.impl("measure_blocks", TORCH_BOX(&measure_cpu));
  m.impl("continue_levels", TORCH_BOX(&continue_cpu));
}

}  // namespace contextual_attention::cpu::filling
