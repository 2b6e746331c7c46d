"""Regular patterns on planes in perspective: bricks, tiles, planks, windows, railings.

A plane has coordinates (u, v) of its own, in cells of the pattern, which are a homography of the picture's.
Every pattern is averaged over the extent of a pixel, so that it fades where cells are smaller than that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .canvas import Canvas
from .surfaces import grained, noise

_TABLE = 32  # cells after which what differs from cell to cell repeats


@dataclass(frozen=True)
class Plane:
    """Coordinates of every pixel and how much of them a pixel spans, each (H, W)."""

    u: Tensor
    v: Tensor
    across_u: Tensor
    across_v: Tensor

    def part(self, left: float, right: float, top: float, bottom: float, pixel: float) -> Tensor:
        """The signed distance of a rectangle of the plane."""
        sideways = torch.minimum(self.u - left, right - self.u) / self.across_u
        upright = torch.minimum(self.v - top, bottom - self.v) / self.across_v
        return torch.minimum(sideways, upright) * pixel

    def scaled(self, u: float, v: float) -> Plane:
        """The same plane in other cells: so many times more."""
        return Plane(self.u * u, self.v * v, self.across_u * u, self.across_v * v)


def facing(canvas: Canvas, cell: tuple[float, float], tilt: float) -> Plane:
    """A plane that faces the viewer, up to a tilt in [0, 1): cells of a width and height at its middle."""
    draws = canvas.draws
    x, y = canvas.x - canvas.width / 2, canvas.y - canvas.height / 2
    reach_x, reach_y = canvas.width / 2, canvas.height / 2
    sideways, upright = tilt * draws.uniform(-0.8, 0.8), tilt * draws.uniform(-0.4, 0.4)
    turn = 0.08 * tilt * draws.normal()
    depth = 1 / (1 + sideways * x / reach_x + upright * y / reach_y).clamp(min=0.08)
    eye = draws.uniform(-0.5, 0.5)  # the height that does not slope
    u = (math.cos(turn) * x + math.sin(turn) * y) * depth / cell[0]
    v = (math.cos(turn) * (y - eye) - math.sin(turn) * x) * depth / cell[1]
    return _spanned(u + draws.uniform(0, 1), v + draws.uniform(0, 1))


def ground(
    canvas: Canvas, horizon: float, cell: tuple[float, float], turn: float = 0.0, above: bool = False
) -> Plane:
    """The plane that is seen below a horizon, or of a ceiling above it, turned by an angle in radians."""
    away = horizon - canvas.y if above else canvas.y - horizon
    depth = 1 / away.clamp(min=0.02)
    sideways = (canvas.x - canvas.draws.uniform(0, canvas.width)) * depth
    cos, sin = math.cos(turn), math.sin(turn)
    u = (cos * sideways + sin * depth) / cell[0]
    v = (cos * depth - sin * sideways) / cell[1]
    return _spanned(u, v)


def _spanned(u: Tensor, v: Tensor) -> Plane:
    return Plane(u, v, _span(u), _span(v))


def _span(coordinate: Tensor) -> Tensor:
    down, right = torch.gradient(coordinate)
    return torch.hypot(down, right).clamp(min=1e-4)


def pulses(t: Tensor, share: float, span: Tensor) -> Tensor:
    """1 for the first ``share`` of every whole step of t, 0 for the rest, averaged over a span: in [0, 1]."""
    return (_sum_of_pulses(t + span / 2, share) - _sum_of_pulses(t - span / 2, share)) / span


def _sum_of_pulses(t: Tensor, share: float) -> Tensor:
    whole = torch.floor(t)
    return whole * share + (t - whole).clamp(max=share)


def cells(plane: Plane, shares: tuple[float, float]) -> Tensor:
    """1 within cells, 0 in the joints between them, which leave ``shares`` of their width and height."""
    return pulses(plane.u, shares[0], plane.across_u) * pulses(plane.v, shares[1], plane.across_v)


def differing(plane: Plane, table: Tensor) -> Tensor:
    """A number for every cell from a table (n, n), its mean 0; fading where cells are small."""
    row, column = (torch.floor(each).long() % len(table) for each in (plane.v, plane.u))
    seen = (1.5 - 1.5 * torch.maximum(plane.across_u, plane.across_v)).clamp(0, 1)
    return (table - table.mean())[row, column] * seen


def bonded(plane: Plane, offsets: Tensor) -> Plane:
    """Rows shifted against each other, each by its offset (n,)."""
    row = torch.floor(plane.v).long() % len(offsets)
    return Plane(plane.u + offsets[row], plane.v, plane.across_u, plane.across_v)


def masonry(canvas: Canvas, plane: Plane, surface: Tensor, joint: Tensor, share: float, bond: str) -> Tensor:
    """Bricks, tiles or planks with joints, (3, H, W): bond is "stacked", "half" or "random"."""
    draws = canvas.draws
    if bond != "stacked":
        plane = bonded(plane, torch.tensor([0.0, 0.5]) if bond == "half" else draws.normals(_TABLE))
    varied = 1 + draws.uniform(0.0, 0.15) * differing(plane, draws.normals(_TABLE, _TABLE))
    ratio = plane.across_v.mean() / plane.across_u.mean()
    shares = (1 - (1 - share) / max(float(ratio), 1.0), share)
    return torch.lerp(joint, surface * varied, cells(plane, shares))


def checks(plane: Plane, first: Tensor, second: Tensor) -> Tensor:
    """Two colours of tiles in turn, (3, H, W)."""
    u, v = (
        2 * pulses(t / 2, 0.5, span / 2) - 1
        for t, span in ((plane.u, plane.across_u), (plane.v, plane.across_v))
    )
    return torch.lerp(first, second, (1 + u * v) / 2)


def folds(plane: Plane, surface: Tensor, strength: float) -> Tensor:
    """Light and shadow of folds or ribs along v: curtains, corrugated iron, columns."""
    seen = (1 - plane.across_u).clamp(0, 1)
    return surface * (1 + strength * torch.sin(2 * math.pi * plane.u) * seen)


def any_pattern(canvas: Canvas, plane: Plane) -> Tensor:
    """A surface with a pattern of a kind drawn at random, (3, H, W)."""
    draws = canvas.draws
    first = canvas.colour(0.2, 0.9)
    second = first * draws.uniform(0.4, 0.8) if draws.chance(0.6) else canvas.colour(0.1, 0.9)
    kind = draws.one_of(("bricks", "tiles", "planks", "checks", "stripes", "folds"))
    rough = grained(canvas, first, 0.15) if draws.chance(0.6) else first
    if kind == "bricks":
        return masonry(canvas, plane.scaled(0.5, 1), rough, second, draws.uniform(0.82, 0.94), "half")
    if kind == "tiles":
        return masonry(canvas, plane, rough, second, draws.uniform(0.88, 0.97), "stacked")
    if kind == "planks":
        return masonry(canvas, plane.scaled(0.12, 1), rough, second, draws.uniform(0.9, 0.97), "random")
    if kind == "checks":
        return checks(plane, rough, second)
    if kind == "stripes":
        return torch.lerp(rough, second, pulses(plane.u, draws.uniform(0.1, 0.6), plane.across_u))
    return folds(plane, rough, draws.uniform(0.1, 0.35))


def windows(canvas: Canvas, plane: Plane, wall: Tensor) -> Tensor:
    """A wall with a window in every cell: frame, panes, some lit or with a blind, (3, H, W)."""
    draws = canvas.draws
    wide, high = draws.uniform(0.35, 0.7), draws.uniform(0.4, 0.75)
    frame, glass = canvas.colour(0.1, 0.95), canvas.colour(0.05, 0.5)
    lit = differing(plane, draws.normals(_TABLE, _TABLE))
    seen = torch.lerp(glass, glass + 0.3, (0.3 * lit + 0.3 * noise(canvas, 1.5)).clamp(0, 1))
    rim = draws.uniform(0.02, 0.05)
    within = Plane(plane.u - rim, plane.v - rim, plane.across_u, plane.across_v)
    opening, panes = cells(plane, (wide, high)), cells(within, (wide - 2 * rim, high - 2 * rim))
    if draws.chance(0.6):  # a bar in the middle
        bar = draws.uniform(0.01, 0.03)
        middle = (plane.u - (wide - bar) / 2) % 1
        panes = panes * (1 - pulses(middle, bar, plane.across_u))
    return torch.lerp(torch.lerp(wall, frame, opening), seen, panes)


def railing(canvas: Canvas, plane: Plane, surface: Tensor, top: float, bottom: float) -> None:
    """A fence or a railing between two heights of a plane, in front of what is there."""
    draws = canvas.draws
    bars = pulses(plane.u, draws.uniform(0.12, 0.75), plane.across_u)
    rail = (bottom - top) * draws.uniform(0.05, 0.12)
    inside = plane.part(-1e6, 1e6, top, bottom, canvas.pixel)
    ends = torch.maximum(
        plane.part(-1e6, 1e6, top + rail, top + 2 * rail, canvas.pixel),
        plane.part(-1e6, 1e6, bottom - 2 * rail, bottom - rail, canvas.pixel),
    )
    alpha = bars * canvas.coverage(inside, 0)
    canvas.mix(torch.maximum(alpha, canvas.coverage(ends, 0)), surface)
