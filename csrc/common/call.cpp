#include "call.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/headeronly/core/ScalarType.h>

namespace contextual_attention {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// Where a mask may have one sample for all.
int64_t samples_of(const Tensor& mask, const Problem& p) {
  return mask.dim() > 0 && mask.size(0) == 1 ? 1 : p.batch;
}

// Kernels read memory where foreground's is.
void check_device(const Tensor& t, const char* name, const Tensor& foreground) {
  STD_TORCH_CHECK(t.device().type() == foreground.device().type() &&
                      t.get_device_index() == foreground.get_device_index(),
                  "contextual_attention: ", name, " must be on the device of foreground");
}

void check_devices(const Operands& a) {
  check_device(a.background, "background", a.foreground);
  if (a.alpha) check_device(*a.alpha, "alpha", a.foreground);
  check_device(a.beta, "beta", a.foreground);
  check_device(a.valid, "valid", a.foreground);
  if (a.selected) check_device(*a.selected, "selected", a.foreground);
  check_device(a.value, "value", a.foreground);
}

void check_options(const Problem& p) {
  STD_TORCH_CHECK(p.propagation >= Propagation::none && p.propagation <= Propagation::after_zero &&
                      p.masking >= Masking::exclude && p.masking <= Masking::multiply,
                  "contextual_attention: unknown propagation ", static_cast<int64_t>(p.propagation),
                  " or masking ", static_cast<int64_t>(p.masking));
  STD_TORCH_CHECK(p.ksize > 0 && p.ksize % 2 == 1 && p.fuse_k > 0 && p.fuse_k % 2 == 1 && p.stride > 0,
                  "contextual_attention: ksize and fuse_k must be odd and positive, stride positive; got ",
                  p.ksize, ", ", p.fuse_k, ", ", p.stride);
  STD_TORCH_CHECK(!(p.wrap() && p.stride > 1), "contextual_attention: wrapped propagation asks for stride 1");
}

void check_masks(const Operands& a, const Problem& p) {
  check_shape(a.valid, "valid", {samples_of(a.valid, p), p.hb, p.wb});
  STD_TORCH_CHECK(a.valid.scalar_type() == ScalarType::Bool, "contextual_attention: valid must be bool");
  if (!a.selected) return;
  check_shape(*a.selected, "selected", {samples_of(*a.selected, p), p.h, p.w});
  STD_TORCH_CHECK(a.selected->scalar_type() == ScalarType::Bool,
                  "contextual_attention: selected must be bool");
}

}  // namespace

Tensor as_float(const Tensor& t) {
  return torch::stable::contiguous(
      t.scalar_type() == ScalarType::Float ? t : torch::stable::to(t, ScalarType::Float));
}

void check_shape(const Tensor& t, const char* name, std::initializer_list<int64_t> expected) {
  bool same = t.dim() == static_cast<int64_t>(expected.size());
  int64_t axis = 0;
  for (int64_t size : expected) same = same && t.size(axis++) == size;
  STD_TORCH_CHECK(same, "contextual_attention: ", name, " does not have the shape that its peers ask for");
}

Problem checked_problem(const Operands& a, const Scoring& scoring) {
  STD_TORCH_CHECK(a.foreground.dim() == 4 && a.background.dim() == 4 && a.value.dim() == 4,
                  "contextual_attention: foreground, background and value must have 4 dimensions");
  Problem p{};
  p.batch = a.foreground.size(0), p.channels = a.foreground.size(3), p.value_channels = a.value.size(3);
  p.h = a.foreground.size(1), p.w = a.foreground.size(2);
  p.hb = a.background.size(1), p.wb = a.background.size(2);
#define CA_SET(type, name) p.name = scoring.name;
  CA_SCORING(CA_SET)
#undef CA_SET
  check_options(p);
  check_shape(a.background, "background", {p.batch, p.hb, p.wb, p.channels});
  check_shape(a.beta, "beta", {p.batch, p.hb, p.wb});
  check_shape(a.value, "value", {p.batch, p.hb + 1, p.wb + 1, p.value_channels});
  if (a.alpha) check_shape(*a.alpha, "alpha", {p.batch, p.h, p.w});
  check_masks(a, p);
  check_devices(a);
  return p;
}

void check_gradient(const Gradient& of, const Operands& a, const Problem& p) {
  check_shape(of.grad_cells, "grad_cells", {p.batch, p.h + 1, p.w + 1, p.value_channels});
  check_shape(of.statistics, "statistics", {p.batch, 3, p.h, p.w});
  check_device(of.grad_cells, "grad_cells", a.foreground);
  check_device(of.statistics, "statistics", a.foreground);
  STD_TORCH_CHECK(a.alpha || !(of.needs >> 2 & 1),
                  "contextual_attention: the gradient of alpha was asked for, but there is no alpha");
}

}  // namespace contextual_attention
