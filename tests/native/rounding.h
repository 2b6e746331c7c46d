// Matrix products that round otherwise, as those of another library or processor do.
#pragma once

#include <cstdint>

#include "cpu/gemm.h"

namespace contextual_attention::cpu {

// From now on every entry of every float32 product is off by up to two units in its last place. They are
// drawn `anew` for every product, or are the same in all products of the same sizes, but for those that add
// to what is there: the same entry would be off the same way in every term. Seed 0: products are as they are
// again.
void perturb_products(uint64_t seed, bool anew);
bool is_perturbing();

// What the kernels call (cpu/hooks.h); nothing unless perturbing.
void round_otherwise(const Matrix& product, int64_t inner, bool adds);

}  // namespace contextual_attention::cpu
