"""Pictures with holes at one scale after the other, as the features that patches are compared by.

Features are bytes, so that sums of them are exact and every machine finds the same patches: colours, then the
mean absolute steps of grey around each pixel, across and down. A half-filled hole is smoother than it should
be, so colours alone find smooth patches to fill it with; carried from scale to scale with the colours, the
steps prevent it (Newson et al., "Video inpainting of complex scenes", SIAM J. Imaging Sciences 2014, section
3.3).

Shape legend: C channels; H, W the picture at a scale. Each scale has half the sides of the one before,
rounded up.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .blank import blank
from .native import operators

# Steps are small beside colours, and they alone tell a texture from its own average.
_TEXTURE_WEIGHT = 5.0
# How far from a pixel, in pixels, steps count for its mean.
_TEXTURE_REACH = 2
# Of the 8 features two are texture.
_MOST_COLOURS = 6
# Lines are thinner than a pixel at coarse scales, and as important.
_GUIDE_GAIN = 1.5


class Guide(NamedTuple):
    """What is known beforehand of the colours in holes.

    Attributes:
        colours: (1, C, H, W) in [-1, 1].
        weight: (1, 1, H, W) in [0, 1]: how far to trust them; 0 where nothing is known.
    """

    colours: Tensor
    weight: Tensor


@dataclass
class Scale:
    """A picture at one scale.

    Attributes:
        features: (H, W, 8) uint8: the mean of what is known under each pixel, and what fills the hole so far.
        known: (H, W) uint8: how much is known of what is under each pixel; 255: all.
        colours: How many of the features are colours.
        guide: Features and (H, W) uint8, how far to trust them: what is known beforehand, or None.
        depth: How many halvings from the finest scale.
    """

    features: Tensor
    known: Tensor
    colours: int
    guide: tuple[Tensor, Tensor] | None = None
    depth: int = 0

    @cached_property
    def missing(self) -> Tensor:
        """(H, W) bool: not to be borrowed from."""
        return self.known < 255

    @cached_property
    def hole(self) -> Tensor:
        """(H, W) bool: to be filled; the rest of what is missing is known well enough to compare by."""
        return self.known < 128

    @cached_property
    def depths(self) -> Tensor:
        """(H, W) int16: steps, straight or diagonal, from a pixel of the hole to one outside it; else 0."""
        return operators().depths(self.hole)

    @property
    def deepest(self) -> int:
        return int(self.depths.max())

    def halve(self) -> Scale:
        """Every 2 x 2 block as one pixel; blocks that stick out of the picture count as far as they reach."""
        guide = None if self.guide is None else operators().halve(*self.guide)
        features, known = operators().halve(self.features, self.known)
        return Scale(features, known, self.colours, guide, self.depth + 1)

    def mix_guide(self, pixels: Tensor, share: float) -> None:
        """Draw the colours at ``pixels``, (n,) int64 positions, towards the guide's."""
        if self.guide is None:
            return
        features, guide, trust = (x.flatten(0, 1) for x in (self.features, *self.guide))
        weight = trust[pixels].float() * (share / 255 * (_GUIDE_GAIN if self.depth else 1))
        guided = weight > 0
        at, weight = pixels[guided], weight[guided, None].clamp(max=share)
        colours = slice(self.colours)
        mixed = torch.lerp(features[at, colours].float(), guide[at, colours].float(), weight)
        features[at, colours] = mixed.round().to(torch.uint8)


def finest_scale(image: Tensor, hole: Tensor, guide: Guide | None = None) -> Scale:
    """A picture (1, C, H, W) in [-1, 1] and its hole (1, 1, H, W) bool, both on the CPU, C at most 6."""
    missing = hole[0, 0].contiguous()
    features = _described(image[0], missing)
    known = (~missing).to(torch.uint8) * 255
    colours = min(image.shape[1], _MOST_COLOURS)
    if guide is None:
        return Scale(features, known, colours)
    guided, trust = blank(features.shape, np.uint8), blank(known.shape, np.uint8)
    box = _around(guide.weight[0, 0] > 0)
    drawn = guide.colours[(0, slice(None), *box)]
    guided[box] = _described(drawn, torch.zeros_like(missing[box]))
    trust[box] = (guide.weight[(0, 0, *box)] * 255).round().to(torch.uint8)
    return Scale(features, known, colours, (guided, trust))


def _described(picture: Tensor, missing: Tensor) -> Tensor:
    return operators().describe(picture.contiguous(), missing, _TEXTURE_REACH, _TEXTURE_WEIGHT)


def _around(mask: Tensor) -> tuple[slice, slice]:
    """The rows and columns of (H, W) bool with something, and those beside them by which it is described."""
    reach = _TEXTURE_REACH + 1  # a step has two ends
    bounds = []
    for axis in (1, 0):
        there = mask.any(axis).nonzero()[:, 0].tolist() or [0]
        bounds.append(slice(max(0, there[0] - reach), there[-1] + 1 + reach))
    return bounds[0], bounds[1]


def whole_patches(missing: Tensor, radius: int) -> Tensor:
    """(H, W) bool: centres of patches that lie in the picture and touch nothing of (H, W) bool."""
    return operators().clear(missing, radius, False)


def touching(hole: Tensor, radius: int) -> Tensor:
    """(H, W) bool: centres of patches that touch a hole, (H, W) bool."""
    return ~operators().clear(hole, radius, True)
