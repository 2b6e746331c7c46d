"""Which stage of the fused layer is wrong, and where.

Every stage is given what the one before it should have made, so that a wrong one does not hide another: the
operator the operands that the device has, the assembly and the backward what the judge makes of them on the
CPU. The bounds only tell a fault from rounding, in a problem that is known to be wrong.

Shape legend: as in interface.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from helpers import emulated
from helpers.compare import GRADIENT, steepness, upstream
from torch import Tensor

from contextual_attention import backends, cells, fused
from contextual_attention.interface import Gradient, Operands
from contextual_attention.options import Options
from contextual_attention.problem import scoring
from contextual_attention.testing import call_of, options_of
from tools.gpu.records import shortened
from tools.gpu.trials import dense_operator
from tools.gpu.trials.dense_operator import DIFFERENTIABLE
from tools.gpu.trials.differences import Wrong, compared, largest
from tools.gpu.trials.runs import told

_ROWS = ("sample", "row", "column")
_PIXELS = (*_ROWS, "channel")
_MAPS = ("sample", "channel", "row", "column")


@dataclass(frozen=True)
class Operator:
    """attend and its backward, by the schemas of interface.py."""

    name: str
    forward: Callable[..., tuple[Tensor, Tensor, Tensor]]
    backward: Callable[..., tuple[Tensor, ...]]


def registered(name: str) -> Operator:
    """One of those in torch.ops."""
    operators = torch.ops.contextual_attention
    return Operator(name, getattr(operators, name), getattr(operators, f"{name}_backward"))


def operator_of(backend: str) -> Operator:
    return registered("attend_triton" if backend == "triton" else "attend")


def judge() -> Operator:
    """The CUDA pipeline in host loops, if they are there for this Python; else the reference in float64."""
    try:
        module = emulated.load_ready_made()
    except ImportError as error:
        # Built from other sources, or it does not load: the name says so wherever it is shown.
        return _exact(f"float64, for {shortened(str(error))}")
    return _exact("float64, there being no host loops") if module is None else registered(emulated.OPERATOR)


def _exact(name: str) -> Operator:
    return Operator(name, dense_operator.attend, dense_operator.attend_backward)


@dataclass(frozen=True)
class Examined:
    """A problem, and how its operator is called.

    Args:
        problem: The arguments of the layer, on the CPU; leaves that require gradients get them.
        device: Where the operator under suspicion runs.
        operator: That one.
        workspace: Of the operator under suspicion, 0: its choice; the judge has its own.
        return_offsets: Without them half precision stores weights in another way.
        learns: Whether its backward is looked at too.
    """

    problem: dict[str, Any]
    device: str
    operator: Operator
    workspace: int = 0
    return_offsets: bool = True
    learns: bool = True

    def wrong(self, judge: Operator) -> list[Wrong]:
        """In the order of the work; a stage that raises is the last."""
        found: list[Wrong] = []
        stages = _Stages(self, judge)
        try:
            for each in stages.wrong():
                found.append(each)  # what was found before one that raises is kept
        except Exception as error:
            found.append(Wrong(stages.doing, told(error)))
        return found


class _Stages:
    def __init__(self, examined: Examined, judge: Operator) -> None:
        self._examined = examined
        self._judge = judge
        self._options: Options = options_of(examined.problem)
        self._scoring = scoring(self._options)
        dtype = examined.problem["foreground"].dtype
        # Weights and results are rounded to the dtype, and logits by a share of themselves.
        self._share = steepness(examined.problem) * (2 * torch.finfo(dtype).eps + GRADIENT)
        # The extension's operator has kernels for its operands too.
        own = examined.operator.name == "attend" and examined.device != "cpu"
        self._backend = "cuda" if own else "cpu"
        self.doing = "operands"

    def wrong(self) -> Iterator[Wrong]:
        here = self._examined.problem
        there = moved(here, self._examined.device)
        exact = operands_of(here)
        found = operands_of(there, self._backend)
        yield from self._operands(found, exact)
        # The same for both, as the device has them.
        given = Operands(*(None if x is None else x.detach().cpu() for x in found))
        self.doing = "the operator"
        own = self._examined
        summed, offsets, statistics = self._call(self._judge.forward, given, 0)
        made, its_offsets, its_statistics = self._call(own.operator.forward, found, own.workspace)
        self._wait()
        off = list(self._statistics(its_statistics, statistics))
        yield from off
        if not off:
            bound = 4 * self._share * largest(given.value)  # a cell has the weights of four patches
            yield from compared("cells (cell sums or second product)", made, summed, bound, _PIXELS)
            if offsets.numel():
                # Of two candidates that are nearly alike each may take another.
                yield from compared("offsets to the largest weight", its_offsets, offsets, 0.0, _MAPS)
        yield from self._rest(there, found, given, summed, statistics, its_statistics)

    def _rest(
        self,
        there: dict[str, Any],
        found: Operands,
        given: Operands,
        summed: Tensor,
        statistics: Tensor,
        its_statistics: Tensor,
    ) -> Iterator[Wrong]:
        """The assembly, and the way back."""
        self.doing = "assembly"
        output, grad_cells = self._assembled(self._examined.problem, given, summed)
        its_output, its_grad = self._assembled(there, found, summed)
        self._wait()
        yield from self._near("assembly", its_output, output, _MAPS)
        if not self._examined.learns:
            return
        yield from self._near("backward of the assembly", its_grad, grad_cells, _PIXELS)
        self.doing = "the operator's backward"
        needs = sum(1 << i for i, name in enumerate(DIFFERENTIABLE) if getattr(given, name) is not None)
        own = self._examined
        slopes = self._back(self._judge.backward, grad_cells, given, statistics, needs, 0)
        rows = with_offsets_of(statistics, its_statistics.cpu()).to(found.beta)
        its_slopes = self._back(own.operator.backward, grad_cells, found, rows, needs, own.workspace)
        self._wait()
        for i, name in enumerate(DIFFERENTIABLE):
            if needs >> i & 1:
                stage = f"gradient of {name} by the operator"
                yield from self._near(stage, its_slopes[i], slopes[i], _axes(slopes[i]))
        self.doing = "backward of the operands"
        yield from self._operands_backward(there, slopes, needs)

    def _operands(self, found: Operands, exact: Operands) -> Iterator[Wrong]:
        for name, x, y in zip(Operands._fields, found, exact, strict=True):
            if y is None:
                continue
            # All but the norms are copies; these are sums of a hundred squares or so.
            bound = 2**-19 * largest(y) if name in ("alpha", "beta") else 0.0
            yield from compared(f"operand {name}", x, y, bound, _axes(y))

    def _statistics(self, found: Tensor, exact: Tensor) -> Iterator[Wrong]:
        """What does not depend on the offset that a kernel has chosen."""
        way = "row sums (Gram product, similarity, propagation before, softmax)"
        off = list(compared(way, _logarithms(found), _logarithms(exact), self._share, _ROWS))
        yield from off
        if not off:
            totals, exact_totals = found[:, 2], exact[:, 2]
            bound = self._share * exact_totals.abs().cpu()
            yield from compared("sums of propagated weights", totals, exact_totals, bound, _ROWS)

    def _assembled(self, problem: dict[str, Any], given: Operands, summed: Tensor) -> tuple[Tensor, Tensor]:
        """The output of the layer for these cells, and their gradient."""
        foreground = problem["foreground"].detach()
        detached = problem | {"foreground": foreground}
        weight = cells.shares(given.foreground.shape[1:3], given.selected, self._options, foreground)
        pasting = fused.pasting(call_of(detached), given, weight)
        with torch.no_grad():
            summed = summed.to(foreground.device, torch.float32)
            output = cells.paste(summed, *pasting)
            keep, cell = pasting.keep, pasting.cell
            slope, _ = cells.lift(upstream(output), weight, keep, cell, *summed.shape[1:3], False)
        return output, slope

    def _operands_backward(
        self, there: dict[str, Any], slopes: tuple[Tensor, ...], needs: int
    ) -> Iterator[Wrong]:
        def gradients(problem: dict[str, Any]) -> list[Tensor]:
            made = operands_of(problem)
            chosen = [i for i in range(len(DIFFERENTIABLE)) if needs >> i & 1]
            outputs = [getattr(made, DIFFERENTIABLE[i]) for i in chosen]
            upstreams = [slopes[i].to(x) for i, x in zip(chosen, outputs, strict=True)]
            return list(torch.autograd.grad(outputs, list(_leaves(problem).values()), upstreams))

        leaves = _leaves(self._examined.problem)
        exact, found = gradients(self._examined.problem), gradients(there)
        for name, x, y in zip(leaves, found, exact, strict=True):
            yield from self._near(f"gradient of {name} through the operands", x, y, _MAPS)

    def _call(self, forward: Callable, given: Operands, workspace: int) -> tuple[Tensor, Tensor, Tensor]:
        with torch.no_grad():
            return forward(*given, *self._scoring, self._examined.return_offsets, workspace)

    def _back(
        self,
        backward: Callable,
        grad_cells: Tensor,
        given: Operands,
        statistics: Tensor,
        needs: int,
        workspace: int,
    ) -> tuple[Tensor, ...]:
        with torch.no_grad():
            of = Gradient(grad_cells.to(given.beta.device), statistics, needs, workspace)
            return backward(*given, *self._scoring, *of)

    def _near(self, stage: str, found: Tensor, exact: Tensor, axes: tuple[str, ...]) -> Iterator[Wrong]:
        return compared(stage, found, exact, self._share * largest(exact), axes)

    def _wait(self) -> None:
        """For what the device has been given to do, so that its error is met here."""
        if self._examined.device == "cuda":
            torch.cuda.synchronize()


def moved(problem: dict[str, Any], device: str) -> dict[str, Any]:
    """The same numbers there, as new leaves."""
    return {
        name: x.detach().to(device).requires_grad_(x.requires_grad) if isinstance(x, Tensor) else x
        for name, x in problem.items()
    }


def operands_of(problem: dict[str, Any], backend: str = "cpu") -> Operands:
    given, _ = fused.operands(call_of(problem), backends.kernels(backend).road)
    return given


def with_offsets_of(statistics: Tensor, others: Tensor) -> Tensor:
    """The same weights, exp(logit - offset) inverse_sum, written with the offsets of other statistics."""
    offset, inverse_sum, inverse_total = statistics.double().unbind(1)
    chosen = torch.where(others[:, 0].isfinite(), others[:, 0].double(), offset)
    scaled = torch.where(inverse_sum > 0, inverse_sum * (chosen - offset).exp(), 0)
    return torch.stack((chosen, scaled, inverse_total), 1).float()


def _value(problem: dict[str, Any]) -> Tensor:
    return problem["background"] if problem["value"] is None else problem["value"]


def _leaves(problem: dict[str, Any]) -> dict[str, Tensor]:
    return {name: x for name, x in problem.items() if isinstance(x, Tensor) and x.requires_grad}


def _axes(x: Tensor) -> tuple[str, ...]:
    """Of an operand, or of its gradient."""
    return _PIXELS if x.dim() == 4 else _ROWS


def _logarithms(statistics: Tensor) -> Tensor:
    """Of the sums of exp(logit) of every row; -inf where there are no weights."""
    offset, inverse_sum = statistics[:, 0].double(), statistics[:, 1].double()
    return torch.where(inverse_sum == 0, -torch.inf, offset - inverse_sum.log())
