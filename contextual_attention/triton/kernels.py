"""The filters: everything that touches a score and is not a matrix product.

Scores lie as (samples, P, Q): P pixels of a window of the foreground, Q of a window of the background, row by
row, with `ld` floats from one foreground pixel to the next. A window is a box of its map; its rows may run
over the map's last row into the first one (wrapped propagation).

A sum along a diagonal reads score (p + d, q + d) for score (p, q). Positions are moved once for a vector of p
and once for a vector of q, and the scores are then loaded where the two meet: neighbouring threads take
neighbouring q, so loads are coalesced and no thread needs another one's registers. Edges are masks.

Every program has BLOCK_P foreground pixels and one split of the background, which it goes through in steps of
BLOCK_Q. Reductions over the background leave one number per pixel and split, which `combine` puts together in
a fixed order: no atomics, the same bits in every run.

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

# What `combine` makes of the parts of a row.
MAXIMUM = tl.constexpr(0)
INVERSE = tl.constexpr(1)  # 1 / sum, 0 for an empty row
SCALED = tl.constexpr(2)  # scale * sum
ADD_SCALED = tl.constexpr(3)  # the same, added to what is there

# Below this share of the largest weight of a row a weight is nothing: denormals would be slow, and wrong.
SMALLEST_WEIGHT = tl.constexpr(1e-30)

# A new value of one of these needs no new compilation.
_WINDOWS = [
    f"{side}_{way}_{what}"
    for side in ("p", "q")
    for way, names in (
        ("to", ("top", "left", "columns", "height", "width")),
        ("from", ("top", "left", "rows", "columns", "height", "width")),
    )
    for what in names
]
_SIZES = ["size_p", "size_q", "to_ld", "from_ld", *_WINDOWS]


@triton.jit
def _position(index, top, left, columns, height):
    """Row and column in the map of pixels of a window."""
    row = top + index // columns
    return tl.where(row >= height, row - height, row), left + index % columns


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
    local = row - top
    local = tl.where(local < 0, local + height, local)
    inside = inside & (local < rows) & (column >= left) & (column < left + columns)
    return local * columns + column - left, row * width + column, inside


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


@triton.jit(do_not_specialize=[*_SIZES, "first", "step", "factor"])
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
    p_row, p_column = _position(p, p_to_top, p_to_left, p_to_columns, p_to_height)
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
    begin, end = _splits(size_q, BLOCK_Q)
    for block in range(begin, end):
        q = block * BLOCK_Q + tl.arange(0, BLOCK_Q)
        q_row, q_column = _position(q, q_to_top, q_to_left, q_to_columns, q_to_height)
        total = tl.zeros([BLOCK_P, BLOCK_Q], tl.float32)
        for i in range(TAPS):
            down = first + i * step
            for j in tl.static_range(TAPS):
                right = first + j * step
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


@triton.jit(do_not_specialize=["size_p", "size_q", "ld", "p_top", "p_left", "p_columns", "p_height", "p_width",
                               "q_top", "q_left", "q_columns", "q_height", "q_width"])  # fmt: skip
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
    row, column = _position(p, p_top, p_left, p_columns, p_height)
    pixel = sample * p_height * p_width + row * p_width + column
    row_offset = tl.load(offset + pixel, mask=p < size_p, other=0)
    scores += (sample * size_p + p)[:, None] * ld
    total = tl.zeros([BLOCK_P, BLOCK_Q], tl.float32)
    begin, end = _splits(size_q, BLOCK_Q)
    for block in range(begin, end):
        q = block * BLOCK_Q + tl.arange(0, BLOCK_Q)
        row, column = _position(q, q_top, q_left, q_columns, q_height)
        position = sample * q_height * q_width + row * q_width + column
        candidate = tl.load(valid + position, mask=q < size_q, other=0)
        inside = (p < size_p)[:, None] & (q < size_q)[None, :]
        found = weight(
            tl.load(scores + q[None, :], mask=inside, other=0), row_offset[:, None], candidate[None, :]
        )
        tl.store(scores + q[None, :], found, mask=inside)
        total += found
    _store_part(part, size_p, tl.sum(total, 1), BLOCK_P)


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
    row, column = _position(p, top, left, columns, height)
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
            result += tl.load(invalid + sample) * tl.exp(-tl.load(offset + pixel, mask=inside, other=0))
        # Not `>`: a NaN stays one. Below the normal numbers the reciprocal could overflow.
        result = tl.where(result < 1.2e-38, 0.0, 1.0 / result)
    if scale is not None:
        result *= tl.load(scale + pixel, mask=inside, other=0)
    if OPERATION == ADD_SCALED:
        result += tl.load(out + pixel, mask=inside, other=0)
    tl.store(out + pixel, result, mask=inside)
