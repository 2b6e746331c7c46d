"""Whether results are right, before any of them is timed.

Shape legend: B samples; C channels; (H, W) features; (h, w) the same downscaled; (hb, wb) the background.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import devices
import torch
import torch.nn.functional as F
from cases import Problem
from torch import Tensor
from variants import Variant

from contextual_attention import attention_weights, reference
from contextual_attention.call import Call

# The reference judges in float64 where that takes no more than this on a CPU, or this share of a GPU's memory
# that is free: the estimate is off by a factor of two.
_CHEAP = 3 * 2**30
_CHEAP_SHARE = 1 / 3
_SAMPLES = 8

# Relative errors ||x - y|| / ||y|| that are allowed, of output and gradients: two to ten times those found.
# float32: a logit of up to 10 carries a few 2**-24 of that into its weight; sums of up to 16,384 terms add
# their own, in another order in every form, and the judge may itself be float32.
# Half precision: the forms round every logit (to 2**-9 or 2**-12 of up to 10), weight and sum, the package
# only operands, weights and results.
_ALLOWED = {
    torch.float32: (5e-6, 2e-5),
    torch.float16: (4e-3, 5e-3),
    torch.bfloat16: (3e-2, 4e-2),
}
_ALLOWED_OF_BACKENDS = {torch.float16: (1e-3, 2e-3), torch.bfloat16: (5e-3, 1e-2)}


@dataclass
class Result:
    """What one pass gives: `gradients` of foreground and background are there unless it is a forward."""

    output: Tensor
    gradients: tuple[Tensor, ...] = ()

    def tensors(self) -> tuple[Tensor, ...]:
        return (self.output, *self.gradients)


@dataclass(frozen=True)
class Verdict:
    """How far results are from right, each with what is allowed, and who says so."""

    errors: tuple[float, ...]
    allowed: tuple[float, ...]
    judge: str

    @property
    def wrong(self) -> bool:
        # Not any(error > allowed): a NaN is wrong.
        return not all(error <= most for error, most in zip(self.errors, self.allowed, strict=True))

    def __str__(self) -> str:
        errors = ", ".join(f"{error:.1e}" for error in self.errors)
        return f"error {errors}, allowed {', '.join(f'{most:.0e}' for most in self.allowed)} ({self.judge})"


class Judge:
    """Knows the right result of a problem: from the reference if that is cheap, else from other sources.

    Too large for that, every output is checked at a few cells, whose weights the reference computes row by
    row, and then all results against the first float32 result that is not a fused backend's, if any fits.

    Args:
        problem: The one that is solved.
        direction: One of PASSES.
        inputs: Its inputs, in any dtype, in place of making them.
        upstream: Its gradient of the output, likewise.
    """

    def __init__(
        self,
        problem: Problem,
        direction: str,
        inputs: dict[str, Any] | None = None,
        upstream: Tensor | None = None,
    ) -> None:
        inputs = problem.inputs() if inputs is None else inputs
        if direction == "forward":
            upstream = None
        else:
            upstream = (problem.upstream() if upstream is None else upstream).double()
        self._operands = [inputs[name].detach().double() for name in ("foreground", "background")]
        self._masks = [inputs[name] for name in ("mask", "foreground_mask")]
        self._options = problem.options
        # What output and gradient are where nothing is rebuilt, which is no measure of an error elsewhere.
        self._kept = (self._operands[0], upstream, None) if problem.case.inside else (None,) * 3
        self._expected: Result | None = None
        self._cells: tuple[Tensor, Tensor] | None = None
        needed = reference.dense_bytes(self._call())
        if needed * (1 if upstream is None else 1.5) <= _cheap_bytes(problem.device):
            self._expected, self._name = self._solve(upstream), "float64 reference"
        else:
            self._cells = self._sample_cells()

    def verdict(self, variant: Variant, problem: Problem, result: Result) -> Verdict:
        dtype = variant.dtype or problem.dtype
        allowed_here = _ALLOWED | (_ALLOWED_OF_BACKENDS if variant.is_backend else {})
        output, gradient = allowed_here[dtype]
        allowed = (output, *[gradient] * len(result.gradients))
        if self._cells is not None:
            corners, cells = self._cells
            error = _distance(self._cut(result.output, corners), cells)
            if not error <= output or self._expected is None:
                self._adopt(variant, dtype, result, error <= output)
                return Verdict((error,), (output,), f"{_SAMPLES} cells by float64 rows of the reference")
        triples = zip(result.tensors(), self._expected.tensors(), self._kept, strict=False)
        return Verdict(tuple(_distance(*each) for each in triples), allowed, self._name)

    def _adopt(self, variant: Variant, dtype: torch.dtype, result: Result, right: bool) -> None:
        if right and dtype == torch.float32 and not variant.is_fused:
            self._expected, self._name = result, f"{variant.label} in float32"

    def _call(self) -> Call:
        (foreground, background), (mask, foreground_mask) = self._operands, self._masks
        return Call(foreground, background, mask, background, foreground_mask, self._options)

    def _solve(self, upstream: Tensor | None) -> Result:
        foreground, background = (x.requires_grad_(upstream is not None) for x in self._operands)
        output, _ = reference.contextual_attention(self._call())
        if upstream is None:
            return Result(output)
        gradients = torch.autograd.grad(output, (foreground, background), upstream)
        return Result(output.detach(), gradients)

    def _sample_cells(self) -> tuple[Tensor, Tensor]:
        """Where sampled cells are (samples, 2), as (row, column) of their last patch, and what they hold.

        Cell P is pasted by the four patches P - d, d in {0, 1}**2, each with its own quarter: those cells are
        sampled whose four patches all attend. Returns cells (B, samples, C, rate, rate).
        """
        foreground, background = self._operands
        options, rate = self._options, self._options.rate
        mask, foreground_mask = self._masks
        size = [math.ceil(side / rate) for side in foreground.shape[2:]]
        selected = torch.ones(1, *size, dtype=torch.bool, device=foreground.device)
        if foreground_mask is not None:
            selected = reference.select(foreground_mask, foreground.shape[2:], options)
        four = selected[0, 1:, 1:] & selected[0, :-1, 1:] & selected[0, 1:, :-1] & selected[0, :-1, :-1]
        inner = four.nonzero() + 1
        last = inner[torch.linspace(0, len(inner) - 1, _SAMPLES).long()]
        cells = 0
        for quarter in ((0, 0), (0, 1), (1, 0), (1, 1)):
            queries = last - torch.tensor(quarter, device=last.device)
            weights = attention_weights(
                foreground,
                background,
                mask,
                queries=queries,
                foreground_mask=foreground_mask,
                **vars(options),
            )
            cells = cells + _pasted(weights, background, quarter, rate) / 4
        return last, cells

    def _cut(self, output: Tensor, corners: Tensor) -> Tensor:
        """The cells of an output: (B, C, H, W) -> (B, samples, C, rate, rate)."""
        rate = self._options.rate
        starts = (corners * rate - rate // 2).tolist()
        return torch.stack([output[:, :, y : y + rate, x : x + rate] for y, x in starts], 1)


def _cheap_bytes(device: str) -> float:
    return _CHEAP if device == "cpu" else _CHEAP_SHARE * devices.free_bytes(device)


def _pasted(weights: Tensor, value: Tensor, quarter: tuple[int, int], rate: int) -> Tensor:
    """A quarter of what patches paste, as cells (B, samples, C, rate, rate).

    Args:
        weights: (B, samples, hb, wb), of the patch that pastes each.
        value: (B, C, H, W).
        quarter: (0 or 1, 0 or 1), which of the patch.
        rate: The side of a quarter.
    """
    hb, wb = weights.shape[2:]
    padded = F.pad(value, (rate // 2, 2 * rate, rate // 2, 2 * rate))
    down, right = (side * rate for side in quarter)
    pixels = [
        torch.einsum(
            "bsyx,bcyx->bsc", weights, padded[:, :, down + v :: rate, right + u :: rate][:, :, :hb, :wb]
        )
        for v in range(rate)
        for u in range(rate)
    ]
    return torch.stack(pixels, -1).unflatten(-1, (rate, rate))


def _distance(x: Tensor, y: Tensor, kept: Tensor | None = None) -> float:
    """||x - y|| / ||y||; the entries of y that equal those of `kept` do not count in its norm."""
    x, y = x.double(), y.double()
    size = (y if kept is None else y[y != kept]).norm()
    return ((x - y).norm() / size.clamp_min(torch.finfo(y.dtype).tiny)).item()
