"""What places consist of: skies, plains, walls, floors, fences, and regions of no name."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from . import patterns, shapes
from .canvas import Canvas, tint
from .shading import soft_shadow
from .surfaces import any_surface, grained, noise, radial, uneven


def sky(canvas: Canvas, horizon: float) -> None:
    """A gradient down to the horizon, perhaps with a sun and clouds."""
    draws = canvas.draws
    hue = 3.8 + 0.25 * draws.normal() if draws.chance(0.75) else draws.uniform(0, 1.2)
    high = tint(hue, draws.uniform(0.02, 0.25), draws.uniform(0.35, 0.85))
    low = tint(hue if draws.chance(0.6) else 0.6, draws.uniform(0.0, 0.15), draws.uniform(0.6, 0.98))
    canvas.fill(torch.lerp(high, low, (canvas.y / max(horizon, 0.05)).clamp(0, 1)))
    white = torch.ones(3, 1, 1)
    if draws.chance(0.2):
        sun = (draws.uniform(0, canvas.width), draws.uniform(0, horizon))
        canvas.mix(radial(canvas, torch.full((1,), 0.8), torch.zeros(1), sun, draws.uniform(0.2, 0.7)), white)
    if draws.chance(0.6):
        clouds = noise(canvas, draws.uniform(1.2, 1.9), draws.uniform(0.4, 1.0), 0, draws.uniform(1, 3))
        alpha = ((clouds - draws.uniform(-0.8, 1.0)) / draws.uniform(0.6, 2)).clamp(0, 1)
        canvas.mix(alpha * draws.uniform(0.4, 0.95), white * draws.uniform(0.6, 0.98))


def ridges(canvas: Canvas, horizon: float) -> None:
    """Hills and woods behind each other, the farther the more of the sky's colour."""
    draws = canvas.draws
    air = canvas.picture.mean((1, 2))[:, None, None]
    for k in reversed(range(draws.whole(0, 3))):
        canvas.focus = draws.uniform(1, 3)
        top = horizon - draws.uniform(0.02, 0.12) * (k + 1)
        octaves, length = draws.whole(2, 7), draws.uniform(0.8, 2)
        curve = shapes.waves(draws, draws.uniform(0.03, 0.15), octaves, length)
        colour = torch.lerp(canvas.colour(0.1, 0.6), air, draws.uniform(0.1, 0.3) * (k + 1))
        surface = grained(canvas, colour, 0.25) if draws.chance(0.7) else colour
        canvas.cover(shapes.side_of(curve, (0, top), 0)(canvas.x, canvas.y), surface)


def plain(canvas: Canvas, horizon: float) -> None:
    """What lies below the horizon: bare, or with grass, rows, a road; or water."""
    draws = canvas.draws
    tilt = 0.05 * draws.normal() if draws.chance(0.3) else 0.0
    below = shapes.half_plane((canvas.width / 2, horizon), math.pi / 2 + tilt)(canvas.x, canvas.y)
    kind = draws.one_of(("grass", "water", "road", "rows", "bare"))
    if kind == "water":
        _water(canvas, horizon, below)
        return
    near, far = canvas.colour(0.15, 0.7), canvas.colour(0.2, 0.7)
    surface = torch.lerp(far, torch.lerp(far, near, 0.6), ((canvas.y - horizon) / 0.5).clamp(0, 1))
    if kind == "grass":
        stretch = draws.uniform(2, 5)
        blades = noise(canvas, 1.0, draws.uniform(0.03, 0.1), stretch=stretch, angle=math.pi / 2)
        surface = surface * (1 + draws.uniform(0.05, 0.25) * blades)
    if kind == "rows":
        plane = patterns.ground(canvas, horizon, (draws.uniform(0.1, 0.5), 1.0))
        surface = torch.lerp(surface, canvas.colour(0.1, 0.6), patterns.pulses(plane.u, 0.5, plane.across_u))
    canvas.cover(below, grained(canvas, surface, 0.2))
    if kind == "road":
        _road(canvas, horizon, below)


