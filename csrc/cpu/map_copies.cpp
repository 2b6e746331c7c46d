// Between maps of planes (B, C, H, W) and maps of pixels or cells, whose channels lie together: the CPU
// kernels of the operators of positions.py and cells.py, one transposing copy each.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include <cstring>
#include <optional>
#include <tuple>
#include <vector>

#include "transpose.h"

namespace contextual_attention::cpu {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// Planes of one batch and the buffer of pixels that belongs to them.
struct Maps {
  void* planes;
  void* pixels;
  int64_t batch, channels, height, width, sample;  // sample: entries of one sample's pixels

  int64_t plane() const { return height * width; }
};

Maps maps_of(const Tensor& planes, const Tensor& pixels) {
  const int64_t batch = planes.size(0);
  return {planes.data_ptr(),
          pixels.data_ptr(),
          batch,
          planes.size(1),
          planes.size(2),
          planes.size(3),
          batch ? pixels.numel() / batch : 0};
}

// f(sample, row) for all samples and `rows` rows of each, shared out among the threads.
template <class F>
void for_rows(int64_t batch, int64_t rows, const F& f) {
  torch::stable::parallel_for(0, batch * rows, 4, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) f(n / rows, n % rows);
  });
}

// Which positions or cells of a grid move, (B or 1, rows, columns); the others are 0. Without a mask: all do.
struct Kept {
  const bool* first;
  int64_t sample;  // from one sample's to the next, 0: all have the same
  int64_t columns;

  const bool* row(int64_t n, int64_t y) const { return first ? first + n * sample + y * columns : nullptr; }
};

Kept kept_of(const std::optional<Tensor>& kept, int64_t batch, int64_t rows, int64_t columns) {
  if (!kept) return {nullptr, 0, columns};
  STD_TORCH_CHECK(kept->scalar_type() == ScalarType::Bool && kept->dim() == 3 &&
                      (kept->size(0) == 1 || kept->size(0) == batch) && kept->size(1) == rows &&
                      kept->size(2) == columns,
                  "contextual_attention: kept must be bool, a flag for each position or cell");
  return {kept->const_data_ptr<bool>(), kept->size(0) == 1 ? 0 : rows * columns, columns};
}

std::optional<Tensor> packed_flags(const std::optional<Tensor>& kept) {
  return kept ? std::optional<Tensor>(torch::stable::contiguous(*kept)) : std::nullopt;
}

// Rows rows[i] of every sample, with map_row(sample, i) for where their pixels lie.
template <Direction direction, class T, class MapRow>
void move_rows(const Maps& maps, const std::vector<int64_t>& rows, const MapRow& map_row) {
  for_rows(maps.batch, static_cast<int64_t>(rows.size()), [&](int64_t sample, int64_t row) {
    T* planes = static_cast<T*>(maps.planes) + sample * maps.channels * maps.plane();
    T* pixels = static_cast<T*>(maps.pixels) + sample * maps.sample;
    move_row<direction>(planes + rows[row] * maps.width, maps.plane(), pixels, maps.channels,
                        map_row(sample, row));
  });
}

// Only the size of an entry matters to a copy.
template <Direction direction, class MapRow>
void move(const Maps& maps, int64_t entry, const std::vector<int64_t>& rows, const MapRow& map_row) {
  switch (entry) {
    case 1:
      return move_rows<direction, uint8_t>(maps, rows, map_row);
    case 2:
      return move_rows<direction, uint16_t>(maps, rows, map_row);
    case 4:
      return move_rows<direction, uint32_t>(maps, rows, map_row);
    case 8:
      return move_rows<direction, uint64_t>(maps, rows, map_row);
    default:
      STD_TORCH_CHECK(false, "contextual_attention: entries of ", entry, " bytes are not supported");
  }
}

Tensor zeros(const Tensor& like, std::initializer_list<int64_t> sizes) {
  return torch::stable::new_zeros(like, {sizes.begin(), sizes.size()});
}

Tensor empty_or_zeros(const Tensor& like, std::initializer_list<int64_t> sizes, bool cleared) {
  return cleared ? zeros(like, sizes) : torch::stable::new_empty(like, {sizes.begin(), sizes.size()});
}

// Picked pixels

