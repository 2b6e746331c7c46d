"""A strip of scores: what forward and backward have in common, from the features to the weights.

Shape legend: B samples; N = h * w foreground and M = hb * wb background positions; P and Q those of an area.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..problem import Problem
from ..stages import Stage
from . import launch
from .launch import Combine, Epilogue, Scores, Taps
from .plan import Pass, Plan, area, row_length, stages
from .windows import Area, Window


@dataclass(frozen=True)
class Operands:
    """The operands of some samples, contiguous; scores, norms and flags are float32, features are not."""

    foreground: Tensor  # (B, h, w, C)
    background: Tensor  # (B, hb, wb, C)
    alpha: Tensor | None  # (B, N), None: 1
    beta: Tensor  # (B, M)
    valid: Tensor  # (B, M): 1 or 0
    selected: Tensor | None  # (B, N): 1 or 0; None: all
    value: Tensor  # (B, hb + 1, wb + 1, K)
    invalid: Tensor | None  # (B,): candidates whose logit is 0 in the softmax; None: there are none

    def samples(self, first: int, last: int) -> Operands:
        parts = {name: None if x is None else x[first:last] for name, x in vars(self).items()}
        return Operands(**parts)


@dataclass(frozen=True)
class Statistics:
    """Of every row, as the operator returns them: A1 = exp(logit - offset) inverse_sum, and for a propagation
    after the softmax A2 = valid (D_fuse A1) inverse_total. Each (B, N), 0 for a row without weights."""

    offset: Tensor
    inverse_sum: Tensor
    inverse_total: Tensor

    def samples(self, first: int, last: int) -> Statistics:
        return Statistics(*(x[first:last] for x in vars(self).values()))


class Strips:
    """The stages of one strip after the other, in one scratch.

    Every stage returns scores that lie in its slot, until another stage takes the slot (see plan.py).
    """

    def __init__(self, problem: Problem, plan: Plan, operands: Operands, statistics: Statistics) -> None:
        self.problem = problem
        self.plan = plan
        self.operands = operands
        self.statistics = statistics
        self.samples = operands.foreground.shape[0]
        memory = operands.foreground.new_empty((plan.scratch,), dtype=torch.uint8)
        self._slots = memory.split(list(plan.slots))

    def array(self, in_pass: Pass, stage: Stage, over: Area, dtype: torch.dtype = torch.float32) -> Scores:
        """Scores of a stage, not yet written."""
        slot = self._slots[stages(self.problem, in_pass)[stage].slot].view(dtype)
        p, q = over.p.pixels, over.q.pixels
        length = row_length(q)
        scores = slot[: self.samples * p * length].view(self.samples, p, length)
        return Scores(scores[:, :, :q], over)

    def array_of(self, in_pass: Pass, stage: Stage, strip: Area) -> Scores:
        """The same, of a stage of pixels: over all that it covers for a strip."""
        return self.array(in_pass, stage, area(self.problem, in_pass, stage, strip))

    def memory(self, in_pass: Pass, stage: Stage) -> Tensor:
        """The slot of a stage, as floats."""
        return self._slots[stages(self.problem, in_pass)[stage].slot].view(torch.float32)

    def gram(self, in_pass: Pass, strip: Area) -> Scores:
        """G[p, q] = <f_p, b_q>."""
        gram = self.array_of(in_pass, Stage.GRAM, strip)
        p, q = gram.area
        multiply(
            p.pick(self.operands.foreground), q.pick(self.operands.background).transpose(1, 2), gram.data
        )
        return gram

    def logits(self, in_pass: Pass, strip: Area, gram: Scores, epilogue: Epilogue) -> tuple[Scores, Tensor]:
        """lambda [D_fuse] alpha beta D_ksize G, or the weights of it; and the parts of the rows' maxima."""
        problem, operands = self.problem, self.operands
        gains = {"row_gain": operands.alpha, "column_gain": operands.beta}
        source, taps = gram, Taps.patch(problem)
        if problem.before:
            source = self.array_of(in_pass, Stage.SIMILARITY, strip)
            launch.diagonal_sum(source, gram, taps, **gains)
            taps, gains = Taps.fuse(problem), {}
        logits = self.array_of(in_pass, Stage.WEIGHTS, strip)
        part = launch.diagonal_sum(
            logits,
            source,
            taps,
            factor=problem.softmax_scale,
            epilogue=epilogue,
            valid=operands.valid,
            offset=self.statistics.offset if epilogue is Epilogue.WEIGH else None,
            **gains,
        )
        return logits, part

    def weights(self, in_pass: Pass, strip: Area) -> tuple[Scores, Scores, Scores]:
        """G, A1 before its division by the sum, and the final weights before their last rescaling.

        Where the strip has the whole background, the statistics of its rows are made with them, forward and
        backward alike: a product made anew may round otherwise, and the weights of a row still sum to 1.
        """
        statistics_known = not self.plan.whole_background
        gram = self.gram(in_pass, strip)
        weights = (self._known_weights if statistics_known else self._new_weights)(in_pass, strip, gram)
        final = self._propagated(in_pass, strip, weights, statistics_known) if self.problem.after else weights
        return gram, weights, final

    def _known_weights(self, in_pass: Pass, strip: Area, gram: Scores) -> Scores:
        """A1 before its division by the sum, the row statistics being known."""
        return self.logits(in_pass, strip, gram, Epilogue.WEIGH)[0]

    def _new_weights(self, in_pass: Pass, strip: Area, gram: Scores) -> Scores:
        """The same where the strip has the whole background, and its row statistics."""
        logits, part = self.logits(in_pass, strip, gram, Epilogue.LARGEST)
        offset, operands = self.statistics.offset, self.operands
        launch.combine(part, logits.area.p, offset, Combine.MAXIMUM)
        part = launch.exponentials(logits, operands.valid, offset)
        self._invert_sums(part, logits.area.p)
        return logits

    def invert_sums(self, total: Tensor) -> None:
        """inverse_sum of every row from the sum of its weights, (B, h, w)."""
        problem = self.problem
        whole = Window(0, 0, problem.h, problem.w, problem.h, problem.w, problem.wraps)
        self._invert_sums(total.flatten(1)[..., None].contiguous(), whole)

    def _invert_sums(self, part: Tensor, rows: Window) -> None:
        """The softmax's denominator; invalid candidates that are not excluded have the logit 0."""
        launch.combine(
            part,
            rows,
            self.statistics.inverse_sum,
            Combine.INVERSE,
            scale=self.operands.selected,
            offset=self.statistics.offset,
            invalid=self.operands.invalid,
        )

    def _propagated(self, in_pass: Pass, strip: Area, weights: Scores, statistics_known: bool) -> Scores:
        """A2 before its rescaling, and unless they are known the statistics of its rows."""
        final = self.array_of(in_pass, Stage.FINAL, strip)
        part = launch.diagonal_sum(
            final,
            weights,
            Taps.fuse(self.problem),
            row_scale=self.statistics.inverse_sum,
            epilogue=Epilogue.MASK if statistics_known else Epilogue.MASK_AND_SUM,
            valid=self.operands.valid,
        )
        if part is not None:
            total, selected = self.statistics.inverse_total, self.operands.selected
            launch.combine(part, final.area.p, total, Combine.INVERSE, scale=selected)
        return final

    def final_scale(self) -> Tensor:
        """What makes rows of the final weights sum to 1: (B, N)."""
        return self.statistics.inverse_total if self.problem.after else self.statistics.inverse_sum

    def cells(self, in_pass: Pass, strip: Area, final: Scores, dtype: torch.dtype) -> Scores:
        """E[P, Q], the sum of the weights that paste cell Q on cell P."""
        cells = self.array(in_pass, Stage.CELLS, strip.own_cells(), dtype)
        launch.diagonal_sum(cells, final, launch.PASTING, row_scale=self.final_scale())
        return cells


