#include "plan.h"

#include <algorithm>
#include <limits>

namespace contextual_attention::cpu {
namespace {

int64_t scratch_floats(const Problem& problem, const Radii& radius, const Layout& layout, int64_t width,
                       int64_t chunk, int64_t lanes, bool backward) {
  int64_t total = 0;
  for (int s = 0; s < kStages; ++s) {
    const RingShape ring = ring_shape(static_cast<Stage>(s), problem, radius, layout, chunk, backward);
    const int64_t columns = std::min(problem.w, width + 2 * ring.radius) + (ring.cells ? 1 : 0);
    total += ring.rows * columns * ring.size;
  }
  return total + (backward ? kLaneRows * lanes * layout.size : 0);
}

// Share of the peak rate that a matrix product with few rows reaches.
double efficiency(int64_t rows) { return static_cast<double>(rows) / static_cast<double>(rows + 10); }

// Flop per foreground column and background column, about: products at the rate their height allows,
// halos included, and the filters as so many flop a score.
double cost(const Problem& p, const Radii& radius, const Plan& plan, int64_t width, bool backward) {
  constexpr double kFilterFlop = 60;
  const double c = static_cast<double>(p.channels), k = static_cast<double>(p.value_channels);
  const int64_t gram_columns = std::min(p.w, width + 2 * radius(Stage::gram));
  const bool whole = gram_columns == p.w;
  const double passes = plan.whole_background() ? 1 : 2;
  double total = 0;
  for (const Layout& layout : plan.layouts) {
    const double scores = static_cast<double>(layout.size * gram_columns);
    const double cells = static_cast<double>(layout.cell_size * (width + 1));
    total += passes * scores * (2 * c / efficiency(gram_columns * (whole ? plan.chunk : 1)) + kFilterFlop);
    total += cells * 2 * k / efficiency((width + 1) * plan.chunk);
    if (backward) {
      const int64_t columns = std::min(p.w, width + 2 * radius(Stage::attention_gradient)) + 1;
      const double gradients = static_cast<double>(layout.gradient_size * columns);
      total += passes * gradients * (2 * k / efficiency(columns * plan.chunk) + kFilterFlop);
      total += 4 * c * static_cast<double>(layout.size * width) / efficiency(width * plan.chunk);
    }
  }
  return total / static_cast<double>(width);
}

std::vector<int64_t> candidates(int64_t most) {
  std::vector<int64_t> values;
  for (int64_t v = 1; v < most; v += std::max<int64_t>(1, v / 4)) values.push_back(v);
  values.push_back(most);
  return values;
}

// Calls visit(plan, width) for every cut, with the largest chunk that fits into `floats`, or with chunk 1
// (and its scratch) where none does, until it returns false.
template <class Visit>
void for_each_plan(const Problem& problem, const Radii& radius, const std::vector<char>& row_valid,
                   int64_t height, int64_t full_width, int64_t lanes, int64_t floats, bool backward,
                   Visit visit) {
  const int64_t most_across = problem.wrap() ? 1 : full_width;
  for (int64_t blocks : candidates(std::max<int64_t>(1, most_blocks(problem, row_valid, backward)))) {
    Plan plan;
    plan.layouts = make_layouts(problem, row_valid, blocks, backward);
    for (int64_t tiles_across : candidates(most_across)) {
      const int64_t width = ceil_div(full_width, tiles_across);
      plan.tiles_across = tiles_across;
      int64_t one = 0, two = 0;
      for (const Layout& layout : plan.layouts) {
        one = std::max(one, scratch_floats(problem, radius, layout, width, 1, lanes, backward));
        two = std::max(two, scratch_floats(problem, radius, layout, width, 2, lanes, backward));
      }
      const int64_t more = std::max<int64_t>(1, two - one);
      plan.chunk = std::clamp<int64_t>((floats - one) / more + 1, 1, height + 1);
      plan.scratch = one + (plan.chunk - 1) * more;
      if (!visit(plan, width)) return;
    }
  }
}

// Boxes of the selected pixels, cut at empty rows and columns (an XY-cut) where they are wider than `gap`:
// neighbouring boxes both compute what lies between them.
struct Cutter {
  const bool* selected;
  int64_t w, gap;
  std::vector<Tile> tiles;

  bool any(int64_t y0, int64_t y1, int64_t x0, int64_t x1) const {
    for (int64_t y = y0; y < y1; ++y)
      for (int64_t x = x0; x < x1; ++x)
        if (selected[y * w + x]) return true;
    return false;
  }

