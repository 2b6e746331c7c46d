"""What one would write in plain PyTorch: the forms that the package is measured against.

`textbook`, by convolutions, as the published layers do it: one sample after the other, its background is cut
into patches, which are the filters of a convolution over the foreground; scores are propagated by
convolutions with identity kernels; larger patches of the background are the filters of the transposed
convolution that pastes them.

`dense`, without convolutions: all samples at once, patches by unfold, batched matrix products, shifted sums.
This is what torch.compile is given.

Downscaling and validity, which take no time, are the reference's.

Shape legend: B samples; C channels; (H, W) features; h = ceil(H / rate), w likewise, N = h * w; (hs, ws)
background positions on the stride grid, M = hs * ws the candidates.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from contextual_attention import reference
from contextual_attention.options import Options

# The textbook form


def textbook(foreground: Tensor, background: Tensor, mask: Tensor | None, options: Options) -> Tensor:
    """Rebuild every patch of `foreground` from those of `background`.

    Args:
        foreground, background: (B, C, H, W), floating; all arithmetic is in their dtype.
        mask: (B or 1, 1, H, W), non-zero = missing from the background; None: nothing is.
        options: Of the layer.

    Returns:
        (B, C, H, W).
    """
    valid = _validity(mask, background, options).expand(len(background), -1, -1)
    samples = (x.split(1) for x in (foreground, background, valid))
    return torch.cat([_rebuild(*sample, options) for sample in zip(*samples, strict=True)])


def _rebuild(foreground: Tensor, background: Tensor, valid: Tensor, options: Options) -> Tensor:
    """One sample; `valid` is (1, hs, ws)."""
    grid = valid.shape[1:]
    scores = _similarity(foreground, background, options)
    if options.fuse and options.propagation == "before":
        scores = _convolve_along(scores, grid, options)
    valid = valid.reshape(1, -1, 1, 1)
    weights = _softmax(scores, valid, 1, options)
    if options.fuse and options.propagation == "after":
        weights = _rescale(_convolve_along(weights, grid, options), valid, 1)
    return _paste(weights, background, options)


def _similarity(foreground: Tensor, background: Tensor, options: Options) -> Tensor:
    """(1, M, h, w): the normalised patches of the background are filters."""
    f, b = (reference.downscale(x, options) for x in (foreground, background))
    filters = _compared_patches(b, options.stride, options)[0].T  # (M, C * ksize**2)
    filters = filters / _norm(filters, 1, options)
    filters = filters.reshape(-1, b.shape[1], options.ksize, options.ksize)
    scores = F.conv2d(f, filters, padding=options.ksize // 2)
    if options.normalize == "both":
        norms = _norm(_compared_patches(f, 1, options), 1, options)
        scores = scores / norms.reshape(1, 1, *f.shape[2:])
    return scores


def _convolve_along(scores: Tensor, grid: torch.Size, options: Options) -> Tensor:
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
    filters = _pasted_patches(background, options)[0].T.reshape(-1, background.shape[1], size, size)
    pasted = F.conv_transpose2d(weights, filters, stride=options.rate)
    return _averaged(pasted, *weights.shape[2:], background, options)


# The dense form


def dense(foreground: Tensor, background: Tensor, mask: Tensor | None, options: Options) -> Tensor:
    """Rebuild every patch of `foreground` from those of `background`; arguments and result as `textbook`."""
    f, b = (reference.downscale(x, options) for x in (foreground, background))
    h, w = f.shape[2:]
    valid = _validity(mask, background, options)
    sizes = (h, w, *valid.shape[1:])
    valid = valid.flatten(1)[:, None]  # (B or 1, 1, M)
    queries = _compared_patches(f, 1, options)
    keys = _compared_patches(b, options.stride, options)
    if options.normalize == "both":
        queries = queries / _norm(queries, 1, options)
    scores = queries.transpose(1, 2) @ (keys / _norm(keys, 1, options))  # (B, N, M)
    if options.fuse and options.propagation == "before":
        scores = _sum_along(scores, sizes, options)
    weights = _softmax(scores, valid, 2, options)
    if options.fuse and options.propagation == "after":
        weights = _rescale(_sum_along(weights, sizes, options), valid, 2)
    # Not the transpose of this product: torch 2.13's compiler then gets the gradients wrong where N = M.
    patches = weights @ _pasted_patches(background, options).transpose(1, 2)  # (B, N, C * (2 rate)**2)
    pasted = F.fold(patches.transpose(1, 2), _canvas(h, w, options), 2 * options.rate, stride=options.rate)
    return _averaged(pasted, h, w, background, options)


def _sum_along(x: Tensor, sizes: tuple[int, int, int, int], options: Options) -> Tensor:
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


# What both have in common


def _validity(mask: Tensor | None, background: Tensor, options: Options) -> Tensor:
    """1 for candidates that touch no missing pixel, else 0: (B or 1, hs, ws), of the background's dtype."""
    valid = reference.validity(mask, background.shape[2:], options, background.device)
    return valid.to(background.dtype)


