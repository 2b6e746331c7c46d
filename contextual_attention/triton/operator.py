"""attend and attend_backward by the schemas of interface.py: checks, preparation by sample, casts back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from .. import interface
from ..problem import Problem
from .backward import Backward, Gradients
from .forward import Forward
from .plan import Plan, default_workspace, make_plan
from .strips import Operands, Statistics


def attend(*arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    """cells, offsets and statistics; see interface.py."""
    given, scoring, how = interface.ATTEND.unpack(arguments)
    problem, operands = Problem.of(given, scoring), _prepare(given, scoring)
    samples, size = problem.batch, (problem.h, problem.w)
    # Zeros: strips add to the cells.
    cells = given.value.new_zeros(
        (samples, problem.h + 1, problem.w + 1, problem.value_channels), dtype=torch.float32
    )
    offsets = given.value.new_zeros((samples, 2, *size) if how.return_offsets else (0,), dtype=torch.int64)
    statistics = Statistics(*(operands.beta.new_zeros((samples, problem.h * problem.w)) for _ in range(3)))
    with torch.cuda.device_of(given.foreground):
        for first, last, plan in _turns(problem, samples, how.workspace, False, given.foreground.device):
            # Not kept by a name: the scratch of one turn is gone when the next one takes its own.
            Forward(problem, plan, operands.samples(first, last), statistics.samples(first, last)).run(
                cells[first:last], offsets[first:last] if how.return_offsets else None
            )
    return cells, offsets, torch.stack(list(vars(statistics).values()), 1).view(samples, 3, *size)


def attend_backward(*arguments: Any) -> tuple[Tensor, ...]:
    """Gradients of foreground, background, alpha, beta and value; see interface.py."""
    given, scoring, of = interface.ATTEND_BACKWARD.unpack(arguments)
    inputs = (given.foreground, given.background, given.alpha, given.beta, given.value)
    sums = [_zeros(x, given.foreground) if of.needs >> i & 1 else None for i, x in enumerate(inputs)]
    problem, operands = Problem.of(given, scoring), _prepare(given, scoring)
    # Copies of the statistics: the backward makes its own in their place.
    rows = Statistics(*(x.flatten(1).clone() for x in of.statistics.unbind(1)))
    upstream = of.grad_cells.to(given.value.dtype).contiguous()
    _add_gradients(problem, operands, rows, upstream, sums, of.workspace)
    del operands, rows, upstream
    # The value's comes last, the largest: by then the float32 ones of the others are gone, one by one.
    return tuple(
        given.foreground.new_empty((0,), dtype=given.foreground.dtype if x is None else x.dtype)
        if (result := sums.pop(0)) is None
        else result.to(x.dtype)
        for x in inputs
    )


def _add_gradients(
    problem: Problem,
    operands: Operands,
    statistics: Statistics,
    upstream: Tensor,
    sums: list[Tensor | None],
    workspace: int,
) -> None:
    """To zeros in float32, those that are asked for; `upstream` is the gradient of the cells."""
    gradients = Gradients(*sums[:2], *(None if x is None else x.flatten(1) for x in sums[2:4]), sums[4])
    samples = 0 if all(x is None for x in sums) else upstream.shape[0]
    with torch.cuda.device_of(upstream):
        for first, last, plan in _turns(problem, samples, workspace, True, upstream.device):
            parts = (each.samples(first, last) for each in (operands, statistics))
            Backward(problem, plan, *parts, upstream[first:last], gradients.samples(first, last)).run()


def _prepare(given: interface.Operands, scoring: interface.Scoring) -> Operands:
    """As the kernels take them: contiguous, of every sample."""
    samples, _, _, _ = given.foreground.shape
    _, hb, wb, _ = given.background.shape
    candidates = -(-hb // scoring.stride) * -(-wb // scoring.stride)
    valid = _expand(given.valid, samples)
    return Operands(
        given.foreground.contiguous(),
        given.background.contiguous(),
        None if given.alpha is None else _expand(given.alpha, samples),
        _expand(given.beta, samples),
        valid,
        None if given.selected is None else _expand(given.selected, samples),
        given.value.contiguous(),
        candidates - valid.sum(1) if scoring.masking == interface.Masking.MULTIPLY else None,
    )


def _expand(x: Tensor, samples: int) -> Tensor:
    """(B or 1, height, width) -> (B, height * width) float32, contiguous."""
    return x.flatten(1).float().expand(samples, -1).contiguous()


def _turns(
    problem: Problem, samples: int, workspace: int, backward: bool, device: torch.device
) -> Iterator[tuple[int, int, Plan]]:
    """(first, last, plan) of the samples that are worked on at once."""
    if samples == 0:
        return
    plan = make_plan(problem, samples, workspace, backward, default_workspace(_memory(device)))
    for first in range(0, samples, plan.samples):
        yield first, min(first + plan.samples, samples), plan


def _memory(device: torch.device) -> int:
    """Of a GPU, in bytes; the interpreter has tensors on the CPU."""
    return torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else 0


def _zeros(x: Tensor | None, foreground: Tensor) -> Tensor:
    if x is None:
        raise RuntimeError("contextual_attention: the gradient of alpha was asked for, but there is no alpha")
    return torch.zeros(x.shape, dtype=torch.float32, device=foreground.device)
