// Linear equations on the pixels of a hole, each of them with the four beside it: conjugate gradients with a
// V-cycle as preconditioner. What comes out does not depend on the number of threads.
#pragma once

#include <torch/csrc/stable/ops.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace contextual_attention::cpu::filling {

// Right, left, down, up.
constexpr int kSides = 4;
constexpr int kDown[kSides] = {0, 0, 1, -1};
constexpr int kRight[kSides] = {1, -1, 0, 0};

struct Place {
  int64_t y, x;

  Place beside(int side) const { return {y + kDown[side], x + kRight[side]}; }
};

// The pixels of a grid that are in a mask, numbered row by row: first those whose row and column add up to an
// even number, then the others. A pixel and the four beside it are never of the same half.
class Numbering {
 public:
  Numbering(const uint8_t* mask, int64_t height, int64_t width);

  int64_t height() const { return height_; }
  int64_t width() const { return width_; }
  int64_t count() const { return evens() + odd_before_.back(); }
  int64_t evens() const { return even_before_.back(); }
  // How many lie in the rows before y.
  int64_t before(int64_t y) const { return even_before_[y] + odd_before_[y]; }
  // The numbers in row y, -1 for what is not in the mask; rows beyond the grid hold nothing.
  void read_row(int64_t y, std::vector<int32_t>& numbers) const;
  // The mask of the grid of half the size: blocks of 2 x 2 of which one pixel is in this mask.
  std::vector<uint8_t> halved() const;

 private:
  const uint8_t* mask_;
  int64_t height_, width_;
  std::vector<int64_t> even_before_, odd_before_;
};

// f(place, number) for the pixels that are numbered.
template <class F>
void for_pixels(const Numbering& numbering, const F& f) {
  torch::stable::parallel_for(0, numbering.height(), 8, [&](int64_t first, int64_t last) {
    std::vector<int32_t> numbers;
    for (int64_t y = first; y < last; ++y) {
      if (numbering.before(y) == numbering.before(y + 1)) continue;
      numbering.read_row(y, numbers);
      for (int64_t x = 0; x < numbering.width(); ++x)
        if (numbers[x] >= 0) f(Place{y, x}, numbers[x]);
    }
  });
}

// At each pixel i: diagonal[i] x[i] - sum over sides of weight * x[beside] = residual[i].
struct Grid {
  int64_t evens = 0;
  std::vector<std::array<int32_t, kSides>> beside;  // -1: nothing
  std::vector<std::array<float, kSides>> weights;   // none at the finest grid, where all of them are 1
  std::vector<std::array<int32_t, 4>> parts;        // the pixels of the next finer grid, -1: fewer
  std::vector<float> diagonal, residual, x;

  int64_t count() const { return static_cast<int64_t>(diagonal.size()); }
};

class Multigrid {
 public:
  // `beside` of the pixels of `numbering`; the weight of what is known beside them; that of staying at 0.
  Multigrid(const Numbering& numbering, std::vector<std::array<int32_t, kSides>> beside,
            std::vector<float> known, std::vector<float> screening);

  // Solves for the right-hand side `residual`, which is used up, until a V-cycle changes nothing by more than
  // the tolerance. The matrix is positive definite.
  void solve(std::vector<float>& solution, float tolerance);
  std::vector<float>& residual() { return grids_.front().residual; }

 private:
  void cycle(std::size_t level);

  std::vector<Grid> grids_;
};

}  // namespace contextual_attention::cpu::filling
