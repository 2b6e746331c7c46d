"""Image pyramids with a hole: smaller and smaller versions of a picture, made from its known pixels alone.

Shape legend: B pictures; C channels; H, W their size at one scale. Each scale has half the sides of the one
before, rounded up.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Level(NamedTuple):
    """A picture at one scale.

    Attributes:
        image: (B, C, H, W) floating: the mean of what is known under each pixel; 0 where nothing is.
        known: (B, 1, H, W) in [0, 1]: the share that is known of what is under each pixel.
    """

    image: Tensor
    known: Tensor

    @property
    def missing(self) -> Tensor:
        """(B, 1, H, W) bool: not to be borrowed from."""
        return self.known < 1

    @property
    def hole(self) -> Tensor:
        """(B, 1, H, W) bool: to be filled; the rest of what is missing is known well enough to compare by."""
        return self.known <= 0.5


def finest_level(image: Tensor, hole: Tensor) -> Level:
    """A picture (B, C, H, W) and its hole (B, 1, H, W) bool as the first level of a pyramid."""
    known = (~hole).to(image.dtype)
    return Level(image.masked_fill(hole, 0), known)


def halve(level: Level) -> Level:
    """Every 2 x 2 block as one pixel; blocks that stick out of the picture count as far as they reach."""
    known, total = (
        F.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False)
        for x in (level.known, level.image * level.known)
    )
    return Level(total / known.clamp(min=torch.finfo(known.dtype).tiny), known)


def smooth_fill(image: Tensor, hole: Tensor) -> Tensor:
    """Fill holes without detail: from ever larger neighbourhoods, the deeper inside.

    Pull-push: Gortler et al., "The Lumigraph", SIGGRAPH 1996, section 3.4.

    Args:
        image: (B, C, H, W) floating.
        hole: (B, 1, H, W) bool; a picture without any known pixel is filled with 0.

    Returns:
        (B, C, H, W): known pixels bit-identical.

    Cost: a few copies of the image.
    """
    return torch.where(hole, _pull_push(finest_level(image, hole)), image)


def _pull_push(level: Level) -> Tensor:
    if max(level.image.shape[2:]) == 1:
        return level.image
    coarse = F.interpolate(_pull_push(halve(level)), scale_factor=2, mode="bilinear")
    height, width = level.image.shape[2:]
    return torch.lerp(coarse[..., :height, :width], level.image, level.known)


def dilate(mask: Tensor, radius: int) -> Tensor:
    """Grow a mask (B, 1, H, W) bool by a square of 2 * radius + 1 pixels a side."""
    side = 2 * radius + 1
    rows = F.max_pool2d(mask.to(torch.float32), (side, 1), 1, (radius, 0))
    return F.max_pool2d(rows, (1, side), 1, (0, radius)).bool()
