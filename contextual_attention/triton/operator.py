"""attend and attend_backward by the schemas of interface.py: checks, preparation by sample, casts back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from .backward import Backward, Gradients
from .forward import Forward
from .plan import Plan, default_workspace, make_plan
from .problem import Problem
from .strips import Operands, Statistics


def attend(
    foreground: Tensor,
    background: Tensor,
    alpha: Tensor | None,
    beta: Tensor,
    valid: Tensor,
    selected: Tensor | None,
    value: Tensor,
    *arguments: Any,
) -> tuple[Tensor, Tensor, Tensor]:
    """cells, offsets and statistics; see interface.py."""
    *options, return_offsets, workspace = arguments
    problem, operands = _prepare(foreground, background, alpha, beta, valid, selected, value, options)
    samples, size = foreground.shape[0], (problem.h, problem.w)
    # Zeros: strips add to the cells.
    cells = value.new_zeros(
        (samples, problem.h + 1, problem.w + 1, problem.value_channels), dtype=torch.float32
    )
    offsets = value.new_zeros((samples, 2, *size) if return_offsets else (0,), dtype=torch.int64)
    statistics = Statistics(*(operands.beta.new_zeros((samples, problem.h * problem.w)) for _ in range(3)))
    with torch.cuda.device_of(foreground):
        for first, last, plan in _turns(problem, samples, workspace, False, foreground.device):
            # Not kept by a name: the scratch of one turn is gone when the next one takes its own.
            Forward(problem, plan, operands.samples(first, last), statistics.samples(first, last)).run(
                cells[first:last], offsets[first:last] if return_offsets else None
            )
    return cells, offsets, torch.stack(list(vars(statistics).values()), 1).view(samples, 3, *size)


def attend_backward(
    grad_cells: Tensor,
    foreground: Tensor,
    background: Tensor,
    alpha: Tensor | None,
    beta: Tensor,
    valid: Tensor,
    selected: Tensor | None,
    value: Tensor,
    statistics: Tensor,
    *arguments: Any,
) -> tuple[Tensor, ...]:
    """Gradients of foreground, background, alpha, beta and value; see interface.py."""
    *options, needs, workspace = arguments
    inputs = (foreground, background, alpha, beta, value)
    sums = [_zeros(x, foreground) if needs >> i & 1 else None for i, x in enumerate(inputs)]
    problem, operands = _prepare(foreground, background, alpha, beta, valid, selected, value, options)
    # Copies of the statistics: the backward makes its own in their place.
    rows = Statistics(*(x.flatten(1).clone() for x in statistics.unbind(1)))
    _add_gradients(problem, operands, rows, grad_cells.to(value.dtype).contiguous(), sums, workspace)
    del operands, rows
    # The value's comes last, the largest: by then the float32 ones of the others are gone, one by one.
    return tuple(
        foreground.new_empty((0,), dtype=foreground.dtype if x is None else x.dtype)
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


def _prepare(
    foreground: Tensor,
    background: Tensor,
    alpha: Tensor | None,
    beta: Tensor,
    valid: Tensor,
    selected: Tensor | None,
    value: Tensor,
    options: list[Any],
) -> tuple[Problem, Operands]:
    samples, h, w, channels = foreground.shape
    _, hb, wb, _ = background.shape
    problem = Problem(channels, value.shape[3], h, w, hb, wb, *options)
    candidates = -(-hb // problem.stride) * -(-wb // problem.stride)
    valid = _expand(valid, samples)
    operands = Operands(
        foreground.contiguous(),
        background.contiguous(),
        None if alpha is None else _expand(alpha, samples),
        _expand(beta, samples),
        valid,
        None if selected is None else _expand(selected, samples),
        value.contiguous(),
        candidates - valid.sum(1) if problem.multiplies else None,
    )
    return problem, operands


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
