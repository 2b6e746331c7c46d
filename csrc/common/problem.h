// What one call of the operator computes: sizes and options, shared by every device.
//
// Shape legend: C feature channels, K value channels of a cell; foreground h x w, background hb x wb
// (both downscaled). A "cell" is a rate*m square of the value map: patches paste 2 x 2 cells, so there
// are (h+1)(w+1) cells over the foreground and (hb+1)(wb+1) over the background.
#pragma once

#include <cstdint>

namespace contextual_attention {

// Numbered as in contextual_attention/interface.py.
enum class Propagation : int64_t { none = 0, before_zero = 1, before_wrap = 2, after_zero = 3 };
enum class Masking : int64_t { exclude = 0, multiply = 1 };

// The options that scores depend on, as Scoring in interface.py, and the sizes: X(type, name)...
#define CA_SCORING(X)         \
  X(float, softmax_scale)     \
  X(int64_t, ksize)           \
  X(int64_t, stride)          \
  X(int64_t, fuse_k)          \
  X(Propagation, propagation) \
  X(Masking, masking)
#define CA_SIZES(X)          \
  X(int64_t, batch)          \
  X(int64_t, channels)       \
  X(int64_t, value_channels) \
  X(int64_t, h)              \
  X(int64_t, w)              \
  X(int64_t, hb)             \
  X(int64_t, wb)
#define CA_ONE(type, name) +1  // how many

struct Problem {
#define CA_FIELD(type, name) type name;
  CA_SIZES(CA_FIELD)
  CA_SCORING(CA_FIELD)
#undef CA_FIELD

  bool before() const {
    return propagation == Propagation::before_zero || propagation == Propagation::before_wrap;
  }
  bool after() const { return propagation == Propagation::after_zero; }
  bool wrap() const { return propagation == Propagation::before_wrap; }
  int64_t patch_radius() const { return ksize / 2; }
  int64_t fuse_radius() const { return propagation == Propagation::none ? 0 : fuse_k / 2 * stride; }
  // Candidates of the softmax: the positions of the stride grid, valid or not.
  int64_t candidates() const { return ((hb + stride - 1) / stride) * ((wb + stride - 1) / stride); }
};

// A sum of propagated weights that is no normal number holds no digits to rescale by, and its reciprocal
// could overflow: such a row has none.
constexpr double kLeastTotal = 1.17549435e-38;

inline int64_t floor_div(int64_t a, int64_t b) { return a / b - (a % b != 0 && (a < 0) != (b < 0)); }
inline int64_t floor_mod(int64_t a, int64_t b) { return a - floor_div(a, b) * b; }
inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace contextual_attention
