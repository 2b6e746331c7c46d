"""Shapes by their signed distance: what is inside, how far from the edge, in the lengths of canvas.py.

A shape is a function of places x, y, tensors that broadcast to (H, W): a shadow is the same shape elsewhere.
Distances are exact for straight edges and circles, and elsewhere close to it where the edge is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .canvas import Draws

Shape = Callable[[Tensor, Tensor], Tensor]
Point = tuple[float, float]
# Value and slope of a curve over a straight axis.
Curve = Callable[[Tensor], tuple[Tensor, Tensor]]


def towards(start: Point, angle: float, length: float) -> Point:
    """The place at a distance from another in the direction of an angle."""
    return start[0] + length * math.cos(angle), start[1] + length * math.sin(angle)


def half_plane(through: Point, angle: float) -> Shape:
    """What lies in the direction of the angle from a straight line through the point."""
    cos, sin = math.cos(angle), math.sin(angle)
    return lambda x, y: cos * (x - through[0]) + sin * (y - through[1])


def ellipse(middle: Point, radii: Point, angle: float = 0.0) -> Shape:
    def distance(x: Tensor, y: Tensor) -> Tensor:
        along, across = _turned(x - middle[0], y - middle[1], angle)
        a, b = along / radii[0], across / radii[1]
        norm = torch.hypot(a, b)
        slope = torch.hypot(a / radii[0], b / radii[1]).clamp(min=1e-6)
        return norm * (1 - norm) / slope

    return distance


def box(middle: Point, radii: Point, angle: float = 0.0, corner: float = 0.0) -> Shape:
    """A rectangle with corners rounded to a radius."""

    def distance(x: Tensor, y: Tensor) -> Tensor:
        along, across = _turned(x - middle[0], y - middle[1], angle)
        a, b = along.abs() - (radii[0] - corner), across.abs() - (radii[1] - corner)
        beyond = torch.hypot(a.clamp(min=0), b.clamp(min=0))
        return corner - beyond - torch.maximum(a, b).clamp(max=0)

    return distance


def arch(middle: Point, radii: Point) -> Shape:
    """A rectangle and, above it, half a circle."""
    straight, round_ = box(middle, radii), ellipse((middle[0], middle[1] - radii[1]), (radii[0], radii[0]))
    return lambda x, y: torch.maximum(straight(x, y), round_(x, y))


def polygon(points: Sequence[Point]) -> Shape:
    """A convex polygon, its corners in the order in which a clock's hand passes them on the screen."""
    edges = []
    for (x0, y0), (x1, y1) in zip(points, [*points[1:], points[0]], strict=True):
        edges.append(half_plane((x0, y0), math.atan2(y1 - y0, x1 - x0) + math.pi / 2))

    def distance(x: Tensor, y: Tensor) -> Tensor:
        least = edges[0](x, y)
        for edge in edges[1:]:
            least = torch.minimum(least, edge(x, y))
        return least

    return distance


def blob(middle: Point, radius: float, draws: Draws, roughness: float = 0.3, stretch: float = 1.0) -> Shape:
    """A closed curve around a point, its radius a few waves of the angle."""
    phases = [draws.uniform(0, 2 * math.pi) for _ in range(4)]
    heights = [roughness * draws.normal() / (k + 2) for k in range(4)]

    def distance(x: Tensor, y: Tensor) -> Tensor:
        dx, dy = x - middle[0], (y - middle[1]) / stretch
        angle = torch.atan2(dy, dx)
        reach = torch.ones(())
        for k, (height, phase) in enumerate(zip(heights, phases, strict=True)):
            reach = reach + height * torch.cos((k + 2) * angle + phase)
        return radius * reach - torch.hypot(dx, dy)

    return distance


def petals(middle: Point, radius: float, count: int, depth: float, phase: float) -> Shape:
    """A rosette of so many petals; ``depth`` in [0, 1) is how far they are cut in."""

    def distance(x: Tensor, y: Tensor) -> Tensor:
        dx, dy = x - middle[0], y - middle[1]
        wave = torch.cos(count / 2 * (torch.atan2(dy, dx) + phase)).abs()
        return radius * (1 - depth + depth * wave) - torch.hypot(dx, dy)

    return distance


def lens(start: Point, end: Point, breadth: float) -> Shape:
    """What two equal circles have in common, from tip to tip; the breadth is in shares of the length."""
    length = math.dist(start, end)
    half = max(breadth * length / 2, 1e-3)
    radius = (length**2 / 4 + half**2) / (2 * half)
    middle = ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
    sideways = math.atan2(end[1] - start[1], end[0] - start[0]) + math.pi / 2
    offset = radius - half
    dx, dy = offset * math.cos(sideways), offset * math.sin(sideways)

    def distance(x: Tensor, y: Tensor) -> Tensor:
        one = torch.hypot(x - middle[0] - dx, y - middle[1] - dy)
        other = torch.hypot(x - middle[0] + dx, y - middle[1] + dy)
        return radius - torch.maximum(one, other)

    return distance


def waves(draws: Draws, height: float, octaves: int = 3, length: float = 1.5, fall: float = 0.5) -> Curve:
    """A smooth curve: waves, each about half as long as the one before and ``fall`` times as high."""
    parts = []
    for k in range(octaves):
        pitch = 2 * math.pi / length * 2**k * draws.uniform(0.7, 1.4)
        parts.append((height * fall**k * draws.uniform(0.3, 1.0), pitch, draws.uniform(0, 2 * math.pi)))

    def curve(along: Tensor) -> tuple[Tensor, Tensor]:
        value, slope = torch.zeros(()), torch.zeros(())
        for size, pitch, phase in parts:
            turn = pitch * along + phase
            value = value + size * torch.sin(turn)
            slope = slope + size * pitch * torch.cos(turn)
        return value, slope

    return curve


def sag(depth: float, length: float) -> Curve:
    """A parabola that is 0 at both ends of a length, and ``depth`` in the middle."""
    k = -4 * depth / length**2
    return lambda along: (k * along * (along - length), k * (2 * along - length))


def side_of(curve: Curve, through: Point, angle: float) -> Shape:
    """What lies on one side of a curve over the axis that runs through the point at an angle.

    At angle 0 that is what lies below.
    """

    def distance(x: Tensor, y: Tensor) -> Tensor:
        along, across = _turned(x - through[0], y - through[1], angle)
        value, slope = curve(along)
        return (across - value) / torch.sqrt(1 + slope**2)

    return distance


def stroke(curve: Curve, start: Point, angle: float, length: float, widths: Point) -> Shape:
    """A line along a curve over a straight axis, its width going from one to another."""

    def distance(x: Tensor, y: Tensor) -> Tensor:
        along, across = _turned(x - start[0], y - start[1], angle)
        value, slope = curve(along)
        share = (along / length).clamp(0, 1)
        half = (widths[0] + (widths[1] - widths[0]) * share) / 2
        inside = half - (across - value).abs() / torch.sqrt(1 + slope**2)
        return torch.minimum(inside, torch.minimum(along, length - along))

    return distance


def ring(middle: Point, radii: Point, width: float, angle: float = 0.0) -> Shape:
    """The rim of an ellipse, ``width`` wide."""
    whole = ellipse(middle, radii, angle)
    return lambda x, y: width / 2 - whole(x, y).abs()


def _turned(x: Tensor, y: Tensor, angle: float) -> tuple[Tensor, Tensor]:
    """Places along and across an axis at an angle."""
    cos, sin = math.cos(angle), math.sin(angle)
    return (x, y) if angle == 0 else (cos * x + sin * y, cos * y - sin * x)
