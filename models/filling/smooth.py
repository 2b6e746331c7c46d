"""Where a picture is smooth but for grain, and how its colours slope there, by blocks of pixels.

Shape legend: C channels; H, W the picture; h, w its blocks of ``BLOCK`` x ``BLOCK`` pixels, rounded up.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..patches.native import operators

BLOCK = 4
# Windows of so many blocks are judged and sloped together.
_WINDOW = 5
# A window is smooth up to so many times the grain, and not at all from so many times on.
_SMOOTH, _ROUGH = 2.0, 4.0
# Of the blocks of a picture, this share is taken for nothing but grain.
_GRAIN_SHARE = 0.1
# What grain can be, as a standard deviation of colours in [-1, 1]: no less than rounding to 8 bits leaves, no
# more than six of its steps. A picture all of whose blocks vary more has texture everywhere.
_LEAST_GRAIN, _MOST_GRAIN = 0.3 / 127.5, 6 / 127.5
# Grain whose pixels are not independent changes the means of blocks by up to so many times as much.
_MOST_COARSENESS = 3.0
# Accuracy of continued levels, in colours.
_TOLERANCE = 2.5e-4
# Of the slopes around a hole so much goes on into it. With none of it, a membrane, what bulges is flattened;
# with all of it, a slope that only the border has goes too far. Measured on skies and photographs.
_COURSE = 0.5


class Smooth(NamedTuple):
    """What is known of the blocks of a picture.

    Attributes:
        share: (1, 1, h, w) in [0, 1]: 1 where there is nothing but slopes and grain, 0 where there are
            edges or texture, or nothing is known.
        levels: (1, C, h, w): colours without grain.
        slopes: (1, 2 C, h, w): change of each channel's level from a block to the next: all to the right, all
            down.
        known: (1, 1, h, w): 1 where all pixels of the block are known, else 0.
    """

    share: Tensor
    levels: Tensor
    slopes: Tensor
    known: Tensor


def find_smooth(image: Tensor, hole: Tensor) -> Smooth:
    """Judge the blocks of (1, C, H, W) by what is known, where ``hole``, (1, 1, H, W) bool, is not.

    By second differences within a block, which see fine texture, and by how a block differs from those around
    it, which sees coarse texture and edges. Slopes change neither. Both are compared with those of the
    smoothest blocks of the picture, within the bounds of what can be grain.
    """
    means, variance, known = operators().measure_blocks(image, hole, BLOCK)
    fine, has_fine = _windowed(variance, known)
    coarse, has_coarse = _coarse_variance(means.mean(1, keepdim=True), known)
    grain = _low(fine, has_fine).clamp(_LEAST_GRAIN**2, _MOST_GRAIN**2)
    coarse_grain = _low(coarse, has_coarse).clamp(grain, _MOST_COARSENESS**2 * grain)
    activity = torch.maximum(fine / grain, coarse / coarse_grain).sqrt()
    share = ((_ROUGH - activity) / (_ROUGH - _SMOOTH)).clamp(0, 1)
    share = share * share * (3 - 2 * share) * (has_fine * has_coarse > 0)
    return Smooth(share, *_levels(means, known), known)


def _windowed(x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """The mean over a window, and how much of it there is."""
    total = _mean(weight)
    return _mean(x * weight) / total.clamp(min=1e-6), total


def _mean(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, _WINDOW, 1, _WINDOW // 2, count_include_pad=True)


def _coarse_variance(means: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """That of independent pixels that would explain by how much a block differs from those beside it."""
    beside = F.avg_pool2d(F.pad(means, (1, 1, 1, 1), mode="replicate"), 3, 1)
    # Where all nine are known: a block less their mean has 1 - 1/9 of the variance of a block's mean.
    inner = 1 - F.max_pool2d(1 - known, 3, 1, 1)
    return _windowed((means - beside).square() * (BLOCK**2 * 9 / 8), inner)


def _low(x: Tensor, weight: Tensor) -> Tensor:
    """What few known blocks are below."""
    known = x[weight > 0]
    if known.numel() == 0:
        return x.new_tensor(1.0)
    return known.kthvalue(1 + int(_GRAIN_SHARE * (known.numel() - 1))).values


def _levels(means: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Of the known blocks in a window, the levels and slopes at its centre."""
    slopes, rows_columns = [], []
    for dim in (3, 2):
        size = means.shape[dim] - 1
        change = means.narrow(dim, 1, size) - means.narrow(dim, 0, size)
        both = known.narrow(dim, 1, size) * known.narrow(dim, 0, size)
        # Each change counts for both of its blocks.
        pads = [(1, 0, 0, 0), (0, 1, 0, 0)] if dim == 3 else [(0, 0, 1, 0), (0, 0, 0, 1)]
        weight = sum(F.pad(both, pad) for pad in pads)
        sums = sum(F.pad(change * both, pad) for pad in pads)
        slopes.append(_mean(_mean(sums)) / _mean(_mean(weight)).clamp(min=1e-6))
        place = torch.arange(means.shape[dim], dtype=means.dtype)
        rows_columns.append(place[:, None] if dim == 2 else place)
    level, _ = _windowed(means, known)
    for slope, place in zip(slopes, rows_columns, strict=True):
        # What is known of a window may lie to one side of its centre.
        beside, total = _windowed(place.expand_as(known), known)
        level = level + slope * (place - beside) * (total > 0)
    return level, torch.cat(slopes, 1)


def continue_into(smooth: Smooth, through: Tensor, otherwise: Tensor) -> tuple[Tensor, Tensor]:
    """What would be smooth in a hole: ``share`` and ``levels`` of ``smooth``, continued from around it.

    Slopes first, as a membrane, then levels that have such slopes: a sky keeps its course.

    Args:
        smooth: What is known.
        through: (h, w) bool: the blocks through which to continue; what a wall is like says nothing of the
            sky above its roof.
        otherwise: (C, h, w): the levels of blocks that nothing smooth is continued to.

    Returns:
        (1, h, w) in [0, 1], 0 where nothing smooth is continued to, and (C, h, w).
    """
    known, even = smooth.known[0, 0] > 0, smooth.share[0] > 0.5
    border, missing = known & even[0], ~known & through

    def membrane(x: Tensor, used: Tensor, slopes: Tensor | None = None) -> Tensor:
        slopes = x.new_zeros((len(x), 2, *x.shape[1:])) if slopes is None else slopes
        return operators().continue_levels(x, missing, used, slopes, _TOLERANCE)

    # With the slopes, from the same border: 1 where it leads to, 0 elsewhere.
    both = membrane(torch.cat((_COURSE * smooth.slopes[0] * known, border[None])), border)
    slopes, reached = both[:-1].unflatten(0, (2, -1)).transpose(0, 1), both[-1] > 0.5
    share = membrane(smooth.share[0] * known, known) * reached
    return share.clamp(0, 1), membrane(torch.where(known, smooth.levels[0], otherwise), border, slopes)
