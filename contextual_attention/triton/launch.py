"""How the kernels are started: scores with the area that they cover, grids, geometry.

Shape legend: B samples; P and Q the foreground and background pixels of an area; N and M those of the maps.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
import triton
from torch import Tensor

from ..problem import Problem
from . import kernels, kernels_backward, kernels_reductions
from .kernels import Epilogue
from .kernels_reductions import Combine
from .kernels_windows import Factors, Mode, packed, packed_area
from .windows import Area, Window

# 16 foreground pixels share most of the scores that their sums read; with 8 warps two programs of the largest
# filters fit into a multiprocessor, without spills. The interpreter's time goes with the number of programs.
BLOCK_P, BLOCK_Q = (128, 128) if os.environ.get("TRITON_INTERPRET") == "1" else (16, 64)
_WARPS = 8
# A few for each multiprocessor of a large GPU. Not the device's own number: sums would depend on it.
_PROGRAMS = 1024


@dataclass(frozen=True)
class Scores:
    """(B, P, Q), the last dimension contiguous, over an area."""

    data: Tensor
    area: Area

    @property
    def arguments(self) -> tuple[Tensor, int, tuple[tuple[int, ...], tuple[int, ...]]]:
        """As kernels take them."""
        return self.data, self.data.stride(1), packed_area(self.area)


@dataclass(frozen=True)
class Taps:
    """count x count neighbours of a position, `step` apart, from (first, first) on."""

    count: int
    first: int
    step: int = 1
    mode: Mode = Mode.PLAIN

    @classmethod
    def patch(cls, problem: Problem) -> Taps:
        return cls(problem.ksize, -problem.patch_reach)

    @classmethod
    def fuse(cls, problem: Problem, adjoint: bool = False) -> Taps:
        mode = Mode.PLAIN
        if problem.wraps:
            mode = Mode.WRAPPED_ADJOINT if adjoint else Mode.WRAPPED
        return cls(problem.fuse_k, -problem.tap_reach, problem.stride, mode)


# The patches that paste on a cell, and the cells that a patch pastes on.
PASTING, PASTED = Taps(2, -1), Taps(2, 0)


def diagonal_sum(
    out: Scores,
    source: Scores,
    taps: Taps,
    *,
    factor: float = 1.0,
    row_scale: Tensor | None = None,
    column_scale: Tensor | None = None,
    row_gain: Tensor | None = None,
    column_gain: Tensor | None = None,
    epilogue: Epilogue = Epilogue.KEEP,
    valid: Tensor | None = None,
    offset: Tensor | None = None,
) -> Tensor | None:
    """kernels.diagonal_sum; the parts (B, P, splits) of the rows, where the epilogue makes some."""
    grid = _grid(out.data)
    reduces = epilogue in (Epilogue.LARGEST, Epilogue.MASK_AND_SUM)
    part = _part(out.data, grid) if reduces else None
    kernels.diagonal_sum[grid](
        *out.arguments,
        *source.arguments,
        Factors(row_scale, column_scale),
        Factors(row_gain, column_gain),
        valid,
        offset,
        part,
        factor,
        taps.first,
        taps.step,
        TAPS=taps.count,
        MODE=taps.mode.value,
        EPILOGUE=epilogue.value,
        BLOCK_P=BLOCK_P,
        BLOCK_Q=BLOCK_Q,
        num_warps=_WARPS,
    )
    return part


def exponentials(scores: Scores, valid: Tensor, offset: Tensor) -> Tensor:
    """kernels.exponentials, in place; the parts of the sums (B, P, splits)."""
    grid = _grid(scores.data)
    part = _part(scores.data, grid)
    kernels.exponentials[grid](
        *scores.arguments, valid, offset, part, BLOCK_P=BLOCK_P, BLOCK_Q=BLOCK_Q, num_warps=_WARPS
    )
    return part


def combine(
    part: Tensor,
    window: Window,
    out: Tensor,
    operation: Combine,
    *,
    scale: Tensor | None = None,
    offset: Tensor | None = None,
    invalid: Tensor | None = None,
) -> None:
    """kernels_reductions.combine: from (B, P, splits) to the pixels of a window in `out`, (B, N)."""
    block = 128
    kernels_reductions.combine[(triton.cdiv(window.pixels, block), part.shape[0])](
        part, out, scale, offset, invalid, packed(window), part.shape[2],
        OPERATION=operation.value, BLOCK_P=block, num_warps=4,
    )  # fmt: skip


def dot(x: Scores, y: Scores, area: Area) -> Tensor:
    """kernels_backward.dot over an area that both cover: parts (B, P, splits)."""
    grid = _grid(x.data, area)
    part = _part(x.data, grid, area)
    kernels_backward.dot[grid](
        *x.arguments, *y.arguments, packed_area(area), part,
        BLOCK_P=BLOCK_P, BLOCK_Q=BLOCK_Q, num_warps=_WARPS,
    )  # fmt: skip
    return part


def centre(
    scores: Scores,
    weights: Scores | None,
    valid: Tensor | None,
    row_gain: Tensor,
    centres: Tensor | None,
    factor: float = 1.0,
) -> None:
    """kernels_backward.centre, in place; `weights` or else `valid` is what it multiplies by."""
    of_weights = (None, None, None) if weights is None else weights.arguments
    kernels_backward.centre[_grid(scores.data)](
        *scores.arguments, *of_weights, valid, row_gain, centres, factor,
        BLOCK_P=BLOCK_P, BLOCK_Q=BLOCK_Q, num_warps=_WARPS,
    )  # fmt: skip


def norm_gradients(
    gram: Scores,
    gradient: Scores,
    alpha: Tensor | None,
    beta: Tensor,
    area: Area,
    taps: Taps,
    memory: Tensor,
) -> tuple[Tensor, Tensor]:
    """Parts of the gradients of alpha (B, P, splits), and of beta (B, parts, Q) in `memory`."""
    grid = _grid(gram.data, area)
    row_part = _part(gram.data, grid, area)
    columns = (gram.data.shape[0], grid[0], area.q.pixels)
    column_part = memory[: columns[0] * columns[1] * columns[2]].view(columns)
    kernels_backward.norm_gradients[grid](
        *gram.arguments, *gradient.arguments, packed_area(area), alpha, beta, row_part, column_part,
        TAPS=taps.count, BLOCK_P=BLOCK_P, BLOCK_Q=BLOCK_Q, num_warps=_WARPS,
    )  # fmt: skip
    return row_part, column_part


def largest(x: Scores, area: Area) -> tuple[Tensor, Tensor]:
    """The largest score of every row (B, P), and the smallest index in the map that reaches it."""
    grid = _grid(x.data, area)
    value, index = _part(x.data, grid, area), _part(x.data, grid, area, torch.int32)
    kernels_reductions.largest[grid](
        *x.arguments, packed_area(area), value, index,
        BLOCK_P=BLOCK_P, BLOCK_Q=BLOCK_Q, num_warps=_WARPS,
    )  # fmt: skip
    best = value.amax(2)
    beyond = area.q.height * area.q.width
    return best, torch.where(value == best[..., None], index, beyond).amin(2)


def _grid(scores: Tensor, area: Area | None = None) -> tuple[int, int, int]:
    """Blocks of P, splits of Q, samples."""
    samples, p, q = scores.shape if area is None else (scores.shape[0], area.p.pixels, area.q.pixels)
    blocks = triton.cdiv(p, BLOCK_P)
    splits = min(triton.cdiv(q, BLOCK_Q), triton.cdiv(_PROGRAMS, blocks * samples))
    return blocks, splits, samples


def _part(
    scores: Tensor,
    grid: tuple[int, int, int],
    area: Area | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    p = scores.shape[1] if area is None else area.p.pixels
    return scores.new_empty((scores.shape[0], p, grid[1]), dtype=dtype)
