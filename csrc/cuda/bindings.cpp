#include "../common/bindings.h"

#include <pybind11/stl.h>

#include <array>
#include <optional>
#include <vector>

#include "cost.h"
#include "launch_count.h"
#include "octet_plan.h"
#include "plan.h"

namespace py = pybind11;

namespace contextual_attention {
namespace {

int64_t least_cuda_workspace(const Problem& problem, bool backward) {
  return cuda::least_plan(problem, backward).bytes;
}

py::dict describe(const cuda::Plan& plan) {
  py::dict result;
  result["samples"] = plan.samples;
  result["foreground"] = std::vector<int64_t>{plan.tile.y, plan.tile.x};
  result["background"] = std::vector<int64_t>{plan.tile.v, plan.tile.u};
  result["bytes"] = plan.bytes;
  return result;
}

py::dict cuda_plan(const Problem& problem, int64_t workspace, int64_t cache, bool backward,
                   const std::optional<std::array<int64_t, 4>>& tile, bool octets) {
  cuda::Plan plan;
  if (tile) {
    const auto [y, x, v, u] = *tile;
    plan =
        octets ? cuda::octet_plan_of(problem, {y, x, v, u}) : cuda::plan_of(problem, {y, x, v, u}, backward);
  } else {
    plan = octets ? cuda::make_octet_plan(problem, workspace)
                  : cuda::make_plan(problem, workspace, cache, backward);
  }
  py::dict result = describe(plan);
  if (plan.samples > 0)
    result["seconds"] = octets ? cuda::octet_seconds(problem, plan.tile)
                               : cuda::estimated_seconds(problem, plan, cache, backward);
  return result;
}

std::optional<py::dict> last_cuda_tiling(bool backward) {
  const auto [plan, by_octets] = cuda::last_tiling(backward);
  if (plan.samples == 0) return std::nullopt;
  py::dict result = describe(plan);
  result["octets"] = by_octets;
  return result;
}

}  // namespace

void bind_cuda(py::module_& module) {
  module.def("least_cuda_workspace", &least_cuda_workspace, py::arg("problem"), py::arg("backward"),
             "The least bytes of score scratch with which the CUDA kernels can work on such a problem.");
  module.def(
      "cuda_plan", &cuda_plan, py::arg("problem"), py::arg("workspace"), py::arg("cache"),
      py::arg("backward"), py::arg("tile") = py::none(), py::arg("octets") = false,
      "How the CUDA kernels cut such a problem on a device with so many bytes of level 2 cache: \"samples\"\n"
      "at once (0: nothing fits), the tiles of \"foreground\" and \"background\" (rows, columns), "
      "\"bytes\", and\n"
      "unless nothing fits the estimated \"seconds\" of one sample. With a tile, (y, x, v, u): how it would "
      "be cut\n"
      "so, in any workspace. With octets: a forward in half precision by octets, where they suit it.");
  module.def("last_cuda_tiling", &last_cuda_tiling, py::arg("backward"),
             "How the last forward or backward of this process was cut, as cuda_plan has it, and whether by\n"
             "\"octets\"; None before the first.");
  module.def("default_cuda_workspace", &cuda::default_workspace, py::arg("memory"),
             "The bound on the score scratch on a device with so many bytes of memory, where none is set.");
  module.def("take_launch_count", &cuda::take_launch_count,
             "How many kernels and matrix products the CUDA pipeline has started since the last call.");
}

}  // namespace contextual_attention