def _water(canvas: Canvas, horizon: float, below: Tensor) -> None:
    """What stands above it once more, upside down and rippled."""
    draws = canvas.draws
    rows = ((2 * horizon - canvas.y[:, 0]) / canvas.pixel - 0.5).round().long()
    mirrored = canvas.picture[:, rows.clamp(0, canvas.size[0] - 1)]
    ripples = noise(canvas, 1.0, draws.uniform(0.05, 0.2), stretch=draws.uniform(4, 10))
    surface = torch.lerp(mirrored, canvas.colour(0.1, 0.6), draws.uniform(0.1, 0.7))
    canvas.cover(below, surface * (1 + draws.uniform(0.02, 0.12) * ripples))


def _road(canvas: Canvas, horizon: float, below: Tensor) -> None:
    """Straight or bent, with lines at its sides and a broken one in the middle."""
    draws = canvas.draws
    half, plane = draws.uniform(0.2, 1.2), patterns.ground(canvas, horizon, (1.0, 1.0))
    bend = draws.uniform(-0.01, 0.01) if draws.chance(0.5) else 0.0
    sideways, pixels = plane.u + bend * plane.v**2, canvas.pixel / plane.across_u
    grey = grained(canvas, canvas.colour(0.2, 0.6), 0.15)
    canvas.cover(torch.minimum((half - sideways.abs()) * pixels, below), grey)
    for middle in (0.0, 0.93 * half, -0.93 * half):
        line = (0.04 * half - (sideways - middle).abs()) * pixels
        alpha = canvas.coverage(torch.minimum(line, below), 0)
        dashes = patterns.pulses(plane.v, 0.5, plane.across_v) if middle == 0 else 1.0
        canvas.mix(alpha * dashes, torch.full((3, 1, 1), 0.9))


def building(canvas: Canvas) -> None:
    """A front with windows, seen from the side, perhaps with eaves."""
    draws = canvas.draws
    cell = (draws.uniform(0.12, 0.4), draws.uniform(0.14, 0.4))
    plane = patterns.facing(canvas, cell, draws.uniform(0, 0.9))
    fine = plane.scaled(6, 8)
    wall = patterns.any_pattern(canvas, fine) if draws.chance(0.4) else any_surface(canvas, 0.3)
    left = draws.uniform(-0.6, 0.3) * canvas.width / cell[0]
    right = left + draws.uniform(0.5, 1.3) * canvas.width / cell[0]
    top = draws.uniform(-0.6, 0.1) / cell[1]
    inside = plane.part(left, right, top, 1e3, canvas.pixel)
    canvas.cover(inside, patterns.windows(canvas, plane, wall))
    if draws.chance(0.6):
        eaves = (left - 0.1, right + 0.1, top - 0.1, top + draws.uniform(0, 0.2))
        canvas.cover(plane.part(*eaves, canvas.pixel), canvas.colour())


def paving(canvas: Canvas, edge: float, above: bool = False) -> None:
    """A floor in perspective whose far end is at a height, or a ceiling."""
    draws = canvas.draws
    inside = edge - canvas.y if above else canvas.y - edge
    horizon = edge + (1 if above else -1) * draws.uniform(0.08, 0.4)
    cell = (draws.uniform(0.15, 0.9), draws.uniform(0.15, 0.9))
    turn = draws.uniform(-0.8, 0.8) if draws.chance(0.4) else 0.0
    plane = patterns.ground(canvas, horizon, cell, turn, above)
    surface = patterns.any_pattern(canvas, plane) if draws.chance(0.6) else any_surface(canvas, 0.15, 0.8)
    canvas.cover(inside, uneven(canvas, surface, math.pi / 2))


