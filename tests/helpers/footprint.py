"""What a fused backend on a GPU must hold at its peak, derived, and what a process has held, counted.

One map x (B, C, H, W) is foreground, background and value, at rate 2, and there is no mask. Bytes are those
beyond x itself, the output and the gradient included. At 2 bytes an entry, with X those of x and
V = X (1 + 1 / h) (1 + 1 / w) those of its cells, of which there are a row and a column more:

forward                                    | with its backward
-------------------------------------------|--------------------------------------------------------------------
                                           | X    output: the caller's
                                           | X    its gradient: the caller's
X / 4  downscaled x: queries and keys      | X / 4  the same, kept for the backward
V      cells of the value                  | V    the same, kept for the backward
2 V    cells of the output, float32:       | V    gradient of the output's cells
       several tiles add to each           | X    gradients of queries and keys, float32: tiles add to them
                                           | 2 V  gradient of the value's cells, float32: so do they
workspace, or later X, the output, and two | workspace, or later V, the value's gradient in half precision
       bands of cells on their way to it   |
numbers of each position                   | numbers of each position
-------------------------------------------|--------------------------------------------------------------------
X / 4 + 3 V + max(workspace, X)            | 3.25 X + 4 V + max(workspace, V - X / 2)

Nothing else is as large as a part of the map: a float32 copy of it would be 2 X, of the downscaled one X / 2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from contextual_attention import cells, contextual_attention
from contextual_attention.options import Options
from contextual_attention.problem import Problem, scoring
from contextual_attention.triton.plan import Plan, make_plan

Result = TypeVar("Result")

# Bytes of the numbers of a position: nine float64 sums, of the propagation's taps, forward once and backward
# three times; and float32 norms, statistics and centres, their gradients, and flags, not 16 in all.
_FORWARD, _BACKWARD = 9 * 8 + 16 * 4, 3 * 9 * 8 + 16 * 4


def most_bytes(x: Tensor, workspace: int) -> int:
    """By the table: with the backward if x learns."""
    own, wide = x.element_size(), 4
    batch, channels, height, width = x.shape
    positions = batch * (height // 2) * (width // 2)
    row = (width // 2 + 1) * 4 * channels
    entries = batch * (height // 2 + 1) * row
    downscaled = x.numel() // 4
    held = (downscaled + entries) * own
    if not x.requires_grad:
        bands = 2 * max(cells._BAND_BYTES, batch * row * own)  # of a row of cells at least
        return held + entries * wide + positions * _FORWARD + max(workspace, x.nbytes + bands)
    held += 2 * x.nbytes + entries * own + (2 * downscaled + entries) * wide + positions * _BACKWARD
    # By then the gradients of queries and keys are in half precision.
    converted = entries * own - 2 * downscaled * (wide - own) if own < wide else 0
    return held + max(workspace, converted)


def strip_bytes(x: Tensor, found: Plan) -> int:
    """What Triton's backend holds of a strip beside its scores: operands and products of its cells."""
    own, wide, depth = x.element_size(), 4, 4 * x.shape[1]
    p, q = (found.rows + 1) * (found.columns + 1), (found.block_rows + 1) * (x.shape[3] // 2 + 1)
    return found.samples * depth * (p * own + max(p, q if x.requires_grad else 0) * wide)


def triton_bytes(x: Tensor, workspace: int) -> int:
    """`most_bytes` of Triton's backend, by the plan that it makes."""
    _, channels, height, width = x.shape
    sizes = (height // 2, width // 2) * 2
    solved = Problem(channels, 4 * channels, *sizes, *scoring(Options()))
    found = make_plan(solved, x.shape[0], workspace, x.requires_grad, workspace)
    return most_bytes(x, found.scratch + strip_bytes(x, found))


def most_held(function: Callable[[], Result]) -> tuple[Result, int]:
    """What it returns, and the most bytes of tensors on the CPU that it held at once, whoever made them.

    The profiler is told of all that torch's allocator gives and takes back, within operators and for C++ too.
    """
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        result = function()
    held = most = 0
    for _, size in sorted(_allocations(profiled.profiler.kineto_results.experimental_event_tree())):
        held += size
        most = max(most, held)
    return result, most


def assert_nothing_more_is_held(x: Tensor, scratch: int, copied: int = 0, **given) -> None:
    """Within `most_bytes` and `copied`, and not half of x below: what the table lists is there."""
    bound = most_bytes(x, scratch)
    _, held = most_held(lambda: solve(x, **given))
    assert bound - x.nbytes // 2 <= held <= bound + copied


def solve(x: Tensor, **given) -> Tensor:
    """The gradient of x if it learns, else the output."""
    output = contextual_attention(x, x, **given)
    return torch.autograd.grad(output, x, torch.ones_like(output))[0] if x.requires_grad else output


def _allocations(events: list) -> Iterator[tuple[int, int]]:
    """When, and how many bytes, negative where they were given back."""
    for event in events:
        if event.tag.name == "Allocation":
            yield event.start_time_ns, event.extra_fields.alloc_size
        yield from _allocations(event.children)
