#include "multigrid.h"

#include <torch/csrc/stable/ops.h>

#include <algorithm>
#include <cmath>
#include <utility>

namespace contextual_attention::cpu::filling {
namespace {

// Sums are made of blocks of this many entries, so that threads change nothing about them.
constexpr int64_t kBlock = 8192;
// To wake other threads pays from so many on.
constexpr int64_t kGrain = 4 * kBlock;
// A grid that small is solved by sweeps alone.
constexpr int64_t kFewest = 16;
constexpr int kSweepsOfCoarsest = 16;
constexpr int kMostSteps = 200;

template <class F>
void for_blocks(int64_t begin, int64_t end, const F& f) {
  torch::stable::parallel_for(begin, end, kGrain, f);
}

// The sum, and the largest, of what f(begin, end) makes of each block.
template <class F, class Combine>
double over_blocks(int64_t count, const F& f, const Combine& combine) {
  const int64_t blocks = (count + kBlock - 1) / kBlock;
  std::vector<double> parts(blocks);
  torch::stable::parallel_for(0, blocks, kGrain / kBlock, [&](int64_t first, int64_t last) {
    for (int64_t b = first; b < last; ++b) parts[b] = f(b * kBlock, std::min(count, (b + 1) * kBlock));
  });
  double result = 0;
  for (double part : parts) result = combine(result, part);
  return result;
}

double product(const std::vector<float>& a, const std::vector<float>& b) {
  return over_blocks(
      static_cast<int64_t>(a.size()),
      [&](int64_t begin, int64_t end) {
        double sum = 0;
        for (int64_t i = begin; i < end; ++i) sum += static_cast<double>(a[i]) * b[i];
        return sum;
      },
      [](double sum, double part) { return sum + part; });
}

double largest(const std::vector<float>& a) {
  return over_blocks(
      static_cast<int64_t>(a.size()),
      [&](int64_t begin, int64_t end) {
        float most = 0;
        for (int64_t i = begin; i < end; ++i) most = std::max(most, std::abs(a[i]));
        return static_cast<double>(most);
      },
      [](double most, double part) { return std::max(most, part); });
}

// The sum over the sides of weight * x[beside].
template <bool kWeighted>
float around(const Grid& grid, const std::vector<float>& x, int64_t i) {
  float sum = 0;
  for (int side = 0; side < kSides; ++side) {
    const int32_t at = grid.beside[i][side];
    if (at < 0) continue;
    if constexpr (kWeighted)
      sum += grid.weights[i][side] * x[at];
    else
      sum += x[at];
  }
  return sum;
}

// f(around) with the sum above as a function of x and i.
template <class F>
void with_weights(const Grid& grid, const F& f) {
  if (grid.weights.empty())
    f([&](const std::vector<float>& x, int64_t i) { return around<false>(grid, x, i); });
  else
    f([&](const std::vector<float>& x, int64_t i) { return around<true>(grid, x, i); });
}

// Gauss-Seidel for one half of the pixels; of the other half, x is 0 where `fresh`.
void sweep(Grid& grid, bool odd, bool fresh) {
  const int64_t begin = odd ? grid.evens : 0, end = odd ? grid.count() : grid.evens;
  if (fresh) {
    for_blocks(begin, end, [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) grid.x[i] = grid.residual[i] / grid.diagonal[i];
    });
    return;
  }
  with_weights(grid, [&](const auto& sum) {
    for_blocks(begin, end, [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i)
        grid.x[i] = (grid.residual[i] + sum(grid.x, i)) / grid.diagonal[i];
    });
  });
}

// What is left over after the sweep of the odd half, which leaves nothing there, is the coarser residual.
void restrict_to(Grid& coarse, const Grid& fine) {
  with_weights(fine, [&](const auto& sum) {
    for_blocks(0, coarse.count(), [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) {
        float left = 0;
        for (int32_t part : coarse.parts[i])
          if (part >= 0 && part < fine.evens)
            left += fine.residual[part] + sum(fine.x, part) - fine.diagonal[part] * fine.x[part];
        coarse.residual[i] = left;
      }
    });
  });
}

void prolong_to(Grid& fine, const Grid& coarse) {
  for_blocks(0, coarse.count(), [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i)
      for (int32_t part : coarse.parts[i])
        if (part >= 0) fine.x[part] += coarse.x[i];
  });
}

// Numbers of the rows 2 y and 2 y + 1 become the parts of row y.
void set_parts(Grid& coarse, const Numbering& numbering, const Numbering& finer) {
  coarse.parts.resize(numbering.count());
  torch::stable::parallel_for(0, numbering.height(), 16, [&](int64_t first, int64_t last) {
    std::vector<int32_t> numbers, above, below;
    for (int64_t y = first; y < last; ++y) {
      numbering.read_row(y, numbers);
      finer.read_row(2 * y, above);
      finer.read_row(2 * y + 1, below);
      above.resize(2 * numbers.size(), -1);
      below.resize(2 * numbers.size(), -1);
      for (size_t x = 0; x < numbers.size(); ++x)
        if (numbers[x] >= 0)
          coarse.parts[numbers[x]] = {above[2 * x], above[2 * x + 1], below[2 * x], below[2 * x + 1]};
    }
  });
}

