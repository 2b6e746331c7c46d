// What csrc/common/stages.h says, for the test that Python says the same.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>
#include <tuple>
#include <vector>

#include "common/bindings.h"
#include "common/stages.h"

namespace {

using namespace contextual_attention;

std::vector<std::tuple<int, int64_t, int64_t>> into(const Problem& problem, int64_t columns) {
  std::vector<std::tuple<int, int64_t, int64_t>> found;
  for (int s = 0; s < kStages; ++s) {
    const Stage stage = static_cast<Stage>(s);
    const Reach reach = reach_into(stage, problem, columns);
    found.push_back({static_cast<int>(filter_into(stage, problem)), reach.before, reach.after});
  }
  return found;
}

using MaybeReach = std::optional<std::pair<int64_t, int64_t>>;

std::vector<MaybeReach> reaches(const Problem& problem, int64_t columns, const std::vector<int>& made) {
  std::vector<Stage> stages;
  for (int stage : made) stages.push_back(static_cast<Stage>(stage));
  const Reaches reaches(problem, columns, stages);
  std::vector<MaybeReach> found(kStages);
  for (int s = 0; s < kStages; ++s)
    if (const auto& reach = reaches[static_cast<Stage>(s)]) found[s] = {reach->before, reach->after};
  return found;
}

}  // namespace

PYBIND11_MODULE(reaches, module) {
  module.def("into", &into, "Of every stage: the number of the filter into it, and its reach.");
  module.def("reaches", &reaches, "Of every stage; None where nothing reads it.");
}
