// In the place of host.cpp's loops: the pipeline's bodies by kernels.cu's launches, on the emulator.
#include <stdexcept>

#include "cuda_runtime.h"
#include "launch.h"

namespace contextual_attention {
namespace gpu {

// host.cpp's, under another name.
template <class Body>
void plain_loop(const Body& body);

namespace {
// Bodies of one thread for each piece of work by plain loops; those of warps are launched all the same, so
// that their sums are of the same order.
bool threads_as_loops = false;
}  // namespace

template <class Body>
void loop(const Body& body) {
  if (threads_as_loops && Body::shape != Shape::rows) return plain_loop(body);
  if (const char* error = launch(body, nullptr)) throw std::runtime_error(error);
}

#define CA_LOOP(...) template void loop(const __VA_ARGS__&);
CA_FOR_EACH_BODY(CA_LOOP)
#undef CA_LOOP

}  // namespace gpu
}  // namespace contextual_attention

// Of plan.cpp, whose branches are counted: from zero, and into the file of its counts.
extern "C" void __gcov_reset();
extern "C" void __gcov_dump();
extern "C" __attribute__((visibility("default"))) void start_counting_branches() { __gcov_reset(); }
extern "C" __attribute__((visibility("default"))) void write_branch_counts() { __gcov_dump(); }

// For the calls that follow.
extern "C" __attribute__((visibility("default"))) void set_order(bool threads_as_loops, bool backwards) {
  contextual_attention::gpu::threads_as_loops = threads_as_loops;
  emulator::settings.backwards = backwards;
}