def _compared_patches(x: Tensor, stride: int, options: Options) -> Tensor:
    """(B, C, h, w) -> (B, C * ksize**2, candidates), zeros outside the map."""
    return F.unfold(x, options.ksize, padding=options.ksize // 2, stride=stride)


def _pasted_patches(x: Tensor, options: Options) -> Tensor:
    """(B, C, H, W) -> (B, C * (2 rate)**2, M): from rate // 2 before each candidate, zeros outside."""
    rate, before = options.rate, options.rate // 2
    bottom, right = ((math.ceil(side / rate) + 1) * rate - before - side for side in x.shape[2:])
    padded = F.pad(x, (before, right, before, bottom))
    return F.unfold(padded, 2 * rate, stride=rate * options.stride)


def _norm(patches: Tensor, dim: int, options: Options) -> Tensor:
    """max(||x||, eps), or sqrt(sum(x_i**2 + eps)), over `dim`, which stays as 1."""
    squares = patches.square()
    if options.eps_mode == "sum":
        return (squares + options.eps).sum(dim, keepdim=True).sqrt()
    return squares.sum(dim, keepdim=True).clamp_min(options.eps**2).sqrt()


def _softmax(scores: Tensor, valid: Tensor, dim: int, options: Options) -> Tensor:
    """Weights over `dim`; `valid` (1 or 0) can be broadcast to the scores."""
    if options.masking == "multiply":
        return (options.softmax_scale * scores * valid).softmax(dim) * valid
    logits = (options.softmax_scale * scores).masked_fill(valid == 0, torch.finfo(scores.dtype).min)
    return logits.softmax(dim) * valid


def _rescale(weights: Tensor, valid: Tensor, dim: int) -> Tensor:
    """Drop the weights of invalid candidates and bring the sum over `dim` back to 1, or 0."""
    weights = weights * valid
    return weights / weights.sum(dim, keepdim=True).clamp_min(torch.finfo(weights.dtype).tiny)


def _canvas(h: int, w: int, options: Options) -> tuple[int, int]:
    """The size in pixels of what h x w patches paste."""
    return (h + 1) * options.rate, (w + 1) * options.rate


def _averaged(pasted: Tensor, h: int, w: int, like: Tensor, options: Options) -> Tensor:
    """The map in the canvas of h x w patches, over how many cover a pixel, or over the published 4."""
    cover: Tensor | int = 4
    if options.overlap != "fixed":
        ones = pasted.new_ones(1, (2 * options.rate) ** 2, h * w)
        cover = F.fold(ones, _canvas(h, w, options), 2 * options.rate, stride=options.rate)
    before, (height, width) = options.rate // 2, like.shape[2:]
    return (pasted / cover)[..., before : before + height, before : before + width].contiguous()