std::vector<int64_t> indices_below(const Tensor& indices, int64_t size, const char* name) {
  STD_TORCH_CHECK(indices.scalar_type() == ScalarType::Long, "contextual_attention: ", name,
                  " must be int64");
  const Tensor packed = torch::stable::contiguous(indices);
  const int64_t* first = packed.const_data_ptr<int64_t>();
  const std::vector<int64_t> result(first, first + packed.numel());
  for (int64_t index : result)
    STD_TORCH_CHECK(index >= 0 && index < size, "contextual_attention: ", name, " holds ", index,
                    ", the map has ", size);
  return result;
}

// The pixels where rows and columns meet, in the order of both.
template <Direction direction>
void move_picked(const Maps& maps, int64_t entry, const Tensor& rows, const Tensor& columns,
                 const std::optional<Tensor>& kept) {
  const std::vector<int64_t> ys = indices_below(rows, maps.height, "rows");
  const std::vector<int64_t> xs = indices_below(columns, maps.width, "columns");
  const int64_t count = static_cast<int64_t>(xs.size());
  const std::optional<Tensor> flags = packed_flags(kept);
  const Kept moves = kept_of(flags, maps.batch, static_cast<int64_t>(ys.size()), count);
  move<direction>(maps, entry, ys, [&](int64_t sample, int64_t row) {
    const bool* moving = moves.row(sample, row);
    RowMap map;
    map.columns.reserve(count);
    map.at.reserve(count);
    for (int64_t i = 0; i < count; ++i) {
      if (moving && !moving[i]) continue;
      map.columns.push_back(xs[i]);
      map.at.push_back((row * count + i) * maps.channels);
    }
    return map;
  });
}

Tensor pick_cpu(Tensor image, Tensor rows, Tensor columns, std::optional<Tensor> kept) {
  const Tensor planes = torch::stable::contiguous(image);
  const Tensor pixels =
      empty_or_zeros(image, {image.size(0), rows.numel(), columns.numel(), image.size(1)}, kept.has_value());
  move_picked<Direction::to_pixels>(maps_of(planes, pixels), image.element_size(), rows, columns, kept);
  return pixels;
}

Tensor place_cpu(Tensor pixels, Tensor rows, Tensor columns, int64_t height, int64_t width,
                 std::optional<Tensor> kept) {
  const Tensor packed = torch::stable::contiguous(pixels);
  const Tensor image = zeros(pixels, {pixels.size(0), pixels.size(3), height, width});
  move_picked<Direction::to_planes>(maps_of(image, packed), pixels.element_size(), rows, columns, kept);
  return image;
}

// Cells. The first one starts cell / 2 pixels before the edge.

void check_cells(int64_t cell, int64_t rows, int64_t columns, int64_t height, int64_t width) {
  STD_TORCH_CHECK(cell >= 1 && rows * cell >= height + cell / 2 && columns * cell >= width + cell / 2,
                  "contextual_attention: ", rows, " x ", columns, " cells of side ", cell, " do not cover ",
                  height, " x ", width, " pixels");
}

// Where the pixels of a map lie in its cells.
struct Cells {
  int64_t cell, columns, channels, width;

  int64_t cell_row(int64_t y) const { return (y + cell / 2) / cell; }
  int64_t cell_column(int64_t x) const { return (x + cell / 2) / cell; }
  int64_t at(int64_t y, int64_t x) const {
    const int64_t row = (y + cell / 2) % cell, column = (x + cell / 2) % cell;
    return ((cell_row(y) * columns + cell_column(x)) * cell * cell + row * cell + column) * channels;
  }
};

template <Direction direction>
void move_cells(const Maps& maps, int64_t entry, int64_t cell, int64_t grid_rows, int64_t columns,
                const std::optional<Tensor>& kept) {
  const Cells cells{cell, columns, maps.channels, maps.width};
  const std::optional<Tensor> flags = packed_flags(kept);
  const Kept moves = kept_of(flags, maps.batch, grid_rows, columns);
  std::vector<int64_t> rows(maps.height);
  for (int64_t y = 0; y < maps.height; ++y) rows[y] = y;
  move<direction>(maps, entry, rows, [&](int64_t sample, int64_t y) {
    const bool* moving = moves.row(sample, cells.cell_row(y));
    RowMap map;
    map.columns.reserve(maps.width);
    map.at.reserve(maps.width);
    for (int64_t x = 0; x < maps.width; ++x) {
      if (moving && !moving[cells.cell_column(x)]) continue;
      map.columns.push_back(x);
      map.at.push_back(cells.at(y, x));
    }
    return map;
  });
}

