"""attend_backward: scores are made again from the features.

    dE = dO V^T                                dV = E^T dO
    dA = D_2^T dE                              (the cell sum's transpose)
    after:  dX = valid / Z2 (dA - c2), c2 = sum_q A2 dA;  dA1 = D_fuse dX
    dL = lambda A1 (dA1 - c1), c1 = sum_q A1 dA1
    dS = D_fuse^T dL (before) or dL;  dR = alpha beta dS;  dG = D_ksize dR
    dalpha = sum_q beta R dS;  dbeta = sum_p alpha R dS;  df = dG b;  db = dG^T f

With several blocks a pass over them collects c1 and c2 first; for a propagation after the softmax c1 as

    c1[p] = sum_q A1 D_fuse(valid / Z2 dA) - sum over taps d of (c2 / Z2)[p - d] sum_q A1[p, q] valid[q - d].

Both are means by the weights of that pass, over these weights' own sums: the forward's are of other products,
which need not round alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..problem import Problem
from ..stages import Stage
from . import launch
from .launch import Combine, Scores, Taps
from .plan import Pass, Plan
from .strips import (
    Operands,
    Statistics,
    Strips,
    multiply,
    product,
    propagated_sums,
    shifted_maps,
    shifted_weight_sums,
)
from .windows import Area


@dataclass(frozen=True)
class Gradients:
    """Float32, zeros at the start, None where not asked for."""

    foreground: Tensor | None  # (B, h, w, C)
    background: Tensor | None  # (B, hb, wb, C)
    alpha: Tensor | None  # (B, N)
    beta: Tensor | None  # (B, M)
    value: Tensor | None  # (B, hb + 1, wb + 1, K)

    def samples(self, first: int, last: int) -> Gradients:
        return Gradients(*(None if x is None else x[first:last] for x in vars(self).values()))

    @property
    def asks_for_scores(self) -> bool:
        return any(x is not None for x in (self.foreground, self.background, self.alpha, self.beta))


class Backward(Strips):
    """One pass over all strips, or two. `output` is dO (B, h + 1, w + 1, K) in the dtype of the value."""

    def __init__(
        self,
        problem: Problem,
        plan: Plan,
        operands: Operands,
        statistics: Statistics,
        output: Tensor,
        gradients: Gradients,
    ) -> None:
        super().__init__(problem, plan, operands, statistics)
        self._output = output
        self._gradients = gradients
        self._softmax_centre = torch.zeros_like(statistics.offset)  # c1
        self._total_centre = torch.zeros_like(statistics.offset)  # c2
        # The gradients of scores are too small for float16.
        half = operands.foreground.dtype
        self._score_dtype = torch.float32 if half is torch.float16 else half

    def run(self) -> None:
        if not self.plan.whole_background and self._gradients.asks_for_scores:
            self._collect_centres()
        for strip in self.plan.strips(self.problem):
            gram, weights, final = self.weights(Pass.BACKWARD, strip)
            if self._gradients.value is not None:
                self._add_value_gradient(strip, final)
            if self._gradients.asks_for_scores:
                gradient = self._similarity_gradient(strip, weights, final)
                self._add_norm_gradients(strip, gram, gradient)
                self._add_feature_gradients(strip, gradient)

    def _add_value_gradient(self, strip: Area, final: Scores) -> None:
        cells = self.cells(Pass.BACKWARD, strip, final, self._output.dtype)
        gradient = product(cells.data.transpose(1, 2), cells.area.p.pick(self._output))
        cells.area.q.add(self._gradients.value, gradient)

    def _attention_gradient(self, in_pass: Pass, strip: Area) -> Scores:
        """dA: a patch pastes on 2 x 2 cells."""
        attention = self.array_of(in_pass, Stage.ATTENTION_GRADIENT, strip)
        cells = self.array(in_pass, Stage.CELL_GRADIENT, attention.area.cells())
        values = cells.area.q.pick(self.operands.value)
        multiply(cells.area.p.pick(self._output), values.transpose(1, 2), cells.data)
        launch.diagonal_sum(attention, cells, launch.PASTED)
        return attention

    def _similarity_gradient(self, strip: Area, weights: Scores, final: Scores) -> Scores:
        """dS."""
        in_pass, problem, statistics = Pass.BACKWARD, self.problem, self.statistics
        slope = self._attention_gradient(in_pass, strip)
        centres_known = not self.plan.whole_background
        if problem.after:
            centre, scale = self._total_centre, statistics.inverse_total
            if not centres_known:
                self._sum(final, slope, slope.area, centre, scale, Combine.SCALED)
            launch.centre(slope, None, self.operands.valid, scale, centre)
            slope = self._propagated_gradient(in_pass, strip, slope)
        centre, scale = self._softmax_centre, statistics.inverse_sum
        if not centres_known:
            self._sum(weights, slope, slope.area, centre, scale, Combine.SCALED)
        launch.centre(slope, weights, None, scale, centre, problem.softmax_scale)
        if not problem.before:
            return slope
        gradient = self.array_of(in_pass, Stage.PRODUCT_GRADIENT, strip)
        launch.diagonal_sum(gradient, slope, Taps.fuse(problem, adjoint=True))
        return gradient

    def _propagated_gradient(self, in_pass: Pass, strip: Area, gradient: Scores) -> Scores:
        """dA1 = D_fuse dX."""
        slope = self.array_of(in_pass, Stage.PRODUCT_GRADIENT, strip)
        launch.diagonal_sum(slope, gradient, Taps.fuse(self.problem))
        return slope

    def _sum(
        self, x: Scores, y: Scores, over: Area, out: Tensor, scale: Tensor | None, operation: Combine
    ) -> None:
        """scale sum_q x y, into the rows of an area."""
        launch.combine(launch.dot(x, y, over), over.p, out, operation, scale=scale)

    def _add_norm_gradients(self, strip: Area, gram: Scores, gradient: Scores) -> None:
        alpha, beta = self._gradients.alpha, self._gradients.beta
        if alpha is None and beta is None:
            return
        operands, memory = self.operands, self.memory(Pass.BACKWARD, Stage.CELLS)
        taps = Taps.patch(self.problem)
        rows, columns = launch.norm_gradients(
            gram, gradient, operands.alpha, operands.beta, strip, taps, memory
        )
        if alpha is not None:
            launch.combine(rows, strip.p, alpha, Combine.ADD_SCALED)
        if beta is not None:
            maps = beta.view(-1, self.problem.hb, self.problem.wb, 1)
            strip.q.add(maps, columns.sum(1)[..., None])

    def _add_feature_gradients(self, strip: Area, gradient: Scores) -> None:
        foreground, background = self._gradients.foreground, self._gradients.background
        if foreground is None and background is None:
            return
        operands, dtype = self.operands, self._score_dtype
        gram = self.array(Pass.BACKWARD, Stage.GRAM_GRADIENT, strip, dtype)
        scales = {"row_scale": operands.alpha, "column_scale": operands.beta}
        launch.diagonal_sum(gram, gradient, Taps.patch(self.problem), **scales)
        if foreground is not None:
            strip.p.add(foreground, product(gram.data, strip.q.pick(operands.background).to(dtype)))
        if background is not None:
            features = strip.p.pick(operands.foreground).to(dtype)
            strip.q.add(background, product(gram.data.transpose(1, 2), features))

    def _collect_centres(self) -> None:
        in_pass, problem = Pass.CENTRES, self.problem
        maps = self.operands.valid.view(-1, problem.hb, problem.wb)
        shifted = shifted_maps(problem, maps) if problem.after else None
        taps = problem.fuse_k**2 if problem.after else 1
        sums = maps.new_zeros((self.samples, problem.h, problem.w, taps))
        for strip in self.plan.strips(problem):
            _, weights, final = self.weights(in_pass, strip)
            slope = self._attention_gradient(in_pass, strip)
            own = sums[strip.p.box]
            if shifted is None:
                own += weights.data.sum(2).view(own.shape)
            else:
                own += shifted_weight_sums(shifted, weights, strip)
                self._sum(final, slope, strip, self._total_centre, None, Combine.ADD_SCALED)
                launch.centre(slope, None, self.operands.valid, self.statistics.inverse_total, None)
                slope = self._propagated_gradient(in_pass, strip, slope)
            self._sum(weights, slope, strip, self._softmax_centre, None, Combine.ADD_SCALED)
        if shifted is not None:
            self._centre_propagated(sums)
        self.invert_sums(sums[..., taps // 2])
        self._softmax_centre *= self.statistics.inverse_sum

    def _centre_propagated(self, sums: Tensor) -> None:
        """c2 from its sum, by the weights that it is of, and what the sum behind c1 takes from it."""
        total = propagated_sums(self.problem, sums, self.statistics.inverse_sum).flatten(1)
        self._total_centre.copy_(torch.where(total > 0, self._total_centre / total, 0))
        centres = (self._total_centre * self.statistics.inverse_total).view(sums.shape[:3])
        self._softmax_centre -= (shifted_maps(self.problem, centres) * sums).sum(3).flatten(1)
