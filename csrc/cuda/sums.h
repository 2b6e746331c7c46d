// Sums over the lines or over the columns of matrices of float32, in an order of their own: torch's take
// scratch memory in proportion to the matrix, 74 MiB for one of 243.
#pragma once

#include "tails.h"

namespace contextual_attention::cuda {

// out[k, j] = sum over the k-th part of the lines of a[i, j]. Parts keep a device busy; AddSums adds them up.
struct SumLines {
  static constexpr Shape shape = Shape::points;
  MatrixLines<const float> a;
  MatrixLines<float> out;
  int32_t lines, width, parts, samples;

  // So many that there are threads enough, of lines enough to be worth one.
  static int32_t parts_of(int64_t lines, int64_t width) {
    constexpr int64_t kThreads = 1 << 17, kLeastLines = 32;
    const int64_t wanted = kThreads / width, most = lines / kLeastLines;
    return int32_t(wanted < most ? (wanted > 1 ? wanted : 1) : (most > 1 ? most : 1));
  }

  CA_BOTH int32_t rows() const { return parts; }
  CA_BOTH int32_t columns() const { return width; }
  CA_BOTH void operator()(int32_t n, int32_t part, int32_t column) const {
    const int32_t each = (lines + parts - 1) / parts, begin = part * each;
    const int32_t end = begin + each < lines ? begin + each : lines;
    // Several sums, whose loads do not wait for each other, and whose roundings add up to less.
    float sums[kEach] = {};
    const float* at = a.line(n, begin) + column;
    int32_t left = end - begin;
    for (; left >= kEach; left -= kEach) {
      CA_UNROLL
      for (int32_t k = 0; k < kEach; ++k) sums[k] += load(at + k * a.apart);
      at += kEach * a.apart;
    }
    for (; left > 0; --left, at += a.apart) sums[0] += load(at);
    float sum = 0;
    CA_UNROLL
    for (int32_t k = 0; k < kEach; ++k) sum += sums[k];
    out.line(n, part)[column] = sum;
  }

 private:
  static constexpr int32_t kEach = 8;
};

// out[i] = sum over the columns of a[i, j].
struct SumColumns {
  static constexpr Shape shape = Shape::rows;
  MatrixLines<const float> a;
  float* out;  // (samples, lines)
  int32_t lines, width, samples;

  CA_BOTH int32_t rows() const { return lines; }
  template <class Lanes>
  CA_BOTH void operator()(int32_t n, int32_t row, const Lanes& lanes) const {
    const float* line = a.line(n, row);
    float sum = 0;
    for (int32_t j = lanes.index; j < width; j += Lanes::count) sum += load(line + j);
    sum = lanes.sum(sum);
    if (lanes.index == 0) out[int64_t(n) * lines + row] = sum;
  }
};

// map += sums / divisor at the pixels of a tile, the sums in parts.
struct AddSums {
  static constexpr Shape shape = Shape::points;
  const float* sums;  // (samples, parts, pixels of the tile)
  float* map;
  Axis down, right;
  int32_t parts, samples;
  PixelMap<const float> divisor;

  CA_BOTH int32_t rows() const { return down.count; }
  CA_BOTH int32_t columns() const { return right.count; }
  CA_BOTH void operator()(int32_t n, int32_t row, int32_t column) const {
    const int64_t pixels = int64_t(down.count) * right.count;
    const float* part = sums + n * parts * pixels + int64_t(row) * right.count + column;
    float sum = 0;
    for (int32_t k = 0; k < parts; ++k) sum += load(part + k * pixels);
    const int32_t y = down.at(row), x = right.at(column);
    map[(int64_t(n) * down.size + y) * right.size + x] += sum / divisor.at(n, y, x);
  }
};

}  // namespace contextual_attention::cuda
