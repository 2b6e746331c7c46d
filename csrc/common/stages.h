// The stages of scores, the filters between them, and how far a stage reads: what the march, the tiles and
// the plans of every backend go by. contextual_attention/stages.py is the same for Triton, which works where
// nothing is compiled.
#pragma once

#include <array>
#include <optional>
#include <vector>

#include "problem.h"

namespace contextual_attention {

// In the order in which they are made. One that the options do not ask for is the one before it.
enum class Stage {
  gram,        // <f_p, b_q>
  similarity,  // of patches
  rowwise,     // a wrapped propagation's first pass over them
  weights,     // of the softmax
  final,       // propagated
  cells,       // sums over the patches that paste on them
  // backward only: gradients
  cell_gradient,
  attention_gradient,   // of the final weights
  logit_gradient,       // of the softmax's logits
  columnwise_gradient,  // of a wrapped propagation's second pass, which comes first here
  product_gradient,     // of the products of patches
  gram_gradient,        // of those of pixels
  count
};

// Sums along diagonals, by what they run over.
enum class Filter {
  none,         // the score alone
  patch,        // a patch
  propagation,  // the taps of a propagation
  left_right,   // those of the pass of a wrapped one that runs over the ends of rows
  top_down,     // and of columns
  pasting,      // the patches that paste on a cell
  pasted        // the cells that a patch pastes on
};

// What makes a stage of the one before it.
Filter filter_into(Stage stage, const Problem& problem);

// Rows and columns of a map that are read before and after those that are made.
struct Reach {
  int64_t before, after;
};

// That of a filter on a map of so many columns. The wrapped passes may read all columns: this is how far they
// read in rows. With a map's shorter side for its columns, both passes together read no further than the sum
// of theirs, in columns either.
Reach reach_of(Filter filter, const Problem& problem, int64_t columns);

// That of a stage in the one before it.
inline Reach reach_into(Stage stage, const Problem& problem, int64_t columns) {
  return reach_of(filter_into(stage, problem), problem, columns);
}

constexpr int kStages = static_cast<int>(Stage::count);

class Reaches {
 public:
  // Those of all stages behind `made`, which have the size of a tile.
  Reaches(const Problem& problem, int64_t columns, const std::vector<Stage>& made);

  // How far a stage must go beyond the tile; none where nothing reads it.
  const std::optional<Reach>& operator[](Stage stage) const { return found_[static_cast<int>(stage)]; }

 private:
  void need(Stage stage, const Reach& reach);

  std::array<std::optional<Reach>, kStages> found_;
};

}  // namespace contextual_attention
