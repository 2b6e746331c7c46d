// The CUDA implementation of the operator, behind the schemas of contextual_attention/interface.py; or, in
// what tests build without CUDA, the same pipeline on CPU tensors under names with _on_host in them.
//
// Nothing here waits for the device or reads its memory, and no shape depends on what a tensor holds: a call
// can be captured in a CUDA graph.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <tuple>
#include <utility>

#include "../common/call.h"
#include "attend.h"
#include "octet_plan.h"
#include "paste.h"

namespace contextual_attention::cuda {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

Inputs inputs_of(const Operands& a, const Problem& problem) {
  STD_TORCH_CHECK(a.foreground.scalar_type() == a.background.scalar_type(),
                  "contextual_attention: foreground and background must have the same dtype");
  std::optional<Tensor> alpha, selected;
  if (a.alpha) alpha = as_float(*a.alpha);
  if (a.selected) selected = torch::stable::contiguous(*a.selected);
  return {problem,
          torch::stable::contiguous(a.foreground),
          torch::stable::contiguous(a.background),
          alpha,
          as_float(a.beta),
          torch::stable::contiguous(a.valid),
          selected,
          torch::stable::contiguous(a.value)};
}

// On the score scratch, in bytes.
int64_t bound_of(const Executor& executor, int64_t workspace) {
  return workspace > 0 ? workspace : executor.default_workspace();
}

Plan plan_for(const Problem& p, const Executor& executor, int64_t workspace, bool backward) {
  const Plan plan = make_plan(p, bound_of(executor, workspace), executor.cache(), backward);
  if (plan.samples > 0) return plan;
  const Plan least = least_plan(p, backward);
  STD_TORCH_CHECK(workspace == 0, "contextual_attention: workspace: expected at least ", least.bytes,
                  " bytes for this problem, got ", workspace);
  // Only a problem that cannot do with the default takes more: twice the least it needs, for in the least
  // itself every pixel may be a tile.
  return make_plan(p, 2 * least.bytes, executor.cache(), backward);
}

// Whether both maps begin where a vector may be copied.
bool features_are_aligned(const Inputs& inputs) {
  const auto begin = [](const Tensor& map) { return reinterpret_cast<uintptr_t>(map.const_data_ptr()); };
  return (begin(inputs.foreground) | begin(inputs.background)) % sizeof(Vector) == 0;
}

// By octets wherever they suit a call and fit.
Tiling forward_tiling(const Inputs& inputs, const Executor& executor, const Run& how) {
  if (octets_suit(inputs, how.return_offsets)) {
    const Chip chip = chip_for(inputs.problem, features_are_aligned(inputs) ? executor.shared() : 0);
    const Plan plan = make_octet_plan(inputs.problem, bound_of(executor, how.workspace), chip);
    if (plan.samples > 0) return {plan, true};
  }
  return {plan_for(inputs.problem, executor, how.workspace, false), false};
}

Tensor new_scratch(const Inputs& inputs, const Plan& plan) {
  return torch::stable::new_empty(inputs.beta, {std::max<int64_t>(1, plan.bytes)}, ScalarType::Byte);
}

// A result that the tiles add to, or that a single one writes.
Tensor new_result(const Tensor& like, const Plan& plan, const Problem& p,
                  torch::headeronly::IntHeaderOnlyArrayRef sizes) {
  return plan.whole(p) ? torch::stable::new_empty(like, sizes, ScalarType::Float)
                       : torch::stable::new_zeros(like, sizes, ScalarType::Float);
}

// Of a map, (B, rows, depth). One that will be converted has room behind the pixels for a product's padding.
Tensor new_gradient(const Tensor& map, const Plan& plan, const Problem& p) {
  const int64_t room = map.scalar_type() == ScalarType::Float ? 0 : kVector - 1;
  const int64_t sizes[] = {map.size(0), map.size(1) * map.size(2) + room, map.size(3)};
  return new_result(map, plan, p, {sizes, 3});
}

// The gradient of an operand from its sum, which is no longer needed.
Tensor finished(Tensor sum, const Tensor& operand) {
  if (operand.dim() == 4) sum = torch::stable::narrow(sum, 1, 0, operand.size(1) * operand.size(2));
  if (operand.scalar_type() != ScalarType::Float) sum = torch::stable::to(sum, operand.scalar_type());
  return torch::stable::reshape(sum, operand.sizes());
}

std::tuple<Tensor, Tensor, Tensor> forward(const Executor& executor, const Operands& given, const Problem& p,
                                           const Run& how) {
  const Inputs inputs = inputs_of(given, p);
  const auto [plan, by_octets] = forward_tiling(inputs, executor, how);
  note_tiling({plan, by_octets}, false);
  Tensor scratch = new_scratch(inputs, plan);
  const int64_t cells[] = {p.batch, p.h + 1, p.w + 1, p.value_channels};
  Results results{new_result(inputs.beta, plan, p, {cells, 4}), std::nullopt,
                  torch::stable::new_empty(inputs.beta, {p.batch, 3, p.h, p.w}, ScalarType::Float)};
  const Tensor none = torch::stable::new_empty(inputs.beta, {0}, ScalarType::Long);
  if (how.return_offsets)
    results.offsets = torch::stable::new_empty(inputs.beta, {p.batch, 2, p.h, p.w}, ScalarType::Long);
  const auto run = by_octets ? attend_by_octets : attend;
  run(inputs, executor, plan, static_cast<char*>(scratch.mutable_data_ptr()), results);
  return {results.cells, results.offsets ? *results.offsets : none, results.statistics};
}

Gradients make_gradients(const Executor& executor, const Operands& given, const Problem& p,
                         const Gradient& of) {
  const Inputs inputs = inputs_of(given, p);
  const Plan plan = plan_for(p, executor, of.workspace, true);
  note_tiling({plan, false}, true);
  Tensor scratch = new_scratch(inputs, plan);
  Tensor rows = as_float(of.statistics);
  const ScalarType dtype = inputs.value.scalar_type();
  const Tensor upstream = torch::stable::contiguous(
      of.grad_cells.scalar_type() == dtype ? of.grad_cells : torch::stable::to(of.grad_cells, dtype));
  Gradients gradients{};
  const auto add = [&](int i, std::optional<Tensor>& gradient, const Tensor& operand, bool is_norm) {
    if (!(of.needs >> i & 1)) return;
    gradient = is_norm ? torch::stable::new_zeros(operand, operand.sizes(), ScalarType::Float)
                       : new_gradient(operand, plan, p);
  };
  add(0, gradients.foreground, inputs.foreground, false);
  add(1, gradients.background, inputs.background, false);
  if (inputs.alpha) add(2, gradients.alpha, *inputs.alpha, true);
  add(3, gradients.beta, inputs.beta, true);
  add(4, gradients.value, inputs.value, false);
  attend_backward(inputs, executor, plan, static_cast<char*>(scratch.mutable_data_ptr()), rows, upstream,
                  gradients);
  return gradients;
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> backward(const Executor& executor, const Operands& given,
                                                            const Problem& p, const Gradient& of) {
  const Tensor* operands[] = {&given.foreground, &given.background, given.alpha ? &*given.alpha : nullptr,
                              &given.beta, &given.value};
  // With everything that it is worked out with gone at the end.
  Gradients gradients = make_gradients(executor, given, p, of);
  std::optional<Tensor>* sums[] = {&gradients.foreground, &gradients.background, &gradients.alpha,
                                   &gradients.beta, &gradients.value};
  // The value's comes last, the largest: by then those in float32 of the others are gone, one after the
  // other.
  const auto result = [&](int i) {
    const Tensor& operand = operands[i] ? *operands[i] : *operands[0];
    if (!*sums[i]) return torch::stable::new_empty(given.foreground, {0}, operand.scalar_type());
    return finished(*std::exchange(*sums[i], std::nullopt), operand);
  };
  return {result(0), result(1), result(2), result(3), result(4)};
}

std::tuple<Tensor, Tensor, Tensor> attend_cuda(const Operands& given, const Scoring& scoring,
                                               const Run& how) {
  const Problem p = checked_problem(given, scoring);
  return run_beside(given.foreground,
                    [&](const Executor& executor) { return forward(executor, given, p, how); });
}

std::tuple<Tensor, Tensor, Tensor> attend_map_cuda(const Operands& given, const Pasting& pasting,
                                                   const Scoring& scoring, const Run& how) {
  const auto [cells, offsets, statistics] = attend_cuda(given, scoring, how);
  return {
      paste(cells, pasting.weight, pasting.kept, pasting.keep, pasting.cell, pasting.height, pasting.width),
      offsets, statistics};
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> attend_backward_cuda(const Operands& given,
                                                                        const Scoring& scoring,
                                                                        const Gradient& of) {
  const Problem p = checked_problem(given, scoring);
  check_gradient(of, given, p);
  return run_beside(given.foreground,
                    [&](const Executor& executor) { return backward(executor, given, p, of); });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(contextual_attention, CA_DEVICE, m) {
  m.impl("attend" CA_PLACE, CA_BOX(attend_cuda));
  m.impl("attend" CA_PLACE "_map", CA_BOX(attend_map_cuda));
  m.impl("attend" CA_PLACE "_backward", CA_BOX(attend_backward_cuda));
}

}  // namespace contextual_attention::cuda
