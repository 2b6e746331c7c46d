"""Thin holes (scratches, text, dust) without training: every pixel by linear regression on those around it.

A missing pixel is estimated from the known pixels of its patch by the linear estimate of least mean squared
error, its means and covariances taken from similar patches nearby. As for denoising in Lebrun et al., "A
Nonlocal Bayesian Image Denoising Algorithm" (SIAM Journal on Imaging Sciences 2013), and for enlarging in Li
and Orchard, "New Edge-Directed Interpolation" (IEEE Transactions on Image Processing 2001).

Shape legend: C channels; H, W the picture.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..patches.native import operators
from ..patches.scales import touching


class Regression(NamedTuple):
    """How a tile of pixels is predicted; the lengths in pixels, the colours in [-1, 1]."""

    # Squares of this side are predicted at once, from the known pixels at most `margin` away, but for corners
    # that would hardly count.
    tile: int = 3
    margin: int = 4
    # Samples are the most similar patches, so many, at most `reach` away.
    reach: int = 40
    samples: int = 300
    # How fast a known pixel counts less with its distance from the tile.
    spread: float = 1.5
    # The standard deviation of what cannot be predicted, and its variance by that of the samples: without
    # them the regression would fit the samples' noise.
    grain: float = 2 / 127.5
    damping: float = 0.01
    # Patches that differ by less, in root mean square, are as good as the same.
    alike: float = 1 / 127.5


# What is deeper in a hole is not thin, nor are the slivers that a round rim has so near to it.
_DEEPEST = 4
_APART = 3 * _DEEPEST
# The first guess stands in the samples that touch the hole; in the second round, the first one's result does.
_ROUNDS = (Regression(margin=3, reach=20, samples=200, damping=0.02), Regression())


def thin_part(hole: Tensor) -> Tensor:
    """What is thin of a hole (1, 1, H, W) bool: too narrow for 9 x 9 pixels, and not beside what is wider."""
    missing = hole[0, 0].contiguous()
    core = operators().depths(missing) > _DEEPEST
    return (missing & ~touching(core, _APART))[None, None]


def fill_thin(image: Tensor, hole: Tensor, start: Tensor) -> Tensor:
    """Fill a thin hole, its pixels at most some 4 pixels from a known one.

    Args:
        image: (1, C, H, W) float32 in [-1, 1]; what is in the hole is not looked at.
        hole: (1, 1, H, W) bool.
        start: (1, C, H, W): a first guess; a smooth one will do. What is outside the hole is not looked at.
            It stays where no known pixel is near enough, or no other patch in reach.

    Returns:
        (1, C, H, W): the picture, filled, within the range of its known pixels.

    Cost: goes with the number of missing pixels, about 0.15 ms for each on one thread, and up to 1.5 kB where
    they lie apart. The result does not depend on the number of threads.
    """
    missing = hole[0, 0].contiguous()
    guess = torch.where(hole, start, image)[0].contiguous()
    for options in _ROUNDS:
        guess = regress(guess, missing, options)
    known = image.masked_select(~hole)
    return guess[None].clamp(known.min(), known.max()) if known.numel() else guess[None]


def regress(picture: Tensor, missing: Tensor, options: Regression) -> Tensor:
    """One round: of ``picture`` (C, H, W), with a guess where it is ``missing`` (H, W), what is predicted."""
    filled = picture.clone()
    operators().regress(picture, missing, filled, *options)
    return filled
