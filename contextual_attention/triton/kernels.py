"""The filters: everything that touches a score and is not a matrix product.

Scores lie as (samples, P, Q): P pixels of a window of the foreground, Q of a window of the background, row by
row, with `row_length` elements from one foreground pixel to the next. A window is a box of its map, which may
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

from enum import Enum

import triton
import triton.language as tl

from .kernels_windows import moved, pixels, scores_of


class Epilogue(str, Enum):
    """What becomes of a diagonal sum."""

    KEEP = "keep"
    LARGEST = "largest"  # kept, and the largest of the valid positions is found
    WEIGH = "weigh"  # exp(sum - offset) where valid
    MASK = "mask"  # 0 where not valid
    MASK_AND_SUM = "mask and sum"  # the same, and the rest is summed


# The most taps whose loads are written out: more of them, or wrapped ones, take too many registers.
_WRITTEN_OUT = tl.constexpr(3)

# Below this share of the largest weight of a row a weight is nothing: denormals would be slow, and wrong.
SMALLEST_WEIGHT = tl.constexpr(1e-30)


@triton.jit
def foreground(window, BLOCK_P: tl.constexpr):
    """This program's pixels."""
    return pixels(tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P), window)


@triton.jit
def own_steps(window, BLOCK_Q: tl.constexpr):
    """First and last step of this program's part of the background."""
    count = tl.cdiv(window.pixels, BLOCK_Q)
    steps = (count + tl.num_programs(1) - 1) // tl.num_programs(1)
    first = tl.program_id(1) * steps
    return first, tl.minimum(first + steps, count)


@triton.jit
def background(step, window, BLOCK_Q: tl.constexpr):
    """The pixels of a step."""
    return pixels(step * BLOCK_Q + tl.arange(0, BLOCK_Q), window)


@triton.jit
def load(values, sample, at, window):
    """The numbers of pixels, of (B, N) or (B, M); 0 where the window ends."""
    there = sample * window.height * window.width + at.index
    return tl.load(values + there, mask=at.inside, other=0)


@triton.jit
def store_part(part, sample, p, window, value):
    """A row's number of this split, part (B, P, splits)."""
    there = (sample * window.pixels + p.local) * tl.num_programs(1) + tl.program_id(1)
    tl.store(part + there, value, mask=p.inside)


@triton.jit
def weight(logit, offset, valid):
    """exp(logit - offset) of a valid position, else 0."""
    # Positions that are not valid may lie above the offset: bounded, so that 0 * inf cannot occur.
    found = tl.exp(tl.minimum(logit - offset, 0.0)) * valid
    return tl.where(found < SMALLEST_WEIGHT, 0.0, found)


@triton.jit
def sum_of_taps(
    source,  # Scores (P', Q') float32
    scale,  # Factors (B, N') and (B, M') of the source
    sample,
    p,
    q,
    first,  # of the taps
    step,  # between taps
    TAPS: tl.constexpr,
    MODE: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_Q: tl.constexpr,
):
    """Sum over taps d of scale.rows[p + d] scale.columns[q + d] source[p + d, q + d], (BLOCK_P, BLOCK_Q)."""
    total = tl.zeros([BLOCK_P, BLOCK_Q], tl.float32)
    UNROLL: tl.constexpr = TAPS if (TAPS <= _WRITTEN_OUT) & (MODE == "plain") else 1
    for tap in tl.range(0, TAPS * TAPS, loop_unroll_factor=UNROLL):
        down, right = first + tap // TAPS * step, first + tap % TAPS * step
        p_local, p_index, p_inside = moved(p, down, right, source.p, MODE)
        q_local, q_index, q_inside = moved(q, down, right, source.q, MODE)
        there = source.data + p_local.to(tl.int64)[:, None] * source.row_length + q_local[None, :]
        score = tl.load(there, mask=p_inside[:, None] & q_inside[None, :], other=0)
        if scale.rows is not None:
            at = sample * source.p.height * source.p.width + p_index
            score *= tl.load(scale.rows + at, mask=p_inside, other=0)[:, None]
        if scale.columns is not None:
            at = sample * source.q.height * source.q.width + q_index
            score *= tl.load(scale.columns + at, mask=q_inside, other=0)[None, :]
        total += score
    return total


