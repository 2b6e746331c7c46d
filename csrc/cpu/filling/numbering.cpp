#include "numbering.h"

namespace contextual_attention::cpu::filling {

Numbering::Numbering(const uint8_t* mask, int64_t height, int64_t width)
    : mask_(mask), height_(height), width_(width), even_before_(height + 1), odd_before_(height + 1) {
  for (int64_t y = 0; y < height; ++y) {
    int64_t counts[2] = {0, 0};
    for (int64_t x = 0; x < width; ++x) counts[(x + y) % 2] += mask[y * width + x];
    even_before_[y + 1] = even_before_[y] + counts[0];
    odd_before_[y + 1] = odd_before_[y] + counts[1];
  }
}

void Numbering::read_row(int64_t y, std::vector<int32_t>& numbers) const {
  numbers.assign(width_, -1);
  if (y < 0 || y >= height_ || before(y) == before(y + 1)) return;
  int64_t next[2] = {even_before_[y], evens() + odd_before_[y]};
  for (int64_t x = 0; x < width_; ++x)
    if (mask_[y * width_ + x]) numbers[x] = static_cast<int32_t>(next[(x + y) % 2]++);
}

std::vector<uint8_t> Numbering::halved() const {
  const int64_t width = (width_ + 1) / 2;
  std::vector<uint8_t> result((height_ + 1) / 2 * width);
  for (int64_t y = 0; y < height_; ++y) {
    if (before(y) == before(y + 1)) continue;
    for (int64_t x = 0; x < width_; ++x) result[y / 2 * width + x / 2] |= mask_[y * width_ + x];
  }
  return result;
}

}  // namespace contextual_attention::cpu::filling
