#include "layout.h"

#include <algorithm>

namespace contextual_attention::cpu {
namespace {

using Rows = std::vector<char>;  // one flag per background row (or cell row)

Rows both(const Rows& a, const Rows& b) {
  Rows result(a.size());
  for (size_t i = 0; i < a.size(); ++i) result[i] = a[i] && b[i];
  return result;
}

Rows either(const Rows& a, const Rows& b) {
  Rows result(a.size());
  for (size_t i = 0; i < a.size(); ++i) result[i] = a[i] || b[i];
  return result;
}

// Rows within `radius` of a flagged one; cyclic: over the ends.
Rows dilate(const Rows& rows, int64_t radius, bool cyclic = false) {
  const int64_t count = static_cast<int64_t>(rows.size());
  Rows result(rows.size());
  for (int64_t v = 0; v < count; ++v) {
    if (!rows[v]) continue;
    for (int64_t i = -radius; i <= radius; ++i) {
      const int64_t u = cyclic ? floor_mod(v + i, count) : v + i;
      if (u >= 0 && u < count) result[u] = 1;
    }
  }
  return result;
}

// Cell rows that the patches of these rows cover, and rows whose patches cover these cell rows.
Rows cells_of(const Rows& rows) {
  Rows cells(rows.size() + 1);
  for (size_t v = 0; v < rows.size(); ++v)
    if (rows[v]) cells[v] = cells[v + 1] = 1;
  return cells;
}

Rows covering(const Rows& cells) {
  Rows rows(cells.size() - 1);
  for (size_t v = 0; v < rows.size(); ++v) rows[v] = cells[v] || cells[v + 1];
  return rows;
}

// The rows of the stage before that these rows of a stage read; its adjoint reaches as far.
struct Reading {
  const Problem& problem;
  Rows operator()(Stage stage, const Rows& rows) const {
    const Filter filter = filter_into(stage, problem);
    return dilate(rows, reach_of(filter, problem, problem.wb).before, filter == Filter::top_down);
  }
  // The similarities that take part in these rows of weights.
  Rows similarities(const Rows& weights) const {
    return (*this)(Stage::rowwise, (*this)(Stage::weights, weights));
  }
};

// What every stage needs, from the rows that a block owns back to the Gram matrix.
struct Needs {
  Rows cells, final, weights, rowwise, similarity, gram;
  Rows gram_gradient, product_gradient, columnwise_gradient, logit_gradient, attention_gradient;
};

void add_backward(const Problem& problem, const Rows& owned, const Rows& valid, Needs& needs) {
  const Reading read{problem};
  const Rows scores = read.similarities(valid);
  needs.gram_gradient = both(Rows(owned.begin(), owned.end() - 1), read(Stage::similarity, scores));
  needs.product_gradient = both(read(Stage::gram_gradient, needs.gram_gradient), scores);
  const Rows columnwise = read(Stage::product_gradient, needs.product_gradient);
  if (problem.wrap()) needs.columnwise_gradient = columnwise;
  needs.logit_gradient = both(read(Stage::columnwise_gradient, columnwise), valid);
  needs.attention_gradient = both(read(Stage::logit_gradient, needs.logit_gradient), valid);
  if (problem.after()) needs.final = either(needs.final, needs.attention_gradient);
}

Needs find_needs(const Problem& problem, const Rows& owned, const Rows& valid, bool backward) {
  const Reading read{problem};
  Needs needs;
  needs.cells = both(owned, cells_of(valid));
  needs.final = both(covering(needs.cells), valid);
  if (backward) add_backward(problem, owned, valid, needs);
  needs.weights = both(read(Stage::final, needs.final), valid);
  if (backward) needs.weights = either(needs.weights, needs.logit_gradient);
  if (problem.wrap()) needs.rowwise = read(Stage::weights, needs.weights);
  needs.similarity = read.similarities(needs.weights);
  Rows products = needs.similarity;
  if (backward) products = either(products, needs.product_gradient);
  needs.gram = read(Stage::similarity, products);
  return needs;
}

// Runs of needed rows, framed by rows of zeros; a gap no longer than the frame is not worth leaving out.
void place_rows(const Rows& needed, Layout& layout) {
  const int64_t count = static_cast<int64_t>(needed.size());
  layout.position.assign(count, -1);
  layout.rows.assign(layout.margin, -1);
  int64_t last = -1;
  for (int64_t v = 0; v < count; ++v) {
    if (!needed[v]) continue;
    int64_t first = v;
    if (last >= 0 && v - last - 1 <= layout.margin) {
      first = last + 1;
    } else if (last >= 0) {
      layout.rows.insert(layout.rows.end(), layout.margin, -1);
    }
    for (int64_t u = first; u <= v; ++u) {
      layout.position[u] = static_cast<int64_t>(layout.rows.size());
      layout.rows.push_back(u);
    }
    last = v;
  }
  layout.rows.insert(layout.rows.end(), layout.margin, -1);
  // A sum at the zeros behind the last column reads as many floats further on.
  layout.size = layout.at(static_cast<int64_t>(layout.rows.size())) + layout.margin;
}

std::vector<Span> spans_of(const Layout& layout, const Rows& rows) {
  std::vector<Span> spans;
  for (size_t v = 0; v < rows.size(); ++v) {
    if (!rows[v]) continue;
    const int64_t at = layout.at(layout.position[v]);
    if (!spans.empty() && spans.back().at + spans.back().length == at)
      spans.back().length += layout.pitch;
    else
      spans.push_back({at, layout.pitch});
  }
  return spans;
}

std::vector<CellRun> runs_of(const Rows& cells, int64_t cell_pitch, int64_t& size) {
  std::vector<CellRun> runs;
  size = 0;
  for (int64_t q = 0; q < static_cast<int64_t>(cells.size()); ++q) {
    if (!cells[q]) continue;
    if (!runs.empty() && runs.back().first + runs.back().count == q)
      ++runs.back().count;
    else
      runs.push_back({q, 1, size});
    size += cell_pitch;
  }
  return runs;
}

// Appends a row; joins it to the last span where both the cells and the scores go on without a break.
void append(std::vector<CellSpan>& spans, CellSpan next, int64_t gap) {
  if (!spans.empty()) {
    CellSpan& last = spans.back();
    const int64_t length = last.length + gap;
    if (last.cell_at + length == next.cell_at && last.at + length == next.at) {
      last.length = length + next.length;
      return;
    }
  }
  spans.push_back(next);
}

// Cell row q lies at the scores of row q, or of the row of zeros that follows row q - 1.
std::vector<CellSpan> cell_spans(const Layout& layout, const std::vector<CellRun>& runs, int64_t wb) {
  std::vector<CellSpan> spans;
  for (const CellRun& run : runs) {
    for (int64_t i = 0; i < run.count; ++i) {
      const int64_t q = run.first + i;
      const bool real = q < static_cast<int64_t>(layout.position.size()) && layout.position[q] >= 0;
      const int64_t row = real ? layout.position[q] : layout.position[q - 1] + 1;
      append(spans, {run.at + i * (wb + 1), layout.at(row), wb + 1}, 0);
    }
  }
  return spans;
}

// Row v of dA reads cell rows v and v + 1. The column of zeros between two rows is written as well where
// rows join (with a finite value that the masks remove), never the one after the last.
std::vector<CellSpan> gradient_spans(const Layout& layout, const Rows& rows, const std::vector<CellRun>& runs,
                                     int64_t wb) {
  std::vector<CellSpan> spans;
  for (const CellRun& run : runs) {
    for (int64_t i = 0; i + 1 < run.count; ++i) {
      const int64_t v = run.first + i;
      if (rows[v]) append(spans, {run.at + i * (wb + 1), layout.at(layout.position[v]), wb}, 1);
    }
  }
  return spans;
}

Layout make_layout(const Problem& problem, const Rows& owned, const Rows& valid, bool backward) {
  const Needs needs = find_needs(problem, owned, valid, backward);
  const Rows owned_rows(owned.begin(), owned.end() - 1);
  Layout layout;
  layout.margin = std::max<int64_t>({1, problem.patch_radius(), problem.fuse_radius()});
  layout.pitch = problem.wb + layout.margin;
  place_rows(needs.gram, layout);
  layout.similarity = spans_of(layout, needs.similarity);
  layout.rowwise = spans_of(layout, needs.rowwise);
  layout.weights = spans_of(layout, needs.weights);
  layout.final = spans_of(layout, needs.final);
  layout.owned = spans_of(layout, both(owned_rows, valid));
  layout.cell_runs = runs_of(needs.cells, problem.wb + 1, layout.cell_size);
  layout.cells = cell_spans(layout, layout.cell_runs, problem.wb);
  if (!backward) return layout;
  layout.product_gradient = spans_of(layout, needs.product_gradient);
  layout.columnwise_gradient = spans_of(layout, needs.columnwise_gradient);
  layout.logit_gradient = spans_of(layout, needs.logit_gradient);
  layout.owned_product = spans_of(layout, both(owned_rows, needs.product_gradient));
  layout.gram_gradient = spans_of(layout, needs.gram_gradient);
  layout.gradient_runs = runs_of(cells_of(needs.attention_gradient), problem.wb + 1, layout.gradient_size);
  layout.gradient_cells = gradient_spans(layout, needs.attention_gradient, layout.gradient_runs, problem.wb);
  return layout;
}

// Rows (0 ... hb; row hb holds cells only) that something must be done for.
std::vector<int64_t> rows_with_work(const Problem& problem, const Rows& valid, bool backward) {
  Rows rows = cells_of(valid);
  if (backward) {
    const Reading read{problem};
    Rows touched = read(Stage::similarity, read.similarities(valid));
    touched.push_back(0);
    rows = either(rows, touched);
  }
  std::vector<int64_t> indices;
  for (size_t v = 0; v < rows.size(); ++v)
    if (rows[v]) indices.push_back(static_cast<int64_t>(v));
  return indices;
}

}  // namespace

std::vector<Layout> make_layouts(const Problem& problem, const Rows& row_valid, int64_t blocks,
                                 bool backward) {
  const std::vector<int64_t> rows = rows_with_work(problem, row_valid, backward);
  const int64_t count = static_cast<int64_t>(rows.size());
  std::vector<Layout> layouts;
  for (int64_t block = 0; block < blocks; ++block) {
    Rows owned(problem.hb + 1);
    for (int64_t i = count * block / blocks; i < count * (block + 1) / blocks; ++i) owned[rows[i]] = 1;
    layouts.push_back(make_layout(problem, owned, row_valid, backward));
  }
  return layouts;
}

int64_t most_blocks(const Problem& problem, const Rows& row_valid, bool backward) {
  return static_cast<int64_t>(rows_with_work(problem, row_valid, backward).size());
}

}  // namespace contextual_attention::cpu
