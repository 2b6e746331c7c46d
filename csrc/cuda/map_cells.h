// The copies between maps and their cells, and the last step of the forward and the first of the backward.
#pragma once

#include "planes.h"

namespace contextual_attention::cuda {

// The cells of a map, zeros beyond it and in those that are not `kept`. `T` has the size of an entry.
template <class T>
struct Cut {
  static constexpr Shape shape = Shape::points;
  Planes<const T> image;
  PixelChannels<T> cells;
  CellGrid grid;
  PixelMap<const bool> kept;
  int32_t samples, first;

  CA_BOTH int32_t rows() const { return grid.pixel_rows() * groups_of(cells.channels); }
  CA_BOTH int32_t columns() const { return grid.pixel_columns(); }
  CA_BOTH void operator()(int32_t n, int32_t row, int32_t x) const {
    n += first;
    const int32_t groups = groups_of(cells.channels), y = row / groups, group = row % groups;
    Channels<T> values{};
    if (grid.inside(y, x) && (!kept || kept.at(n, y / grid.cell, x / grid.cell)))
      values = image.read(n, grid.map_row(y), grid.map_row(x), group);
    cells.write(grid.index(n, y, x), group, values);
  }
};

// The way back, zeros where cells are not `kept`.
template <class T>
struct Join {
  static constexpr Shape shape = Shape::points;
  PixelChannels<const T> cells;
  Planes<T> image;
  CellGrid grid;
  PixelMap<const bool> kept;
  int32_t samples, first;

  CA_BOTH int32_t rows() const { return grid.height * groups_of(cells.channels); }
  CA_BOTH int32_t columns() const { return grid.width; }
  CA_BOTH void operator()(int32_t n, int32_t row, int32_t column) const {
    n += first;
    const int32_t groups = groups_of(cells.channels), group = row % groups;
    const int32_t y = row / groups + grid.cell / 2, x = column + grid.cell / 2;
    Channels<T> values{};
    if (!kept || kept.at(n, y / grid.cell, x / grid.cell)) values = cells.read(grid.index(n, y, x), group);
    image.write(n, row / groups, column, group, values);
  }
};

// A map of weighted cells, each pixel rounded once. Where a cell's weight is 0 the map shows `below`, or 0.
template <class T>
struct Paste {
  static constexpr Shape shape = Shape::points;
  PixelChannels<const float> cells;
  PixelMap<const float> weight;
  Planes<const T> below;
  Planes<T> image;
  CellGrid grid;
  int32_t samples, first;

  CA_BOTH int32_t rows() const { return grid.height * groups_of(cells.channels); }
  CA_BOTH int32_t columns() const { return grid.width; }
  CA_BOTH void operator()(int32_t n, int32_t row, int32_t column) const {
    n += first;
    const int32_t groups = groups_of(cells.channels), group = row % groups, line = row / groups;
    const int32_t y = line + grid.cell / 2, x = column + grid.cell / 2;
    const float share = weight.at(n, y / grid.cell, x / grid.cell);
    Channels<T> values{};
    if (share != 0) {
      const Channels<float> summed = cells.read(grid.index(n, y, x), group);
      CA_UNROLL
      for (int32_t k = 0; k < kGroup; ++k) values.at[k] = Rounded<T>::of(summed.at[k] * share);
    } else if (below) {
      values = below.read(n, line, column, group);
    }
    image.write(n, line, column, group, values);
  }
};

// Its gradients: of the cells, and of what shows where they have no weight.
template <class T, class Cell>
struct Lift {
  static constexpr Shape shape = Shape::points;
  Planes<const T> image;
  PixelMap<const float> weight;
  PixelChannels<Cell> cells;
  Planes<T> below;
  CellGrid grid;
  int32_t samples, first;

  CA_BOTH int32_t rows() const { return grid.pixel_rows() * groups_of(cells.channels); }
  CA_BOTH int32_t columns() const { return grid.pixel_columns(); }
  CA_BOTH void operator()(int32_t n, int32_t row, int32_t x) const {
    n += first;
    const int32_t groups = groups_of(cells.channels), y = row / groups, group = row % groups;
    const int32_t line = grid.map_row(y), column = grid.map_row(x);
    const bool inside = grid.inside(y, x);
    const float share = inside ? weight.at(n, y / grid.cell, x / grid.cell) : 0.0f;
    Channels<T> slopes{};
    if (share != 0 || (inside && below)) slopes = image.read(n, line, column, group);
    Channels<Cell> weighted{};
    if (share != 0) {
      CA_UNROLL
      for (int32_t k = 0; k < kGroup; ++k) weighted.at[k] = Rounded<Cell>::of(float(slopes.at[k]) * share);
    }
    cells.write(grid.index(n, y, x), group, weighted);
    if (inside && below) below.write(n, line, column, group, share != 0 ? Channels<T>{} : slopes);
  }
};

}  // namespace contextual_attention::cuda
