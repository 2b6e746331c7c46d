"""The filters that only the backward has: dot products of rows, centring, gradients of the norms.

Layout, windows and the shape legend are those of kernels.py.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .kernels import background, foreground, load, own_steps, store_part, sum_of_taps
from .kernels_windows import Factors, local_in, rows_of, scores_of, unpacked_area


@triton.jit(do_not_specialize=["x_row_length", "y_row_length"])
def dot(
    x,  # (B, Px, Qx) float32
    x_row_length,
    x_area,
    y,  # (B, Py, Qy) float32
    y_row_length,
    y_area,
    area,  # of p and q, within both
    part,  # (B, P, splits)
    BLOCK_P: tl.constexpr,
    BLOCK_Q: tl.constexpr,
):
    """sum over q of x[p, q] y[p, q], both where a window of its own has them."""
    sample = tl.program_id(2).to(tl.int64)
    x, y = scores_of(sample, x, x_row_length, x_area), scores_of(sample, y, y_row_length, y_area)
    p_window, q_window = unpacked_area(area)
    p = foreground(p_window, BLOCK_P)
    x_rows, y_rows = rows_of(x, p), rows_of(y, p)
    total = tl.zeros([BLOCK_P, BLOCK_Q], tl.float32)
    begin, end = own_steps(q_window, BLOCK_Q)
    for block in range(begin, end):
        q = background(block, q_window, BLOCK_Q)
        inside = p.inside[:, None] & q.inside[None, :]
        left = tl.load(x_rows + local_in(x.q, q)[None, :], mask=inside, other=0)
        total += left * tl.load(y_rows + local_in(y.q, q)[None, :], mask=inside, other=0)
    store_part(part, sample, p, p_window, tl.sum(total, 1))


@triton.jit(do_not_specialize=["row_length", "weights_row_length"])
def centre(
    scores,  # (B, P, Q) float32
    row_length,
    area,
    weights,  # (B, Pw, Qw) float32, or None
    weights_row_length,
    weights_area,
    valid,  # (B, M), or None; the one that there is of the two is w
    row_gain,  # (B, N)
    centres,  # (B, N), or None: 0
    factor,
    BLOCK_P: tl.constexpr,
    BLOCK_Q: tl.constexpr,
):
    """scores[p, q] <- factor row_gain[p] w[p, q] (scores[p, q] - centres[p])."""
    sample = tl.program_id(2).to(tl.int64)
    scores = scores_of(sample, scores, row_length, area)
    p = foreground(scores.p, BLOCK_P)
    gain = factor * load(row_gain, sample, p, scores.p)
    if centres is not None:
        middle = load(centres, sample, p, scores.p)
    rows = scores.data + p.local.to(tl.int64)[:, None] * row_length
    if weights is not None:
        weights = scores_of(sample, weights, weights_row_length, weights_area)
        weight_rows = rows_of(weights, p)
    begin, end = own_steps(scores.q, BLOCK_Q)
    for block in range(begin, end):
        q = background(block, scores.q, BLOCK_Q)
        inside = p.inside[:, None] & q.inside[None, :]
        score = tl.load(rows + q.local[None, :], mask=inside, other=0)
        if centres is not None:
            score -= middle[:, None]
        if weights is not None:
            score *= tl.load(weight_rows + local_in(weights.q, q)[None, :], mask=inside, other=0)
        else:
            score *= load(valid, sample, q, scores.q)[None, :]
        tl.store(rows + q.local[None, :], score * gain[:, None], mask=inside)


@triton.jit(do_not_specialize=["gram_row_length", "gradient_row_length"])
def norm_gradients(
    gram,  # (B, Pg, Qg) float32
    gram_row_length,
    gram_area,
    gradient,  # (B, Ps, Qs) float32, of the similarities
    gradient_row_length,
    gradient_area,
    area,  # of p and q, within both
    alpha,  # (B, N), or None: 1
    beta,  # (B, M)
    row_part,  # (B, P, splits)
    column_part,  # (B, blocks of P, Q)
    TAPS: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_Q: tl.constexpr,
):
    """With R the patch products: sum over q of beta R dS, and over this block of p of alpha R dS."""
    sample = tl.program_id(2).to(tl.int64)
    gram = scores_of(sample, gram, gram_row_length, gram_area)
    gradient = scores_of(sample, gradient, gradient_row_length, gradient_area)
    p_window, q_window = unpacked_area(area)
    p = foreground(p_window, BLOCK_P)
    slopes = rows_of(gradient, p)
    if alpha is not None:
        row_gain = load(alpha, sample, p, p_window)
    column_part += (sample * tl.num_programs(0) + tl.program_id(0)) * q_window.pixels
    total = tl.zeros([BLOCK_P, BLOCK_Q], tl.float32)
    begin, end = own_steps(q_window, BLOCK_Q)
    for block in range(begin, end):
        q = background(block, q_window, BLOCK_Q)
        product = sum_of_taps(
            gram, Factors(None, None), sample, p, q, -(TAPS // 2), 1, TAPS, "plain", BLOCK_P, BLOCK_Q
        )
        inside = p.inside[:, None] & q.inside[None, :]
        slope = tl.load(slopes + local_in(gradient.q, q)[None, :], mask=inside, other=0)
        column_gain = load(beta, sample, q, q_window)
        # The norm first: the product of large features with the gradient could overflow.
        total += product * column_gain[None, :] * slope
        if alpha is not None:
            product *= row_gain[:, None]
        tl.store(column_part + q.local, tl.sum(product * slope, 0), mask=q.inside)
    store_part(row_part, sample, p, p_window, tl.sum(total, 1))
