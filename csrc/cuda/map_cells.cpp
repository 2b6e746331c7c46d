// The CUDA implementation of the operators of cells.py; or, in what tests build without CUDA, the same on CPU
// tensors under names that end in _on_host.
//
// As in operator.cpp, nothing here waits for the device, and no shape depends on what a tensor holds.
#include "map_cells.h"

#include <tuple>

#include "map_tensors.h"
#include "paste.h"

namespace contextual_attention::cuda {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

CellGrid grid_of(int64_t cell, int64_t rows, int64_t columns, int64_t height, int64_t width) {
  STD_TORCH_CHECK(cell >= 1 && rows * cell >= height + cell / 2 && columns * cell >= width + cell / 2,
                  "contextual_attention: ", rows, " x ", columns, " cells of side ", cell, " do not cover ",
                  height, " x ", width, " pixels");
  return {int32_t(cell), int32_t(rows), int32_t(columns), int32_t(height), int32_t(width)};
}

Tensor cut(Tensor image, int64_t cell, int64_t rows, int64_t columns, std::optional<Tensor> kept) {
  const int64_t batch = image.size(0), channels = image.size(1);
  const CellGrid grid = grid_of(cell, rows, columns, image.size(2), image.size(3));
  const auto flags = checked_map(kept, "kept", ScalarType::Bool, batch, rows, columns);
  const Tensor cells = empty(image, {batch, rows, columns, cell * cell * channels}, image.scalar_type());
  run_beside(image, [&](const Executor& executor) {
    with_bits(image.element_size(), [&](auto entry) {
      using T = decltype(entry);
      run_all(executor,
              Cut<T>{planes<const T>(image), pixel_channels<T>(cells, channels), grid,
                     pixel_map<const bool>(flags), 0, 0},
              batch);
    });
  });
  return cells;
}

Tensor join(Tensor cells, int64_t cell, int64_t height, int64_t width, std::optional<Tensor> kept) {
  const int64_t batch = cells.size(0), rows = cells.size(1), columns = cells.size(2);
  const CellGrid grid = grid_of(cell, rows, columns, height, width);
  const int64_t channels = cells.size(3) / (cell * cell);
  const auto flags = checked_map(kept, "kept", ScalarType::Bool, batch, rows, columns);
  const Tensor packed = torch::stable::contiguous(cells);
  const Tensor image = empty(cells, {batch, channels, height, width}, cells.scalar_type());
  run_beside(cells, [&](const Executor& executor) {
    with_bits(cells.element_size(), [&](auto entry) {
      using T = decltype(entry);
      run_all(executor,
              Join<T>{pixel_channels<const T>(packed, channels), planes<T>(image), grid,
                      pixel_map<const bool>(flags), 0, 0},
              batch);
    });
  });
  return image;
}

std::tuple<Tensor, Tensor> lift(Tensor image, Tensor weight, bool keep, int64_t cell, int64_t rows,
                                int64_t columns, bool wide) {
  const int64_t batch = image.size(0), channels = image.size(1);
  const CellGrid grid = grid_of(cell, rows, columns, image.size(2), image.size(3));
  const auto shares = checked_map(weight, "weight", ScalarType::Float, batch, rows, columns);
  const Tensor cells = empty(image, {batch, rows, columns, cell * cell * channels},
                             wide ? ScalarType::Float : image.scalar_type());
  const Tensor below =
      keep ? empty(image, {batch, channels, image.size(2), image.size(3)}, image.scalar_type())
           : empty(image, {0}, image.scalar_type());
  run_beside(image, [&](const Executor& executor) {
    with_entry(image.scalar_type(), [&](auto entry) {
      using T = decltype(entry);
      const auto run_into = [&](auto cell_entry) {
        using Cell = decltype(cell_entry);
        run_all(executor,
                Lift<T, Cell>{planes<const T>(image), pixel_map<const float>(shares),
                              pixel_channels<Cell>(cells, channels), keep ? planes<T>(below) : Planes<T>{},
                              grid, 0, 0},
                batch);
      };
      wide ? run_into(float{}) : run_into(T{});
    });
  });
  return {cells, below};
}

}  // namespace

Tensor paste(Tensor cells, Tensor weight, Tensor foreground, bool keep, int64_t cell, int64_t height,
             int64_t width) {
  const int64_t batch = cells.size(0), rows = cells.size(1), columns = cells.size(2);
  const CellGrid grid = grid_of(cell, rows, columns, height, width);
  const int64_t channels = cells.size(3) / (cell * cell);
  STD_TORCH_CHECK(cells.scalar_type() == ScalarType::Float, "contextual_attention: cells must be float32");
  STD_TORCH_CHECK(!keep || (foreground.size(0) == batch && foreground.size(1) == channels &&
                            foreground.size(2) == height && foreground.size(3) == width),
                  "contextual_attention: the kept map does not have the size of the output");
  const auto shares = checked_map(weight, "weight", ScalarType::Float, batch, rows, columns);
  const Tensor packed = torch::stable::contiguous(cells);
  const Tensor image = empty(foreground, {batch, channels, height, width}, foreground.scalar_type());
  run_beside(cells, [&](const Executor& executor) {
    with_entry(foreground.scalar_type(), [&](auto entry) {
      using T = decltype(entry);
      run_all(executor,
              Paste<T>{pixel_channels<const float>(packed, channels), pixel_map<const float>(shares),
                       keep ? planes<const T>(foreground) : Planes<const T>{}, planes<T>(image), grid, 0, 0},
              batch);
    });
  });
  return image;
}

STABLE_TORCH_LIBRARY_IMPL(contextual_attention, CA_DEVICE, m) {
  m.impl("cut" CA_PLACE, TORCH_BOX(&cut));
  m.impl("join" CA_PLACE, TORCH_BOX(&join));
  m.impl("paste" CA_PLACE, TORCH_BOX(&paste));
  m.impl("lift" CA_PLACE, TORCH_BOX(&lift));
}

}  // namespace contextual_attention::cuda
