"""Procedural pictures: dead leaves, textured shapes that cover each other.

The model of occlusion in natural images (Matheron 1968; Lee, Mumford and Huang, "Occlusion models for
natural images", IJCV 2001): shapes of random place, size and colour fall on each other; with radii of density
r**-3 the result has the scale invariance of photographs. Here every leaf has a texture too, so that there is
something for attention to find elsewhere in the picture.

Shape legend: H, W the picture; h, w the rectangle of a leaf.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

# Radii in shares of the picture's shorter side.
_LEAST_RADIUS, _LARGEST_RADIUS = 0.15, 0.5
# On a square: enough to cover it almost whole.
_LEAVES = 40
_SHAPES = ("ellipse", "rectangle")
_TEXTURES = ("flat", "stripes", "checks", "shading")


@dataclass(frozen=True)
class _Leaf:
    """Lengths in pixels, angle and phase in radians, colours (3,) in [-1, 1]."""

    shape: str
    texture: str
    centre: tuple[float, float]
    radii: tuple[float, float]
    angle: float
    wavelength: float
    phase: float
    colours: Tensor


def dead_leaves(size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Draw one picture.

    Args:
        size: (H, W) in pixels.
        generator: On the CPU.

    Returns:
        (3, H, W) float32, red, green, blue in [-1, 1].

    Cost: about 8 ms for 96 x 96 on one core.

    Examples:
        >>> dead_leaves((64, 96), torch.Generator().manual_seed(0)).shape
        torch.Size([3, 64, 96])
    """
    ground = 2 * torch.rand(3, 1, 1, generator=generator) - 1
    picture = ground.expand(3, *size).clone()
    for _ in range(round(_LEAVES * max(size) / min(size))):
        _paint(picture, _draw_leaf(size, generator))
    return picture


def _draw_leaf(size: tuple[int, int], generator: torch.Generator) -> _Leaf:
    u = torch.rand(9, generator=generator).tolist()
    colours = 2 * torch.rand(2, 3, generator=generator) - 1
    side = min(size)
    radius = scale_invariant(u[0], _LEAST_RADIUS, _LARGEST_RADIUS) * side
    return _Leaf(
        shape=_SHAPES[int(u[1] * len(_SHAPES))],
        texture=_TEXTURES[int(u[2] * len(_TEXTURES))],
        centre=(u[3] * size[0], u[4] * size[1]),
        radii=(radius, radius * (0.4 + 0.6 * u[5])),
        angle=math.pi * u[6],
        # Between what the grid can show and what still repeats within a leaf.
        wavelength=4 + u[7] * max(radius - 4, 0.0),
        phase=2 * math.pi * u[8],
        colours=colours,
    )


def scale_invariant(u: float, least: float, largest: float) -> float:
    """The radius of rank u in [0, 1) under the density r**-3, by its inverse distribution function."""
    first, last = least**-2, largest**-2
    return (first + u * (last - first)) ** -0.5


def _paint(picture: Tensor, leaf: _Leaf) -> None:
    """Cover the picture with a leaf, its edge blended over one pixel."""
    reach = math.hypot(*leaf.radii) + 1
    rows, columns = (
        slice(max(int(middle - reach), 0), min(math.ceil(middle + reach), length))
        for middle, length in zip(leaf.centre, picture.shape[1:], strict=True)
    )
    y = torch.arange(rows.start, rows.stop, dtype=torch.float32)[:, None] + 0.5 - leaf.centre[0]
    x = torch.arange(columns.start, columns.stop, dtype=torch.float32) + 0.5 - leaf.centre[1]
    cos, sin = math.cos(leaf.angle), math.sin(leaf.angle)
    along, across = cos * x + sin * y, cos * y - sin * x  # (h, w)
    covered = _coverage(leaf, along, across)
    first, second = leaf.colours[:, :, None, None]
    region = picture[:, rows, columns]
    region.lerp_(torch.lerp(first, second, _texture(leaf, along, across)), covered.expand_as(region))


def _coverage(leaf: _Leaf, along: Tensor, across: Tensor) -> Tensor:
    a, b = along / leaf.radii[0], across / leaf.radii[1]
    norm = torch.hypot(a, b) if leaf.shape == "ellipse" else torch.maximum(a.abs(), b.abs())
    return ((1 - norm) * leaf.radii[1] + 0.5).clamp(0, 1)


def _texture(leaf: _Leaf, along: Tensor, across: Tensor) -> Tensor:
    """How far each pixel is from the first colour to the second: (h, w) or (1,), in [0, 1]."""
    if leaf.texture == "flat":
        return torch.zeros(1)
    if leaf.texture == "shading":
        return (along / leaf.radii[0] / 2 + 0.5).clamp(0, 1)
    pitch = 2 * math.pi / leaf.wavelength
    wave = torch.sin(pitch * along + leaf.phase)
    if leaf.texture == "checks":
        wave = wave * torch.sin(pitch * across + leaf.phase)
    return (2 * wave).clamp(-1, 1) / 2 + 0.5  # steeper than a sine: bands with edges