  // `settled`: the other axis has just left the area as it is.
  void cut(const Tile& area, bool by_rows, bool settled) {
    const int64_t first = by_rows ? area.y0 : area.x0, last = by_rows ? area.y1 : area.x1;
    int64_t start = -1, empty = 0;
    const auto close = [&](int64_t end) {
      const Tile part = by_rows ? Tile{start, end, area.x0, area.x1} : Tile{area.y0, area.y1, start, end};
      start = -1;
      const bool same = part.height() == area.height() && part.width() == area.width();
      if (same && settled)
        tiles.push_back(part);
      else
        cut(part, !by_rows, same);
    };
    for (int64_t i = first; i < last; ++i) {
      const bool filled = by_rows ? any(i, i + 1, area.x0, area.x1) : any(area.y0, area.y1, i, i + 1);
      empty = filled ? 0 : empty + 1;
      if (filled && start < 0) start = i;
      if (start >= 0 && empty > gap) close(i + 1 - empty);
    }
    if (start >= 0) close(last - empty);
  }
};

}  // namespace

Radii::Radii(const Problem& p, bool backward) {
  const Reaches reaches =
      backward ? Reaches(p, p.w, {Stage::final, Stage::gram_gradient}) : Reaches(p, p.w, {Stage::final});
  for (int s = 0; s < kStages; ++s) {
    const Stage stage = static_cast<Stage>(s);
    radii_[s] = reaches[stage].value_or(Reach{0, 0}).before;
    read_[s] = reach_into(stage, p, p.w).before;
  }
}

RingShape ring_shape(Stage stage, const Problem& p, const Radii& radius, const Layout& layout, int64_t chunk,
                     bool backward) {
  const int64_t around = radius(stage), size = layout.size;
  // The rows that the filter into the next stage reads.
  const auto read_by = [&](Stage next) { return 2 * radius.read_by(next) + 1; };
  const auto if_backward = [&](bool used, int64_t rows) { return backward && used ? rows : 0; };
  switch (stage) {
    case Stage::gram: {
      // Backward, the raw products are read again when the gradient reaches their row.
      const int64_t patch = radius.read_by(Stage::similarity);
      const int64_t until = backward ? around - radius(Stage::product_gradient) : patch;
      return {chunk + patch + until, around, size, false};
    }
    case Stage::similarity:
      return {p.before() ? read_by(p.wrap() ? Stage::rowwise : Stage::weights) : 0, around, size, false};
    case Stage::rowwise:
      return {p.wrap() ? read_by(Stage::weights) : 0, around, size, false};
    case Stage::weights:
      return {std::max<int64_t>(2, read_by(Stage::final)), around, size, false};
    case Stage::final:
      return {p.after() ? 2 : 0, around, size, false};
    case Stage::cells:
      return {chunk, around, layout.cell_size, true};
    case Stage::cell_gradient:
      return {if_backward(true, chunk + 1), around, layout.gradient_size, true};
    case Stage::attention_gradient:
      return {if_backward(p.after(), read_by(Stage::logit_gradient)), around, size, false};
    case Stage::logit_gradient:
      return {if_backward(p.before(), read_by(Stage::columnwise_gradient)), around, size, false};
    case Stage::columnwise_gradient:
      return {if_backward(p.wrap(), read_by(Stage::product_gradient)), around, size, false};
    case Stage::product_gradient:
      return {if_backward(true, read_by(Stage::gram_gradient)), around, size, false};
    case Stage::gram_gradient:
      return {if_backward(true, chunk), around, size, false};
    case Stage::count:
      break;
  }
  return {0, 0, 0, false};
}

Tile Tile::around(const Problem& problem, int64_t radius) const {
  if (problem.wrap()) return {0, problem.h, 0, problem.w};
  return {std::max<int64_t>(0, y0 - radius), std::min(problem.h, y1 + radius),
          std::max<int64_t>(0, x0 - radius), std::min(problem.w, x1 + radius)};
}

std::vector<Tile> make_tiles(const Problem& problem, const bool* selected, bool backward) {
  const Tile whole{0, problem.h, 0, problem.w};
  if (!selected || (problem.wrap() && backward)) return {whole};
  const Radii radius(problem, backward);
  Cutter cutter{selected, problem.w, radius(Stage::gram), {}};
  // Padded boxes must stay apart.
  const int64_t padding = radius(Stage::logit_gradient);
  cutter.gap = std::max(cutter.gap, 2 * padding);
  cutter.cut(whole, true, false);
  if (problem.wrap() && !cutter.tiles.empty()) {
    Tile rows{problem.h, 0, 0, problem.w};
    for (const Tile& tile : cutter.tiles) {
      rows.y0 = std::min(rows.y0, tile.y0);
      rows.y1 = std::max(rows.y1, tile.y1);
    }
    return {rows};
  }
  for (Tile& tile : cutter.tiles) tile = tile.around(problem, padding);
  return cutter.tiles;
}

Plan make_plan(const Problem& problem, const std::vector<char>& row_valid, const std::vector<Tile>& tiles,
               int64_t lanes, int64_t workspace, bool backward) {
  int64_t height = 1, width = 1;
  for (const Tile& tile : tiles) {
    height = std::max(height, tile.height());
    width = std::max(width, tile.width());
  }
  const int64_t floats = workspace / static_cast<int64_t>(sizeof(float));
  const Radii radius(problem, backward);
  Plan best;
  double least = std::numeric_limits<double>::infinity();
  for_each_plan(problem, radius, row_valid, height, width, lanes, floats, backward,
                [&](const Plan& plan, int64_t tile_width) {
                  if (plan.scratch > floats) return true;
                  const double total = cost(problem, radius, plan, tile_width, backward);
                  if (total < least) {
                    least = total;
                    best = plan;
                  }
                  // Nothing beats the whole problem at once.
                  return plan.chunk <= height || !plan.whole_background() || plan.tiles_across > 1;
                });
  return best;
}

int64_t least_workspace(const Problem& problem, int64_t lanes, bool backward) {
  int64_t least = std::numeric_limits<int64_t>::max();
  const std::vector<char> all(problem.hb, 1);
  const Radii radius(problem, backward);
  for_each_plan(problem, radius, all, 1, problem.w, lanes, 0, backward, [&](const Plan& plan, int64_t) {
    least = std::min(least, plan.scratch);
    return true;
  });
  return least * static_cast<int64_t>(sizeof(float));
}

}  // namespace contextual_attention::cpu
