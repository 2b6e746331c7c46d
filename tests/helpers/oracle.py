"""Contextual attention by brute force: NumPy float64, one loop per index, for maps of a few pixels.

Written from the equations alone, sharing no code with the package, so that a mistake in the reference shows.
One sample at a time: foreground (C, H, W), background (C, Hb, Wb), value (Cv, m Hb, m Wb), masks (j H, j W).
"""

from __future__ import annotations

import itertools
import math

import numpy as np


def contextual_attention(foreground, background, value, mask, foreground_mask, o):
    """The output (Cv, m H, m W), the offsets (2, h, w) and the final weights (h, w, hb, wb) of one sample."""
    weights = attention(foreground, background, mask, foreground_mask, o)
    return paste(weights, foreground, background, value, foreground_mask, o), offsets(weights), weights


def pixel_read(i, size, rate, o):
    """The pixel that downscaled position i reads."""
    if o.downscale == "strided":
        return i * rate
    small = math.ceil(size / rate)
    if small == 1:
        return 0
    sigma = np.float32(size - 1) / np.float32(small - 1)
    return int(np.floor(np.float32(i) * sigma + np.float32(0.5)))


def grid(size, rate):
    """All positions of the downscaled map."""
    return itertools.product(*(range(math.ceil(n / rate)) for n in size))


def small_map(x, rate, o):
    height, width = x.shape[-2:]
    out = np.zeros((x.shape[0], math.ceil(height / rate), math.ceil(width / rate)))
    for i, j in grid((height, width), rate):
        out[:, i, j] = x[:, pixel_read(i, height, rate, o), pixel_read(j, width, rate, o)]
    return out


def small_mask(mask, size, o):
    """Missing (True) on the downscaled grid of a map of `size`."""
    scale = mask.shape[0] // size[0]
    out = np.zeros([math.ceil(n / o.rate) for n in size], dtype=bool)
    for i, j in grid(size, o.rate):
        if o.mask_downscale == "any":
            block = scale * o.rate
            out[i, j] = (mask[block * i : block * (i + 1), block * j : block * (j + 1)] != 0).any()
        else:
            feature = pixel_read(i, size[0], o.rate, o), pixel_read(j, size[1], o.rate, o)
            row, column = (pixel_read(x, scale * n, scale, o) for x, n in zip(feature, size, strict=True))
            out[i, j] = mask[row, column] != 0
    return out


def window(x, i, j, ksize):
    """The ksize x ksize window of x (C, h, w) around (i, j), zeros outside."""
    out = np.zeros((x.shape[0], ksize, ksize))
    for u, v in itertools.product(range(ksize), repeat=2):
        row, column = i + u - ksize // 2, j + v - ksize // 2
        if 0 <= row < x.shape[1] and 0 <= column < x.shape[2]:
            out[:, u, v] = x[:, row, column]
    return out


def length(patch, o):
    if o.eps_mode == "sum":
        return math.sqrt((patch**2 + o.eps).sum())
    return max(math.sqrt((patch**2).sum()), o.eps)


def attention(foreground, background, mask, foreground_mask, o):
    """Final weights (h, w, hb, wb)."""
    f, b = small_map(foreground, o.rate, o), small_map(background, o.rate, o)
    shape = f.shape[1:] + b.shape[1:]
    candidates = [q for q in np.ndindex(*shape[2:]) if q[0] % o.stride == 0 and q[1] % o.stride == 0]
    missing = np.zeros(shape[2:], dtype=bool) if mask is None else small_mask(mask, background.shape[1:], o)
    valid = {q: not window(missing[None], *q, o.ksize).any() for q in candidates}
    selected = np.ones(shape[:2], dtype=bool)
    if foreground_mask is not None:
        selected = small_mask(foreground_mask, foreground.shape[1:], o)

    scores = np.zeros(shape)
    for p in np.ndindex(*shape[:2]):
        for q in candidates:
            x, y = window(f, *p, o.ksize), window(b, *q, o.ksize)
            scores[p + q] = (x * y).sum() / length(y, o) / (length(x, o) if o.normalize == "both" else 1)
    if o.fuse and o.propagation == "before":
        scores = propagated(scores, o)

    weights = np.zeros(shape)
    for p in np.ndindex(*shape[:2]):
        if selected[p]:
            for q, weight in softmax({q: scores[p + q] for q in candidates}, valid, o).items():
                weights[p + q] = weight
    if not (o.fuse and o.propagation == "after"):
        return weights

    spread = propagated(weights, o)
    weights = np.zeros(shape)
    for p in np.ndindex(*shape[:2]):
        total = sum(spread[p + q] for q in candidates if valid[q])
        for q in candidates:
            if selected[p] and valid[q] and total > 0:
                weights[p + q] = spread[p + q] / total
    return weights


