"""The textbook form: contextual attention by convolutions, in plain PyTorch, as the published layers do it.

One sample after the other: its background is cut into patches, which are the filters of a convolution over
the foreground; scores are propagated by convolutions with identity kernels; larger patches of the background
are the filters of the transposed convolution that pastes them.

Shape legend: as in steps.py; N = h * w.
"""

from __future__ import annotations

import torch
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


def textbook(foreground: Tensor, background: Tensor, mask: Tensor | None, options: Options) -> Tensor:
    """Rebuild every patch of `foreground` from those of `background`.

    Args:
        foreground, background: (B, C, H, W), floating; all arithmetic is in their dtype.
        mask: (B or 1, 1, H, W), non-zero = missing from the background; None: nothing is.
        options: Of the layer.

    Returns:
        (B, C, H, W).
    """
    valid = validity(mask, background, options).expand(len(background), -1, -1, -1)
    samples = (x.split(1) for x in (foreground, background, valid))
    return torch.cat([_rebuild(*sample, options) for sample in zip(*samples, strict=True)])


def _rebuild(foreground: Tensor, background: Tensor, valid: Tensor, options: Options) -> Tensor:
    """One sample; `valid` is (1, 1, hs, ws)."""
    grid = valid.shape[2:]
    scores = _similarity(foreground, background, options)
    if options.fuse and options.propagation == "before":
        scores = _propagate(scores, grid, options)
    valid = valid.reshape(1, -1, 1, 1)
    weights = softmax(scores, valid, 1, options)
    if options.fuse and options.propagation == "after":
        weights = rescale(_propagate(weights, grid, options), valid, 1)
    return _paste(weights, background, options)


def _similarity(foreground: Tensor, background: Tensor, options: Options) -> Tensor:
    """(1, M, h, w): the normalised patches of the background are filters."""
    f, b = (downscale(x, options.rate, options) for x in (foreground, background))
    filters = compared_patches(b, options.stride, options)[0].T  # (M, C * ksize**2)
    filters = filters / norm(filters, 1, options)
    filters = filters.reshape(-1, b.shape[1], options.ksize, options.ksize)
    scores = F.conv2d(f, filters, padding=options.ksize // 2)
    if options.normalize == "both":
        norms = norm(compared_patches(f, 1, options), 1, options)
        scores = scores / norms.reshape(1, 1, *f.shape[2:])
    return scores


def _propagate(scores: Tensor, grid: torch.Size, options: Options) -> Tensor:
    """Along equal displacements, left-right and then top-down: (1, M, h, w) -> the same."""
    h, w = scores.shape[2:]
    hs, ws = grid
    if options.boundary == "wrap":
        # On flattened indices, as published: the kernel runs over the ends of rows, then of columns.
        x = _convolve(scores.reshape(1, 1, hs * ws, h * w), options)
        x = x.reshape(hs, ws, h, w).permute(1, 0, 3, 2)
        x = _convolve(x.reshape(1, 1, ws * hs, w * h), options)
        return x.reshape(ws, hs, w, h).permute(1, 0, 3, 2).reshape(1, hs * ws, h, w)
    x = scores.reshape(hs, ws, h, w).permute(0, 2, 1, 3)
    x = _convolve(x.reshape(hs * h, 1, ws, w), options)
    x = x.reshape(hs, h, ws, w).permute(2, 3, 0, 1)
    x = _convolve(x.reshape(ws * w, 1, hs, h), options)
    return x.reshape(ws, w, hs, h).permute(2, 0, 3, 1).reshape(1, hs * ws, h, w)


def _convolve(x: Tensor, options: Options) -> Tensor:
    """With an identity kernel over (candidates, foreground positions): a tap is `stride` positions away."""
    k, stride = options.fuse_k, options.stride
    kernel = torch.eye(k, dtype=x.dtype, device=x.device).reshape(1, 1, k, k)
    return F.conv2d(x, kernel, padding=(k // 2, k // 2 * stride), dilation=(1, stride))


def _paste(weights: Tensor, background: Tensor, options: Options) -> Tensor:
    """(1, M, h, w) -> (1, C, H, W): the larger patches of the background are filters."""
    size = 2 * options.rate
    h, w = weights.shape[2:]
    filters = pasted_patches(background, options)[0].T.reshape(-1, background.shape[1], size, size)
    pasted = F.conv_transpose2d(weights, filters, stride=options.rate)
    assert pasted.shape[2:] == canvas(h, w, options)
    return crop(pasted / cover(h, w, pasted, options), background, options)