// The numbers of the pixels beside those of a grid.
void set_beside(Grid& grid, const Numbering& numbering) {
  grid.beside.resize(numbering.count());
  torch::stable::parallel_for(0, numbering.height(), 16, [&](int64_t first, int64_t last) {
    std::vector<int32_t> rows[3];
    const int64_t width = numbering.width();
    for (int64_t y = first; y < last; ++y) {
      for (int64_t k = 0; k < 3; ++k) numbering.read_row(y + k - 1, rows[k]);
      for (int64_t x = 0; x < width; ++x)
        if (rows[1][x] >= 0)
          grid.beside[rows[1][x]] = {x + 1 < width ? rows[1][x + 1] : -1, x > 0 ? rows[1][x - 1] : -1,
                                     rows[2][x], rows[0][x]};
    }
  });
}

// The two pixels of a block at a side of it.
constexpr int kAtSide[kSides][2] = {{1, 3}, {0, 2}, {2, 3}, {0, 1}};

// The energy of pixels of twice the size. A step across one of them is two steps across finer ones, so that a
// link weighs half the sum of those that cross the same border.
Grid coarser(const Grid& fine, const Numbering& numbering, const Numbering& finer, std::vector<float>& known,
             std::vector<float>& screening, float known_share) {
  Grid coarse;
  coarse.evens = numbering.evens();
  set_parts(coarse, numbering, finer);
  set_beside(coarse, numbering);
  const int64_t count = numbering.count();
  coarse.weights.resize(count);
  coarse.diagonal.resize(count);
  coarse.residual.resize(count);
  coarse.x.resize(count);
  std::vector<float> coarse_known(count), coarse_screening(count);
  for_blocks(0, count, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      for (int side = 0; side < kSides; ++side) {
        float sum = 0;
        for (int k : kAtSide[side]) {
          const int32_t part = coarse.parts[i][k];
          if (part >= 0 && fine.beside[part][side] >= 0)
            sum += fine.weights.empty() ? 1 : fine.weights[part][side];
        }
        coarse.weights[i][side] = sum / 2;
        if (sum == 0) coarse.beside[i][side] = -1;
      }
      for (int32_t part : coarse.parts[i]) {
        if (part < 0) continue;
        coarse_known[i] += known[part] * known_share;
        coarse_screening[i] += screening[part];
      }
      coarse.diagonal[i] = coarse_known[i] + coarse_screening[i];
      for (float weight : coarse.weights[i]) coarse.diagonal[i] += weight;
    }
  });
  known = std::move(coarse_known);
  screening = std::move(coarse_screening);
  return coarse;
}

}  // namespace

Multigrid::Multigrid(const Numbering& numbering, std::vector<std::array<int32_t, kSides>> beside,
                     std::vector<float> known, std::vector<float> screening) {
  Grid& finest = grids_.emplace_back();
  finest.evens = numbering.evens();
  finest.beside = std::move(beside);
  finest.diagonal.resize(numbering.count());
  for (int64_t i = 0; i < finest.count(); ++i) {
    finest.diagonal[i] = known[i] + screening[i];
    for (int32_t at : finest.beside[i]) finest.diagonal[i] += at >= 0;
  }
  finest.residual.resize(finest.count());
  std::vector<uint8_t> mask, finer_mask;
  Numbering finer = numbering;
  // What is known lies a pixel of the finest grid away from those beside it, and half of a pixel of this
  // grid.
  for (float side = 1; grids_.back().count() > kFewest && finer.height() + finer.width() > 2; side *= 2) {
    mask = finer.halved();
    const Numbering coarse(mask.data(), (finer.height() + 1) / 2, (finer.width() + 1) / 2);
    const float known_share = (1 + 1 / side) / (1 + 0.5f / side) / 2;
    grids_.push_back(coarser(grids_.back(), coarse, finer, known, screening, known_share));
    finer = coarse;
    finer_mask = std::move(mask);
  }
  grids_.front().x.resize(grids_.front().count());
}

void Multigrid::cycle(std::size_t level) {
  Grid& grid = grids_[level];
  sweep(grid, false, true);
  sweep(grid, true, false);
  if (level + 1 < grids_.size()) {
    restrict_to(grids_[level + 1], grid);
    cycle(level + 1);
    prolong_to(grid, grids_[level + 1]);
  } else {
    for (int k = 0; k < kSweepsOfCoarsest; ++k) {
      sweep(grid, false, false);
      sweep(grid, true, false);
    }
    for (int k = 0; k < kSweepsOfCoarsest; ++k) {
      sweep(grid, true, false);
      sweep(grid, false, false);
    }
  }
  sweep(grid, true, false);
  sweep(grid, false, false);
}

void Multigrid::solve(std::vector<float>& solution, float tolerance) {
  Grid& grid = grids_.front();
  std::vector<float>& residual = grid.residual;
  const int64_t count = grid.count();
  solution.assign(count, 0);
  std::vector<float> direction(count);
  double energy = 0;
  for (int step = 0; step < kMostSteps; ++step) {
    cycle(0);
    if (largest(grid.x) <= tolerance) break;
    const double before = energy;
    energy = product(residual, grid.x);
    const float keep = step ? static_cast<float>(energy / before) : 0;
    for_blocks(0, count, [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) direction[i] = grid.x[i] + keep * direction[i];
    });
    with_weights(grid, [&](const auto& sum) {
      for_blocks(0, count, [&](int64_t first, int64_t last) {
        for (int64_t i = first; i < last; ++i)
          grid.x[i] = grid.diagonal[i] * direction[i] - sum(direction, i);
      });
    });
    const float length = static_cast<float>(energy / product(direction, grid.x));
    for_blocks(0, count, [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) {
        solution[i] += length * direction[i];
        residual[i] -= length * grid.x[i];
      }
    });
  }
}

}  // namespace contextual_attention::cpu::filling
