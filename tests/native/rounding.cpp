#include "rounding.h"

#include <atomic>
#include <cmath>
#include <cstring>

namespace contextual_attention::cpu {
namespace {

std::atomic<uint64_t> next_draw{0};  // 0: off
std::atomic<uint64_t> step{0};       // from draw to draw

// SplitMix64: neighbouring inputs have unrelated outputs.
uint64_t mixed(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

float moved(float x, int units) {
  if (!std::isnormal(x)) return x;
  int32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  bits += units;
  float y;
  std::memcpy(&y, &bits, sizeof y);
  return std::isnormal(y) ? y : x;
}

}  // namespace

void perturb_products(uint64_t seed, bool anew) {
  step = anew ? 2 : 0;
  next_draw = seed == 0 ? 0 : mixed(seed) | 1;  // odd, and stays so: never 0
}

bool is_perturbing() { return next_draw != 0; }

void round_otherwise(const Matrix& product, int64_t inner, bool adds) {
  if (next_draw == 0 || (adds && step == 0)) return;
  const uint64_t draw = mixed(next_draw.fetch_add(step) + mixed(product.rows)) + mixed(inner);
  for (int64_t i = 0; i < product.rows; ++i)
    for (int64_t j = 0; j < product.columns; ++j) {
      float& entry = product.data[i * product.row_stride + j * product.column_stride];
      entry = moved(entry, static_cast<int>(mixed(draw + mixed(i * product.columns + j)) % 5) - 2);
    }
}

}  // namespace contextual_attention::cpu
