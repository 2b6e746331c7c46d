#pragma once

#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>

namespace contextual_attention::cpu::filling {

// Of a contiguous float32 tensor. Torch's clone would ask for a later torch than the package does.
inline torch::stable::Tensor copy_of(const torch::stable::Tensor& x) {
  torch::stable::Tensor result = torch::stable::empty_like(x);
  std::copy_n(x.const_data_ptr<float>(), x.numel(), result.mutable_data_ptr<float>());
  return result;
}

}  // namespace contextual_attention::cpu::filling
