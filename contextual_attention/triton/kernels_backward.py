"""The filters that only the backward has: dot products of rows, centring, gradients of the norms.

Layout, windows and the shape legend are those of kernels.py.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .kernels import _WRITTEN_OUT, _at, _position, _splits, _store_part, window_names

_DOT_SIZES = [
    "size_p",
    "size_q",
    "x_ld",
    "y_ld",
    *window_names("p", "q", rows=False),
    *window_names("xp", "xq", "yp", "yq"),
]


@triton.jit(do_not_specialize=_DOT_SIZES)
def dot(
    x,  # (B, Px, Qx) float32
    y,  # (B, Py, Qy) float32
    part,  # (B, P, splits)
    size_p,
    size_q,
    x_ld,
    y_ld,
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
    yp_top,
    yp_left,
    yp_rows,
    yp_columns,
    yp_height,
    yp_width,
    yq_top,
    yq_left,
    yq_rows,
    yq_columns,
    yq_height,
    yq_width,
    BLOCK_P: tl.constexpr,
    BLOCK_Q: tl.constexpr,
):
    """sum over q of x[p, q] y[p, q], both where a window of its own has them."""
    sample = tl.program_id(2).to(tl.int64)
    p = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    p_row, p_column = _position(p, p_top, p_left, p_columns, xp_height, xp_width)
    px, px_inside = _at(p_row, p_column, xp_top, xp_left, xp_rows, xp_columns, xp_height, xp_width)
    py, py_inside = _at(p_row, p_column, yp_top, yp_left, yp_rows, yp_columns, yp_height, yp_width)
    x += (sample * xp_rows * xp_columns + px)[:, None] * x_ld
    y += (sample * yp_rows * yp_columns + py)[:, None] * y_ld
    total = tl.zeros([BLOCK_P, BLOCK_Q], tl.float32)
    begin, end = _splits(size_q, BLOCK_Q)
    for block in range(begin, end):
        q = block * BLOCK_Q + tl.arange(0, BLOCK_Q)
        q_row, q_column = _position(q, q_top, q_left, q_columns, xq_height, xq_width)
        qx, qx_inside = _at(q_row, q_column, xq_top, xq_left, xq_rows, xq_columns, xq_height, xq_width)
        qy, qy_inside = _at(q_row, q_column, yq_top, yq_left, yq_rows, yq_columns, yq_height, yq_width)
        inside = (p < size_p)[:, None] & (q < size_q)[None, :]
        left = tl.load(x + qx[None, :], mask=inside, other=0)
        total += left * tl.load(y + qy[None, :], mask=inside, other=0)
    _store_part(part, size_p, tl.sum(total, 1), BLOCK_P)


_CENTRE_SIZES = [
    "size_p",
    "size_q",
    "ld",
    "w_ld",
    "factor",
    *window_names("p", "q", rows=False),
    *window_names("wp", "wq"),
]


@triton.jit(do_not_specialize=_CENTRE_SIZES)
def centre(
    scores,  # (B, P, Q) float32
    weights,  # (B, Pw, Qw) float32, or None
    valid,  # (B, M), or None; the one that there is of the two is w
    row_gain,  # (B, N)
    centres,  # (B, N), or None: 0
    factor,
    size_p,
    size_q,
    ld,
    w_ld,
    p_top,
    p_left,
    p_columns,
    q_top,
    q_left,
    q_columns,
    wp_top,
    wp_left,
    wp_rows,
    wp_columns,
    wp_height,
    wp_width,
    wq_top,
    wq_left,
    wq_rows,
    wq_columns,
    wq_height,
    wq_width,
    BLOCK_P: tl.constexpr,
    BLOCK_Q: tl.constexpr,
):
    """scores[p, q] <- factor row_gain[p] w[p, q] (scores[p, q] - centres[p])."""
    sample = tl.program_id(2).to(tl.int64)
    p = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    p_row, p_column = _position(p, p_top, p_left, p_columns, wp_height, wp_width)
    pixel = sample * wp_height * wp_width + p_row * wp_width + p_column
    gain = factor * tl.load(row_gain + pixel, mask=p < size_p, other=0)
    if centres is not None:
        middle = tl.load(centres + pixel, mask=p < size_p, other=0)
    scores += (sample * size_p + p)[:, None] * ld
    if weights is not None:
        pw, pw_inside = _at(p_row, p_column, wp_top, wp_left, wp_rows, wp_columns, wp_height, wp_width)
        weights += (sample * wp_rows * wp_columns + pw)[:, None] * w_ld
    begin, end = _splits(size_q, BLOCK_Q)
    for block in range(begin, end):
        q = block * BLOCK_Q + tl.arange(0, BLOCK_Q)
        q_row, q_column = _position(q, q_top, q_left, q_columns, wq_height, wq_width)
        inside = (p < size_p)[:, None] & (q < size_q)[None, :]
        score = tl.load(scores + q[None, :], mask=inside, other=0)
        if centres is not None:
            score -= middle[:, None]
        if weights is not None:
            qw, qw_inside = _at(q_row, q_column, wq_top, wq_left, wq_rows, wq_columns, wq_height, wq_width)
            score *= tl.load(weights + qw[None, :], mask=inside, other=0)
        else:
            position = sample * wq_height * wq_width + q_row * wq_width + q_column
            score *= tl.load(valid + position, mask=q < size_q, other=0)[None, :]
        tl.store(scores + q[None, :], score * gain[:, None], mask=inside)


_NORM_GRADIENTS_SIZES = [
    "size_p",
    "size_q",
    "g_ld",
    "s_ld",
    *window_names("p", "q", rows=False),
    *window_names("gp", "gq", "sp", "sq"),
]


@triton.jit(do_not_specialize=_NORM_GRADIENTS_SIZES)
def norm_gradients(
    gram,  # (B, Pg, Qg) float32
    gradient,  # (B, Ps, Qs) float32, of the similarities
    alpha,  # (B, N), or None: 1
    beta,  # (B, M)
    row_part,  # (B, P, splits)
    column_part,  # (B, blocks of P, Q)
    size_p,
    size_q,
    g_ld,
    s_ld,
    p_top,
    p_left,
    p_columns,
    q_top,
    q_left,
    q_columns,
    gp_top,
    gp_left,
    gp_rows,
    gp_columns,
    gp_height,
    gp_width,
    gq_top,
    gq_left,
    gq_rows,
    gq_columns,
    gq_height,
    gq_width,
    sp_top,
    sp_left,
    sp_rows,
    sp_columns,
    sp_height,
    sp_width,
    sq_top,
    sq_left,
    sq_rows,
    sq_columns,
    sq_height,
    sq_width,
    TAPS: tl.constexpr,
    BLOCK_P: tl.constexpr,
    BLOCK_Q: tl.constexpr,
):
    """With R the patch products: sum over q of beta R dS, and over this block of p of alpha R dS."""
    sample = tl.program_id(2).to(tl.int64)
    p = tl.program_id(0) * BLOCK_P + tl.arange(0, BLOCK_P)
    p_row, p_column = _position(p, p_top, p_left, p_columns, gp_height, gp_width)
    ps, ps_inside = _at(p_row, p_column, sp_top, sp_left, sp_rows, sp_columns, sp_height, sp_width)
    gradient += (sample * sp_rows * sp_columns + ps)[:, None] * s_ld
    gram += sample * gp_rows * gp_columns * g_ld
    if alpha is not None:
        pixel = sample * gp_height * gp_width + p_row * gp_width + p_column
        row_gain = tl.load(alpha + pixel, mask=p < size_p, other=0)
    column_part += (sample * tl.num_programs(0) + tl.program_id(0)) * size_q
    total = tl.zeros([BLOCK_P, BLOCK_Q], tl.float32)
    begin, end = _splits(size_q, BLOCK_Q)
    for block in range(begin, end):
        q = block * BLOCK_Q + tl.arange(0, BLOCK_Q)
        q_row, q_column = _position(q, q_top, q_left, q_columns, gq_height, gq_width)
        product = tl.zeros([BLOCK_P, BLOCK_Q], tl.float32)
        for tap in tl.range(0, TAPS * TAPS, loop_unroll_factor=TAPS if TAPS <= _WRITTEN_OUT else 1):
            down, right = tap // TAPS - TAPS // 2, tap % TAPS - TAPS // 2
            p_at, p_inside = _at(
                p_row + down, p_column + right, gp_top, gp_left, gp_rows, gp_columns, gp_height, gp_width
            )
            q_at, q_inside = _at(
                q_row + down, q_column + right, gq_top, gq_left, gq_rows, gq_columns, gq_height, gq_width
            )
            inside = (p_inside & (p < size_p))[:, None] & (q_inside & (q < size_q))[None, :]
            there = gram + p_at.to(tl.int64)[:, None] * g_ld + q_at[None, :]
            product += tl.load(there, mask=inside, other=0)
        qs, qs_inside = _at(q_row, q_column, sq_top, sq_left, sq_rows, sq_columns, sq_height, sq_width)
        inside = (p < size_p)[:, None] & (q < size_q)[None, :]
        slope = tl.load(gradient + qs[None, :], mask=inside, other=0)
        position = sample * gq_height * gq_width + q_row * gq_width + q_column
        column_gain = tl.load(beta + position, mask=q < size_q, other=0)
        # The norm first: the product of large features with the gradient could overflow.
        total += product * column_gain[None, :] * slope
        if alpha is not None:
            product *= row_gain[:, None]
        tl.store(column_part + q, tl.sum(product * slope, 0), mask=q < size_q)
    _store_part(row_part, size_p, tl.sum(total, 1), BLOCK_P)
