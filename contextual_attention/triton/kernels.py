"""The filters: everything that touches a score and is not a matrix product.

Scores lie as (samples, P, Q): P pixels of a window of the foreground, Q of a window of the background, row by
row, with `ld` floats from one foreground pixel to the next. A window is a box of its map, which may
run over the map's last row and column into the first ones (wrapped propagation).

A sum along a diagonal reads score (p + d, q + d) for score (p, q). Positions are moved once for a vector of p
and once for a vector of q, and the scores are then loaded where the two meet: neighbouring threads take
neighbouring q, so loads are coalesced and no thread needs another one's registers. Edges are masks.

Every program has BLOCK_P foreground pixels and one split of the background, which it goes through in steps of
BLOCK_Q. Reductions over the background leave one number per pixel and split, which `combine` puts together in
a fixed order (kernels_reductions.py): no atomics, the same bits in every run.

Shape legend: B samples; N = h * w foreground and M = hb * wb background pixels of the maps.
"""

from __future__ import annotations

import triton
import triton.language as tl

# How a position is moved (d down, e right).
PLAIN = tl.constexpr(0)  # within the map
WRAPPED = tl.constexpr(1)  # along the column-major, then the row-major index: left-right, then top-down
WRAPPED_ADJOINT = tl.constexpr(2)  # in the other order

# What becomes of a diagonal sum.
KEEP = tl.constexpr(0)
LARGEST = tl.constexpr(1)  # kept, and the largest of the valid positions is found
WEIGH = tl.constexpr(2)  # exp(sum - offset) where valid
MASK = tl.constexpr(3)  # 0 where not valid
MASK_AND_SUM = tl.constexpr(4)  # the same, and the rest is summed

# The most taps whose loads are written out: more of them, or wrapped ones, take too many registers.
_WRITTEN_OUT = tl.constexpr(3)

# Below this share of the largest weight of a row a weight is nothing: denormals would be slow, and wrong.
SMALLEST_WEIGHT = tl.constexpr(1e-30)


def window_names(*sides: str, rows: bool = True) -> list[str]:
    names = ("top", "left", "rows", "columns", "height", "width") if rows else ("top", "left", "columns")
    return [f"{side}_{name}" for side in sides for name in names]


# A new value of one of these needs no new compilation.
_MAPS = ["p_height", "p_width", "q_height", "q_width"]
_SUM_SIZES = [
    *("first", "step", "factor", "size_p", "size_q", "to_ld", "from_ld"),
    *window_names("p_to", "q_to", rows=False),
    *window_names("p_from", "q_from"),
    *(f"{side}_to_{name}" for side in ("p", "q") for name in ("height", "width")),
]


@triton.jit
def _position(index, top, left, columns, height, width):
    """Row and column in the map of pixels of a window."""
    row, column = top + index // columns, left + index % columns
    return tl.where(row >= height, row - height, row), tl.where(column >= width, column - width, column)


@triton.jit
def _bounded(flat, size):
    """Flat indices, 0 in place of those outside, and which are inside."""
    inside = (flat >= 0) & (flat < size)
    return tl.where(inside, flat, 0), inside


