#include "gemm.h"

#include <algorithm>

#include <torch/csrc/inductor/aoti_torch/generated/c_shim_cpu.h>
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

namespace contextual_attention {
namespace {

torch::stable::Tensor view(const Matrix& m) {
  const int64_t sizes[] = {m.rows, m.columns};
  const int64_t strides[] = {m.row_stride, m.column_stride};
  return torch::stable::from_blob(m.data, {sizes, 2}, {strides, 2},
                                  torch::stable::Device(torch::headeronly::DeviceType::CPU),
                                  torch::headeronly::ScalarType::Float);
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
    STABLE_TORCH_ERROR_CODE_CHECK(
        aoti_torch_cpu_addmm_out(result.get(), result.get(), left.get(), right.get(), 1.0, 1.0));
  } else {
    STABLE_TORCH_ERROR_CODE_CHECK(aoti_torch_cpu_mm_out(result.get(), left.get(), right.get()));
  }
}

}  // namespace contextual_attention
