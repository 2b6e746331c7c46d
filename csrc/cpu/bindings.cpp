#include "../common/bindings.h"

#include <pybind11/stl.h>

#include <optional>
#include <string>
#include <vector>

#include "hooks.h"
#include "plan.h"
#include "simd.h"

namespace py = pybind11;

namespace contextual_attention {
namespace {

using namespace cpu;

std::vector<std::string> supported_simd_levels() {
  std::vector<std::string> supported;
  for (const std::string& level : built_simd_levels()) {
    if (simd_level_supported(level)) supported.push_back(level);
  }
  return supported;
}

// They are those of a capsule (tests/native/cpu_hooks.cpp), or with None there are none.
void set_hooks(const std::optional<py::capsule>& table) {
  void* found = table ? PyCapsule_GetPointer(table->ptr(), kHooksName) : nullptr;
  if (table && !found) throw py::error_already_set();
  hooks = static_cast<const Hooks*>(found);
}

}  // namespace

void bind_cpu(py::module_& module) {
  module.def("simd_level", &simd_level,
             "The SIMD level in use: the best one supported here, unless another was chosen.");
  module.def(
      "set_simd_level", &set_simd_level, py::arg("name"),
      "Use the kernels of another SIMD level, in every thread, from the next operator on.\n\n"
      "Raises:\n    ValueError: if the level is unknown, not built, or not supported by this processor.");
  module.def("supported_simd_levels", &supported_simd_levels,
             "The SIMD levels that were built and that this processor can run, slowest first.");
  module.def("least_cpu_workspace", &least_workspace, py::arg("problem"), py::arg("threads"),
             py::arg("backward"),
             "The least bytes of score scratch with which the CPU kernels can work on such a problem.");
  module.def("set_hooks", &set_hooks, py::arg("table"),
             "For tests: what the CPU kernels call from now on as they work, a capsule; None: nothing.\n\n"
             "Raises:\n    ValueError: if it is a capsule of something else.");
}

}  // namespace contextual_attention
