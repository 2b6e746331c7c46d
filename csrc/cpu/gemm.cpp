#include "gemm.h"

#include <torch/csrc/inductor/aoti_torch/generated/c_shim_cpu.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>

#include "hooks.h"

namespace contextual_attention::cpu {
namespace {

using torch::headeronly::ScalarType;

torch::stable::Tensor view(const void* data, int64_t rows, int64_t columns, int64_t row_stride,
                           int64_t column_stride, ScalarType dtype) {
  const int64_t sizes[] = {rows, columns};
  const int64_t strides[] = {row_stride, column_stride};
  return torch::stable::from_blob(const_cast<void*>(data), {sizes, 2}, {strides, 2},
                                  torch::stable::Device(torch::headeronly::DeviceType::CPU), dtype);
}

torch::stable::Tensor view(const Matrix& m) {
  return view(m.data, m.rows, m.columns, m.row_stride, m.column_stride, ScalarType::Float);
}

}  // namespace

const float* gather_rows(const float* map, int64_t pitch, int64_t depth, int64_t y, int64_t rows, int64_t x0,
                         int64_t columns, std::vector<float>& buffer) {
  if (columns == pitch) return map + y * pitch * depth;
  buffer.resize(rows * columns * depth);
  for (int64_t row = 0; row < rows; ++row)
    std::copy_n(map + ((y + row) * pitch + x0) * depth, columns * depth,
                buffer.begin() + row * columns * depth);
  return buffer.data();
}

// The C shims call the CPU kernel itself: no dispatcher, so worker threads need none of its state.
void multiply(const Matrix& out, const Matrix& a, const Matrix& b, bool accumulate) {
  if (out.rows == 0 || out.columns == 0) return;
  const torch::stable::Tensor result = view(out), left = view(a), right = view(b);
  if (accumulate) {
    TORCH_ERROR_CODE_CHECK(
        aoti_torch_cpu_addmm_out(result.get(), result.get(), left.get(), right.get(), 1.0, 1.0));
  } else {
    TORCH_ERROR_CODE_CHECK(aoti_torch_cpu_mm_out(result.get(), left.get(), right.get()));
  }
  if (const Hooks* table = hooks) table->multiplied(out.rows, out.columns, a.columns, &out, accumulate);
}

void multiply_bfloat16(uint16_t* out, const uint16_t* a, int64_t stride, const uint16_t* b, int64_t m,
                       int64_t k, int64_t n) {
  const torch::stable::Tensor result = view(out, m, n, n, 1, ScalarType::BFloat16);
  const torch::stable::Tensor left = view(a, m, k, stride, 1, ScalarType::BFloat16);
  const torch::stable::Tensor right = view(b, k, n, n, 1, ScalarType::BFloat16);
  TORCH_ERROR_CODE_CHECK(aoti_torch_cpu_mm_out(result.get(), left.get(), right.get()));
  if (const Hooks* table = hooks) table->multiplied(m, n, k, nullptr, false);
}

bool has_fast_bfloat16() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512bf16");
#else
  return false;
#endif
}

}  // namespace contextual_attention::cpu
