// The operator's arguments, checked: what every device's implementation starts from.
#pragma once

#include <torch/csrc/stable/tensor.h>

#include <initializer_list>
#include <optional>

#include "problem.h"

namespace contextual_attention {

// As in contextual_attention/interface.py.
struct Arguments {
  torch::stable::Tensor foreground, background;
  std::optional<torch::stable::Tensor> alpha;
  torch::stable::Tensor beta, valid;
  std::optional<torch::stable::Tensor> selected;
  torch::stable::Tensor value;
};

void check_shape(const torch::stable::Tensor& t, const char* name, std::initializer_list<int64_t> expected);

Problem checked_problem(const Arguments& arguments, double softmax_scale, int64_t ksize, int64_t stride,
                        int64_t fuse_k, int64_t propagation, int64_t masking);

}  // namespace contextual_attention
