// Where tests reach into the kernels: so they count what the very module does that ships, and disturb its
// products. What they hang in is theirs (tests/native/cpu_hooks.cpp); in use nothing is, and each place takes
// a load and a branch a product, a march or a call.
#pragma once

#include <atomic>
#include <cstdint>
#include <vector>

#include "attend.h"
#include "filters.h"
#include "gemm.h"

namespace contextual_attention::cpu {

struct Hooks {
  // Before a call computes anything: how it cuts each of its samples, and the bytes of its score scratch.
  void (*planned)(const Problem& problem, const std::vector<Schedule>& samples, int64_t bytes, bool backward);
  // After a product of (rows, inner) and (inner, columns). `result`: null if it is in bfloat16; `adds`: to
  // what was there.
  void (*multiplied)(int64_t rows, int64_t columns, int64_t inner, const Matrix* result, bool adds);
  // What runs in the place of these filters.
  const Filters& (*filters)(const Filters& filters);
};

// Of the Python capsule that brings them.
constexpr char kHooksName[] = "contextual_attention::cpu::Hooks";

inline std::atomic<const Hooks*> hooks{nullptr};

}  // namespace contextual_attention::cpu
