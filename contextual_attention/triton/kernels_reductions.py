"""From scores, or from the parts of rows that programs leave, to one number for a row.

Layout, windows and the shape legend are those of kernels.py.
"""

from __future__ import annotations

from enum import Enum

import triton
import triton.language as tl

from .kernels import background, foreground, load, own_steps, store_part
from .kernels_windows import local_in, rows_of, scores_of, unpacked, unpacked_area


class Combine(str, Enum):
    """What becomes of the parts of a row."""

    MAXIMUM = "maximum"
    INVERSE = "inverse"  # 1 / sum, 0 for an empty row
    SCALED = "scaled"  # scale * sum
    ADD_SCALED = "add scaled"  # the same, added to what is there


@triton.jit(do_not_specialize=["splits"])
def combine(
    part,  # (B, P, splits)
    out,  # (B, N)
    scale,  # (B, N), or None: 1
    offset,  # (B, N), for "inverse"
    invalid,  # (B,), candidates whose logit is 0 in the softmax, or None: none
    window,
    splits,
    OPERATION: tl.constexpr,
    BLOCK_P: tl.constexpr,
):
    """One number per pixel of a window from its parts."""
    window = unpacked(window)
    sample = tl.program_id(1).to(tl.int64)
    p = foreground(window, BLOCK_P)
    part += (sample * window.pixels + p.local) * splits
    result = tl.load(part, mask=p.inside, other=0)
    for split in range(1, splits):
        each = tl.load(part + split, mask=p.inside, other=0)
        result = tl.maximum(result, each) if OPERATION == "maximum" else result + each
    if OPERATION == "maximum":
        # A row without a valid candidate.
        result = tl.where(result == float("-inf"), 0.0, result)
    if OPERATION == "inverse":
        if invalid is not None:
            count = tl.load(invalid + sample)
            # None of infinite weight is none.
            others = count * tl.exp(-load(offset, sample, p, window))
            result += tl.where(count > 0, others, 0.0)
        # Not `>`: a NaN stays one. Below the normal numbers the reciprocal could overflow.
        result = tl.where(result < 1.2e-38, 0.0, 1.0 / result)
    if scale is not None:
        result *= load(scale, sample, p, window)
    there = out + sample * window.height * window.width + p.index
    if OPERATION == "add scaled":
        result += tl.load(there, mask=p.inside, other=0)
    tl.store(there, result, mask=p.inside)


@triton.jit(do_not_specialize=["x_row_length"])
def largest(
    x,  # (B, Px, Qx) float32, not negative
    x_row_length,
    x_area,
    area,  # of p and q, within it
    value_part,  # (B, P, splits) float32
    index_part,  # (B, P, splits) int32, in the map
    BLOCK_P: tl.constexpr,
    BLOCK_Q: tl.constexpr,
):
    """The largest of every row and the smallest index in the map that reaches it."""
    sample = tl.program_id(2).to(tl.int64)
    x = scores_of(sample, x, x_row_length, x_area)
    p_window, q_window = unpacked_area(area)
    p = foreground(p_window, BLOCK_P)
    rows = rows_of(x, p)
    value = tl.full([BLOCK_P, BLOCK_Q], -1.0, tl.float32)
    index = tl.zeros([BLOCK_P, BLOCK_Q], tl.int32)
    begin, end = own_steps(q_window, BLOCK_Q)
    for block in range(begin, end):
        q = background(block, q_window, BLOCK_Q)
        inside = p.inside[:, None] & q.inside[None, :]
        found = tl.load(rows + local_in(x.q, q)[None, :], mask=inside, other=-1.0)
        # The background's own windows never run over the last row, so q ascends: the first one stays.
        index = tl.where(found > value, q.index[None, :], index)
        value = tl.maximum(value, found)
    best = tl.max(value, 1)
    store_part(value_part, sample, p, p_window, best)
    beyond = q_window.height * q_window.width
    first = tl.min(tl.where(value == best[:, None], index, beyond), 1)
    store_part(index_part, sample, p, p_window, first)
