// Pictures with holes as features, at one scale after the other.
#pragma once

#include "patches.h"

namespace contextual_attention::cpu::filling {

// features (height, width, kFeatures) of planes (channels, height, width) in [-1, 1]: colours, then the mean
// absolute steps of grey across and down of all pixels at most `reach` away, `texture` times.
void describe(const float* planes, const bool* hole, int channels, int height, int width, int reach,
              float texture, uint8_t* features);

// Every 2 x 2 block as one pixel, by what is known of it: known (height, width), 255: all of it.
void halve(const Picture& picture, const uint8_t* known, uint8_t* features, uint8_t* known_share);

// clear (height, width): centres of patches that touch nothing missing; of those that reach beyond the
// picture only if they may.
void find_clear(const bool* missing, int height, int width, int radius, bool may_reach_beyond, bool* clear);

// depths (height, width): how many steps, straight or diagonal, to the next pixel outside the hole.
void measure_depths(const bool* hole, int height, int width, int16_t* depths);

// What was found at the next coarser scale.
struct Coarser {
  Field field;
  int height, width;
};

// Where the candidates of the targets begin: near those of the coarser scale, or at random where there is
// none.
void start(const bool* whole, int height, int width, const Field& field, const Coarser* coarser,
           uint64_t seed);

}  // namespace contextual_attention::cpu::filling
