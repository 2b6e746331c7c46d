"""The dense eager form: all samples at once, patches by unfold, batched matrix products, shifted sums.

What one writes without convolutions, and what torch.compile is given.

Shape legend: as in steps.py; N = h * w.
"""

from __future__ import annotations

import torch.nn.functional as F
from steps import (
    canvas,
    compared_patches,
    cover,
    crop,
    downscale,
    norm,
    pasted_patches,
    rescale,
    softmax,
    validity,
)
from torch import Tensor

from contextual_attention.options import Options


def dense(foreground: Tensor, background: Tensor, mask: Tensor | None, options: Options) -> Tensor:
    """Rebuild every patch of `foreground` from those of `background`; arguments and result as `textbook`."""
    f, b = (downscale(x, options.rate, options) for x in (foreground, background))
    h, w = f.shape[2:]
    valid = validity(mask, background, options)
    sizes = (h, w, *valid.shape[2:])
    valid = valid.flatten(1)[:, None]  # (B or 1, 1, M)
    queries = compared_patches(f, 1, options)
    keys = compared_patches(b, options.stride, options)
    if options.normalize == "both":
        queries = queries / norm(queries, 1, options)
    scores = queries.transpose(1, 2) @ (keys / norm(keys, 1, options))  # (B, N, M)
    if options.fuse and options.propagation == "before":
        scores = _propagate(scores, sizes, options)
    weights = softmax(scores, valid, 2, options)
    if options.fuse and options.propagation == "after":
        weights = rescale(_propagate(weights, sizes, options), valid, 2)
    # Not the transpose of this product: torch 2.13's compiler then gets the gradients wrong where N = M.
    patches = weights @ pasted_patches(background, options).transpose(1, 2)  # (B, N, C * (2 rate)**2)
    pasted = F.fold(patches.transpose(1, 2), canvas(h, w, options), 2 * options.rate, stride=options.rate)
    return crop(pasted / cover(h, w, pasted, options), background, options)


def _propagate(x: Tensor, sizes: tuple[int, int, int, int], options: Options) -> Tensor:
    """Along equal displacements, left-right and then top-down: (B, N, M) -> the same."""
    h, w, hs, ws = sizes
    if options.boundary == "zero":
        # No permutation in between: torch 2.13's compiler gets its gradient wrong where N = M.
        x = _diagonal_sum(x.reshape(-1, h, w, hs, ws), 2, options)
        return _diagonal_sum(x, 1, options).reshape(-1, h * w, hs * ws)
    x = _diagonal_sum(x[:, :, None], 1, options)
    x = x.reshape(-1, h, w, hs, ws).permute(0, 2, 1, 4, 3).reshape(-1, w * h, 1, ws * hs)
    x = _diagonal_sum(x, 1, options)
    return x.reshape(-1, w, h, ws, hs).permute(0, 2, 1, 4, 3).reshape(-1, h * w, hs * ws)


def _diagonal_sum(x: Tensor, dim: int, options: Options) -> Tensor:
    """sum_i x[.., p + i * stride, .., q + i, ..], |i| <= fuse_k // 2, zero outside.

    p is the dimension `dim`, q the second after it.
    """
    n, m = x.shape[dim], x.shape[dim + 2]
    reach, stride = options.fuse_k // 2, options.stride
    behind = [0, 0] * (x.dim() - dim - 3)
    padded = F.pad(x, (*behind, reach, reach, 0, 0, reach * stride, reach * stride))
    return sum(padded.narrow(dim, i * stride, n).narrow(dim + 2, i, m) for i in range(options.fuse_k))
