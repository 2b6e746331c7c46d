// The last step of the forward: summed cells as a map.
#pragma once

#include <torch/csrc/stable/tensor.h>

namespace contextual_attention::cuda {

// As paste of contextual_attention/cells.py.
torch::stable::Tensor paste(torch::stable::Tensor cells, torch::stable::Tensor weight,
                            torch::stable::Tensor foreground, bool keep, int64_t cell, int64_t height,
                            int64_t width);

}  // namespace contextual_attention::cuda