def softmax(row, valid, o):
    """Weights of one row of scores, over the candidates."""
    logits = {q: o.softmax_scale * s for q, s in row.items()}
    if o.masking == "exclude":
        logits = {q: x for q, x in logits.items() if valid[q]}
    else:
        logits = {q: x * valid[q] for q, x in logits.items()}
    if not logits:
        return {}
    top = max(logits.values())
    total = sum(math.exp(x - top) for x in logits.values())
    return {q: math.exp(x - top) / total * valid[q] for q, x in logits.items()}


def propagated(x, o):
    """Left-right, then top-down."""
    return diagonal_pass(diagonal_pass(x, o, "left-right"), o, "top-down")


def diagonal_pass(x, o, direction):
    reach = o.fuse_k // 2
    out = np.zeros_like(x)
    for p in np.ndindex(*x.shape[:2]):
        for q in np.ndindex(*x.shape[2:]):
            for i in range(-reach, reach + 1):
                to_p = moved(p, x.shape[:2], i * o.stride, direction, o)
                to_q = moved(q, x.shape[2:], i * o.stride, direction, o)
                if to_p is not None and to_q is not None:
                    out[p + q] += x[to_p + to_q]
    return out


def moved(position, size, by, direction, o):
    """The position `by` further in a direction; None outside the map."""
    (row, column), (height, width) = position, size
    if o.boundary == "zero":
        row, column = (row + by, column) if direction == "top-down" else (row, column + by)
        return (row, column) if 0 <= row < height and 0 <= column < width else None
    if direction == "left-right":
        order = [(r, c) for r in range(height) for c in range(width)]
    else:
        order = [(r, c) for c in range(width) for r in range(height)]
    flat = order.index((row, column)) + by
    return order[flat] if 0 <= flat < len(order) else None


def paste(weights, foreground, background, value, foreground_mask, o):
    """The output (Cv, m H, m W): every pixel asks every patch for its contribution."""
    m = value.shape[1] // background.shape[1]
    cell = o.rate * m
    half = cell // 2
    height, width = m * foreground.shape[1], m * foreground.shape[2]
    selected = np.ones(weights.shape[:2], dtype=bool)
    if foreground_mask is not None:
        selected = small_mask(foreground_mask, foreground.shape[1:], o)
    total, count = np.zeros((value.shape[0], height, width)), np.zeros((height, width))
    for p in np.ndindex(*weights.shape[:2]):
        if not selected[p]:
            continue
        for u, v in itertools.product(range(2 * cell), repeat=2):
            y, x = cell * p[0] - half + u, cell * p[1] - half + v
            if not (0 <= y < height and 0 <= x < width):
                continue
            count[y, x] += 1
            for q in np.ndindex(*weights.shape[2:]):
                row, column = cell * q[0] - half + u, cell * q[1] - half + v
                if 0 <= row < value.shape[1] and 0 <= column < value.shape[2]:
                    total[:, y, x] += weights[p + q] * value[:, row, column]
    output = total / (np.maximum(count, 1) if o.overlap == "mean" else 4)
    if m == 1 and value.shape[0] == foreground.shape[0]:
        output = np.where(count > 0, output, foreground)
    return output


def offsets(weights):
    out = np.zeros((2, *weights.shape[:2]), dtype=np.int64)
    for p in np.ndindex(*weights.shape[:2]):
        if weights[p].max() > 0:
            best = np.unravel_index(weights[p].argmax(), weights[p].shape)
            out[:, p[0], p[1]] = best[0] - p[0], best[1] - p[1]
    return out
