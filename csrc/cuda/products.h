// Batched matrix products by torch, on plain memory: cuBLAS on a device, in the precision that torch is set
// to.
#pragma once

#include <torch/headeronly/core/ScalarType.h>

#include "executor.h"

namespace contextual_attention::cuda {

// A matrix for each sample; strides in entries.
struct Matrix {
  const void* data;
  torch::headeronly::ScalarType dtype;
  int64_t rows, columns, row_stride, column_stride, sample_stride;

  Matrix transposed() const { return {data, dtype, columns, rows, column_stride, row_stride, sample_stride}; }
  Matrix with_rows(int64_t count) const {
    return {data, dtype, count, columns, row_stride, column_stride, sample_stride};
  }
  Matrix with_columns(int64_t count) const {
    return {data, dtype, rows, count, row_stride, column_stride, sample_stride};
  }
};

// out = a * b for every sample. a and b share a dtype; out has it too or is float32, as are the sums.
//
// cuBLAS has its fast kernels of half precision for matrices whose lines begin and end in whole vectors of 16
// bytes, also an output of float32. Operands are padded for that; a line of theirs that ends otherwise lies
// where nothing can follow it, and what it has over is left to a filter (tails.h).
void multiply(const Executor& executor, int64_t samples, const Matrix& out, const Matrix& a, const Matrix& b);

// Sums of float32 over the rows or over the columns, on the device of `like`: (samples, parts, entries), of
// which AddSums adds up the parts.
torch::stable::Tensor sum_rows(const Executor& executor, int64_t samples, const Matrix& matrix,
                               const torch::stable::Tensor& like);
torch::stable::Tensor sum_columns(const Executor& executor, int64_t samples, const Matrix& matrix,
                                  const torch::stable::Tensor& like);

}  // namespace contextual_attention::cuda
