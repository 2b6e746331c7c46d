"""Crops changed as other cameras and other light would have them: turned, brighter, of other colours.

Shape legend: h, w the picture; H, W the crop. Colours are red, green, blue in [-1, 1], encoded as in files.
"""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor
from torch.nn import functional as F

from ...photos import to_features
from .draws import uniform
from .masks import Size

# A turned crop is read out of pixels this much finer than its own: what is lost between them and by reducing
# is then about what a crop that is not turned loses by reducing alone.
_FINER = math.sqrt(2)
# Of colours in files, nearly: light is this power of them.
_GAMMA = 2.2
# What weighs how much in the lightness of a colour (ITU-R BT.601).
_LIGHTNESS = torch.tensor([[0.299, 0.587, 0.114]])
_ORDERS = [list(order) for order in itertools.permutations(range(3))]


def turned_extents(size: Size, angle: float) -> tuple[float, float]:
    """Height and width of the upright box around a rectangle of ``size`` that is turned by ``angle``."""
    cosine, sine = abs(math.cos(angle)), abs(math.sin(angle))
    return size[0] * cosine + size[1] * sine, size[1] * cosine + size[0] * sine


def turned_crop(
    picture: Tensor, size: Size, scale: float, angle: float, centre: tuple[float, float]
) -> Tensor:
    """Cut a turned rectangle out of a picture and turn it upright, antialiased.

    Args:
        picture: (3, h, w) uint8.
        size: (H, W) of the crop.
        scale: Pixels of the picture to a pixel of the crop, along each side; > 0.
        angle: In radians: pixel (i, j) of the crop lies to the middle of it as (i, j) turned by so much from
            the rows towards the columns.
        centre: (row, column) of the crop's middle, pixel (i, j) being the square from (i, j) to
            (i + 1, j + 1). What lies beyond the picture has the colour of its border.

    Returns:
        (3, H, W) float32 in [-1, 1].
    """
    spans = []
    for middle, extent, length in zip(centre, turned_extents(size, angle), picture.shape[1:], strict=True):
        reach = scale * (extent / 2 + 2)  # two pixels of the crop for what reducing and reading look at
        start, end = max(math.floor(middle - reach), 0), min(math.ceil(middle + reach), length)
        spans.append((start, max(end - start, 1)))
    (top, height), (left, width) = spans
    region = _reduced(picture[None, :, top : top + height, left : left + width], scale / _FINER)
    cosine, sine = scale * math.cos(angle), scale * math.sin(angle)
    # As grid_sample counts: x, then y, -1 and 1 the borders of the region, and so of the crop.
    turn = torch.tensor(
        [
            [cosine * size[1] / width, -sine * size[0] / width, 2 * (centre[1] - left) / width - 1],
            [sine * size[1] / height, cosine * size[0] / height, 2 * (centre[0] - top) / height - 1],
        ]
    )
    grid = F.affine_grid(turn[None], [1, 3, *size], align_corners=False)
    return F.grid_sample(to_features(region), grid, padding_mode="border", align_corners=False)[0]


def _reduced(region: Tensor, factor: float) -> Tensor:
    """(1, 3, h, w) uint8 with ``factor`` times fewer pixels along each side, antialiased; never more."""
    sides = [max(1, math.ceil(length / factor)) if factor > 1 else length for length in region.shape[2:]]
    if sides == list(region.shape[2:]):
        return region
    return F.interpolate(region, sides, mode="bilinear", align_corners=False, antialias=True)


def recolour(crop: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Change exposure, white balance, gamma, contrast, saturation and hue of a crop, each by chance.

    With s the strength and uniform draws: light is multiplied by 2 to the power of -1.5 s to 0.7 s, each
    channel of it by another +-0.5 s; colours are raised to the power of 2 to the +-0.5 s; contrast about the
    mean is multiplied by 2 to the power of +-0.5 s, saturation by 1 - s to 1 + s; the hue turns by +-45 s^2
    degrees; and above s = 0.5, s - 0.5 of the crops have their channels in another order. Ours.

    Args:
        crop: (3, H, W) float32 in [-1, 1].
        strength: s, 0 to 1; 0 draws nothing and returns the crop as it is.
        generator: On the CPU.

    Returns:
        The same shape, in [-1, 1].
    """
    if not strength:
        return crop
    exposure = uniform(-1.5, 0.7, generator) * strength + strength * (
        torch.rand(3, generator=generator) - 0.5
    )
    power = 2 ** (strength * uniform(-0.5, 0.5, generator))
    contrast = 2 ** (strength * uniform(-0.5, 0.5, generator))
    saturation = 1 + strength * uniform(-1.0, 1.0, generator)
    hue = math.pi / 4 * strength**2 * uniform(-1.0, 1.0, generator)
    order, rank = uniform(0.0, len(_ORDERS), generator), uniform(0.0, 1.0, generator)
    # A gain of light is one of colours too, by the power that leads from one to the other.
    gains = 2 ** (exposure / _GAMMA)
    colours = ((crop.flatten(1) + 1) * (gains / 2)[:, None]).clamp_(0, 1).pow_(power)
    mixing = contrast * _mixing(saturation, hue)
    if rank < strength - 0.5:
        mixing = mixing[_ORDERS[int(order)]]
    middle = colours.mean()
    # Rows of the mixing sum to the contrast, so greys stay grey and the mean grey stays itself.
    changed = torch.addmm((1 - contrast) * middle, mixing, colours)
    return changed.clamp_(0, 1).mul_(2).sub_(1).view_as(crop)


def _mixing(saturation: float, hue: float) -> Tensor:
    """What multiplies colours (3,), so that saturation and hue change and greys do not: (3, 3)."""
    grey = torch.full((3, 3), 1 / 3)
    # A turn about the axis of greys (Rodrigues): what is across it turns, by the cross product with it.
    across = torch.tensor([[0.0, -1.0, 1.0], [1.0, 0.0, -1.0], [-1.0, 1.0, 0.0]]) / math.sqrt(3)
    turn = grey + math.cos(hue) * (torch.eye(3) - grey) + math.sin(hue) * across
    lightness = _LIGHTNESS.expand(3, 3)
    return lightness + saturation * (turn - lightness)
