// In the place of the loops of host_loops.cpp: the pipeline's bodies by those or by kernels.cu's launches, on
// the emulator; and the Python module that says by which.
#include <pybind11/pybind11.h>

#include <stdexcept>

#include "common/bindings.h"
#include "cuda/gram_sums.h"
#include "cuda/kernels.h"
#include "cuda_runtime.h"

namespace contextual_attention::cuda {

// plans.cpp's.
void bind_plans(pybind11::module_& module);

// host_loops.cpp's, under another name.
template <class Body>
void plain_loop(const Body& body);

namespace {

enum class Way { loops, loops_but_for_warps, launches, nothing };
Way way = Way::loops;

}  // namespace

template <class Body>
void loop(const Body& body) {
  if (way == Way::nothing) return;
  // A march has no other way: its threads meet within it.
  if constexpr (Body::shape == Shape::marches)
    return plain_loop(body);
  else {
    const bool takes_warps = Body::shape == Shape::rows;
    if (way == Way::loops || (way == Way::loops_but_for_warps && !takes_warps)) return plain_loop(body);
    if (const char* error = launch(body, nullptr)) throw std::runtime_error(error);
  }
}

#define CA_LOOP(...) template void loop(const __VA_ARGS__&);
CA_FOR_EACH_BODY(CA_LOOP)
CA_FOR_EACH_MARCH(CA_LOOP)
#undef CA_LOOP

}  // namespace contextual_attention::cuda

#if defined(CA_COUNTS_BRANCHES)
// Of the compiler's, which counts the branches of the planner.
extern "C" void __gcov_reset();
extern "C" void __gcov_dump();
#endif

PYBIND11_MODULE(cuda_on_host, module) {
  using namespace contextual_attention;
  using cuda::Way;
  bind_cuda(module);
  cuda::bind_plans(module);
  pybind11::enum_<Way>(module, "Way")
      .value("loops", Way::loops, "Plain loops, warps of one lane.")
      .value("loops_but_for_warps", Way::loops_but_for_warps, "Launches where lanes add up, in their order.")
      .value("launches", Way::launches, "kernels.cu's launches, thread by thread.")
      .value("nothing", Way::nothing, "No body runs: what is started is counted.");
  module.def(
      "run_by",
      [](Way chosen, bool backwards) {
        cuda::way = chosen;
        emulator::settings.backwards = backwards;
      },
      pybind11::arg("way"), pybind11::arg("backwards") = false,
      "How the calls that follow run their bodies; `backwards`: the last thread of a launch first.");
#if defined(CA_COUNTS_BRANCHES)
  module.def("start_counting_branches", [] { __gcov_reset(); }, "Of the planner, from zero.");
  module.def("write_branch_counts", [] { __gcov_dump(); }, "Into the file of its counts.");
#endif
}
