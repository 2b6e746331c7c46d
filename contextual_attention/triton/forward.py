"""attend: the cells, the offsets and the row statistics.

    G = f b^T -> logits -> A1 = softmax -> [A2 = D_fuse A1, rescaled] -> E = D_2 A -> cells += E V

With several blocks the row statistics come first. A2's rescaling then needs sums over whole rows of weights
that exist a block at a time: with Z1, Z2 the sums of A1 and A2 before their division,

    Z2[p] = sum over taps d of (1 / Z1[p + d]) sum over q of exp(L[p + d, q] - offset) valid[q - d],

where the inner sums are collected with Z1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..problem import Problem
from . import launch
from .launch import Epilogue, Scores
from .plan import Pass
from .strips import Strips, product, propagated_sums, shifted_maps, shifted_weight_sums
from .windows import Area


class Forward(Strips):
    """One pass over all strips, or two."""

    def run(self, cells: Tensor, offsets: Tensor | None) -> None:
        """Adds to cells (B, h + 1, w + 1, K); offsets (B, 2, h, w) int64 are written."""
        if not self.plan.whole_background:
            self._collect_statistics()
        best = None if offsets is None else _Best(self.problem, offsets)
        for strip in self.plan.strips(self.problem):
            _, _, final = self.weights(Pass.FORWARD, strip)
            if best is not None:
                best.update(final, strip, self.final_scale())
            values = self.operands.value
            weights = self.cells(Pass.FORWARD, strip, final, values.dtype)
            weights.area.p.add(cells, product(weights.data, weights.area.q.pick(values)))

    def _collect_statistics(self) -> None:
        sums = _RunningSums(self)
        for strip in self.plan.strips(self.problem):
            gram = self.gram(Pass.STATISTICS, strip)
            sums.add(*self.logits(Pass.STATISTICS, strip, gram, Epilogue.LARGEST), strip)
        sums.finish()


class _RunningSums:
    """Row statistics over the blocks: sums relative to the largest logit so far."""

    def __init__(self, strips: Forward) -> None:
        self._strips = strips
        problem, valid = strips.problem, strips.operands.valid
        size = (strips.samples, problem.h, problem.w)
        self._offset = valid.new_full(size, -torch.inf)
        self._total = valid.new_zeros(size)
        maps = valid.view(-1, problem.hb, problem.wb)
        self._shifted = shifted_maps(problem, maps) if problem.after else None
        self._shifted_sums = valid.new_zeros((*size, problem.fuse_k**2)) if problem.after else None

    def add(self, logits: Scores, largest: Tensor, strip: Area) -> None:
        box = strip.p.box
        before = self._offset[box].clone()
        now = torch.maximum(before, largest.amax(2).view(before.shape))
        self._offset[box] = now
        statistics = self._strips.statistics
        statistics.offset.view(self._offset.shape)[box] = now
        part = launch.exponentials(logits, self._strips.operands.valid, statistics.offset)
        # Nothing has been added to a row whose largest logit is still -inf.
        shrink = torch.where(before == now, 1.0, torch.exp(before - now))
        self._total[box] = self._total[box] * shrink + part.sum(2).view(before.shape)
        if self._shifted_sums is not None:
            sums = shifted_weight_sums(self._shifted, logits, strip)
            self._shifted_sums[box] = self._shifted_sums[box] * shrink[..., None] + sums

    def finish(self) -> None:
        strips, problem = self._strips, self._strips.problem
        statistics = strips.statistics
        statistics.offset.copy_(torch.where(self._offset == -torch.inf, 0, self._offset).flatten(1))
        strips.invert_sums(self._total)
        if self._shifted_sums is None:
            return
        total = propagated_sums(problem, self._shifted_sums, statistics.inverse_sum)
        inverse = torch.where(total < torch.finfo(total.dtype).tiny, 0, 1 / total)
        if strips.operands.selected is not None:
            inverse *= strips.operands.selected.view(inverse.shape)
        statistics.inverse_total.copy_(inverse.flatten(1))


class _Best:
    """The background position of the largest final weight of every row, over the blocks in their order."""

    def __init__(self, problem: Problem, offsets: Tensor) -> None:
        self._problem = problem
        self._offsets = offsets  # (B, 2, h, w)
        self._weight = offsets.new_zeros((offsets.shape[0], problem.h, problem.w), dtype=torch.float32)

    def update(self, final: Scores, strip: Area, scale: Tensor) -> None:
        weight, index = launch.largest(final, strip)
        best = self._weight[strip.p.box]
        index = index.view(best.shape).long()
        weight = weight.view(best.shape) * scale.view(self._weight.shape)[strip.p.box]
        # Strictly: blocks come in ascending order, and the smallest index keeps a tie.
        better = weight > best
        rows, columns = (
            torch.arange(start, start + length, device=index.device)
            for start, length in ((strip.p.top, strip.p.rows), (strip.p.left, strip.p.columns))
        )
        wb = self._problem.wb
        found = torch.stack((index // wb - rows[:, None], index % wb - columns), 1)
        _, *box = strip.p.box
        offsets = self._offsets[(slice(None), slice(None), *box)]
        offsets.copy_(torch.where(better[:, None], found, offsets))
        best.copy_(torch.where(better, weight, best))
