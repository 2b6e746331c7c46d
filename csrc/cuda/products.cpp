#include "products.h"

#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <array>

#include "sums.h"
#include "tails.h"

namespace contextual_attention::cuda {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

Tensor view(const Executor& executor, int64_t samples, const Matrix& m) {
  const int64_t sizes[] = {samples, m.rows, m.columns};
  const int64_t strides[] = {m.sample_stride, m.row_stride, m.column_stride};
  const torch::stable::Device device =
      executor.is_host() ? torch::stable::Device(torch::headeronly::DeviceType::CPU)
                         : torch::stable::Device(torch::headeronly::DeviceType::CUDA, executor.device());
  return torch::stable::from_blob(const_cast<void*>(m.data), {sizes, 3}, {strides, 3}, device, m.dtype);
}

template <size_t count>
void call(const char* overload, std::array<StableIValue, count> stack) {
  TORCH_ERROR_CODE_CHECK(torch_call_dispatcher("aten::bmm", overload, stack.data(), TORCH_ABI_VERSION));
  // The result is `out` once more; taking it gives its reference back.
  torch::stable::detail::to<Tensor>(stack[0]);
}

void multiply_at_once(const Executor& executor, int64_t samples, const Matrix& out, const Matrix& a,
                      const Matrix& b) {
  using torch::stable::detail::from;
  count_launch();
  Tensor result = view(executor, samples, out), left = view(executor, samples, a),
         right = view(executor, samples, b);
  if (a.dtype == out.dtype) return call<3>("out", {from(left), from(right), from(result)});
  call<4>("dtype_out", {from(left), from(right), from(out.dtype), from(result)});
}

// Columns of a matrix of lines in whole vectors, as far as they are so too; 0: all, or not even one vector.
int64_t whole_vectors(const Matrix& m) {
  const bool in_vectors = m.column_stride == 1 && m.row_stride % kVector == 0;
  return in_vectors && m.columns % kVector != 0 ? m.columns / kVector * kVector : 0;
}

// The lines of a matrix from an entry of the first one on.
template <class T>
MatrixLines<T> lines_of(const Matrix& m, int64_t stride, int64_t from) {
  return {static_cast<T*>(const_cast<void*>(m.data)) + from, stride, m.sample_stride};
}

template <class T>
void multiply_vectors(const Executor& executor, int64_t samples, const Matrix& out, const Matrix& a,
                      const Matrix& b) {
  const auto lines = int32_t(out.rows);
  if (const int64_t terms = whole_vectors(a)) {
    multiply_at_once(executor, samples, out, a.with_columns(terms), b.with_rows(terms));
    executor.run(TailTerms<T>{lines_of<const T>(a, a.row_stride, terms),
                              lines_of<const T>(b, b.row_stride, terms * b.row_stride),
                              lines_of<float>(out, out.row_stride, 0), int32_t(a.columns - terms), lines,
                              int32_t(out.columns), int32_t(samples)});
  } else if (const int64_t columns = whole_vectors(out)) {
    multiply_at_once(executor, samples, out.with_columns(columns), a, b.with_columns(columns));
    executor.run(TailColumns<T>{lines_of<const T>(a, a.row_stride, 0),
                                lines_of<const T>(b, b.column_stride, columns * b.column_stride),
                                lines_of<float>(out, out.row_stride, columns), int32_t(out.columns - columns),
                                lines, int32_t(a.columns), int32_t(samples)});
  } else {
    multiply_at_once(executor, samples, out, a, b);
  }
}

}  // namespace

void multiply(const Executor& executor, int64_t samples, const Matrix& out, const Matrix& a,
              const Matrix& b) {
  if (a.dtype == ScalarType::BFloat16) return multiply_vectors<Bfloat16>(executor, samples, out, a, b);
  if (a.dtype == ScalarType::Half) return multiply_vectors<Float16>(executor, samples, out, a, b);
  multiply_at_once(executor, samples, out, a, b);
}

Tensor sum_rows(const Executor& executor, int64_t samples, const Matrix& matrix, const Tensor& like) {
  const auto lines = int32_t(matrix.rows), width = int32_t(matrix.columns);
  const int32_t parts = SumLines::parts_of(lines, width);
  Tensor sums = torch::stable::new_empty(like, {samples, parts, width}, ScalarType::Float);
  executor.run(SumLines{lines_of<const float>(matrix, matrix.row_stride, 0),
                        {sums.mutable_data_ptr<float>(), width, int64_t(parts) * width},
                        lines,
                        width,
                        parts,
                        int32_t(samples)});
  return sums;
}

Tensor sum_columns(const Executor& executor, int64_t samples, const Matrix& matrix, const Tensor& like) {
  Tensor sums = torch::stable::new_empty(like, {samples, 1, matrix.rows}, ScalarType::Float);
  executor.run(SumColumns{lines_of<const float>(matrix, matrix.row_stride, 0), sums.mutable_data_ptr<float>(),
                          int32_t(matrix.rows), int32_t(matrix.columns), int32_t(samples)});
  return sums;
}

}  // namespace contextual_attention::cuda
