// Between maps of planes (B, C, H, W) and maps of pixels or cells, whose channels lie together: the CPU
// kernels of the operators pick, place, cut and join (contextual_attention/cells.py), one transposing copy
// each, in any dtype.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <algorithm>
#include <vector>

namespace contextual_attention {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

enum class Direction { to_pixels, to_planes };

// Where the pixels of one row of a plane lie: columns[i] of the row belongs to the C entries from at[i] on.
struct RowMap {
  std::vector<int64_t> columns, at;
};

// One row of all planes. Blocks of 16 x 16 keep both sides in the nearest cache.
template <class T, Direction direction>
void move_row(T* planes, int64_t plane, T* pixels, int64_t channels, const RowMap& map) {
  constexpr int64_t kBlock = 16;
  const int64_t count = static_cast<int64_t>(map.columns.size());
  for (int64_t i0 = 0; i0 < count; i0 += kBlock) {
    const int64_t i1 = std::min(count, i0 + kBlock);
    for (int64_t c0 = 0; c0 < channels; c0 += kBlock) {
      const int64_t c1 = std::min(channels, c0 + kBlock);
      if (direction == Direction::to_pixels) {
        for (int64_t i = i0; i < i1; ++i)
          for (int64_t c = c0; c < c1; ++c) pixels[map.at[i] + c] = planes[c * plane + map.columns[i]];
      } else {
        for (int64_t c = c0; c < c1; ++c)
          for (int64_t i = i0; i < i1; ++i) planes[c * plane + map.columns[i]] = pixels[map.at[i] + c];
      }
    }
  }
}

// Planes of one batch and the buffer of pixels that belongs to them.
struct Maps {
  void* planes;
  void* pixels;
  int64_t batch, channels, height, width, sample;  // sample: entries of one sample's pixels
};

// Rows rows[i] of every sample, with map_row(i) for where their pixels lie.
template <class T, Direction direction, class MapRow>
void move_rows(const Maps& maps, const std::vector<int64_t>& rows, const MapRow& map_row) {
  const int64_t count = static_cast<int64_t>(rows.size()), plane = maps.height * maps.width;
  torch::stable::parallel_for(0, maps.batch * count, 4, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      const int64_t sample = n / count, row = n % count;
      T* planes = static_cast<T*>(maps.planes) + sample * maps.channels * plane + rows[row] * maps.width;
      T* pixels = static_cast<T*>(maps.pixels) + sample * maps.sample;
      move_row<T, direction>(planes, plane, pixels, maps.channels, map_row(row));
    }
  });
}

// Only the size of an entry matters to a copy.
template <Direction direction, class MapRow>
void move(const Maps& maps, int64_t entry, const std::vector<int64_t>& rows, const MapRow& map_row) {
  switch (entry) {
    case 1:
      return move_rows<uint8_t, direction>(maps, rows, map_row);
    case 2:
      return move_rows<uint16_t, direction>(maps, rows, map_row);
    case 4:
      return move_rows<uint32_t, direction>(maps, rows, map_row);
    case 8:
      return move_rows<uint64_t, direction>(maps, rows, map_row);
    default:
      STD_TORCH_CHECK(false, "contextual_attention: entries of ", entry, " bytes are not supported");
  }
}

Tensor zeros(const Tensor& like, std::initializer_list<int64_t> sizes) {
  return torch::stable::new_zeros(like, {sizes.begin(), sizes.size()});
}

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
void move_picked(const Maps& maps, int64_t entry, const Tensor& rows, const Tensor& columns) {
  const std::vector<int64_t> xs = indices_below(columns, maps.width, "columns");
  const int64_t count = static_cast<int64_t>(xs.size());
  move<direction>(maps, entry, indices_below(rows, maps.height, "rows"), [&](int64_t row) {
    RowMap map{xs, std::vector<int64_t>(count)};
    for (int64_t i = 0; i < count; ++i) map.at[i] = (row * count + i) * maps.channels;
    return map;
  });
}

// All pixels of a map, in cells; the first cell starts cell / 2 before the edge.
template <Direction direction>
void move_cells(const Maps& maps, int64_t entry, int64_t cell, int64_t columns) {
  std::vector<int64_t> rows(maps.height);
  for (int64_t y = 0; y < maps.height; ++y) rows[y] = y;
  move<direction>(maps, entry, rows, [&](int64_t y) {
    RowMap map{std::vector<int64_t>(maps.width), std::vector<int64_t>(maps.width)};
    const int64_t row = y + cell / 2;
    for (int64_t x = 0; x < maps.width; ++x) {
      const int64_t column = x + cell / 2;
      const int64_t index = row / cell * columns + column / cell;
      map.columns[x] = x;
      map.at[x] = (index * cell * cell + row % cell * cell + column % cell) * maps.channels;
    }
    return map;
  });
}

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

Tensor pick_cpu(Tensor image, Tensor rows, Tensor columns) {
  const Tensor planes = torch::stable::contiguous(image);
  const Tensor pixels =
      torch::stable::new_empty(image, {{image.size(0), rows.numel(), columns.numel(), image.size(1)}});
  move_picked<Direction::to_pixels>(maps_of(planes, pixels), image.element_size(), rows, columns);
  return pixels;
}

Tensor place_cpu(Tensor pixels, Tensor rows, Tensor columns, int64_t height, int64_t width) {
  const Tensor packed = torch::stable::contiguous(pixels);
  const Tensor image = zeros(pixels, {pixels.size(0), pixels.size(3), height, width});
  move_picked<Direction::to_planes>(maps_of(image, packed), pixels.element_size(), rows, columns);
  return image;
}

void check_cells(int64_t cell, int64_t rows, int64_t columns, int64_t height, int64_t width) {
  STD_TORCH_CHECK(cell >= 1 && rows * cell >= height + cell / 2 && columns * cell >= width + cell / 2,
                  "contextual_attention: ", rows, " x ", columns, " cells of side ", cell, " do not cover ",
                  height, " x ", width, " pixels");
}

Tensor cut_cpu(Tensor image, int64_t cell, int64_t rows, int64_t columns) {
  check_cells(cell, rows, columns, image.size(2), image.size(3));
  const Tensor planes = torch::stable::contiguous(image);
  const Tensor cells = zeros(image, {image.size(0), rows, columns, cell * cell * image.size(1)});
  move_cells<Direction::to_pixels>(maps_of(planes, cells), image.element_size(), cell, columns);
  return cells;
}

Tensor join_cpu(Tensor cells, int64_t cell, int64_t height, int64_t width) {
  check_cells(cell, cells.size(1), cells.size(2), height, width);
  const Tensor packed = torch::stable::contiguous(cells);
  const Tensor image =
      torch::stable::new_empty(cells, {{cells.size(0), cells.size(3) / (cell * cell), height, width}});
  move_cells<Direction::to_planes>(maps_of(image, packed), cells.element_size(), cell, cells.size(2));
  return image;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(contextual_attention, CPU, m) {
  m.impl("pick", TORCH_BOX(&pick_cpu));
  m.impl("place", TORCH_BOX(&place_cpu));
  m.impl("cut", TORCH_BOX(&cut_cpu));
  m.impl("join", TORCH_BOX(&join_cpu));
}

}  // namespace contextual_attention
