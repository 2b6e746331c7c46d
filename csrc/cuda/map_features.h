// What the operator compares, from maps: the pixels that its positions read, the norms of patches, and what
// masks say of positions.
#pragma once

#include <math.h>

#include "planes.h"

namespace contextual_attention::cuda {

// The pixels of a line that its positions read, as positions.py says: i * rate, or floor(i * step + 1/2) in
// float32.
struct Sampling {
  int32_t size, count, rate;
  bool aligned;
  float step;

  CA_BOTH int32_t pixel(int32_t i) const {
    return aligned ? int32_t(floorf(product(float(i), step) + 0.5f)) : i * rate;
  }
  // The position that reads a pixel, -1: none does.
  CA_BOTH int32_t position(int32_t pixel_read) const {
    if (!aligned) return pixel_read % rate == 0 ? pixel_read / rate : -1;
    const int32_t near = step > 0 ? int32_t(float(pixel_read) / step) : 0;
    for (int32_t i = near > 0 ? near - 1 : 0; i < count && i <= near + 2; ++i)
      if (pixel(i) == pixel_read) return i;
    return -1;
  }
};

// What a patch pasted on a cell counts for, of so many (cells.py, `shares`).
CA_BOTH float share_of(int32_t count, bool mean) {
  if (count == 0) return 0;
  return mean ? 1.0f / float(count) : 0.25f;
}

// Which positions a mask says are missing: any pixel of their block, or the one that is sampled for them.
struct DownscaleMask {
  static constexpr Shape shape = Shape::points;
  const char* mask;
  int32_t entry;                // bytes of bool, or of floats
  int64_t sample, down, right;  // bytes from an entry to the next
  int32_t height, width, block;
  bool sampled;
  // Of the features' pixels by positions, of the mask's by those.
  Sampling rows_read, columns_read, mask_rows, mask_columns;
  PixelMap<bool> missing;
  int32_t samples, first;

  CA_BOTH int32_t rows() const { return missing.height; }
  CA_BOTH int32_t columns() const { return missing.width; }
  CA_BOTH void operator()(int32_t n, int32_t y, int32_t x) const {
    n += first;
    missing.at(n, y, x) = sampled ? is_missing(n, mask_rows.pixel(rows_read.pixel(y)),
                                               mask_columns.pixel(columns_read.pixel(x)))
                                  : any_missing(n, y * block, x * block);
  }

 private:
  CA_BOTH bool any_missing(int32_t n, int32_t top, int32_t left) const {
    for (int32_t y = top; y < top + block && y < height; ++y)
      for (int32_t x = left; x < left + block && x < width; ++x)
        if (is_missing(n, y, x)) return true;
    return false;
  }
  // Not zero, of either sign.
  CA_BOTH bool is_missing(int32_t n, int32_t y, int32_t x) const {
    const char* at = mask + n * sample + y * down + x * right;
    switch (entry) {
      case 1:
        return load(reinterpret_cast<const uint8_t*>(at)) != 0;
      case 2:
        return uint16_t(load(reinterpret_cast<const uint16_t*>(at)) << 1) != 0;
      case 4:
        return load(reinterpret_cast<const uint32_t*>(at)) << 1 != 0;
      default:
        return load(reinterpret_cast<const uint64_t*>(at)) << 1 != 0;
    }
  }
};

// Whether any flag of a window is set: `size` positions each way, `step` apart.
CA_BOTH bool any_around(const PixelMap<const bool>& flags, int32_t n, int32_t y, int32_t x, int32_t size,
                        int32_t step) {
  const int32_t reach = size / 2 * step;
  for (int32_t v = y - reach; v <= y + reach; v += step)
    for (int32_t u = x - reach; u <= x + reach; u += step)
      if (flags.inside(v, u) && flags.at(n, v, u)) return true;
  return false;
}

// The candidates: on the grid of the stride, and without a missing position in their window.
struct FindCandidates {
  static constexpr Shape shape = Shape::points;
  PixelMap<const bool> missing;
  PixelMap<bool> valid;
  int32_t ksize, stride, samples, first;

  CA_BOTH int32_t rows() const { return valid.height; }
  CA_BOTH int32_t columns() const { return valid.width; }
  CA_BOTH void operator()(int32_t n, int32_t y, int32_t x) const {
    n += first;
    const bool on_grid = y % stride == 0 && x % stride == 0;
    valid.at(n, y, x) = on_grid && !any_around(missing, n, y, x, ksize, 1);
  }
};

// Positions that are set, or from which a set one is not further than a propagation reaches.
struct Spread {
  static constexpr Shape shape = Shape::points;
  PixelMap<const bool> from;
  PixelMap<bool> to;
  int32_t taps, step;
  bool wraps, down;  // along the flattened index, of columns if `down`
  int32_t samples, first;

  CA_BOTH int32_t rows() const { return to.height; }
  CA_BOTH int32_t columns() const { return to.width; }
  CA_BOTH void operator()(int32_t n, int32_t y, int32_t x) const {
    n += first;
    to.at(n, y, x) = wraps ? any_along(n, y, x) : any_around(from, n, y, x, taps, step);
  }

