// Counts of work instead of time: what a later change doubles is seen without a clock.
#pragma once

#include <cstdint>
#include <set>
#include <string>

#include "filters.h"

namespace contextual_attention::cpu {

struct Work {
  int64_t gemm_calls;          // matrix products
  int64_t gemm_flop;           // their floating point operations
  int64_t score_visits;        // scores that a filter has written or reduced
  int64_t scratch_bytes;       // the largest score scratch of one call
  std::set<std::string> cuts;  // how problems were cut (plan.h, describe)
};

// Starts from zero, in all threads. Counting costs a little: the filters run behind counting ones.
void start_counting();
Work stop_counting();

// Nothing unless counting.
void count_gemm(int64_t rows, int64_t columns, int64_t inner);
void count_scratch(int64_t bytes);

bool is_counting();
void count_cut(const std::string& kind);
// describe() is called only if it is wanted.
template <class Describe>
void count_cuts(const Describe& describe) {
  if (is_counting()) count_cut(describe());
}

// The table itself, or one that counts and calls it.
const Filters& counted(const Filters& filters);

}  // namespace contextual_attention::cpu
