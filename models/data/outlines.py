"""Outlines of objects, drawn at random, and the pixels within them.

An object is one to three closed lines that overlap: a body, and limbs that stick out of it. Each is an
ellipse, a smooth line of random waves, or a polygon with round corners.

Shape legend: H, W the image; N the points of an outline, each (row, column).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .draws import integer, uniform

# Points of a smooth line: at 100 pixels across it leaves the curve by less than a tenth of a pixel.
_POINTS = 64
# Waves around a line, by how often they go up and down: one would only move it.
_WAVES = torch.arange(2, 7)
# A body or limb is up to so many times as long as it is wide: a pole, a person standing.
_LONGEST = 5.0


def draw_object(generator: torch.Generator) -> list[Tensor]:
    """The outlines of an object of any shape, at any angle: (N, 2) float32 each, at no particular scale."""
    body = _part(generator)
    outlines = [body]
    for _ in range(integer(0, 2, generator)):
        # On the body's line or a little within, so that it hangs together.
        joint = uniform(0.6, 1.0, generator) * body[integer(0, len(body) - 1, generator)]
        limb = uniform(0.3, 0.8, generator) * _part(generator)
        outlines.append(joint + limb @ _turn(generator))
    turn = _turn(generator)
    return [outline @ turn for outline in outlines]


def _part(generator: torch.Generator) -> Tensor:
    """One closed line about the origin, up to `_LONGEST` times as high as wide, mostly less than twice."""
    outline = (_ellipse, _waves, _polygon)[integer(0, 2, generator)](generator)
    width = _LONGEST ** -(uniform(0.0, 1.0, generator) ** 2)
    return outline * torch.tensor([1.0, width])


def _ellipse(_generator: torch.Generator) -> Tensor:
    """A circle: what stretches every part makes an ellipse of it."""
    return _polar(torch.ones(_POINTS), torch.arange(_POINTS) / _POINTS)


def _waves(generator: torch.Generator) -> Tensor:
    """A smooth line at distances from the origin of the exponential of a few waves, the finer the flatter."""
    heights, shifts = torch.rand(2, len(_WAVES), generator=generator)
    turns = torch.arange(_POINTS) / _POINTS
    waves = (2 * math.pi * (turns[:, None] * _WAVES + shifts)).cos() @ (heights / _WAVES)
    return _polar(waves.exp(), turns)


def _polygon(generator: torch.Generator) -> Tensor:
    """A polygon of three to eight corners, rounded by cutting them three times (Chaikin 1974)."""
    corners = integer(3, 8, generator)
    radii, shifts = torch.rand(2, corners, generator=generator)
    # Corners keep apart by a third of their share of the circle.
    outline = _polar(0.6 + 0.4 * radii, (torch.arange(corners) + 0.67 * shifts) / corners)
    cut = uniform(0.05, 0.25, generator)
    for _ in range(3):
        to_next = cut * (outline.roll(-1, 0) - outline)
        outline = torch.stack([outline + to_next, outline.roll(-1, 0) - to_next], 1).flatten(0, 1)
    return outline


def _polar(radii: Tensor, turns: Tensor) -> Tensor:
    """Points (N, 2) at distances from the origin, in directions given in whole turns."""
    angles = 2 * math.pi * turns
    return torch.stack([radii * angles.sin(), radii * angles.cos()], 1)


def _turn(generator: torch.Generator) -> Tensor:
    """A rotation by any angle, (2, 2)."""
    angle = uniform(0.0, 2 * math.pi, generator)
    sine, cosine = math.sin(angle), math.cos(angle)
    return torch.tensor([[cosine, sine], [-sine, cosine]])


def within(outline: Tensor, size: tuple[int, int]) -> Tensor:
    """The pixels whose centres a closed line goes around: (H, W) bool.

    Along each row of pixels the edges that cross it are counted, those that go down against those that go up;
    where the count is not 0, the line goes around.

    Args:
        outline: (N, 2) float32, pixel (i, j) being the square from (i, j) to (i + 1, j + 1); anywhere, also
            beyond the image.
        size: (H, W) of the image in pixels.

    Examples:
        >>> triangle = torch.tensor([[0.0, 0.0], [3.0, 0.0], [3.0, 3.0]])
        >>> within(triangle, (3, 4)).int().tolist()
        [[0, 0, 0, 0], [1, 0, 0, 0], [1, 1, 0, 0]]
    """
    (y0, x0), (y1, x1) = outline.T, outline.roll(-1, 0).T
    rows = torch.arange(size[0])[:, None] + 0.5
    down, up = (y0 <= rows) & (rows < y1), (y1 <= rows) & (rows < y0)
    crossings = x0 + (rows - y0) * (x1 - x0) / torch.where(y0 == y1, 1.0, y1 - y0)
    # The first pixel whose centre lies beyond the crossing.
    first = (crossings - 0.5).floor().add(1).clamp(0, size[1]).long()
    counts = torch.zeros(size[0], size[1] + 1).scatter_add_(1, first, down.float() - up.float())
    return counts.cumsum(1)[:, :-1] != 0
