#include "../common/bindings.h"

#include <pybind11/stl.h>

#include <optional>
#include <vector>

#include "launch_count.h"
#include "octet_plan.h"
#include "plan.h"

namespace py = pybind11;

namespace contextual_attention {
namespace cuda {

py::dict describe(const Plan& plan) {
  py::dict result;
  result["samples"] = plan.samples;
  result["foreground"] = std::vector<int64_t>{plan.tile.y, plan.tile.x};
  result["background"] = std::vector<int64_t>{plan.tile.v, plan.tile.u};
  result["bytes"] = plan.bytes;
  return result;
}

}  // namespace cuda

namespace {

int64_t least_cuda_workspace(const Problem& problem, bool backward) {
  return cuda::least_plan(problem, backward).bytes;
}

std::optional<py::dict> last_cuda_tiling(bool backward) {
  const auto [plan, by_octets] = cuda::last_tiling(backward);
  if (plan.samples == 0) return std::nullopt;
  py::dict result = cuda::describe(plan);
  result["octets"] = by_octets;
  result["gram_on_chip"] = plan.shared > 0;
  return result;
}

}  // namespace

void bind_cuda(py::module_& module) {
  module.def("least_cuda_workspace", &least_cuda_workspace, py::arg("problem"), py::arg("backward"),
             "The least bytes of score scratch with which the CUDA kernels can work on such a problem.");
  module.def(
      "last_cuda_tiling", &last_cuda_tiling, py::arg("backward"),
      "How the last forward or backward of this process was cut: \"samples\" at once, the tiles of\n"
      "\"foreground\" and \"background\" (rows, columns), \"bytes\", whether by \"octets\", and whether\n"
      "\"gram_on_chip\", that is, no Gram matrix was in memory; None before the first.");
  py::enum_<cuda::GramPlace>(module, "GramPlace", py::module_local())
      .value("by_estimate", cuda::GramPlace::by_estimate)
      .value("in_memory", cuda::GramPlace::in_memory)
      .value("on_chip", cuda::GramPlace::on_chip);
  module.def(
      "place_cuda_gram", &cuda::place_gram, py::arg("place"), py::arg("shared") = 0,
      "Where the Gram matrices of forwards by octets are that follow in this process, for comparisons:\n"
      "where that is estimated to be faster, in memory, or on the chip wherever they can; and how many\n"
      "bytes of shared memory a block is taken to have, 0: as many as it has.");
  module.def("default_cuda_workspace", &cuda::default_workspace, py::arg("memory"),
             "The bound on the score scratch on a device with so many bytes of memory, where none is set.");
  module.def("take_launch_count", &cuda::take_launch_count,
             "How many kernels and matrix products the CUDA pipeline has started since the last call.");
}

}  // namespace contextual_attention
