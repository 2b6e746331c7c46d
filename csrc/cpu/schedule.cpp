#include <algorithm>

#include "attend.h"

namespace contextual_attention::cpu {

Schedule make_schedule(const Problem& problem, const Sample& sample, int64_t lanes, int64_t workspace,
                       bool backward) {
  std::vector<char> row_valid(problem.hb);
  for (int64_t v = 0; v < problem.hb; ++v)
    for (int64_t u = 0; u < problem.wb && !row_valid[v]; ++u) row_valid[v] = sample.valid[v * problem.wb + u];
  Schedule schedule;
  schedule.tiles = make_tiles(problem, sample.selected, backward);
  schedule.plan = make_plan(problem, row_valid, schedule.tiles, lanes, workspace, backward);
  // Those that lie side by side in the place of one.
  std::vector<Tile> tiles;
  int64_t width = 1;
  for (const Tile& tile : schedule.tiles) width = std::max(width, tile.width());
  width = ceil_div(width, std::max<int64_t>(1, schedule.plan.tiles_across));
  for (const Tile& tile : schedule.tiles)
    for (int64_t x = tile.x0; x < tile.x1; x += width)
      tiles.push_back({tile.y0, tile.y1, x, std::min(tile.x1, x + width)});
  schedule.tiles = tiles;
  return schedule;
}

int64_t Schedule::height() const {
  int64_t height = 0;
  for (const Tile& tile : tiles) height = std::max(height, tile.height());
  return height;
}

}  // namespace contextual_attention::cpu
