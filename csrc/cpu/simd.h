// Which compilation of the filters runs: the best that this processor has, or the one that was asked for.
#pragma once

#include <string>
#include <vector>

#include "filters.h"

namespace contextual_attention::cpu {

// Levels in this build, ascending: "base", "avx2", "avx512".
const std::vector<std::string>& built_simd_levels();
bool simd_level_supported(const std::string& level);
std::string simd_level();
// Throws std::invalid_argument for a level that this build or this processor does not have.
void set_simd_level(const std::string& level);

const Filters& active_filters();

}  // namespace contextual_attention::cpu
