"""The small cases of the smoke step, how each is judged, and what is told of it.

The judge is the float64 reference, on the CPU: nothing that is tested takes part in it. The bounds are the
suite's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from helpers.compare import (
    Bound,
    Solution,
    assert_offsets_reach_the_top,
    distance,
    gradient_bounds,
    half_bound,
    in_dtype,
    output_bound,
    saturated_bounds,
    solve,
    solve_eagerly,
    steepness,
)
from torch import Tensor

from contextual_attention import contextual_attention
from contextual_attention.options import PRESETS, Options
from contextual_attention.testing import Case, make_inputs
from tools.gpu.trials import stages
from tools.gpu.trials.runs import told

# With the roundings of products of different shapes, C = 16 terms each.
_ROUNDINGS = 5
_NEAR_TIE = 1e-4


@dataclass
class Outcome:
    """What a trial found out; every error is relative: ||x - y|| / ||y||, and what it may be."""

    errors: dict[str, tuple[float, float]] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)
    stages: list[str] = field(default_factory=list)
    not_finite: int = 0
    same_bits: bool = True

    @property
    def is_good(self) -> bool:
        return not self.complaints

    def why(self) -> str:
        """The stages first: they are what there is to repair."""
        return "; ".join([*self.stages, *self.complaints])

    def data(self) -> dict[str, object]:
        """For the record."""
        return vars(self)

    def worst(self, beginning: str) -> str:
        """The error that is nearest to its bound, or the furthest beyond, of those whose name begins so."""
        chosen = [pair for name, pair in self.errors.items() if name.startswith(beginning)]
        if not chosen:
            return f"{beginning} -"
        error, bound = max(chosen, key=lambda pair: pair[0] / pair[1] if pair[1] else pair[0])
        return f"{beginning} {error:.1e}/{bound:.1e}"

    def summary(self) -> str:
        bits = "same bits" if self.same_bits else "OTHER BITS"
        return f"{self.worst('output')} {self.worst('gradient')} {self.not_finite} nan {bits}"


class Cut(NamedTuple):
    """A run, and how its scores are cut up.

    Args:
        way: "whole"; "tiles" of the foreground, each with the whole background; "two passes" over tiles of
            both, the first of which is for what needs whole rows.
        kib: Of workspace, on every backend; None: its choice.
        learns: Forward and backward, of which the backward is cut in this way; else the forward alone.
    """

    way: str
    kib: int | None
    learns: bool

    def __str__(self) -> str:
        return f"{'backward' if self.learns else 'forward'} {'' if self.kib is None else 'in '}{self.way}"


WHOLE = (Cut("whole", None, True), Cut("whole", None, False))


@dataclass(frozen=True)
class Trial:
    """A problem that is solved with offsets and gradients, again, and forward alone.

    Args:
        case: Of which float64 can judge.
        dtype: Of its operands.
        cuts: The runs.
        saturated: Most rows have a single weight.
    """

    case: Case
    dtype: torch.dtype = torch.float32
    cuts: tuple[Cut, ...] = WHOLE
    saturated: bool = False

    @property
    def name(self) -> str:
        return f"{self.case.name} {str(self.dtype).removeprefix('torch.')}"

    def run(self, backend: str, device: str) -> Outcome:
        return _Run(self, backend, device).outcome()


class _Run:
    def __init__(self, trial: Trial, backend: str, device: str) -> None:
        self._trial, self._backend, self._device = trial, backend, device
        self._problem = make_inputs(trial.case, trial.dtype, requires_grad=True)
        self._wide = in_dtype(self._problem, torch.float64)
        self._exact = solve(self._wide, "reference")
        self._there = stages.moved(self._problem, device)
        self._outcome = Outcome()
        self._bounds = dict(self._make_bounds())
        self._doing, self._asks_offsets = "", False

    def outcome(self) -> Outcome:
        for cut in self._trial.cuts:
            workspace = None if cut.kib is None else cut.kib * 1024
            self._asks_offsets = True
            try:
                (self._learn if cut.learns else self._forward_alone)(workspace)
            except Exception as error:
                self._outcome.complaints.append(f"{self._doing}: {told(error)}")
            if self._outcome.complaints:
                self._outcome.complaints.append(str(cut))
                self._find_stage(workspace or 0, cut.learns)
                break
        return self._outcome

    def _make_bounds(self) -> Iterator[tuple[str, Bound]]:
        output, _, slopes = self._exact
        if self._trial.dtype != torch.float32:
            eager, _, eager_slopes = solve_eagerly(self._problem)
            yield "output", half_bound(self._trial.dtype, eager, output)
            for name, slope in slopes.items():
                yield f"gradient of {name}", half_bound(self._trial.dtype, eager_slopes[name], slope)
            return
        if self._trial.saturated:
            bound, bounds = saturated_bounds(self._problem, slopes, _ROUNDINGS)
        else:
            bound, bounds = output_bound(self._problem), gradient_bounds(self._problem, slopes)
        yield "output", bound
        for name, each in bounds.items():
            yield f"gradient of {name}", each

    def _learn(self, workspace: int | None) -> None:
        first, second = self._solve(workspace), self._solve(workspace)
        output, offsets, slopes = first
        self._check("output", output, self._exact[0])
        for name, slope in slopes.items():
            self._check(f"gradient of {name}", slope, self._exact[2][name])
        if not all(_same_bits(x, y) for x, y in zip(_tensors(first), _tensors(second), strict=True)):
            self._outcome.same_bits = False
            self._outcome.complaints.append("other bits the second time")
        self._check_offsets(offsets)

    def _solve(self, workspace: int | None) -> Solution:
        self._doing = "forward and backward"
        solution = solve(self._there, self._backend, workspace=workspace)
        self._wait()
        return solution

    def _forward_alone(self, workspace: int | None) -> None:
        """Without offsets, which half precision stores weights for in another way; and with them."""
        for self._asks_offsets in (False, True):
            of = " of the forward with offsets" if self._asks_offsets else " of the forward alone"
            self._doing = f"output{of}"
            keywords = {"workspace": workspace, "return_offsets": self._asks_offsets}
            with torch.no_grad():
                found = contextual_attention(**self._there, backend=self._backend, **keywords)
            self._wait()
            output, offsets = found if self._asks_offsets else (found, None)
            self._check("output", output, self._exact[0], of)
            if offsets is not None:
                self._check_offsets(offsets)
            if self._outcome.complaints:
                return

    def _check(self, name: str, found: Tensor, exact: Tensor, of: str = "") -> None:
        found = found.cpu()
        lost = int((~found.isfinite()).sum())
        self._outcome.not_finite += lost
        norm = exact.norm().item() or 1.0
        error, bound = distance(found, exact) / norm, self._bounds[name].of(exact) / norm
        known = self._outcome.errors.get(name + of, (0.0, bound))
        self._outcome.errors[name + of] = max((error, bound), known)
        if not error <= bound:
            lost_too = f", {lost} NaN or inf" if lost else ""
            self._outcome.complaints.append(f"{name}{of} {error:.1e}, allowed {bound:.1e}{lost_too}")

    def _check_offsets(self, offsets: Tensor) -> None:
        """Unless the weights are saturated, where many are near ties."""
        if self._trial.saturated:
            return
        try:
            # Half precision operands are rounded before the judge sees them too.
            assert_offsets_reach_the_top(self._wide, offsets.cpu(), steepness(self._wide) * _NEAR_TIE)
        except AssertionError as error:
            self._outcome.complaints.append(told(error))

    def _find_stage(self, workspace: int, learns: bool) -> None:
        """Unless the device cannot be asked any more; should the search fail, what is known stays."""
        try:
            self._wait()
        except RuntimeError:
            return
        operator = stages.operator_of(self._backend)
        examined = stages.Examined(
            self._problem, self._device, operator, workspace, self._asks_offsets, learns
        )
        try:
            judge = stages.judge()
            found = [str(each) for each in examined.wrong(judge)] or ["no stage is wrong by itself"]
            self._outcome.stages = [*found, f"judged by {judge.name}"]
        except Exception as error:
            self._outcome.stages = [f"the stage was not found: {told(error)}"]

    def _wait(self) -> None:
        """For what the device has been given to do, so that its error is met here."""
        if self._device == "cuda":
            torch.cuda.synchronize()


def _tensors(solution: Solution) -> tuple[Any, ...]:
    output, offsets, slopes = solution
    return (output, offsets, *slopes.values())


def _same_bits(x: Tensor, y: Tensor) -> bool:
    """NaN too."""
    return torch.equal(x.contiguous().view(torch.uint8), y.contiguous().view(torch.uint8))


def _trials() -> Iterator[Trial]:
    # Two samples, whose holes lie in different places; several strips of columns; not of equal sides.
    for name in ("paper", "yu2018", "mmagic", "daa233"):
        # Logits up to 30 or so in each: the larger they are, the less half precision can be held to.
        magnitude = 1.0 if PRESETS[name].normalize == "both" else 0.25
        case = Case(name, (2, 16, 40, 36), mask_scale=2, magnitude=magnitude, options=PRESETS[name])
        half = torch.float16 if name == "daa233" else torch.bfloat16
        yield from (Trial(case, dtype) for dtype in (torch.float32, half))
    yield Trial(Case("rebuild", (2, 8, 44, 40), mask="different", foreground_mask="holes"))
    yield Trial(Case("value at 2x", (2, 8, 26, 24), value=(3, 2)))
    yield Trial(Case("long fuse", (1, 8, 40, 44), mask="bands", options=Options(fuse_k=7, ksize=5)))
    yield Trial(
        Case("stride 2", (1, 8, 22, 20), (24, 17), options=Options(rate=1, stride=2, propagation="before"))
    )
    # A lane takes several columns, and is idle in the last strip.
    yield Trial(Case("135 columns", (2, 8, 8, 10), (6, 135), mask="holes", options=Options(rate=1)))
    yield from _cut_trials()


def _cut_trials() -> Iterator[Trial]:
    """Each in tiles of some pixels, hundreds of them at most: a tile takes the host a while.

    The workspaces suit both planners, which tests/test_smoke.py asks.
    """
    cuts = (
        *(Cut("two passes", 544, True), Cut("two passes", 128, False)),
        *(Cut("tiles", 1072, True), Cut("tiles", 320, False)),
    )
    yield Trial(Case("tiles", (2, 8, 44, 40), (40, 48), mask="holes"), cuts=cuts)
    # Of maps so wide that the backward's tiles have a part of each background row.
    wide = (Cut("two passes", 512, True), Cut("tiles", 1216, True), Cut("tiles", 384, False))
    yield Trial(Case("tiles, wide", (2, 8, 20, 80), (24, 72), mask="holes"), torch.bfloat16, wide)
    # What a wrapped tile reads runs over the ends of the maps; a backward's is as wide as they are.
    cuts = (
        *(Cut("two passes", 384, True), Cut("two passes", 136, False)),
        *(Cut("tiles", 640, True), Cut("tiles", 256, False)),
    )
    wrap = Options(rate=1, propagation="before", boundary="wrap", masking="multiply")
    case = Case("tiles, wrap", (2, 8, 28, 12), (24, 10), mask="pixel", options=wrap)
    yield Trial(case, torch.bfloat16, cuts)
    # Logits without a bound: the sums of rows are then the backward's own.
    saturated = Options(rate=1, normalize="background", propagation="before", boundary="wrap")
    case = Case("saturated", (1, 16, 28, 12), (24, 10), mask="holes", magnitude=1e3, options=saturated)
    yield Trial(case, cuts=WHOLE + cuts, saturated=True)


TRIALS = tuple(_trials())
