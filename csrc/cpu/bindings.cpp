#include "../common/bindings.h"

#include <pybind11/stl.h>

#include <string>
#include <vector>

#include "plan.h"
#include "rounding.h"
#include "simd.h"
#include "work.h"

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

std::string cpu_cut(const Problem& problem, int64_t threads, int64_t workspace, bool backward) {
  const std::vector<char> all(problem.hb, 1);
  const Plan plan = make_plan(problem, all, {{0, problem.h, 0, problem.w}}, threads, workspace, backward);
  return plan.chunk == 0 ? "" : describe(problem, plan, problem.h, backward);
}

py::dict stop_counting_work() {
  const Work work = stop_counting();
  py::dict counts;
  counts["gemm_calls"] = work.gemm_calls;
  counts["gemm_flop"] = work.gemm_flop;
  counts["score_visits"] = work.score_visits;
  counts["scratch_bytes"] = work.scratch_bytes;
  counts["cuts"] = work.cuts;
  return counts;
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
  module.def("cpu_cut", &cpu_cut, py::arg("problem"), py::arg("threads"), py::arg("workspace"),
             py::arg("backward"),
             "How the CPU kernels cut such a problem, in words; empty if nothing fits into the workspace.");
  module.def(
      "perturb_products", &perturb_products, py::arg("seed"), py::arg("anew"),
      "For tests: from now on every entry of every float32 product of the CPU kernels is off by up to\n"
      "two units in its last place, drawn anew for every product, or by its sizes alone. Seed 0: as\n"
      "they are again.");
  module.def("start_counting_work", &start_counting,
             "Count the work of the CPU kernels, in all threads, from zero.");
  module.def(
      "stop_counting_work", &stop_counting_work,
      "The work since start_counting_work: \"gemm_calls\", \"gemm_flop\", \"score_visits\" (scores "
      "written or\n"
      "reduced by a filter), \"scratch_bytes\" (the largest score scratch of a call) and \"cuts\" (how\n"
      "problems were cut, a set of descriptions).");
}

}  // namespace contextual_attention
