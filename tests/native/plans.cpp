// What the CUDA planner makes of any problem, for any device, and of a given tile.
#include <pybind11/stl.h>

#include <array>
#include <optional>

#include "common/bindings.h"
#include "cuda/cost.h"
#include "cuda/executor.h"
#include "cuda/octet_plan.h"
#include "cuda/plan.h"

namespace py = pybind11;

namespace contextual_attention::cuda {

// cuda/bindings.cpp's.
py::dict describe(const Plan& plan);

namespace {

py::dict plan(const Problem& problem, int64_t workspace, int64_t cache, bool backward,
              const std::optional<std::array<int64_t, 4>>& tile, bool octets) {
  const Chip chip = chip_for(problem, Executor::on_host().shared());
  Plan found;
  if (tile) {
    const auto [y, x, v, u] = *tile;
    const bool any = workspace == 0;
    found = octets ? octet_plan_of(problem, {y, x, v, u}, any ? INT64_MAX : workspace, chip)
                   : plan_of(problem, {y, x, v, u}, backward);
  } else {
    found =
        octets ? make_octet_plan(problem, workspace, chip) : make_plan(problem, workspace, cache, backward);
  }
  py::dict result = describe(found);
  result["gram_on_chip"] = found.shared > 0;
  if (found.samples > 0)
    result["seconds"] =
        octets ? octet_seconds(problem, found) : estimated_seconds(problem, found, cache, backward);
  return result;
}

}  // namespace

void bind_plans(py::module_& module) {
  module.def(
      "plan", &plan, py::arg("problem"), py::arg("workspace"), py::arg("cache"), py::arg("backward"),
      py::arg("tile") = py::none(), py::arg("octets") = false,
      "How such a problem is cut on a device with so many bytes of level 2 cache: as last_cuda_tiling has\n"
      "it, with the estimated \"seconds\" of one sample, or with 0 \"samples\" where nothing fits. With a "
      "tile,\n"
      "(y, x, v, u): how it would be cut so, in any workspace. With octets: a forward in half precision by\n"
      "octets, where they suit it, on an H100's chip; a workspace of 0 is then any, another one holds for\n"
      "tiles, too.");
}

}  // namespace contextual_attention::cuda
