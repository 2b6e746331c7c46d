// The operators of models/filling on features, scales and patches; those of blending are in blend.cpp.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <optional>
#include <tuple>

#include "scales.h"

namespace contextual_attention::cpu::filling {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

int size_of(const Tensor& t, int64_t dim) { return static_cast<int>(t.size(dim)); }

Picture picture_of(const Tensor& features) {
  STD_TORCH_CHECK(features.dim() == 3 && features.size(2) == kFeatures && features.is_contiguous() &&
                      features.size(0) * features.size(1) < INT32_MAX,
                  "contextual_attention: features must be (height, width, ", kFeatures,
                  "), contiguous, and of fewer than 2^31 pixels");
  return {features.const_data_ptr<uint8_t>(), size_of(features, 0), size_of(features, 1)};
}

Field field_of(const Tensor& targets, const Tensor& index, Tensor& sources, Tensor& costs) {
  STD_TORCH_CHECK(sources.dim() == 2 && sources.size(1) >= 1 && sources.size(1) <= kMostCandidates &&
                      sources.size(0) == targets.numel() && costs.numel() == sources.numel(),
                  "contextual_attention: sources and costs must be (targets, 1 to ", kMostCandidates, ")");
  return {targets.const_data_ptr<int32_t>(),
          index.const_data_ptr<int32_t>(),
          sources.mutable_data_ptr<int32_t>(),
          costs.mutable_data_ptr<int32_t>(),
          sources.size(0),
          size_of(sources, 1)};
}

Tensor new_features(const Tensor& like, int64_t height, int64_t width) {
  return torch::stable::new_empty(like, {{height, width, int64_t{kFeatures}}}, ScalarType::Byte);
}

Tensor describe_cpu(Tensor image, Tensor hole, int64_t reach, double texture) {
  const Tensor features = new_features(image, image.size(1), image.size(2));
  describe(image.const_data_ptr<float>(), hole.const_data_ptr<bool>(), size_of(image, 0), size_of(image, 1),
           size_of(image, 2), static_cast<int>(reach), static_cast<float>(texture),
           features.mutable_data_ptr<uint8_t>());
  return features;
}

std::tuple<Tensor, Tensor> halve_cpu(Tensor features, Tensor known) {
  const int64_t height = (features.size(0) + 1) / 2, width = (features.size(1) + 1) / 2;
  const Tensor halved = new_features(features, height, width);
  const Tensor share = torch::stable::new_empty(known, {{height, width}});
  halve(picture_of(features), known.const_data_ptr<uint8_t>(), halved.mutable_data_ptr<uint8_t>(),
        share.mutable_data_ptr<uint8_t>());
  return {halved, share};
}

Tensor clear_cpu(Tensor missing, int64_t radius, bool may_reach_beyond) {
  const Tensor clear = torch::stable::empty_like(missing);
  find_clear(missing.const_data_ptr<bool>(), size_of(missing, 0), size_of(missing, 1),
             static_cast<int>(radius), may_reach_beyond, clear.mutable_data_ptr<bool>());
  return clear;
}

Tensor depths_cpu(Tensor hole) {
  const Tensor depths = torch::stable::new_empty(hole, hole.sizes(), ScalarType::Short);
  measure_depths(hole.const_data_ptr<bool>(), size_of(hole, 0), size_of(hole, 1),
                 depths.mutable_data_ptr<int16_t>());
  return depths;
}

void start_cpu(Tensor whole, Tensor targets, Tensor index, Tensor sources, Tensor costs,
               std::optional<Tensor> coarse_targets, std::optional<Tensor> coarse_index,
               std::optional<Tensor> coarse_sources, int64_t seed) {
  const Field field = field_of(targets, index, sources, costs);
  const auto begin = [&](const Coarser* coarser) {
    start(whole.const_data_ptr<bool>(), size_of(whole, 0), size_of(whole, 1), field, coarser,
          static_cast<uint64_t>(seed));
  };
  if (!coarse_targets) return begin(nullptr);
  const Coarser coarser{field_of(*coarse_targets, *coarse_index, *coarse_sources, *coarse_sources),
                        size_of(*coarse_index, 0), size_of(*coarse_index, 1)};
  begin(&coarser);
}

void improve_cpu(Tensor features, std::optional<Tensor> mask, Tensor whole, Tensor targets, Tensor index,
                 Tensor sources, Tensor costs, int64_t radius, int64_t iterations, int64_t reach,
                 int64_t seed, int64_t proximity) {
  improve(picture_of(features), mask ? mask->const_data_ptr<uint8_t>() : nullptr,
          whole.const_data_ptr<bool>(), field_of(targets, index, sources, costs),
          {static_cast<int>(radius), static_cast<int>(iterations), static_cast<int>(reach),
           static_cast<uint64_t>(seed), static_cast<int>(proximity)});
}

Tensor vote_cpu(Tensor features, Tensor targets, Tensor index, Tensor sources, Tensor weights, Tensor depths,
                double trust, Tensor pixels, int64_t radius) {
  const Tensor voted = torch::stable::new_empty(features, {{pixels.numel(), int64_t{kFeatures}}});
  vote(picture_of(features), field_of(targets, index, sources, sources),
       static_cast<const uint16_t*>(weights.const_data_ptr()), depths.const_data_ptr<int16_t>(), trust,
       pixels.const_data_ptr<int32_t>(), pixels.numel(), static_cast<int>(radius),
       voted.mutable_data_ptr<uint8_t>());
  return voted;
}

}  // namespace

STABLE_TORCH_LIBRARY(contextual_attention_filling, m) {
  m.def("describe(Tensor image, Tensor hole, int reach, float texture) -> Tensor");
  m.def("halve(Tensor features, Tensor known) -> (Tensor, Tensor)");
  m.def("clear(Tensor missing, int radius, bool may_reach_beyond) -> Tensor");
  m.def("depths(Tensor hole) -> Tensor");
  m.def(
      "start(Tensor whole, Tensor targets, Tensor index, Tensor(a!) sources, Tensor(b!) costs, "
      "Tensor? coarse_targets, Tensor? coarse_index, Tensor? coarse_sources, int seed) -> ()");
  m.def(
      "improve(Tensor features, Tensor? mask, Tensor whole, Tensor targets, Tensor index, "
      "Tensor(a!) sources, Tensor(b!) costs, int radius, int iterations, int reach, int seed, "
      "int proximity) -> ()");
  m.def(
      "vote(Tensor features, Tensor targets, Tensor index, Tensor sources, Tensor weights, Tensor depths, "
      "float trust, Tensor pixels, int radius) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(contextual_attention_filling, CPU, m) {
  m.impl("describe", TORCH_BOX(&describe_cpu));
  m.impl("halve", TORCH_BOX(&halve_cpu));
  m.impl("clear", TORCH_BOX(&clear_cpu));
  m.impl("depths", TORCH_BOX(&depths_cpu));
  m.impl("start", TORCH_BOX(&start_cpu));
  m.impl("improve", TORCH_BOX(&improve_cpu));
  m.impl("vote", TORCH_BOX(&vote_cpu));
}

}  // namespace contextual_attention::cpu::filling
