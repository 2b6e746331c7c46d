// Pictures with holes as features, at one scale after the other.
#pragma once

#include "patches.h"

namespace contextual_attention::cpu::filling {

// features (height, width, kFeatures) of planes (channels, height, width) in [-1, 1]: colours, then the mean
// absolute steps of grey around each pixel, across and down, `texture` times.
void describe(const float* planes, const bool* hole, int channels, int height, int width, float texture,
              uint8_t* features);

// Every 2 x 2 block as one pixel, by what is known of it: known (height, width), 255: all of it.
void halve(const Picture& picture, const uint8_t* known, uint8_t* features, uint8_t* known_share);

// whole (height, width): centres of patches that lie in the picture and touch nothing missing.
void find_whole(const bool* missing, int height, int width, int radius, bool* whole);

// Where the candidates of the targets start: those of the coarser scale, or at random where there is none.
void start(const bool* whole, int height, int width, const Field& field, const Field* coarse, int coarse_width,
           int coarse_height, uint64_t seed);

// Fills the hole from its rim, strong edges first: patch after patch is copied from a whole one. copied
// (height, width): where each pixel of the hole comes from.
void peel(uint8_t* features, int height, int width, const bool* hole, const bool* whole, int radius,
          int32_t* copied);

}  // namespace contextual_attention::cpu::filling
