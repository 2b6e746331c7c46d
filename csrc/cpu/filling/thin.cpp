#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include "regression.h"

namespace contextual_attention::cpu::filling {
namespace {

using torch::stable::Tensor;

void regress_op(Tensor picture, Tensor hole, Tensor filled, int64_t tile, int64_t margin, int64_t reach,
                int64_t samples, double spread, double grain, double damping, double alike) {
  const Planes planes{picture.const_data_ptr<float>(), static_cast<int>(picture.size(0)),
                      static_cast<int>(picture.size(1)), static_cast<int>(picture.size(2))};
  const Regression options{static_cast<int>(tile),      static_cast<int>(margin),   static_cast<int>(reach),
                           static_cast<int>(samples),   static_cast<float>(spread), static_cast<float>(grain),
                           static_cast<float>(damping), static_cast<float>(alike)};
  regress(planes, hole.const_data_ptr<bool>(), options, filled.mutable_data_ptr<float>());
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(contextual_attention_filling, m) {
  m.def(
      "regress(Tensor picture, Tensor hole, Tensor(a!) filled, int tile, int margin, int reach, int samples, "
      "float spread, float grain, float damping, float alike) -> ()");
}

STABLE_TORCH_LIBRARY_IMPL(contextual_attention_filling, CPU, m) { m.impl("regress", TORCH_BOX(&regress_op)); }

}  // namespace contextual_attention::cpu::filling