@triton.jit
def _moved(row, column, down, right, top, left, rows, columns, height, width, MODE: tl.constexpr):
    """Where (row, column) reads after a move: index in a window, index in the map, and whether it exists."""
    if MODE == PLAIN:
        row += down
        column += right
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    else:
        if MODE == WRAPPED:
            flat, inside = _bounded(column * height + row + down, height * width)
            flat, within = _bounded(flat % height * width + flat // height + right, height * width)
            row, column = flat // width, flat % width
        else:
            flat, inside = _bounded(row * width + column + right, height * width)
            flat, within = _bounded(flat % width * height + flat // width + down, height * width)
            row, column = flat % height, flat // height
        inside = inside & within
    down, right = row - top, column - left
    down = tl.where(down < 0, down + height, down)
    right = tl.where(right < 0, right + width, right)
    return down * columns + right, row * width + column, inside & (down < rows) & (right < columns)


@triton.jit
def _at(row, column, top, left, rows, columns, height, width):
    """Where a position of the map lies in a window, and whether it does."""
    local, in_map, inside = _moved(row, column, 0, 0, top, left, rows, columns, height, width, PLAIN)
    return local, inside


@triton.jit
def _splits(size_q, BLOCK_Q: tl.constexpr):
    """First and last step of this program's part of the background."""
    steps = (tl.cdiv(size_q, BLOCK_Q) + tl.num_programs(1) - 1) // tl.num_programs(1)
    first = tl.program_id(1) * steps
    return first, tl.minimum(first + steps, tl.cdiv(size_q, BLOCK_Q))


@triton.jit
def _store_part(part, size_p, value, BLOCK_P: tl.constexpr):
    """A row's number of this split, part (B, P, splits)."""
    p = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    row = tl.program_id(2).to(tl.int64) * size_p + p
    tl.store(part + row * tl.num_programs(1) + tl.program_id(1), value, mask=p < size_p)


@triton.jit(do_not_specialize=_SUM_SIZES)
def diagonal_sum(
    out,  # (B, P, Q), any floating dtype
    source,  # (B, P', Q') float32
    row_scale,  # (B, N') of the source, or None
    column_scale,  # (B, M') of the source, or None
    row_gain,  # (B, N), or None
    column_gain,  # (B, M), or None
    valid,  # (B, M), 1 or 0; None where EPILOGUE does not ask for it
    offset,  # (B, N), for WEIGH
    part,  # (B, P, splits), for LARGEST and MASK_AND_SUM
    factor,
    first,  # of the taps
    step,  # between taps
    size_p,
    size_q,
    to_ld,
    from_ld,
    p_to_top,
    p_to_left,
    p_to_columns,
    p_to_height,
    p_to_width,
    p_from_top,
    p_from_left,
    p_from_rows,
    p_from_columns,
    p_from_height,
    p_from_width,
    q_to_top,
    q_to_left,
    q_to_columns,
    q_to_height,
    q_to_width,
    q_from_top,
    q_from_left,
    q_from_rows,
    q_from_columns,
    q_from_height,
    q_from_width,
    TAPS: tl.constexpr,
    MODE: tl.constexpr,
    EPILOGUE: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_Q: tl.constexpr,
):
    """out[p, q] = factor row_gain[p] column_gain[q] sum over taps d of

    row_scale[p + d] column_scale[q + d] source[p + d, q + d], d in a TAPS x TAPS square.
    """
    sample = tl.program_id(2).to(tl.int64)
    p = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    p_row, p_column = _position(p, p_to_top, p_to_left, p_to_columns, p_to_height, p_to_width)
    source += sample * p_from_rows * p_from_columns * from_ld
    out += sample * size_p * to_ld
    pixel = sample * p_to_height * p_to_width + p_row * p_to_width + p_column
    gain = tl.full([BLOCK_P], factor, tl.float32)
    if row_gain is not None:
        gain *= tl.load(row_gain + pixel, mask=p < size_p, other=0)
    if EPILOGUE == WEIGH:
        row_offset = tl.load(offset + pixel, mask=p < size_p, other=0)
    if EPILOGUE == LARGEST:
        row_result = tl.full([BLOCK_P, BLOCK_Q], float("-inf"), tl.float32)
    if EPILOGUE == MASK_AND_SUM:
        row_result = tl.zeros([BLOCK_P, BLOCK_Q], tl.float32)
    UNROLL: tl.constexpr = TAPS if (TAPS <= _WRITTEN_OUT) & (MODE == PLAIN) else 1
    begin, end = _splits(size_q, BLOCK_Q)
    for block in range(begin, end):
        q = block * BLOCK_Q + tl.arange(0, BLOCK_Q)
        q_row, q_column = _position(q, q_to_top, q_to_left, q_to_columns, q_to_height, q_to_width)
        total = tl.zeros([BLOCK_P, BLOCK_Q], tl.float32)
        for tap in tl.range(0, TAPS * TAPS, loop_unroll_factor=UNROLL):
            down, right = first + tap // TAPS * step, first + tap % TAPS * step
            p_at, p_map, p_inside = _moved(
                p_row, p_column, down, right, p_from_top, p_from_left, p_from_rows, p_from_columns,
                p_from_height, p_from_width, MODE,
            )  # fmt: skip
            q_at, q_map, q_inside = _moved(
                q_row, q_column, down, right, q_from_top, q_from_left, q_from_rows, q_from_columns,
                q_from_height, q_from_width, MODE,
            )  # fmt: skip
            p_inside &= p < size_p
            q_inside &= q < size_q
            there = source + p_at.to(tl.int64)[:, None] * from_ld + q_at[None, :]
            score = tl.load(there, mask=p_inside[:, None] & q_inside[None, :], other=0)
            if row_scale is not None:
                at = sample * p_from_height * p_from_width + p_map
                score *= tl.load(row_scale + at, mask=p_inside, other=0)[:, None]
            if column_scale is not None:
                at = sample * q_from_height * q_from_width + q_map
                score *= tl.load(column_scale + at, mask=q_inside, other=0)[None, :]
            total += score
        total *= gain[:, None]
        position = sample * q_to_height * q_to_width + q_row * q_to_width + q_column
        if column_gain is not None:
            total *= tl.load(column_gain + position, mask=q < size_q, other=0)[None, :]
        if EPILOGUE != KEEP:
            candidate = tl.load(valid + position, mask=q < size_q, other=0)[None, :]
        if EPILOGUE == LARGEST:
            row_result = tl.maximum(row_result, tl.where(candidate != 0, total, float("-inf")))
        if EPILOGUE == WEIGH:
            total = weight(total, row_offset[:, None], candidate)
        if (EPILOGUE == MASK) | (EPILOGUE == MASK_AND_SUM):
            total *= candidate
        if EPILOGUE == MASK_AND_SUM:
            row_result += total
        there = out + p.to(tl.int64)[:, None] * to_ld + q[None, :]
        tl.store(there, total.to(out.dtype.element_ty), mask=(p < size_p)[:, None] & (q < size_q)[None, :])
    if EPILOGUE == LARGEST:
        _store_part(part, size_p, tl.max(row_result, 1), BLOCK_P)
    if EPILOGUE == MASK_AND_SUM:
        _store_part(part, size_p, tl.sum(row_result, 1), BLOCK_P)


@triton.jit
def weight(logit, offset, valid):
    """exp(logit - offset) of a valid position, else 0."""
    # Positions that are not valid may lie above the offset: bounded, so that 0 * inf cannot occur.
    found = tl.exp(tl.minimum(logit - offset, 0.0)) * valid
    return tl.where(found < SMALLEST_WEIGHT, 0.0, found)


@triton.jit(do_not_specialize=["size_p", "size_q", "ld", *window_names("p", "q", rows=False), *_MAPS])
def exponentials(
    scores,  # (B, P, Q) float32, from logits to weights
    valid,  # (B, M), 1 or 0
    offset,  # (B, N)
    part,  # (B, P, splits), the sums
    size_p,
    size_q,
    ld,
    p_top,
    p_left,
    p_columns,
    p_height,
    p_width,
    q_top,
    q_left,
    q_columns,
    q_height,
    q_width,
    BLOCK_P: tl.constexpr,
    BLOCK_Q: tl.constexpr,
):
    """scores[p, q] <- valid[q] exp(scores[p, q] - offset[p]), and their sums over q."""
    sample = tl.program_id(2).to(tl.int64)
    p = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    p_row, p_column = _position(p, p_top, p_left, p_columns, p_height, p_width)
    pixel = sample * p_height * p_width + p_row * p_width + p_column
    row_offset = tl.load(offset + pixel, mask=p < size_p, other=0)
    scores += (sample * size_p + p)[:, None] * ld
    total = tl.zeros([BLOCK_P, BLOCK_Q], tl.float32)
    begin, end = _splits(size_q, BLOCK_Q)
    for block in range(begin, end):
        q = block * BLOCK_Q + tl.arange(0, BLOCK_Q)
        q_row, q_column = _position(q, q_top, q_left, q_columns, q_height, q_width)
        position = sample * q_height * q_width + q_row * q_width + q_column
        candidate = tl.load(valid + position, mask=q < size_q, other=0)
        inside = (p < size_p)[:, None] & (q < size_q)[None, :]
        found = weight(
            tl.load(scores + q[None, :], mask=inside, other=0), row_offset[:, None], candidate[None, :]
        )
        tl.store(scores + q[None, :], found, mask=inside)
        total += found
    _store_part(part, size_p, tl.sum(total, 1), BLOCK_P)
