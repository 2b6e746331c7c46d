// The operator on a batch, forward and backward, by the CUDA filters.
#pragma once

#include "pipeline.h"

namespace contextual_attention::cuda {

// What the forward writes; each contiguous.
struct Results {
  torch::stable::Tensor cells;                   // (B, h+1, w+1, K) float32; zeros unless the plan is whole
  std::optional<torch::stable::Tensor> offsets;  // (B, 2, h, w) int64
  torch::stable::Tensor statistics;              // (B, 3, h, w) float32
};

void attend(const Inputs& inputs, const Executor& executor, const Plan& plan, char* scratch,
            Results& results);

// The same by the filters of octet_sums.h, for what they suit, with a plan of octet_plan.h.
bool octets_suit(const Inputs& inputs, bool return_offsets);
void attend_by_octets(const Inputs& inputs, const Executor& executor, const Plan& plan, char* scratch,
                      Results& results);

// Gradients, float32, those that are asked for; zeros unless the plan is whole, those of the norms always. Of
// maps: (B, rows, depth), with more rows than pixels where padding of products may be written behind those.
struct Gradients {
  std::optional<torch::stable::Tensor> foreground, background, alpha, beta, value;

  bool scores() const { return foreground || background || alpha || beta; }
};

// upstream: the gradient of the cells, in the dtype of the value.
void attend_backward(const Inputs& inputs, const Executor& executor, const Plan& plan, char* scratch,
                     torch::stable::Tensor& statistics, const torch::stable::Tensor& upstream,
                     Gradients& gradients);

}  // namespace contextual_attention::cuda
