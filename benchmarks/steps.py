"""Steps that the textbook form and the dense form have in common: all but the heavy ones.

Shape legend: B samples; C channels; (H, W) features; h = ceil(H / rate), w likewise; (hs, ws) background
positions on the stride grid, M = hs * ws the candidates.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from contextual_attention.options import Options


def downscale(x: Tensor, rate: int, options: Options) -> Tensor:
    """Nearest neighbours: (B, C, H, W) -> (B, C, ceil(H / rate), ceil(W / rate))."""
    if options.downscale == "strided":
        return x[:, :, ::rate, ::rate]
    rows, columns = (_aligned(side, rate).to(x.device) for side in x.shape[2:])
    return x[:, :, rows][..., columns]


def _aligned(side: int, rate: int) -> Tensor:
    """The pixels that TensorFlow's nearest resize reads with align_corners=True, rounded in float32."""
    small = math.ceil(side / rate)
    step = torch.tensor(side - 1.0) / max(small - 1, 1)
    return (torch.arange(small) * step + 0.5).floor().long()


def validity(mask: Tensor | None, like: Tensor, options: Options) -> Tensor:
    """1 for candidates that touch no missing pixel, else 0: (B or 1, 1, hs, ws), of the dtype of `like`.

    Args:
        mask: (B or 1, 1, H, W), at the size of the features; non-zero = missing; None: nothing is.
        like: (B, C, H, W), the background.
    """
    missing = like.new_zeros(1, 1, *like.shape[2:]) if mask is None else (mask != 0).to(like.dtype)
    if options.mask_downscale == "any":
        missing = F.max_pool2d(missing, options.rate, ceil_mode=True)
    else:
        missing = downscale(missing, options.rate, options)
    touched = F.max_pool2d(missing, options.ksize, stride=1, padding=options.ksize // 2)
    return 1 - touched[..., :: options.stride, :: options.stride]


def compared_patches(x: Tensor, stride: int, options: Options) -> Tensor:
    """(B, C, h, w) -> (B, C * ksize**2, candidates), zeros outside the map."""
    return F.unfold(x, options.ksize, padding=options.ksize // 2, stride=stride)


def pasted_patches(x: Tensor, options: Options) -> Tensor:
    """(B, C, H, W) -> (B, C * (2 rate)**2, M): from rate // 2 before each candidate, zeros outside."""
    rate, before = options.rate, options.rate // 2
    bottom, right = ((math.ceil(side / rate) + 1) * rate - before - side for side in x.shape[2:])
    padded = F.pad(x, (before, right, before, bottom))
    return F.unfold(padded, 2 * rate, stride=rate * options.stride)


def norm(patches: Tensor, dim: int, options: Options) -> Tensor:
    """max(||x||, eps), or sqrt(sum(x_i**2 + eps)), over `dim`, which stays as 1."""
    squares = patches.square()
    if options.eps_mode == "sum":
        return (squares + options.eps).sum(dim, keepdim=True).sqrt()
    return squares.sum(dim, keepdim=True).clamp_min(options.eps**2).sqrt()


def softmax(scores: Tensor, valid: Tensor, dim: int, options: Options) -> Tensor:
    """Weights over `dim`; `valid` (1 or 0) can be broadcast to the scores."""
    if options.masking == "multiply":
        return (options.softmax_scale * scores * valid).softmax(dim) * valid
    logits = (options.softmax_scale * scores).masked_fill(valid == 0, torch.finfo(scores.dtype).min)
    return logits.softmax(dim) * valid


def rescale(weights: Tensor, valid: Tensor, dim: int) -> Tensor:
    """Drop the weights of invalid candidates and bring the sum over `dim` back to 1, or 0."""
    weights = weights * valid
    return weights / weights.sum(dim, keepdim=True).clamp_min(torch.finfo(weights.dtype).tiny)


def cover(h: int, w: int, like: Tensor, options: Options) -> Tensor | int:
    """How many pasted patches cover a pixel, (1, 1, (h + 1) * rate, (w + 1) * rate), or the published 4."""
    if options.overlap == "fixed":
        return 4
    ones = like.new_ones(1, (2 * options.rate) ** 2, h * w)
    return F.fold(ones, canvas(h, w, options), 2 * options.rate, stride=options.rate)


def canvas(h: int, w: int, options: Options) -> tuple[int, int]:
    """The size in pixels of what h x w patches paste."""
    return (h + 1) * options.rate, (w + 1) * options.rate


def crop(pasted: Tensor, like: Tensor, options: Options) -> Tensor:
    """The part of the canvas that is the map."""
    before, (height, width) = options.rate // 2, like.shape[2:]
    return pasted[..., before : before + height, before : before + width].contiguous()
