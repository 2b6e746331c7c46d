"""From scores, or from the parts of rows that programs leave, to one number for a row.

Layout, windows and the shape legend are those of kernels.py.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .kernels import _at, _position, _splits, _store_part, window_names

# What `combine` makes of the parts of a row.
MAXIMUM = tl.constexpr(0)
INVERSE = tl.constexpr(1)  # 1 / sum, 0 for an empty row
SCALED = tl.constexpr(2)  # scale * sum
ADD_SCALED = tl.constexpr(3)  # the same, added to what is there


@triton.jit(do_not_specialize=["size_p", "splits", "top", "left", "columns", "height", "width"])
def combine(
    part,  # (B, P, splits)
    out,  # (B, N)
    scale,  # (B, N), or None: 1
    offset,  # (B, N), for INVERSE
    invalid,  # (B,), candidates whose logit is 0 in the softmax, or None: none
    size_p,
    splits,
    top,
    left,
    columns,
    height,
    width,
    OPERATION: tl.constexpr,
    BLOCK_P: tl.constexpr,
):
    """One number per pixel of a window from its parts."""
    sample = tl.program_id(1).to(tl.int64)
    p = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    inside = p < size_p
    row, column = _position(p, top, left, columns, height, width)
    pixel = sample * height * width + row * width + column
    part += (sample * size_p + p) * splits
    result = tl.load(part, mask=inside, other=0)
    for split in range(1, splits):
        each = tl.load(part + split, mask=inside, other=0)
        result = tl.maximum(result, each) if OPERATION == MAXIMUM else result + each
    if OPERATION == MAXIMUM:
        # A row without a valid candidate.
        result = tl.where(result == float("-inf"), 0.0, result)
    if OPERATION == INVERSE:
        if invalid is not None:
            count = tl.load(invalid + sample)
            # None of infinite weight is none.
            others = count * tl.exp(-tl.load(offset + pixel, mask=inside, other=0))
            result += tl.where(count > 0, others, 0.0)
        # Not `>`: a NaN stays one. Below the normal numbers the reciprocal could overflow.
        result = tl.where(result < 1.2e-38, 0.0, 1.0 / result)
    if scale is not None:
        result *= tl.load(scale + pixel, mask=inside, other=0)
    if OPERATION == ADD_SCALED:
        result += tl.load(out + pixel, mask=inside, other=0)
    tl.store(out + pixel, result, mask=inside)


_LARGEST_SIZES = ["size_p", "size_q", "ld", *window_names("p", "q", rows=False), *window_names("xp", "xq")]


@triton.jit(do_not_specialize=_LARGEST_SIZES)
def largest(
    x,  # (B, Px, Qx) float32, not negative
    value_part,  # (B, P, splits) float32
    index_part,  # (B, P, splits) int32, in the map
    size_p,
    size_q,
    ld,
    p_top,
    p_left,
    p_columns,
    q_top,
    q_left,
    q_columns,
    xp_top,
    xp_left,
    xp_rows,
    xp_columns,
    xp_height,
    xp_width,
    xq_top,
    xq_left,
    xq_rows,
    xq_columns,
    xq_height,
    xq_width,
    BLOCK_P: tl.constexpr,
    BLOCK_Q: tl.constexpr,
):
    """The largest of every row and the smallest index in the map that reaches it."""
    sample = tl.program_id(2).to(tl.int64)
    p = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    p_row, p_column = _position(p, p_top, p_left, p_columns, xp_height, xp_width)
    px, px_inside = _at(p_row, p_column, xp_top, xp_left, xp_rows, xp_columns, xp_height, xp_width)
    x += (sample * xp_rows * xp_columns + px)[:, None] * ld
    value = tl.full([BLOCK_P, BLOCK_Q], -1.0, tl.float32)
    index = tl.zeros([BLOCK_P, BLOCK_Q], tl.int32)
    begin, end = _splits(size_q, BLOCK_Q)
    for block in range(begin, end):
        q = block * BLOCK_Q + tl.arange(0, BLOCK_Q)
        q_row, q_column = _position(q, q_top, q_left, q_columns, xq_height, xq_width)
        qx, qx_inside = _at(q_row, q_column, xq_top, xq_left, xq_rows, xq_columns, xq_height, xq_width)
        inside = (p < size_p)[:, None] & (q < size_q)[None, :]
        found = tl.load(x + qx[None, :], mask=inside, other=-1.0)
        # The background's own windows never run over the last row, so q ascends: the first one stays.
        higher = found > value
        index = tl.where(higher, (q_row * xq_width + q_column)[None, :], index)
        value = tl.maximum(value, found)
    best = tl.max(value, 1)
    _store_part(value_part, size_p, best, BLOCK_P)
    beyond = xq_height * xq_width
    _store_part(index_part, size_p, tl.min(tl.where(value == best[:, None], index, beyond), 1), BLOCK_P)
