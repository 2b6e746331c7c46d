// Patches of a picture compared, searched for and voted with, by whole numbers alone: the same results on
// every machine, at every SIMD level and with any number of threads.
#pragma once

#include <cstdint>
#include <vector>

namespace contextual_attention::cpu::filling {

// What is compared of a pixel: bytes, those that a picture does not need are 0.
constexpr int kFeatures = 8;
constexpr int kMostCandidates = 64;

// A picture's features, (height, width, kFeatures).
struct Picture {
  const uint8_t* features;
  int height, width;

  const uint8_t* at(int64_t position) const { return features + position * kFeatures; }
  int64_t size() const { return static_cast<int64_t>(height) * width; }
};

// For each of `count` targets, positions y * width + x in ascending order, the centres of the `candidates`
// patches found for it and their costs, the cheapest first. A candidate that is not there yet has source -1.
struct Field {
  const int32_t* targets;
  const int32_t* index;  // (height, width): which target is there, -1: none
  int32_t* sources;      // (count, candidates)
  int32_t* costs;        // (count, candidates): summed squares, as if of a whole patch
  int64_t count;
  int candidates;
};

struct Search {
  int radius;
  int iterations;
  int reach;  // of the first random step
  uint64_t seed;
  // What a source as far away as the picture is long costs, a pixel of a patch; no more than the patch
  // varies.
  int proximity;
};

// Compare by `mask` (height, width), 255: by this pixel, 0: not by it; null: by all.
void improve(const Picture& picture, const uint8_t* mask, const bool* whole, const Field& field,
             const Search& search);

// voted (pixels, kFeatures) of the positions `pixels`: the mean of what the candidates of the patches over
// each paste there. A candidate counts by its `weights`, `trust` times less for each pixel that its patch
// lies deeper in the hole: depths (height, width), 0 outside.
void vote(const Picture& picture, const Field& field, const uint16_t* weights, const int16_t* depths,
          double trust, const int32_t* pixels, int64_t count, int radius, uint8_t* voted);

}  // namespace contextual_attention::cpu::filling
