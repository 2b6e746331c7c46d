// Matrix products by torch's own CPU kernel (MKL, oneDNN, ...) on plain memory.
#pragma once

#include <cstdint>
#include <vector>

namespace contextual_attention::cpu {

// A float32 matrix in memory, by its strides in floats.
struct Matrix {
  float* data;
  int64_t rows, columns, row_stride, column_stride;

  Matrix transposed() const { return {data, columns, rows, column_stride, row_stride}; }
};

inline Matrix row_major(const float* data, int64_t rows, int64_t columns, int64_t stride) {
  return {const_cast<float*>(data), rows, columns, stride, 1};
}

// Rows y ... y + rows of the columns x0 ... x0 + columns of a map (.., pitch, depth), one after the other: in
// place where the columns are the whole map, else copied into `buffer`.
const float* gather_rows(const float* map, int64_t pitch, int64_t depth, int64_t y, int64_t rows, int64_t x0,
                         int64_t columns, std::vector<float>& buffer);

// out = a * b, or out += a * b.
void multiply(const Matrix& out, const Matrix& a, const Matrix& b, bool accumulate);

// The same for row-major bfloat16 matrices, (m, k) and (k, n); the sums run in float32. `stride`: of a's
// rows.
void multiply_bfloat16(uint16_t* out, const uint16_t* a, int64_t stride, const uint16_t* b, int64_t m,
                       int64_t k, int64_t n);

// Whether this processor multiplies bfloat16 matrices faster than float32 ones.
bool has_fast_bfloat16();

}  // namespace contextual_attention::cpu