// Zeros in the cells that reach beyond the map; the others will be written whole.
void clear_edges(const Maps& maps, int64_t entry, int64_t cell, int64_t rows, int64_t columns) {
  const int64_t half = cell / 2, bytes = cell * cell * maps.channels * entry;
  const auto is_inside = [&](int64_t index, int64_t size) {
    return index * cell >= half && (index + 1) * cell - half <= size;
  };
  for_rows(maps.batch, rows, [&](int64_t sample, int64_t row) {
    char* first = static_cast<char*>(maps.pixels) + (sample * rows + row) * columns * bytes;
    for (int64_t column = 0; column < columns; ++column)
      if (!is_inside(row, maps.height) || !is_inside(column, maps.width))
        std::memset(first + column * bytes, 0, bytes);
  });
}

Tensor cut_cpu(Tensor image, int64_t cell, int64_t rows, int64_t columns, std::optional<Tensor> kept) {
  check_cells(cell, rows, columns, image.size(2), image.size(3));
  const Tensor planes = torch::stable::contiguous(image);
  const Tensor cells =
      empty_or_zeros(image, {image.size(0), rows, columns, cell * cell * image.size(1)}, kept.has_value());
  if (!kept) clear_edges(maps_of(planes, cells), image.element_size(), cell, rows, columns);
  move_cells<Direction::to_pixels>(maps_of(planes, cells), image.element_size(), cell, rows, columns, kept);
  return cells;
}

Tensor join_cpu(Tensor cells, int64_t cell, int64_t height, int64_t width, std::optional<Tensor> kept) {
  check_cells(cell, cells.size(1), cells.size(2), height, width);
  const Tensor packed = torch::stable::contiguous(cells);
  const Tensor image =
      empty_or_zeros(cells, {cells.size(0), cells.size(3) / (cell * cell), height, width}, kept.has_value());
  move_cells<Direction::to_planes>(maps_of(image, packed), cells.element_size(), cell, cells.size(1),
                                   cells.size(2), kept);
  return image;
}

// Weighted cells: a cell of weight 0 is not there.

struct Weights {
  const float* first;
  int64_t sample;  // from one sample's to the next, 0: all have the same
};

Weights weights_of(const Tensor& weight, const Tensor& cells) {
  STD_TORCH_CHECK(weight.scalar_type() == ScalarType::Float, "contextual_attention: weights must be float32");
  const int64_t count = cells.size(1) * cells.size(2);
  const int64_t samples = weight.size(0);
  STD_TORCH_CHECK((samples == 1 || samples == cells.size(0)) && weight.numel() == samples * count,
                  "contextual_attention: a weight for each cell is needed");
  return {weight.const_data_ptr<float>(), samples == 1 ? 0 : count};
}

// The pixels of row y whose cells have a weight.
RowMap covered_pixels(const Cells& cells, const float* weight, int64_t y) {
  RowMap map;
  const float* row = weight + cells.cell_row(y) * cells.columns;
  for (int64_t x = 0; x < cells.width; ++x) {
    if (row[cells.cell_column(x)] == 0) continue;
    map.columns.push_back(x);
    map.at.push_back(cells.at(y, x));
    map.weight.push_back(row[cells.cell_column(x)]);
  }
  return map;
}

// to[x] = from[x], or 0 without `from`, for the columns of one row of all planes that are (or are not)
// `covered`.
template <class T>
void fill_row(T* to, const T* from, const Maps& maps, const RowMap& map, bool covered) {
  const auto fill = [&](int64_t first, int64_t last) {
    for (int64_t c = 0; c < maps.channels && first < last; ++c) {
      T* target = to + c * maps.plane() + first;
      if (from)
        std::memcpy(target, from + c * maps.plane() + first, (last - first) * sizeof(T));
      else
        std::fill(target, to + c * maps.plane() + last, T(0.0f));
    }
  };
  int64_t next = 0;
  for (int64_t i = 0; i < map.count();) {
    const int64_t first = map.columns[i];
    int64_t last = first;
    while (i < map.count() && map.columns[i] == last) ++i, ++last;
    if (covered)
      fill(first, last);
    else
      fill(next, first);
    next = last;
  }
  if (!covered) fill(next, maps.width);
}

template <class T>
void paste_rows(const Maps& maps, const Weights& weights, const Cells& cells, const T* kept) {
  for_rows(maps.batch, maps.height, [&](int64_t sample, int64_t y) {
    const RowMap map = covered_pixels(cells, weights.first + sample * weights.sample, y);
    const int64_t at = sample * maps.channels * maps.plane() + y * maps.width;
    T* planes = static_cast<T*>(maps.planes) + at;
    move_row<Direction::to_planes>(
        planes, maps.plane(), static_cast<float*>(maps.pixels) + sample * maps.sample, maps.channels, map);
    fill_row(planes, kept ? kept + at : nullptr, maps, map, false);
  });
}

