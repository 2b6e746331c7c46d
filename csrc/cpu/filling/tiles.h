// The tiles of a picture that a hole touches.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace contextual_attention::cpu::filling {

// Squares of `tile` pixels that hold missing ones, in the order of rows.
class Tiles {
 public:
  Tiles(const bool* hole, int height, int width, int tile)
      : columns_((width + tile - 1) / tile),
        rows_((height + tile - 1) / tile),
        index_(int64_t(rows_) * columns_, -1) {
    std::vector<uint8_t> touched(columns_);
    for (int row = 0; row < rows_; ++row) {
      std::fill(touched.begin(), touched.end(), 0);
      for (int y = row * tile; y < std::min(height, (row + 1) * tile); ++y)
        for (int x = 0; x < width; ++x)
          if (hole[int64_t(y) * width + x]) touched[x / tile] = 1;
      for (int column = 0; column < columns_; ++column)
        if (touched[column]) {
          index_[int64_t(row) * columns_ + column] = count();
          places_.push_back({row, column});
        }
    }
  }

  struct Place {
    int row, column;
  };
  int64_t count() const { return static_cast<int64_t>(places_.size()); }
  Place operator[](int64_t i) const { return places_[i]; }
  // -1: nothing is missing there, or no tile is there.
  int64_t at(int row, int column) const {
    if (row < 0 || column < 0 || row >= rows_ || column >= columns_) return -1;
    return index_[int64_t(row) * columns_ + column];
  }

 private:
  int columns_, rows_;
  std::vector<int32_t> index_;
  std::vector<Place> places_;
};

}  // namespace contextual_attention::cpu::filling