def fence(canvas: Canvas, foot: float) -> None:
    """Bars and rails about a height of the picture."""
    draws = canvas.draws
    height = draws.uniform(0.15, 0.5)
    plane = patterns.facing(canvas, (draws.uniform(0.025, 0.12), 1.0), draws.uniform(0, 0.7))
    top = foot - canvas.height / 2 + 0.5 - draws.uniform(0, height)
    patterns.railing(canvas, plane, canvas.colour(0.05, 0.95), top, top + height)


def wall(canvas: Canvas) -> None:
    """The whole picture one wall, plain or with a pattern, perhaps in the shadow of something."""
    draws = canvas.draws
    cell = draws.uniform(0.06, 0.3)
    plane = patterns.facing(canvas, (cell, cell * draws.uniform(0.5, 1.5)), draws.uniform(0, 0.9))
    canvas.fill(patterns.any_pattern(canvas, plane) if draws.chance(0.5) else any_surface(canvas))
    if draws.chance(0.4):
        curve, angle = shapes.waves(draws, draws.uniform(0, 0.1)), draws.uniform(-math.pi, math.pi)
        soft_shadow(canvas, shapes.side_of(curve, canvas.place(), angle), (0, 0), draws.uniform(0.01, 0.15))


def corner(canvas: Canvas, floor: float) -> None:
    """Another wall from the corner to the picture's side, its foot running towards the viewer."""
    draws = canvas.draws
    middle, slope = draws.uniform(0.15, 0.85) * canvas.width, draws.uniform(0.2, 0.9)
    beside = draws.one_of((-1, 1)) * (canvas.x - middle)
    above = (floor + slope * beside - canvas.y) / math.hypot(1, slope)
    inside = torch.minimum(beside, above)
    canvas.cover(inside, any_surface(canvas, 0.2, 0.8))
    if draws.chance(0.5):
        canvas.cover(torch.minimum(inside, draws.uniform(0.01, 0.04) - above), canvas.colour())


def curtain(canvas: Canvas) -> None:
    draws = canvas.draws
    left = draws.uniform(-0.6, 0.3) * canvas.width
    plane = patterns.facing(canvas, (1.0, 1.0), draws.uniform(0, 0.3))
    inside = plane.part(left, left + draws.uniform(0.2, 0.7) * canvas.width, -9, 9, canvas.pixel)
    pleats = plane.scaled(draws.uniform(6, 25), 1)
    canvas.cover(inside, patterns.folds(pleats, any_surface(canvas), draws.uniform(0.1, 0.3)))


def partition(canvas: Canvas) -> None:
    """Regions bounded by lines, circles and curves through the whole picture."""
    draws = canvas.draws
    canvas.fill(any_surface(canvas))
    for _ in range(draws.whole(1, 5)):
        shape = _region(canvas)
        if draws.chance(0.3):
            soft_shadow(canvas, shape, (0.02 * draws.normal(), 0.02), draws.uniform(0.02, 0.1))
        canvas.cover(shape(canvas.x, canvas.y), any_surface(canvas))


def _region(canvas: Canvas) -> shapes.Shape:
    draws, through, angle = canvas.draws, canvas.place(), canvas.draws.uniform(-math.pi, math.pi)
    kind = draws.one_of(("line", "level", "curve", "arc", "band"))
    if kind == "line":
        return shapes.half_plane(through, angle)
    if kind == "level":
        return shapes.half_plane(through, draws.whole(0, 3) * math.pi / 2)
    if kind == "arc":
        radius = draws.uniform(0.3, 1.5)
        return shapes.ellipse(through, (radius, radius * draws.uniform(0.5, 1)), angle)
    curve = shapes.waves(draws, draws.uniform(0.02, 0.3))
    if kind == "curve":
        return shapes.side_of(curve, through, angle)
    width = draws.uniform(0.02, 0.3)
    return shapes.stroke(curve, shapes.towards(through, angle, -3), angle, 6, (width, width))
