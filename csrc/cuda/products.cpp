#include "products.h"

#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <array>

namespace contextual_attention {
namespace gpu {
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

Tensor sum_over(const Executor& executor, int64_t samples, const Matrix& matrix, int64_t axis) {
  count_launch();
  const int64_t axes[] = {axis};
  return torch::stable::sum(view(executor, samples, matrix),
                            torch::headeronly::IntHeaderOnlyArrayRef(axes, 1));
}

}  // namespace

void multiply(const Executor& executor, int64_t samples, const Matrix& out, const Matrix& a,
              const Matrix& b) {
  using torch::stable::detail::from;
  count_launch();
  Tensor result = view(executor, samples, out), left = view(executor, samples, a),
         right = view(executor, samples, b);
  if (a.dtype == out.dtype) return call<3>("out", {from(left), from(right), from(result)});
  call<4>("dtype_out", {from(left), from(right), from(out.dtype), from(result)});
}

Tensor sum_rows(const Executor& executor, int64_t samples, const Matrix& matrix) {
  return sum_over(executor, samples, matrix, 1);
}

Tensor sum_columns(const Executor& executor, int64_t samples, const Matrix& matrix) {
  return sum_over(executor, samples, matrix, 2);
}

}  // namespace gpu
}  // namespace contextual_attention