@triton.jit(do_not_specialize=["out_row_length", "source_row_length", "first", "step"])
def diagonal_sum(
    out,  # (B, P, Q), any floating dtype
    out_row_length,
    out_area,
    source,  # (B, P', Q') float32
    source_row_length,
    source_area,
    scale,  # Factors (B, N') and (B, M') of the source
    gain,  # Factors (B, N) and (B, M)
    valid,  # (B, M), 1 or 0; None where EPILOGUE does not ask for it
    offset,  # (B, N), for "weigh"
    part,  # (B, P, splits), for "largest" and "mask and sum"
    factor,
    first,  # of the taps
    step,  # between taps
    TAPS: tl.constexpr,
    MODE: tl.constexpr,
    EPILOGUE: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_Q: tl.constexpr,
):
    """out[p, q] = factor gain.rows[p] gain.columns[q] sum over taps d of

    scale.rows[p + d] scale.columns[q + d] source[p + d, q + d], d in a TAPS x TAPS square.
    """
    sample = tl.program_id(2).to(tl.int64)
    out = scores_of(sample, out, out_row_length, out_area)
    source = scores_of(sample, source, source_row_length, source_area)
    p = foreground(out.p, BLOCK_P)
    row_gain = tl.full([BLOCK_P], factor, tl.float32)
    if gain.rows is not None:
        row_gain *= load(gain.rows, sample, p, out.p)
    if EPILOGUE == "weigh":
        row_offset = load(offset, sample, p, out.p)
    if EPILOGUE == "largest":
        row_result = tl.full([BLOCK_P, BLOCK_Q], float("-inf"), tl.float32)
    if EPILOGUE == "mask and sum":
        row_result = tl.zeros([BLOCK_P, BLOCK_Q], tl.float32)
    begin, end = own_steps(out.q, BLOCK_Q)
    for block in range(begin, end):
        q = background(block, out.q, BLOCK_Q)
        total = sum_of_taps(source, scale, sample, p, q, first, step, TAPS, MODE, BLOCK_P, BLOCK_Q)
        total *= row_gain[:, None]
        if gain.columns is not None:
            total *= load(gain.columns, sample, q, out.q)[None, :]
        if EPILOGUE != "keep":
            candidate = load(valid, sample, q, out.q)[None, :]
        if EPILOGUE == "largest":
            row_result = tl.maximum(row_result, tl.where(candidate != 0, total, float("-inf")))
        if EPILOGUE == "weigh":
            total = weight(total, row_offset[:, None], candidate)
        if (EPILOGUE == "mask") | (EPILOGUE == "mask and sum"):
            total *= candidate
        if EPILOGUE == "mask and sum":
            row_result += total
        there = out.data + p.local.to(tl.int64)[:, None] * out.row_length + q.local[None, :]
        tl.store(there, total.to(out.data.dtype.element_ty), mask=p.inside[:, None] & q.inside[None, :])
    if EPILOGUE == "largest":
        store_part(part, sample, p, out.p, tl.max(row_result, 1))
    if EPILOGUE == "mask and sum":
        store_part(part, sample, p, out.p, tl.sum(row_result, 1))


@triton.jit(do_not_specialize=["row_length"])
def exponentials(
    scores,  # (B, P, Q) float32, from logits to weights
    row_length,
    area,
    valid,  # (B, M), 1 or 0
    offset,  # (B, N)
    part,  # (B, P, splits), the sums
    BLOCK_P: tl.constexpr,
    BLOCK_Q: tl.constexpr,
):
    """scores[p, q] <- valid[q] exp(scores[p, q] - offset[p]), and their sums over q."""
    sample = tl.program_id(2).to(tl.int64)
    scores = scores_of(sample, scores, row_length, area)
    p = foreground(scores.p, BLOCK_P)
    row_offset = load(offset, sample, p, scores.p)
    rows = scores.data + p.local.to(tl.int64)[:, None] * row_length
    total = tl.zeros([BLOCK_P, BLOCK_Q], tl.float32)
    begin, end = own_steps(scores.q, BLOCK_Q)
    for block in range(begin, end):
        q = background(block, scores.q, BLOCK_Q)
        candidate = load(valid, sample, q, scores.q)
        inside = p.inside[:, None] & q.inside[None, :]
        logit = tl.load(rows + q.local[None, :], mask=inside, other=0)
        found = weight(logit, row_offset[:, None], candidate[None, :])
        tl.store(rows + q.local[None, :], found, mask=inside)
        total += found
    store_part(part, sample, p, scores.p, tl.sum(total, 1))