 private:
  CA_BOTH bool any_along(int32_t n, int32_t y, int32_t x) const {
    const int32_t line = down ? to.height : to.width, size = to.height * to.width;
    const int32_t here = down ? x * line + y : y * line + x;
    for (int32_t i = here - taps / 2; i <= here + taps / 2; ++i) {
      if (i < 0 || i >= size) continue;
      if (down ? from.at(n, i % line, i / line) : from.at(n, i / line, i % line)) return true;
    }
    return false;
  }
};

// What patches at the chosen positions are made of, and the cells that they paste: which, or what each counts
// for.
struct FindRead {
  static constexpr Shape shape = Shape::points;
  PixelMap<const bool> spread, chosen;
  PixelMap<bool> read, pasted;
  PixelMap<float> shares;
  int32_t ksize;
  bool mean;
  int32_t samples, first;

  CA_BOTH int32_t rows() const { return read.height + 1; }
  CA_BOTH int32_t columns() const { return read.width + 1; }
  CA_BOTH void operator()(int32_t n, int32_t y, int32_t x) const {
    n += first;
    if (read.inside(y, x)) read.at(n, y, x) = any_around(spread, n, y, x, ksize, 1);
    int32_t count = 0;
    for (int32_t v = y - 1; v <= y; ++v)
      for (int32_t u = x - 1; u <= x; ++u) count += chosen.inside(v, u) && chosen.at(n, v, u);
    if (pasted) pasted.at(n, y, x) = count > 0;
    if (shares) shares.at(n, y, x) = share_of(count, mean);
  }
};

// Pixels that a warp takes at once; its lanes share out the channels of each.
constexpr int32_t kPicked = 8;

// The pixels of a map where `down` and `right` meet, zeros where not `kept`, and the sums of their squares
// over the channels.
template <class T>
struct Pick {
  static constexpr Shape shape = Shape::rows;
  Planes<const T> image;
  PixelChannels<T> pixels;
  PixelMap<float> squares;
  Sampling down, right;
  PixelMap<const bool> kept;
  int32_t samples, first;

  CA_BOTH int32_t runs() const { return (right.count + kPicked - 1) / kPicked; }
  CA_BOTH int32_t rows() const { return down.count * runs(); }
  template <class Lanes>
  CA_BOTH void operator()(int32_t n, int32_t row, const Lanes& lanes) const {
    constexpr int32_t kSlices = Lanes::count < kPicked ? 1 : Lanes::count / kPicked;
    constexpr int32_t kStep = Lanes::count < kPicked ? Lanes::count : kPicked;
    const int32_t y = row / runs(), run = row % runs() * kPicked;
    for (int32_t i = lanes.index % kPicked; i < kPicked; i += kStep) {
      const int32_t x = run + i, slice = lanes.index / kPicked;
      const float sum =
          lanes.template sum_apart<kPicked>(x < right.count ? move<kSlices>(n + first, y, x, slice) : 0.0f);
      if (x < right.count && slice == 0) squares.at(n + first, y, x) = sum;
    }
  }

 private:
  // Some groups of one pixel's channels; the sum of their squares.
  template <int32_t kSlices>
  CA_BOTH float move(int32_t n, int32_t y, int32_t x, int32_t slice) const {
    const bool shows = !kept || kept.at(n, y, x);
    const int64_t pixel = (int64_t(n) * down.count + y) * right.count + x;
    float sum = 0;
    for (int32_t group = slice; group < groups_of(pixels.channels); group += kSlices) {
      Channels<T> values{};
      if (shows) values = image.read(n, down.pixel(y), right.pixel(x), group);
      pixels.write(pixel, group, values);
      CA_UNROLL
      for (int32_t k = 0; k < kGroup; ++k) sum += float(values.at[k]) * float(values.at[k]);
    }
    return sum;
  }
};

// A sum over the ksize x ksize window around a pixel, zeros outside the map.
template <class Value>
CA_BOTH float window_sum(int32_t ksize, int32_t height, int32_t width, int32_t y, int32_t x,
                         const Value& value) {
  const int32_t reach = ksize / 2;
  float sum = 0;
  for (int32_t v = y < reach ? 0 : y - reach; v <= y + reach && v < height; ++v)
    for (int32_t u = x < reach ? 0 : x - reach; u <= x + reach && u < width; ++u) sum += value(v, u);
  return sum;
}

// How a norm keeps away from 0: the sum of a patch's squares and `added`, at least `least`.
struct NormGuard {
  float added, least;

  CA_BOTH float reciprocal(float squares) const {
    const float sum = squares + added;
    return 1.0f / sqrtf(sum < least ? least : sum);  // NaN stays NaN
  }
  // Whether a norm of this reciprocal has a slope: one that is held at the least has none.
  CA_BOTH bool is_free(float reciprocal_norm) const { return !(reciprocal_norm >= 1.0f / sqrtf(least)); }
};

// Of the patches of one map.
struct PatchNorms {
  PixelMap<const float> squares;  // of the pixels; none: there is nothing to do
  PixelMap<float> reciprocals;