def multiply(a: Tensor, b: Tensor, out: Tensor) -> Tensor:
    """out = a b, batched; half precision operands accumulate and end in the dtype of `out`, float32."""
    if a.dtype == out.dtype:
        return torch.bmm(a, b, out=out)
    return torch.bmm(a, b, out.dtype, out=out)


def product(a: Tensor, b: Tensor) -> Tensor:
    """a b in float32."""
    return multiply(a, b, a.new_empty((a.shape[0], a.shape[1], b.shape[2]), dtype=torch.float32))


def shifted_maps(problem: Problem, x: Tensor) -> Tensor:
    """x[q - d] for every tap d of the propagation, zeros outside: (B, rows, columns) -> (.., taps)."""
    _, rows, columns = x.shape
    reach, k, step = problem.tap_reach, problem.fuse_k, problem.stride
    padded = torch.nn.functional.pad(x, (reach,) * 4)
    # Row y is padded[y + reach], and d = i * step - reach.
    starts = [2 * reach - i * step for i in range(k)]
    return torch.stack([padded[:, v : v + rows, u : u + columns] for v in starts for u in starts], 3)


def propagated_sums(problem: Problem, sums: Tensor, inverse_sum: Tensor) -> Tensor:
    """The sums of A2's rows before their rescaling, of those of A1: (B, h, w, taps), (B, N) -> (B, h, w).

    That is, the sum over taps d of sums[p + d, d] inverse_sum[p + d], zeros outside.
    """
    _, rows, columns, _ = sums.shape
    reach, k, step = problem.tap_reach, problem.fuse_k, problem.stride
    weighted = sums * inverse_sum.view(*sums.shape[:3], 1)
    padded = torch.nn.functional.pad(weighted, (0, 0, *(reach,) * 4))
    starts = [(i * step, j * step) for i in range(k) for j in range(k)]
    return sum(padded[:, v : v + rows, u : u + columns, t] for t, (v, u) in enumerate(starts))


def shifted_weight_sums(shifted: Tensor, weights: Scores, strip: Area) -> Tensor:
    """sum over q of weights[p, q] valid[q - d], the strip's own q only.

    Args:
        shifted: (B, hb, wb, taps), valid[q - d].
        weights: over the strip and what lies around it.

    Returns:
        (B, rows, columns, taps), for the pixels of the strip's tile.
    """
    around, own = weights.area
    masks = own.pick(shifted)
    if own != strip.q:
        rows = own.top + torch.arange(own.pixels, device=masks.device) // own.columns
        inside = (rows >= strip.q.top) & (rows < strip.q.top + strip.q.rows)
        masks = masks * inside[:, None]
    sums = product(weights.data, masks).view(-1, around.rows, around.columns, shifted.shape[3])
    top, left = strip.p.top - around.top, strip.p.left - around.left
    return sums[:, top : top + strip.p.rows, left : left + strip.p.columns]
