// The Python module contextual_attention_C: what is not a tensor operator.
//
// Importing it loads the shared object and so registers the operators of the other files with torch.

#include "bindings.h"

#include <pybind11/stl.h>

#include <sstream>
#include <string>
#include <vector>

#include "cpu/plan.h"
#include "cpu/rounding.h"
#include "cpu/simd.h"
#include "cpu/work.h"

namespace py = pybind11;

namespace contextual_attention {

// state.cpp's.
extern const char kState[];

namespace {

std::string compiler() {
#if defined(__clang__)
  return "clang++ " __clang_version__;
#else
  return "g++ " __VERSION__;
#endif
}

// Such as 8.0, 9.0a, 12.0+PTX; empty in a build without CUDA.
std::vector<std::string> cuda_architectures() {
  std::vector<std::string> names;
#if defined(CA_CUDA_ARCHITECTURES)
  std::istringstream list(CA_CUDA_ARCHITECTURES);
  for (std::string name; std::getline(list, name, ';');) names.push_back(name);
#endif
  return names;
}

py::dict build_info() {
  py::dict info;
  info["state"] = std::string(kState);
  info["compiler"] = compiler();
  info["simd_levels"] = built_simd_levels();
  info["cuda_architectures"] = cuda_architectures();
  info["torch_headers"] = CA_TORCH_HEADERS;
  return info;
}

std::vector<std::string> supported_simd_levels() {
  std::vector<std::string> supported;
  for (const std::string& level : built_simd_levels()) {
    if (simd_level_supported(level)) supported.push_back(level);
  }
  return supported;
}

int64_t least_cpu_workspace(int64_t h, int64_t w, int64_t hb, int64_t wb, int64_t ksize, int64_t stride,
                            int64_t fuse_k, int64_t propagation, int64_t threads, bool backward) {
  return least_workspace(problem_of(h, w, hb, wb, ksize, stride, fuse_k, propagation), threads, backward);
}

std::string cpu_cut(int64_t h, int64_t w, int64_t hb, int64_t wb, int64_t channels, int64_t value_channels,
                    int64_t ksize, int64_t stride, int64_t fuse_k, int64_t propagation, int64_t threads,
                    int64_t workspace, bool backward) {
  Problem problem = problem_of(h, w, hb, wb, ksize, stride, fuse_k, propagation);
  problem.channels = channels, problem.value_channels = value_channels;
  const std::vector<char> all(hb, 1);
  const Plan plan = make_plan(problem, all, {{0, h, 0, w}}, threads, workspace, backward);
  return plan.chunk == 0 ? "" : describe(problem, plan, h, backward);
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
}  // namespace contextual_attention

PYBIND11_MODULE(contextual_attention_C, module) {
  namespace ca = contextual_attention;
  module.doc() = "The compiled half of contextual_attention: what is not a tensor operator.";
  module.def("build_info", &ca::build_info,
             "How this module was built: \"compiler\" and \"torch_headers\" (versions), \"simd_levels\" and\n"
             "\"cuda_architectures\" (lists of names), and \"state\", from which sources.");
  module.def("simd_level", &ca::simd_level,
             "The SIMD level in use: the best one supported here, unless another was chosen.");
  module.def(
      "set_simd_level", &ca::set_simd_level, py::arg("name"),
      "Use the kernels of another SIMD level, in every thread, from the next operator on.\n\n"
      "Raises:\n    ValueError: if the level is unknown, not built, or not supported by this processor.");
  module.def("supported_simd_levels", &ca::supported_simd_levels,
             "The SIMD levels that were built and that this processor can run, slowest first.");
  module.def("least_cpu_workspace", &ca::least_cpu_workspace, py::arg("h"), py::arg("w"), py::arg("hb"),
             py::arg("wb"), py::arg("ksize"), py::arg("stride"), py::arg("fuse_k"), py::arg("propagation"),
             py::arg("threads"), py::arg("backward"),
             "The least bytes of score scratch with which the CPU kernels can work on such a problem.");
  module.def("cpu_cut", &ca::cpu_cut, py::arg("h"), py::arg("w"), py::arg("hb"), py::arg("wb"),
             py::arg("channels"), py::arg("value_channels"), py::arg("ksize"), py::arg("stride"),
             py::arg("fuse_k"), py::arg("propagation"), py::arg("threads"), py::arg("workspace"),
             py::arg("backward"),
             "How the CPU kernels cut such a problem, in words; empty if nothing fits into the workspace.");
  module.def(
      "perturb_products", &ca::perturb_products, py::arg("seed"), py::arg("anew"),
      "For tests: from now on every entry of every float32 product of the CPU kernels is off by up to\n"
      "two units in its last place, drawn anew for every product, or by its sizes alone. Seed 0: as\n"
      "they are again.");
  module.def("start_counting_work", &ca::start_counting,
             "Count the work of the CPU kernels, in all threads, from zero.");
  module.def(
      "stop_counting_work", &ca::stop_counting_work,
      "The work since start_counting_work: \"gemm_calls\", \"gemm_flop\", \"score_visits\" (scores "
      "written or\n"
      "reduced by a filter), \"scratch_bytes\" (the largest score scratch of a call) and \"cuts\" (how\n"
      "problems were cut, a set of descriptions).");
#if defined(CA_CUDA_ARCHITECTURES)
  ca::bind_cuda(module);
#endif
}
