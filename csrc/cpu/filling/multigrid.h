// Linear equations on the pixels of a hole, each of them with the four beside it: conjugate gradients with a
// V-cycle as preconditioner. What comes out does not depend on the number of threads.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "numbering.h"

namespace contextual_attention::cpu::filling {

// At each pixel i: diagonal[i] x[i] - sum over sides of weight * x[beside] = residual[i].
struct Grid {
  int64_t evens = 0;
  std::vector<std::array<int32_t, kSides>> beside;  // -1: nothing
  std::vector<std::array<float, kSides>> weights;   // none at the finest grid, where all of them are 1
  std::vector<std::array<int32_t, 4>> parts;        // the pixels of the next finer grid, -1: fewer
  std::vector<float> diagonal, residual, x;

  int64_t count() const { return static_cast<int64_t>(diagonal.size()); }
};

class Multigrid {
 public:
  // `beside` of the pixels of `numbering`; the weight of what is known beside them; that of staying at 0.
  Multigrid(const Numbering& numbering, std::vector<std::array<int32_t, kSides>> beside,
            std::vector<float> known, std::vector<float> screening);

  // Solves for the right-hand side `residual`, which is used up, until a V-cycle changes nothing by more than
  // the tolerance. The matrix is positive definite.
  void solve(std::vector<float>& solution, float tolerance);
  std::vector<float>& residual() { return grids_.front().residual; }

 private:
  void cycle(std::size_t level);

  std::vector<Grid> grids_;
};

}  // namespace contextual_attention::cpu::filling
