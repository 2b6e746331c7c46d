#include "work.h"

#include <algorithm>
#include <atomic>
#include <mutex>

namespace contextual_attention::cpu {
namespace {

std::atomic<bool> counting{false};
std::atomic<int64_t> gemm_calls, gemm_flop, score_visits, scratch_bytes;
std::atomic<const Filters*> inner;
std::mutex cuts_mutex;
std::set<std::string> cuts;

const Filters& visit(int64_t n) {
  score_visits += n;
  return *inner.load();
}

const Filters kCounting = {
    [](float* y, const Tap* taps, int count, int64_t at, int64_t n, float scale, const float* gain) {
      visit(n).diagonal_sum(y, taps, count, at, n, scale, gain);
    },
    [](uint16_t* y, const Tap* taps, int count, int64_t at, int64_t n) {
      visit(n).diagonal_sum_bfloat16(y, taps, count, at, n);
    },
    [](float* y, const Tap* taps, int count, int64_t at, int64_t n, float scale, const float* gain,
       const float* valid,
       float offset) { return visit(n).softmax_weights(y, taps, count, at, n, scale, gain, valid, offset); },
    [](const float* x, const float* valid, int64_t n) { return visit(n).largest(x, valid, n); },
    [](float* x, const float* valid, int64_t n, float offset) {
      return visit(n).exponentials(x, valid, n, offset);
    },
    [](const float* x, int64_t n) { return visit(n).sum(x, n); },
    [](const float* x, const float* y, int64_t n) { return visit(n).dot(x, y, n); },
    [](const float* weight, const float* x, int64_t n, double* mass) {
      return visit(n).weighted_sum(weight, x, n, mass);
    },
    [](const float* x, int64_t n, int64_t* index) { return visit(n).argmax(x, n, index); },
    [](float* y, const float* weight, const float* gradient, int64_t n, float scale, float centre) {
      visit(n).centred(y, weight, gradient, n, scale, centre);
    },
    [](const float* gradient, const float* product, const float* beta, int64_t n, float alpha,
       float* beta_gradient) {
      return visit(n).norm_gradients(gradient, product, beta, n, alpha, beta_gradient);
    },
    [](float* x, const float* gain, int64_t n, float scale) { visit(n).scale(x, gain, n, scale); },
    // These two add cells and features, not scores.
    [](float* y, const float* x, int64_t n) { inner.load()->add(y, x, n); },
    [](float* y, const uint16_t* x, int64_t n) { inner.load()->add_bfloat16(y, x, n); },
    // Nor has this one to do with scores.
    [](const uint8_t* a, const uint8_t* mask, const uint8_t* b, int rows, int bytes, int64_t pitch,
       int32_t limit) { return inner.load()->squared_distance(a, mask, b, rows, bytes, pitch, limit); },
};

}  // namespace

void start_counting() {
  const std::lock_guard<std::mutex> lock(cuts_mutex);
  cuts.clear();
  gemm_calls = gemm_flop = score_visits = scratch_bytes = 0;
  counting = true;
}

Work stop_counting() {
  const std::lock_guard<std::mutex> lock(cuts_mutex);
  counting = false;
  return {gemm_calls, gemm_flop, score_visits, scratch_bytes, cuts};
}

bool is_counting() { return counting; }

void count_plans(const Problem& problem, const std::vector<Schedule>& samples, int64_t bytes, bool backward) {
  if (!counting) return;
  const std::lock_guard<std::mutex> lock(cuts_mutex);
  scratch_bytes = std::max<int64_t>(scratch_bytes, bytes);
  for (const Schedule& sample : samples)
    cuts.insert(describe(problem, sample.plan, sample.height(), backward));
}

void count_product(int64_t rows, int64_t columns, int64_t inner_size) {
  if (!counting) return;
  ++gemm_calls;
  gemm_flop += 2 * rows * columns * inner_size;
}

const Filters& counted(const Filters& filters) {
  if (!counting) return filters;
  inner = &filters;
  return kCounting;
}

std::string describe(const Problem& problem, const Plan& plan, int64_t height, bool backward) {
  std::string kind = backward ? "backward" : "forward";
  kind += problem.wrap() ? ", wrapped" : ", bounded";
  kind += plan.whole_background() ? ", whole background" : ", blocks";
  kind += plan.tiles_across > 1 ? ", tiles across" : ", whole rows";
  return kind + (plan.chunk > height ? ", all at once"
                 : plan.chunk > 1    ? ", some at a time"
                                     : ", one at a time");
}

}  // namespace contextual_attention::cpu
