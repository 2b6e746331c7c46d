// What the parts of the Python module have in common. No header of torch's is included here: pybind11 and the
// stable ABI meet only in the linker.
#pragma once

#include <pybind11/pybind11.h>

#include "problem.h"

namespace contextual_attention {

// A single sample, as far as plans depend on it.
inline Problem problem_of(int64_t h, int64_t w, int64_t hb, int64_t wb, int64_t ksize, int64_t stride,
                          int64_t fuse_k, int64_t propagation) {
  Problem problem{};
  problem.batch = 1;
  problem.h = h, problem.w = w, problem.hb = hb, problem.wb = wb;
  problem.ksize = ksize, problem.stride = stride, problem.fuse_k = fuse_k;
  problem.propagation = static_cast<Propagation>(propagation);
  return problem;
}

// Add what there is to ask of the kernels: cpu/bindings.cpp and, in builds that have them, cuda/bindings.cpp.
void bind_cpu(pybind11::module_& module);
void bind_cuda(pybind11::module_& module);

}  // namespace contextual_attention
