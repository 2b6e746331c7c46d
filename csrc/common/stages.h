// The stages of scores, the filters between them, and how far a filter reads: what marches, tiles and plans
// of every backend go by. contextual_attention/stages.py is the same for Triton.
#pragma once

#include "problem.h"

namespace contextual_attention {

// In the order in which they are made. One that the options do not ask for is the one before it.
enum class Stage {
  gram,        // <f_p, b_q>
  similarity,  // of patches
  rowwise,     // a wrapped propagation's first pass over them
  weights,     // of the softmax
  final,       // propagated
  cells,
  // backward only: gradients
  cell_gradient,
  attention_gradient,
  logit_gradient,
  columnwise_gradient,  // a wrapped propagation's second pass, which comes first here
  product_gradient,     // of the products of patches
  gram_gradient,
  count
};

// Sums along diagonals: of a patch, of a propagation, of the two passes of one that runs over the ends of
// rows and columns, or of the score alone.
enum class Filter { none, patch, propagation, left_right, top_down };

// What makes a stage of the one before it. (Cells and their gradient have taps of their own, of 2 x 2.)
inline Filter filter_into(Stage stage, const Problem& p) {
  const Filter before = p.before() ? Filter::propagation : Filter::none;
  switch (stage) {
    case Stage::similarity:
    case Stage::gram_gradient:
      return Filter::patch;
    case Stage::rowwise:
    case Stage::product_gradient:
      return p.wrap() ? Filter::left_right : Filter::none;
    case Stage::weights:
    case Stage::columnwise_gradient:
      return p.wrap() ? Filter::top_down : before;
    case Stage::final:
    case Stage::logit_gradient:
      return p.after() ? Filter::propagation : Filter::none;
    default:
      return Filter::none;
  }
}

// How many rows above and below a filter reads, on a map of this width. Columns to either side: as many, but
// for the wrapped passes, which may read all.
inline int64_t reach(Filter filter, const Problem& p, int64_t width) {
  switch (filter) {
    case Filter::patch:
      return p.patch_radius();
    case Filter::propagation:
    case Filter::top_down:
      return p.fuse_radius();
    case Filter::left_right:  // as far as it runs over row ends
      return ceil_div(p.fuse_radius(), width);
    default:
      return 0;
  }
}

inline int64_t reach_into(Stage stage, const Problem& p, int64_t width) {
  return reach(filter_into(stage, p), p, width);
}

}  // namespace contextual_attention
