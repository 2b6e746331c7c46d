"""Whether results are right, before any of them is timed.

Shape legend: B samples; C channels; (H, W) features; (h, w) the same downscaled; (hs, ws) candidates.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor

from contextual_attention import reference
from contextual_attention.call import Call

from . import devices
from .cases import Problem
from .variants import Variant

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
        inputs: Its inputs, in any dtype, in place of making them.
        upstream: Its gradient of the output, likewise.
    """

    def __init__(
        self,
        problem: Problem,
        inputs: dict[str, Any] | None = None,
        upstream: Tensor | None = None,
    ) -> None:
        inputs = problem.inputs() if inputs is None else inputs
        if problem.learns:
            upstream = (problem.upstream() if upstream is None else upstream).double()
        foreground, background = (inputs[name].detach().double() for name in ("foreground", "background"))
        masks = {name: inputs[name] for name in ("mask", "foreground_mask")}
        self._call = Call(foreground, background, value=background, options=problem.options, **masks)
        # What output and gradient are where nothing is rebuilt, which is no measure of an error elsewhere.
        self._kept = (foreground, upstream, None) if problem.case.inside else (None,) * 3
        self._expected: Result | None = None
        self._cells: tuple[Tensor, Tensor] | None = None
        needed = reference.dense_bytes(self._call)
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

    def _solve(self, upstream: Tensor | None) -> Result:
        leaves = (self._call.foreground, self._call.background)
        for leaf in leaves:
            leaf.requires_grad_(upstream is not None)
        output, _ = reference.contextual_attention(self._call)
        gradients = () if upstream is None else torch.autograd.grad(output, leaves, upstream)
        return Result(output.detach(), gradients)

    def _sample_cells(self) -> tuple[Tensor, Tensor]:
        """Where sampled cells are (samples, 2), as (row, column) of their last patch, and what they hold.

        Cell P is pasted by the four patches P - d, d in {0, 1}**2, each with its own quarter: those cells are
        sampled whose four patches all attend. Returns cells (B, samples, C, rate, rate).
        """
        call, options, rate = self._call, self._call.options, self._call.options.rate
        height, width = call.foreground.shape[2:]
        selected = torch.ones(1, math.ceil(height / rate), math.ceil(width / rate), dtype=torch.bool)
        if call.foreground_mask is not None:
            selected = reference.select(call.foreground_mask, (height, width), options)
        four = selected[0, 1:, 1:] & selected[0, :-1, 1:] & selected[0, 1:, :-1] & selected[0, :-1, :-1]
        inner = four.nonzero() + 1
        last = inner[torch.linspace(0, len(inner) - 1, _SAMPLES).long()]
        pasted = reference.value_patches(call.value, 1, options)  # (B, hs, ws, C * (2 rate)**2)
        cells = 0
        for down, right in product((0, 1), repeat=2):
            rows = reference.attention_weights(call, last - torch.tensor((down, right), device=last.device))
            weights = rows[..., :: options.stride, :: options.stride]
            patches = torch.einsum("bsij,bijk->bsk", weights, pasted)
            cells = cells + patches.unflatten(2, (-1, 2, rate, 2, rate))[:, :, :, down, :, right] / 4
        return last, cells

    def _cut(self, output: Tensor, corners: Tensor) -> Tensor:
        """The cells of an output: (B, C, H, W) -> (B, samples, C, rate, rate)."""
        rate = self._call.options.rate
        starts = (corners * rate - rate // 2).tolist()
        return torch.stack([output[:, :, y : y + rate, x : x + rate] for y, x in starts], 1)


def _cheap_bytes(device: str) -> float:
    return _CHEAP if device == "cpu" else _CHEAP_SHARE * devices.free_bytes(device)


def _distance(x: Tensor, y: Tensor, kept: Tensor | None = None) -> float:
    """||x - y|| / ||y||; the entries of y that equal those of `kept` do not count in its norm."""
    x, y = x.double(), y.double()
    size = (y if kept is None else y[y != kept]).norm()
    return ((x - y).norm() / size.clamp_min(torch.finfo(y.dtype).tiny)).item()
