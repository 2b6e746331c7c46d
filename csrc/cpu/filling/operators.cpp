#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <tuple>

#include "scales.h"

namespace contextual_attention::cpu::filling {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

Picture picture_of(const Tensor& features) {
  return {features.const_data_ptr<uint8_t>(), static_cast<int>(features.size(0)), static_cast<int>(features.size(1))};
}

Field field_of(const Tensor& targets, const Tensor& index, Tensor& sources, Tensor& costs) {
  return {targets.const_data_ptr<int32_t>(), index.const_data_ptr<int32_t>(), sources.mutable_data_ptr<int32_t>(),
          costs.mutable_data_ptr<int32_t>(), sources.size(0), static_cast<int>(sources.size(1))};
}

Tensor describe_op(Tensor image, Tensor hole, double texture) {
  Tensor features = torch::stable::new_empty(image, {{image.size(1), image.size(2), int64_t(kFeatures)}}, ScalarType::Byte);
  describe(image.const_data_ptr<float>(), hole.const_data_ptr<bool>(), image.size(0), image.size(1), image.size(2), texture, features.mutable_data_ptr<uint8_t>());
  return features;
}

std::tuple<Tensor, Tensor> halve_op(Tensor features, Tensor known) {
  const int64_t h = (features.size(0) + 1) / 2, w = (features.size(1) + 1) / 2;
  Tensor f = torch::stable::new_empty(features, {{h, w, int64_t(kFeatures)}});
  Tensor k = torch::stable::new_empty(known, {{h, w}});
  halve(picture_of(features), known.const_data_ptr<uint8_t>(), f.mutable_data_ptr<uint8_t>(), k.mutable_data_ptr<uint8_t>());
  return {f, k};
}

Tensor clear_op(Tensor missing, int64_t radius, bool may_reach_beyond) {
  Tensor clear = torch::stable::empty_like(missing);
  find_clear(missing.const_data_ptr<bool>(), missing.size(0), missing.size(1), radius, may_reach_beyond, clear.mutable_data_ptr<bool>());
  return clear;
}

void start_op(Tensor whole, Tensor targets, Tensor index, Tensor sources, Tensor costs, Tensor ctargets, Tensor cindex, Tensor csources, int64_t seed) {
  const Field field = field_of(targets, index, sources, costs);
  const Field coarse = field_of(ctargets, cindex, csources, csources);
  const bool has = csources.size(0) > 0;
  start(whole.const_data_ptr<bool>(), whole.size(0), whole.size(1), field, has ? &coarse : nullptr, has ? cindex.size(1) : 0, has ? cindex.size(0) : 0, seed);
}

void improve_op(Tensor features, std::optional<Tensor> mask, Tensor whole, Tensor targets, Tensor index, Tensor sources, Tensor costs, int64_t radius, int64_t iterations, int64_t reach, int64_t seed, int64_t proximity) {
  improve(picture_of(features), mask ? mask->const_data_ptr<uint8_t>() : nullptr, whole.const_data_ptr<bool>(), field_of(targets, index, sources, costs),
          {static_cast<int>(radius), static_cast<int>(iterations), static_cast<int>(reach), static_cast<uint64_t>(seed), static_cast<int>(proximity)});
}

Tensor depths_op(Tensor hole) {
  Tensor depths = torch::stable::new_empty(hole, hole.sizes(), ScalarType::Short);
  measure_depths(hole.const_data_ptr<bool>(), hole.size(0), hole.size(1), depths.mutable_data_ptr<int16_t>());
  return depths;
}

Tensor vote_op(Tensor features, Tensor targets, Tensor index, Tensor sources, Tensor weights, Tensor depths, double trust, Tensor pixels, int64_t radius) {
  Tensor voted = torch::stable::new_empty(features, {{pixels.numel(), int64_t(kFeatures)}});
  vote(picture_of(features), field_of(targets, index, sources, sources), static_cast<const uint16_t*>(weights.const_data_ptr()), depths.const_data_ptr<int16_t>(), trust, pixels.const_data_ptr<int32_t>(), pixels.numel(), radius, voted.mutable_data_ptr<uint8_t>());
  return voted;
}

}  // namespace

STABLE_TORCH_LIBRARY(contextual_attention_filling, m) {
  m.def("describe(Tensor image, Tensor hole, float texture) -> Tensor");
  m.def("halve(Tensor features, Tensor known) -> (Tensor, Tensor)");
  m.def("clear(Tensor missing, int radius, bool may_reach_beyond) -> Tensor");
  m.def("start(Tensor whole, Tensor targets, Tensor index, Tensor(a!) sources, Tensor(b!) costs, Tensor coarse_targets, Tensor coarse_index, Tensor coarse_sources, int seed) -> ()");
  m.def("improve(Tensor features, Tensor? mask, Tensor whole, Tensor targets, Tensor index, Tensor(a!) sources, Tensor(b!) costs, int radius, int iterations, int reach, int seed, int proximity) -> ()");
  m.def("vote(Tensor features, Tensor targets, Tensor index, Tensor sources, Tensor weights, Tensor depths, float trust, Tensor pixels, int radius) -> Tensor");
  m.def("depths(Tensor hole) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(contextual_attention_filling, CPU, m) {
  m.impl("describe", TORCH_BOX(&describe_op));
  m.impl("halve", TORCH_BOX(&halve_op));
  m.impl("clear", TORCH_BOX(&clear_op));
  m.impl("start", TORCH_BOX(&start_op));
  m.impl("improve", TORCH_BOX(&improve_op));
  m.impl("depths", TORCH_BOX(&depths_op));
  m.impl("vote", TORCH_BOX(&vote_op));
}

}  // namespace contextual_attention::cpu::filling
