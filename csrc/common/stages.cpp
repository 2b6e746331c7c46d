#include "stages.h"

#include <algorithm>

namespace contextual_attention {

Filter filter_into(Stage stage, const Problem& p) {
  switch (stage) {
    case Stage::similarity:
    case Stage::gram_gradient:
      return Filter::patch;
    case Stage::rowwise:
    case Stage::product_gradient:
      return p.wrap() ? Filter::left_right : Filter::none;
    case Stage::weights:
    case Stage::columnwise_gradient:
      if (p.wrap()) return Filter::top_down;
      return p.before() ? Filter::propagation : Filter::none;
    case Stage::final:
    case Stage::logit_gradient:
      return p.after() ? Filter::propagation : Filter::none;
    case Stage::cells:
      return Filter::pasting;
    case Stage::attention_gradient:
      return Filter::pasted;
    default:
      return Filter::none;
  }
}

Reach reach_of(Filter filter, const Problem& p, int64_t columns) {
  const auto around = [](int64_t radius) { return Reach{radius, radius}; };
  switch (filter) {
    case Filter::patch:
      return around(p.patch_radius());
    case Filter::propagation:
    case Filter::top_down:
      return around(p.fuse_radius());
    case Filter::left_right:  // the rows whose ends it runs over
      return around(ceil_div(p.fuse_radius(), columns));
    case Filter::pasting:
      return {1, 0};
    case Filter::pasted:
      return {0, 1};
    default:
      return around(0);
  }
}

Reaches::Reaches(const Problem& p, int64_t columns, const std::vector<Stage>& made) {
  for (Stage stage : made) need(stage, {0, 0});
  for (int s = kStages - 1; s > 0; --s) {
    const Stage stage = static_cast<Stage>(s);
    if (!found_[s]) continue;
    const Reach here = *found_[s], by = reach_into(stage, p, columns);
    // The gradient of the cells is a product, of no stage before it.
    if (stage != Stage::cell_gradient)
      need(static_cast<Stage>(s - 1), {here.before + by.before, here.after + by.after});
    // That of the final weights is centred by them. (With these come all weights that a softmax's reads.)
    if (stage == Stage::attention_gradient) need(Stage::final, here);
  }
}

void Reaches::need(Stage stage, const Reach& reach) {
  std::optional<Reach>& found = found_[static_cast<int>(stage)];
  const Reach so_far = found.value_or(Reach{0, 0});
  found = Reach{std::max(so_far.before, reach.before), std::max(so_far.after, reach.after)};
}

}  // namespace contextual_attention
