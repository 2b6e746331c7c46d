// Which background rows a block of the march works on, and where their scores lie in memory.
//
// The scores of one foreground pixel against a block are one contiguous run of `size` floats: rows of
// `pitch` = wb + margin floats, runs of neighbouring rows framed by `margin` rows of zeros. With zeros
// on every side a diagonal sum is a plain loop with constant offsets, edges included. Background rows
// that no valid patch reaches are left out.
#pragma once

#include <cstdint>
#include <vector>

#include "../common/stages.h"

namespace contextual_attention::cpu {

// A contiguous piece of a pixel's scores.
struct Span {
  int64_t at, length;
};

// The same piece of scores and of cells (cells have rows of wb + 1, without margins).
struct CellSpan {
  int64_t cell_at, at, length;
};

// Neighbouring rows of background cells, contiguous in the value map and in the cell buffer.
struct CellRun {
  int64_t first, count, at;
};

struct Layout {
  int64_t margin, pitch, size;
  std::vector<int64_t> rows;      // buffer row -> background row, -1: zeros
  std::vector<int64_t> position;  // background row -> buffer row, -1: not in this block

  std::vector<Span> similarity;  // S is needed here (before) or the logits (none, after)
  std::vector<Span> rowwise;     // wrap: the left-right sums
  std::vector<Span> weights;     // A1 is needed here
  std::vector<Span> final;       // A2 is needed here (after)
  std::vector<Span> owned;       // valid rows whose sums this block counts
  std::vector<CellSpan> cells;   // E, of the owned cells
  std::vector<CellRun> cell_runs;
  int64_t cell_size = 0;

  // Backward only.
  std::vector<Span> product_gradient;     // dS, dR
  std::vector<Span> columnwise_gradient;  // wrap: between the two adjoint passes
  std::vector<Span> logit_gradient;       // dL
  std::vector<Span> owned_product;        // dR whose sums this block counts
  std::vector<Span> gram_gradient;        // dG, of the owned rows
  std::vector<CellSpan> gradient_cells;   // dA from dE
  std::vector<CellRun> gradient_runs;
  int64_t gradient_size = 0;

  int64_t at(int64_t buffer_row) const { return margin + buffer_row * pitch; }
  // The background position of a score; only for scores of real rows.
  int64_t row_of(int64_t index) const { return rows[(index - margin) / pitch]; }
  int64_t column_of(int64_t index) const { return (index - margin) % pitch; }
};

// The background rows, cut into `blocks` blocks of about equal size. row_valid[v]: row v has a valid patch.
std::vector<Layout> make_layouts(const Problem& problem, const std::vector<char>& row_valid, int64_t blocks,
                                 bool backward);

// The most blocks that make_layouts can make.
int64_t most_blocks(const Problem& problem, const std::vector<char>& row_valid, bool backward);

}  // namespace contextual_attention::cpu
