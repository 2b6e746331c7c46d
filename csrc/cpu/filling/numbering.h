// Pixels of a grid, those of a hole among them, and how these are numbered.
#pragma once

#include <torch/csrc/stable/ops.h>

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

}  // namespace contextual_attention::cpu::filling
