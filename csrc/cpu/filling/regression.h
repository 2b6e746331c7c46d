// Pixels missing from thin gaps, each predicted from the known ones around it by linear regression.
#pragma once

#include <cstdint>

namespace contextual_attention::cpu::filling {

// Colour planes, (channels, height, width).
struct Planes {
  const float* values;
  int channels, height, width;

  int64_t size() const { return static_cast<int64_t>(height) * width; }
};

struct Regression {
  int tile;     // predicted at once: squares of this many pixels
  int margin;   // what they are predicted from: known pixels at most this far, but for those of weight < 0.01
  int reach;    // samples are patches at most this many pixels away
  int samples;  // the most similar so many
  float spread;   // pixels: how fast a known pixel counts less with its distance from the tile
  float grain;    // standard deviation of what is not predicted
  float damping;  // the same, by the variance of the samples
  float alike;    // patches that differ by less, in root mean square, are as good as the same
};

// filled (channels, height, width): of the hole, whose colours in `picture` are a first guess. Other pixels
// of `filled` are left alone.
void regress(const Planes& picture, const bool* hole, const Regression& options, float* filled);

}  // namespace contextual_attention::cpu::filling
