// The operator on one sample, forward and backward.
#pragma once

#include "plan.h"
#include "sample.h"

namespace contextual_attention::cpu {

// What a sample needs once: tiles of its selected foreground and a plan. The plan's chunk is 0 where no
// plan fits into the workspace.
struct Schedule {
  std::vector<Tile> tiles;
  Plan plan;
  int64_t height() const;  // of the highest tile
};

Schedule make_schedule(const Problem& problem, const Sample& sample, int64_t lanes, int64_t workspace,
                       bool backward);

// cells (h+1, w+1, K) and offsets (2, h, w; may be null) start as zeros; statistics are written for every
// pixel that takes part and start as zeros. `scratch`: schedule.plan.scratch floats.
void attend(const Problem& problem, const Sample& sample, const Schedule& schedule, int64_t lanes,
            float* scratch, float* cells, int64_t* offsets, const Statistics& statistics);

// Gradients, float32, zero at the start; null: not asked for.
struct Gradients {
  const float* cells;  // (h+1, w+1, K), of the output
  float* foreground;   // (h, w, C)
  float* background;   // (hb, wb, C)
  float* alpha;        // (h, w)
  float* beta;         // (hb, wb)
  float* value;        // (hb+1, wb+1, K)

  bool scores() const { return foreground || background || alpha || beta; }
};

void attend_backward(const Problem& problem, const Sample& sample, const Schedule& schedule, int64_t lanes,
                     float* scratch, const Statistics& statistics, const Gradients& gradients);

}  // namespace contextual_attention::cpu
