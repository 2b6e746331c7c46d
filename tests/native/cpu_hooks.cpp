// What tests hang into the CPU kernels of the extension (csrc/cpu/hooks.h), and the Python module that says
// what of it is on; and how the planner of the same sources cuts a problem.
#include <pybind11/stl.h>

#include <optional>
#include <string>
#include <vector>

#include "common/bindings.h"
#include "cpu/hooks.h"
#include "rounding.h"
#include "work.h"

namespace py = pybind11;

namespace {

using namespace contextual_attention;
using namespace cpu;

const Hooks kHooks = {
    count_plans,
    [](int64_t rows, int64_t columns, int64_t inner, const Matrix* result, bool adds) {
      count_product(rows, columns, inner);
      if (result) round_otherwise(*result, inner, adds);
    },
    counted,
};

std::optional<py::capsule> table() {
  if (!is_counting() && !is_perturbing()) return std::nullopt;
  return py::capsule(&kHooks, kHooksName);
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

std::string cut(const Problem& problem, int64_t threads, int64_t workspace, bool backward) {
  const std::vector<char> all(problem.hb, 1);
  const Plan plan = make_plan(problem, all, {{0, problem.h, 0, problem.w}}, threads, workspace, backward);
  return plan.chunk == 0 ? "" : describe(problem, plan, problem.h, backward);
}

}  // namespace

PYBIND11_MODULE(cpu_hooks, module) {
  module.def("table", &table, "What set_hooks of the extension is given: None if nothing is on.");
  module.def("perturb_products", &perturb_products, py::arg("seed"), py::arg("anew"),
             "Every entry of every float32 product is off by up to two units in its last place, drawn anew\n"
             "for every product, or by its sizes alone. Seed 0: as they are again.");
  module.def("start_counting_work", &start_counting, "In all threads, from zero.");
  module.def("stop_counting_work", &stop_counting_work,
             "The work since start_counting_work: \"gemm_calls\", \"gemm_flop\", \"score_visits\" (scores\n"
             "written or reduced by a filter), \"scratch_bytes\" (the largest score scratch of a call) and\n"
             "\"cuts\" (how problems were cut, a set of descriptions).");
  module.def("cut", &cut, py::arg("problem"), py::arg("threads"), py::arg("workspace"), py::arg("backward"),
             "How a problem is cut, as \"cuts\" has it; empty if nothing fits into the workspace.");
}