  CA_BOTH void finish(int32_t n, int32_t y, int32_t x, int32_t ksize, const NormGuard& guard) const {
    if (!squares || y >= squares.height || x >= squares.width) return;
    const float sum = window_sum(ksize, squares.height, squares.width, y, x,
                                 [&](int32_t v, int32_t u) { return squares.at(n, v, u); });
    reciprocals.at(n, y, x) = guard.reciprocal(sum);
  }
};

// The reciprocal norms of both maps, and what goes without saying where there is no mask: that every position
// is a candidate, and what a patch pasted on a cell counts for where all are (cells.py, `shares`).
struct FinishPositions {
  static constexpr Shape shape = Shape::points;
  PatchNorms foreground, background;
  int32_t ksize;
  NormGuard guard;
  PixelMap<bool> valid;
  PixelMap<float> shares;
  bool mean;
  int32_t height, width, samples, first;

  CA_BOTH int32_t rows() const { return height; }
  CA_BOTH int32_t columns() const { return width; }
  CA_BOTH void operator()(int32_t n, int32_t y, int32_t x) const {
    foreground.finish(n + first, y, x, ksize, guard);
    background.finish(n + first, y, x, ksize, guard);
    if (n + first > 0) return;
    if (valid && valid.inside(y, x)) valid.at(0, y, x) = true;
    if (!shares || !shares.inside(y, x)) return;
    const int32_t down = (y > 0) + (y + 1 < shares.height), right = (x > 0) + (x + 1 < shares.width);
    shares.at(0, y, x) = share_of(down * right, mean);
  }
};

// What the gradient of the norms multiplies each pixel by, for its own gradient: the sum of -r^3 dr of the
// patches that it is in, r their reciprocal norms.
struct NormSlopes {
  static constexpr Shape shape = Shape::points;
  PixelMap<const float> reciprocals, gradient;
  PixelMap<float> slopes;
  int32_t ksize;
  NormGuard guard;
  int32_t samples, first;

  CA_BOTH int32_t rows() const { return slopes.height; }
  CA_BOTH int32_t columns() const { return slopes.width; }
  CA_BOTH void operator()(int32_t n, int32_t y, int32_t x) const {
    n += first;
    slopes.at(n, y, x) = window_sum(ksize, slopes.height, slopes.width, y, x, [&](int32_t v, int32_t u) {
      const float r = reciprocals.at(n, v, u);
      // By one factor after the other: the cube alone may leave float32's range.
      return guard.is_free(r) ? -(gradient.at(n, v, u) * r * r * r) : 0.0f;
    });
  }
};

// What there is of the gradient of a map's picked pixels, and of their norms: either may be missing.
template <class T>
struct PickedGradient {
  PixelChannels<const T> gradient, pixels;
  PixelMap<const float> slopes;
  PixelMap<const bool> kept;

  CA_BOTH void add(Channels<float>& sums, const Sampling& down, const Sampling& right, int32_t n, int32_t y,
                   int32_t x, int32_t group) const {
    if (kept && !kept.at(n, y, x)) return;
    const int64_t pixel = (int64_t(n) * down.count + y) * right.count + x;
    if (gradient.data != nullptr) {
      const Channels<T> values = gradient.read(pixel, group);
      CA_UNROLL
      for (int32_t k = 0; k < kGroup; ++k) sums.at[k] += float(values.at[k]);
    }
    if (!slopes) return;
    const Channels<T> values = pixels.read(pixel, group);
    const float slope = slopes.at(n, y, x);
    CA_UNROLL
    for (int32_t k = 0; k < kGroup; ++k) sums.at[k] += float(values.at[k]) * slope;
  }
};

// The gradient of a map from those of what was picked of it, which may be two: the queries and the keys.
// Rounded once.
template <class T>
struct Place {
  static constexpr Shape shape = Shape::points;
  PickedGradient<T> one, other;
  Planes<T> image;
  Sampling down, right;
  int32_t samples, first;

  CA_BOTH int32_t rows() const { return down.size * groups_of(image.channels); }
  CA_BOTH int32_t columns() const { return right.size; }
  CA_BOTH void operator()(int32_t n, int32_t row, int32_t column) const {
    n += first;
    const int32_t groups = groups_of(image.channels), group = row % groups, line = row / groups;
    const int32_t y = down.position(line), x = right.position(column);
    Channels<float> sums{};
    if (y >= 0 && x >= 0) {
      one.add(sums, down, right, n, y, x, group);
      other.add(sums, down, right, n, y, x, group);
    }
    Channels<T> values;
    CA_UNROLL
    for (int32_t k = 0; k < kGroup; ++k) values.at[k] = Rounded<T>::of(sums.at[k]);
    image.write(n, line, column, group, values);
  }
};

}  // namespace contextual_attention::cuda
