// Counts of work instead of time: what a later change doubles is seen without a clock.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "cpu/attend.h"
#include "cpu/filters.h"

namespace contextual_attention::cpu {

struct Work {
  int64_t gemm_calls;          // matrix products
  int64_t gemm_flop;           // their floating point operations
  int64_t score_visits;        // scores that a filter has written or reduced
  int64_t scratch_bytes;       // the largest score scratch of one call
  std::set<std::string> cuts;  // how problems were cut, as describe() has it
};

// Starts from zero, in all threads. Counting costs a little: the filters run behind counting ones.
void start_counting();
Work stop_counting();
bool is_counting();

// What the kernels call (cpu/hooks.h); nothing unless counting.
void count_plans(const Problem& problem, const std::vector<Schedule>& samples, int64_t bytes, bool backward);
void count_product(int64_t rows, int64_t columns, int64_t inner);
// The table itself, or one that counts and calls it.
const Filters& counted(const Filters& filters);

// How a plan cuts a problem of which the highest tile has `height` rows: such as
// "backward, wrapped, blocks, whole rows, one at a time".
std::string describe(const Problem& problem, const Plan& plan, int64_t height, bool backward);

}  // namespace contextual_attention::cpu
