"""Light and shadow on things, and the shadows that they throw."""

from __future__ import annotations

import torch
from torch import Tensor

from . import shapes
from .canvas import Canvas
from .shapes import Point, Shape


def soft_shadow(canvas: Canvas, shape: Shape, offset: Point, blend: float) -> None:
    """The shadow that a shape throws on what has been painted, its edge ``blend`` wide."""
    distance = shape(canvas.x - offset[0], canvas.y - offset[1])
    canvas.shade(distance, canvas.draws.uniform(0.1, 0.6), blend)


def contact_shadow(canvas: Canvas, foot: Point, radius: float) -> None:
    """The shadow on the floor around what stands at a place, away from the light."""
    draws = canvas.draws
    reach = radius * draws.uniform(0.9, 1.8)
    middle = (foot[0] - canvas.light[0] * radius * draws.uniform(0.2, 1.0), foot[1])
    under = shapes.ellipse(middle, (reach, reach * draws.uniform(0.15, 0.35)))
    soft_shadow(canvas, under, (0, 0), radius * draws.uniform(0.3, 0.8))


def upright(canvas: Canvas, colour: Tensor, middle: float, radius: float) -> Tensor:
    """A colour shaded as an upright cylinder is, (3, 1, W)."""
    across = ((canvas.x - middle) / radius).clamp(-1, 1)
    lit = 0.55 * torch.sqrt(1 - across**2) + 0.35 * canvas.light[0] * across
    return colour * (canvas.draws.uniform(0.3, 0.5) + lit)


def sphere(canvas: Canvas, colour: Tensor, middle: Point, radius: float) -> Tensor:
    """A colour shaded as a sphere is, with the light's gloss, (3, H, W)."""
    draws = canvas.draws
    a, b = (canvas.x - middle[0]) / radius, (canvas.y - middle[1]) / radius
    facing = torch.sqrt((1 - a**2 - b**2).clamp(min=0))
    lit = 0.6 * (canvas.light[0] * a + canvas.light[1] * b) + 0.7 * facing
    surface = colour * (draws.uniform(0.2, 0.5) + 0.8 * lit.clamp(min=0))
    return surface + draws.uniform(0, 0.6) * lit.clamp(0, 1) ** draws.whole(10, 40)


def padded(colour: Tensor, distance: Tensor, depth: float, strength: float) -> Tensor:
    """A colour darkened towards the edge of a region, over a depth, as round things are: (3, H, W)."""
    rise = (1 - distance / depth).clamp(0, 1)
    return colour * (1 - strength * (1 - torch.sqrt(1 - rise**2)))
