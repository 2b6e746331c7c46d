// The operator's CPU kernels behind the schemas of contextual_attention/interface.py: checks, float32
// operands, and how samples and threads are shared out.
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <algorithm>
#include <optional>
#include <tuple>
#include <vector>

#include "../common/call.h"
#include "attend.h"
#include "gemm.h"
#include "hooks.h"

namespace contextual_attention::cpu {
namespace {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

Tensor zeros(const Tensor& like, std::initializer_list<int64_t> sizes, ScalarType dtype) {
  return torch::stable::new_zeros(like, {sizes.begin(), sizes.size()}, dtype);
}

// Operands of the whole batch, contiguous, float32; forward the value may stay bfloat16.
struct Batch {
  Problem problem;
  Tensor foreground, background, beta, value, valid;
  std::optional<Tensor> alpha, selected;

  Sample sample(int64_t n) const {
    const Problem& p = problem;
    const auto floats = [n](const Tensor& t, int64_t size) { return t.const_data_ptr<float>() + n * size; };
    const auto flags = [n](const Tensor& t, int64_t size) {
      return t.const_data_ptr<bool>() + (t.size(0) == 1 ? 0 : n * size);
    };
    Sample sample{floats(foreground, p.h * p.w * p.channels),
                  floats(background, p.hb * p.wb * p.channels),
                  alpha ? floats(*alpha, p.h * p.w) : nullptr,
                  floats(beta, p.hb * p.wb),
                  flags(valid, p.hb * p.wb),
                  selected ? flags(*selected, p.h * p.w) : nullptr,
                  nullptr,
                  nullptr,
                  0};
    const int64_t at = n * (p.hb + 1) * (p.wb + 1) * p.value_channels;
    if (value.scalar_type() == ScalarType::Float)
      sample.value = value.const_data_ptr<float>() + at;
    else
      sample.value16 = static_cast<const uint16_t*>(value.const_data_ptr()) + at;
    sample.invalid_candidates = p.candidates() - std::count(sample.valid, sample.valid + p.hb * p.wb, true);
    return sample;
  }
};

Batch make_batch(const Operands& a, const Problem& problem, bool keep_bfloat16) {
  std::optional<Tensor> alpha, selected;
  if (a.alpha) alpha = as_float(*a.alpha);
  if (a.selected) selected = torch::stable::contiguous(*a.selected);
  keep_bfloat16 = keep_bfloat16 && a.value.scalar_type() == ScalarType::BFloat16 && has_fast_bfloat16();
  return {problem,
          as_float(a.foreground),
          as_float(a.background),
          as_float(a.beta),
          keep_bfloat16 ? torch::stable::contiguous(a.value) : as_float(a.value),
          torch::stable::contiguous(a.valid),
          alpha,
          selected};
}

// One sample's part of (B, 3, h, w).
Statistics statistics_of(const Problem& p, Tensor& statistics, int64_t n) {
  float* first = statistics.mutable_data_ptr<float>() + n * 3 * p.h * p.w;
  return {first, first + p.h * p.w, first + 2 * p.h * p.w};
}

// Score scratch where the caller sets no bound (workspace 0): enough for efficient matrix products. Only a
// problem that cannot do with it takes more, the least it needs.
constexpr int64_t kDefaultWorkspace = 32 << 20;

// Whole samples to every thread where that keeps all of them busy, else all threads to one sample at a
// time. each(its number, sample, schedule, lanes, scratch).
template <class Each>
void for_samples(const Batch& batch, int64_t workspace, bool backward, const Each& each) {
  const Problem& p = batch.problem;
  const int64_t threads = torch::stable::get_num_threads(), samples = p.batch;
  std::vector<Sample> given;
  for (int64_t n = 0; n < samples; ++n) given.push_back(batch.sample(n));
  const auto schedules = [&](int64_t lanes, int64_t bytes) {
    std::vector<Schedule> all;
    for (const Sample& sample : given) all.push_back(make_schedule(p, sample, lanes, bytes, backward));
    return all;
  };
  const auto fits = [](const std::vector<Schedule>& all) {
    return std::all_of(all.begin(), all.end(), [](const Schedule& s) { return s.plan.chunk > 0; });
  };
  const bool small = samples * p.h * p.w * p.hb * p.wb < kScoresWorthSharing;
  int64_t workers = !small && (samples % threads == 0 || samples >= 4 * threads) ? threads : 1;
  const int64_t bound = workspace > 0 ? workspace : kDefaultWorkspace;
  std::vector<Schedule> planned = schedules(threads / workers, bound / workers);
  if (workers > 1 && !fits(planned)) {
    workers = 1;
    planned = schedules(threads, bound);
  }
  if (!fits(planned)) {
    const int64_t least = least_workspace(p, threads, backward);
    STD_TORCH_CHECK(workspace == 0, "contextual_attention: workspace: expected at least ", least,
                    " bytes for this problem, got ", workspace);
    planned = schedules(threads, least);
  }
  int64_t floats = 1;
  for (const Schedule& schedule : planned) floats = std::max(floats, schedule.plan.scratch);
  if (const Hooks* table = hooks)
    table->planned(p, planned, workers * floats * static_cast<int64_t>(sizeof(float)), backward);
  Tensor scratch = torch::stable::new_empty(batch.foreground, {{workers * floats}}, ScalarType::Float);
  float* memory = scratch.mutable_data_ptr<float>();
  const auto work = [&](int64_t worker) {
    for (int64_t n = samples * worker / workers; n < samples * (worker + 1) / workers; ++n)
      each(n, given[n], planned[n], threads / workers, memory + worker * floats);
  };
  // Not a parallel_for of one worker: it would count as a parallel region, in which the lanes get no threads.
  if (workers == 1) return work(0);
  torch::stable::parallel_for(0, workers, 1, [&](int64_t begin, int64_t end) {
    for (int64_t worker = begin; worker < end; ++worker) work(worker);
  });
}

std::tuple<Tensor, Tensor, Tensor> attend_cpu(const Operands& given, const Scoring& scoring, const Run& how) {
  const Batch batch = make_batch(given, checked_problem(given, scoring), true);
  const Problem& p = batch.problem;
  const auto new_result = [&](std::initializer_list<int64_t> sizes, ScalarType dtype) {
    return zeros(given.value, sizes, dtype);
  };
  Tensor cells = new_result({p.batch, p.h + 1, p.w + 1, p.value_channels}, ScalarType::Float);
  Tensor offsets = how.return_offsets ? new_result({p.batch, 2, p.h, p.w}, ScalarType::Long)
                                      : new_result({0}, ScalarType::Long);
  Tensor statistics = new_result({p.batch, 3, p.h, p.w}, ScalarType::Float);
  float* cell_data = cells.mutable_data_ptr<float>();
  int64_t* offset_data = how.return_offsets ? offsets.mutable_data_ptr<int64_t>() : nullptr;
  for_samples(
      batch, how.workspace, false,
      [&](int64_t n, const Sample& sample, const Schedule& schedule, int64_t lanes, float* scratch) {
        attend(p, sample, schedule, lanes, scratch, cell_data + n * (p.h + 1) * (p.w + 1) * p.value_channels,
               offset_data ? offset_data + n * 2 * p.h * p.w : nullptr, statistics_of(p, statistics, n));
      });
  return {cells, offsets, statistics};
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> attend_backward_cpu(const Operands& given,
                                                                       const Scoring& scoring,
                                                                       const Gradient& of) {
  const Batch batch = make_batch(given, checked_problem(given, scoring), false);
  const Problem& p = batch.problem;
  check_gradient(of, given, p);
  const Tensor output = as_float(of.grad_cells);
  Tensor rows = as_float(of.statistics);
  const int64_t sizes[] = {p.h * p.w * p.channels, p.hb * p.wb * p.channels, p.h * p.w, p.hb * p.wb,
                           (p.hb + 1) * (p.wb + 1) * p.value_channels};
  const auto none = [&] { return zeros(given.value, {0}, ScalarType::Float); };
  Tensor results[] = {none(), none(), none(), none(), none()};
  float* data[5] = {};
  const Tensor* operands_in[] = {&given.foreground, &given.background, given.alpha ? &*given.alpha : nullptr,
                                 &given.beta, &given.value};
  for (int i = 0; i < 5; ++i) {
    if (!(of.needs >> i & 1)) continue;
    results[i] = torch::stable::new_zeros(output, operands_in[i]->sizes(), ScalarType::Float);
    data[i] = results[i].mutable_data_ptr<float>();
  }
  const int64_t cell_count = (p.h + 1) * (p.w + 1) * p.value_channels;
  for_samples(
      batch, of.workspace, true,
      [&](int64_t n, const Sample& sample, const Schedule& schedule, int64_t lanes, float* scratch) {
        const auto part = [&](int i) { return data[i] ? data[i] + n * sizes[i] : nullptr; };
        const Gradients gradients{
            output.const_data_ptr<float>() + n * cell_count, part(0), part(1), part(2), part(3), part(4)};
        attend_backward(p, sample, schedule, lanes, scratch, statistics_of(p, rows, n), gradients);
      });
  const auto as_operand = [&](int i) {
    const ScalarType dtype = operands_in[i] ? operands_in[i]->scalar_type() : given.foreground.scalar_type();
    return dtype == ScalarType::Float ? results[i] : torch::stable::to(results[i], dtype);
  };
  return {as_operand(0), as_operand(1), as_operand(2), as_operand(3), as_operand(4)};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(contextual_attention, CPU, m) {
  m.impl("attend", CA_BOX(attend_cpu));
  m.impl("attend_backward", CA_BOX(attend_backward_cpu));
}

}  // namespace contextual_attention::cpu