template <class T, class Cell>
void lift_rows(const Maps& maps, const Weights& weights, const Cells& cells, T* kept) {
  for_rows(maps.batch, maps.height, [&](int64_t sample, int64_t y) {
    const RowMap map = covered_pixels(cells, weights.first + sample * weights.sample, y);
    const int64_t at = sample * maps.channels * maps.plane() + y * maps.width;
    T* planes = static_cast<T*>(maps.planes) + at;
    move_row<Direction::to_pixels>(
        planes, maps.plane(), static_cast<Cell*>(maps.pixels) + sample * maps.sample, maps.channels, map);
    if (!kept) return;
    fill_row(kept + at, planes, maps, map, false);
    fill_row<T>(kept + at, nullptr, maps, map, true);
  });
}

// f(T*) for the entries that `dtype` stands for.
template <class F>
void for_floating(ScalarType dtype, const F& f) {
  switch (dtype) {
    case ScalarType::Float:
      return f(static_cast<float*>(nullptr));
    case ScalarType::BFloat16:
      return f(static_cast<torch::headeronly::BFloat16*>(nullptr));
    case ScalarType::Half:
      return f(static_cast<torch::headeronly::Half*>(nullptr));
    default:
      STD_TORCH_CHECK(false, "contextual_attention: maps must be float32, bfloat16 or float16");
  }
}

Tensor paste_cpu(Tensor cells, Tensor weight, Tensor foreground, bool keep, int64_t cell, int64_t height,
                 int64_t width) {
  check_cells(cell, cells.size(1), cells.size(2), height, width);
  const Tensor packed = torch::stable::contiguous(cells), weights = torch::stable::contiguous(weight);
  STD_TORCH_CHECK(cells.scalar_type() == ScalarType::Float, "contextual_attention: cells must be float32");
  const Tensor kept = torch::stable::contiguous(foreground);
  const int64_t channels = cells.size(3) / (cell * cell);
  STD_TORCH_CHECK(!keep || (kept.size(1) == channels && kept.size(2) == height && kept.size(3) == width),
                  "contextual_attention: the kept map does not have the size of the output");
  const Tensor image = torch::stable::new_empty(kept, {{cells.size(0), channels, height, width}});
  for_floating(kept.scalar_type(), [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    paste_rows<T>(maps_of(image, packed), weights_of(weights, packed), {cell, cells.size(2), channels, width},
                  keep ? static_cast<const T*>(kept.data_ptr()) : nullptr);
  });
  return image;
}

std::tuple<Tensor, Tensor> lift_cpu(Tensor image, Tensor weight, bool keep, int64_t cell, int64_t rows,
                                    int64_t columns, bool wide) {
  check_cells(cell, rows, columns, image.size(2), image.size(3));
  const Tensor planes = torch::stable::contiguous(image), weights = torch::stable::contiguous(weight);
  const int64_t channels = image.size(1);
  const Tensor cells =
      torch::stable::new_zeros(image, {{image.size(0), rows, columns, cell * cell * channels}},
                               wide ? ScalarType::Float : image.scalar_type());
  const Tensor kept = keep ? torch::stable::empty_like(planes) : zeros(planes, {0});
  for_floating(image.scalar_type(), [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    const Maps maps = maps_of(planes, cells);
    const Weights shares = weights_of(weights, cells);
    const Cells grid{cell, columns, channels, image.size(3)};
    T* const left = keep ? static_cast<T*>(kept.data_ptr()) : nullptr;
    if (wide)
      lift_rows<T, float>(maps, shares, grid, left);
    else
      lift_rows<T, T>(maps, shares, grid, left);
  });
  return {cells, kept};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(contextual_attention, CPU, m) {
  m.impl("pick", TORCH_BOX(&pick_cpu));
  m.impl("place", TORCH_BOX(&place_cpu));
  m.impl("cut", TORCH_BOX(&cut_cpu));
  m.impl("join", TORCH_BOX(&join_cpu));
  m.impl("paste", TORCH_BOX(&paste_cpu));
  m.impl("lift", TORCH_BOX(&lift_cpu));
}

}  // namespace contextual_attention::cpu
