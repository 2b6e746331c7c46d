// What a product of half precision leaves out, so that it reads and writes whole vectors only.
#pragma once

#include "bodies.h"

namespace contextual_attention::cuda {

// MatrixLines of a matrix for every sample, `apart` from each other.
template <class T>
struct MatrixLines {
  T* data;
  int64_t apart, sample;

  CA_BOTH T* line(int32_t n, int64_t i) const { return data + n * sample + i * apart; }
};

// The last terms, fewer than a vector, of every sum: out[p, k] += sum over j of a[p, j] b[j, k].
template <class T>
struct TailTerms {
  static constexpr Shape shape = Shape::points;
  MatrixLines<const T> a, b;
  MatrixLines<float> out;
  int32_t terms, lines, depth, samples;

  CA_BOTH int32_t rows() const { return lines; }
  // Of all those side by side, so that neighbours read and write neighbours.
  CA_BOTH int32_t columns() const { return (depth + kEach - 1) / kEach; }
  CA_BOTH void operator()(int32_t n, int32_t row, int32_t column) const {
    const T* factors = a.line(n, row);
    float sums[kEach] = {};
    for (int32_t j = 0; j < terms; ++j) {
      const float factor = load(factors + j);
      const T* line = b.line(n, j);
      CA_UNROLL
      for (int32_t i = 0; i < kEach; ++i)
        if (at(column, i) < depth) sums[i] += factor * float(load(line + at(column, i)));
    }
    float* target = out.line(n, row);
    CA_UNROLL
    for (int32_t i = 0; i < kEach; ++i)
      if (at(column, i) < depth) target[at(column, i)] += sums[i];
  }

 private:
  // Sums of one thread.
  static constexpr int32_t kEach = 4;

  CA_BOTH int32_t at(int32_t column, int32_t i) const { return column + i * columns(); }
};

// The last columns, fewer than a vector: out[p, j] = sum over k of a[p, k] b[j, k].
template <class T>
struct TailColumns {
  static constexpr Shape shape = Shape::rows;
  MatrixLines<const T> a, b;
  MatrixLines<float> out;
  int32_t count, lines, depth, samples;

  CA_BOTH int32_t rows() const { return lines; }

  template <class Lanes>
  CA_BOTH void operator()(int32_t n, int32_t row, const Lanes& lanes) const {
    const T *left = a.line(n, row), *right = b.line(n, 0);
    float sums[kVector - 1] = {};
    for (int32_t k = lanes.index; k < depth; k += Lanes::count) {
      const float factor = load(left + k);
      CA_UNROLL
      for (int32_t j = 0; j < kVector - 1; ++j)
        if (j < count) sums[j] += factor * float(load(right + j * b.apart + k));
    }
    CA_UNROLL
    for (int32_t j = 0; j < kVector - 1; ++j) {
      const float sum = lanes.sum(sums[j]);
      if (lanes.index == 0 && j < count) out.line(n, row)[j] = sum;
    }
  }
};

}  // namespace contextual_attention::cuda
