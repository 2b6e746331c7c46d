"""Where things are: each kind of place paints the whole picture, far to near."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from . import patterns, shapes
from .canvas import Canvas, tint
from .surfaces import any_surface, grained, linear, noise, radial
from .things import STANDING, THINGS, pole, soft_shadow, wires


def sky(canvas: Canvas, horizon: float) -> None:
    """A gradient down to the horizon, perhaps with clouds and a sun."""
    draws = canvas.draws
    hue = 3.8 + 0.3 * draws.normal() if draws.chance(0.75) else draws.uniform(0, 1.2)
    high = tint(hue, draws.uniform(0.02, 0.25), draws.uniform(0.3, 0.8))
    low = tint(hue if draws.chance(0.6) else 0.6, draws.uniform(0.0, 0.15), draws.uniform(0.6, 0.98))
    ramp = (canvas.y / max(horizon, 0.05)).clamp(0, 1)
    canvas.mix(torch.ones(()), torch.lerp(high, low, ramp))
    if draws.chance(0.2):
        sun = (draws.uniform(0, canvas.width), draws.uniform(0, horizon))
        glow = radial(canvas, torch.ones(1), torch.zeros(1), sun, draws.uniform(0.2, 0.7))
        canvas.mix(0.8 * glow, torch.ones(3, 1, 1))
    if draws.chance(0.6):
        clouds = noise(canvas, draws.uniform(1.2, 1.9), draws.uniform(0.4, 1.0), 0, draws.uniform(1, 3))
        alpha = ((clouds - draws.uniform(-0.8, 1.0)) / draws.uniform(0.6, 2)).clamp(0, 1)
        canvas.mix(alpha * draws.uniform(0.4, 0.95), torch.ones(3, 1, 1) * draws.uniform(0.6, 0.98))


def landscape(canvas: Canvas) -> None:
    """Sky, ridges, and a plain with grass, water, a road or rows; trees and wires."""
    draws = canvas.draws
    horizon = draws.uniform(0.2, 0.8) * canvas.height
    sky(canvas, horizon)
    air = canvas.picture.mean((1, 2))[:, None, None]
    for k in reversed(range(draws.whole(0, 3))):
        canvas.focus = draws.uniform(1, 3)
        top = horizon - draws.uniform(0.02, 0.12) * (k + 1)
        curve = shapes.waves(draws, draws.uniform(0.03, 0.15), draws.whole(2, 7), draws.uniform(0.8, 2), 0.55)
        colour = torch.lerp(canvas.colour(0.1, 0.6), air, draws.uniform(0.1, 0.3) * (k + 1))
        surface = grained(canvas, colour, draws.uniform(0, 0.2)) if draws.chance(0.7) else colour
        canvas.cover(shapes.side_of(curve, (0, top), 0)(canvas.x, canvas.y), surface)
    canvas.focus = draws.uniform(1, 2)
    plain(canvas, horizon)
    for _ in range(draws.whole(0, 3)):
        foot = (draws.uniform(0, canvas.width), horizon + draws.uniform(0, 0.3))
        draws.one_of(STANDING)(canvas, foot, draws.uniform(0.05, 0.25))


def plain(canvas: Canvas, horizon: float) -> None:
    """What lies below the horizon."""
    draws = canvas.draws
    kind = draws.one_of(("grass", "water", "road", "rows", "bare"))
    level = shapes.half_plane((0, horizon), math.pi / 2 + (0.05 * draws.normal() if draws.chance(0.3) else 0))
    below = level(canvas.x, canvas.y)
    if kind == "water":
        _water(canvas, horizon, below)
        return
    near, far = canvas.colour(0.15, 0.7), canvas.colour(0.2, 0.7)
    surface = torch.lerp(far, torch.lerp(far, near, 0.6), ((canvas.y - horizon) / 0.5).clamp(0, 1))
    if kind == "grass":
        fibres = noise(canvas, 0.8, draws.uniform(0.03, 0.1), 0, draws.uniform(2, 5), math.pi / 2)
        surface = surface * (1 + draws.uniform(0.05, 0.3) * fibres)
    if kind == "rows":
        cell = (draws.uniform(0.1, 0.5), 1.0)
        rows = patterns.ground(canvas, horizon, cell, 0)
        surface = torch.lerp(surface, canvas.colour(0.1, 0.5), patterns.pulses(rows.u, 0.5, rows.across_u))
    canvas.cover(below, grained(canvas, surface, draws.uniform(0, 0.15)))
    if kind == "road":
        _road(canvas, horizon, below)


def _water(canvas: Canvas, horizon: float, below: Tensor) -> None:
    """What stands above it once more, upside down and rippled."""
    draws = canvas.draws
    rows = ((2 * horizon - canvas.y[:, 0]) / canvas.pixel - 0.5).round().long()
    mirrored = canvas.picture[:, rows.clamp(0, canvas.size[0] - 1)]
    ripples = noise(canvas, 1.0, draws.uniform(0.05, 0.2), 0, draws.uniform(4, 10))
    surface = torch.lerp(mirrored, canvas.colour(0.1, 0.6), draws.uniform(0.1, 0.7))
    canvas.cover(below, surface * (1 + draws.uniform(0.02, 0.12) * ripples))


def _road(canvas: Canvas, horizon: float, below: Tensor) -> None:
    draws = canvas.draws
    breadth = draws.uniform(0.2, 1.2)
    plane = patterns.ground(canvas, horizon, (1.0, 1.0), 0.0)
    bend = draws.uniform(-0.03, 0.03) * plane.v if draws.chance(0.5) else 0.0
    middle = plane.u + bend * plane.v * 0.3
    edge = canvas.pixel / plane.across_u
    grey = grained(canvas, canvas.colour(0.2, 0.6), draws.uniform(0.02, 0.1))
    canvas.cover(torch.minimum((breadth - middle.abs()) * edge, below), grey)
    for at in (0.0, 0.93 * breadth, -0.93 * breadth):
        line = (0.04 * breadth - (middle - at).abs()) * edge
        dashes = patterns.pulses(plane.v, 0.5, plane.across_v) if at == 0 else torch.ones(())
        canvas.mix(dashes * canvas.coverage(torch.minimum(line, below), 0), torch.full((3, 1, 1), 0.9))


def street(canvas: Canvas) -> None:
    """Buildings with windows under a sky, on a pavement; poles, railings, wires."""
    draws = canvas.draws
    horizon = draws.uniform(0.55, 1.0) * canvas.height
    sky(canvas, horizon)
    for _ in range(draws.whole(1, 3)):
        cell = (draws.uniform(0.12, 0.4), draws.uniform(0.14, 0.4))
        plane = patterns.facing(canvas, cell, draws.uniform(0, 0.9))
        wall = (
            patterns.any_pattern(canvas, plane.scaled(6, 8))
            if draws.chance(0.4)
            else any_surface(canvas, 0.3)
        )
        surface = patterns.windows(canvas, plane, wall)
        left = draws.uniform(-0.6, 0.3) * canvas.width / cell[0]
        right, top = (
            left + draws.uniform(0.5, 1.3) * canvas.width / cell[0],
            draws.uniform(-0.6, 0.1) / cell[1],
        )
        inside = plane.part(left, right, top, 1e3, canvas.pixel)
        canvas.cover(inside, surface)
        if draws.chance(0.6):  # eaves
            eaves = plane.part(left - 0.1, right + 0.1, top - 0.1, top + draws.uniform(0, 0.2), canvas.pixel)
            canvas.cover(eaves, canvas.colour())
    if horizon < 0.9 * canvas.height:
        paving(canvas, horizon + draws.uniform(0, 0.1))
    if draws.chance(0.4):
        _fence(canvas, horizon)


def paving(canvas: Canvas, edge: float) -> None:
    """A floor in perspective, whose far end is at a height."""
    draws = canvas.draws
    turn = draws.uniform(-0.8, 0.8) if draws.chance(0.4) else 0.0
    plane = patterns.ground(
        canvas, edge - draws.uniform(0.08, 0.4), (draws.uniform(0.15, 0.9), draws.uniform(0.15, 0.9)), turn
    )
    surface = patterns.any_pattern(canvas, plane) if draws.chance(0.65) else any_surface(canvas, 0.15, 0.8)
    fade = linear(
        canvas,
        torch.full((1, 1, 1), draws.uniform(0.7, 1.1)),
        torch.full((1, 1, 1), draws.uniform(0.7, 1.1)),
        math.pi / 2,
    )
    canvas.cover((canvas.y - edge).expand(canvas.size), surface * fade)


def _fence(canvas: Canvas, horizon: float) -> None:
    draws = canvas.draws
    height = draws.uniform(0.15, 0.5)
    plane = patterns.facing(canvas, (draws.uniform(0.025, 0.12), 1.0), draws.uniform(0, 0.7))
    top = horizon - canvas.height / 2 - draws.uniform(0, height) + 0.5
    patterns.railing(canvas, plane, canvas.colour(0.05, 0.95), top, top + height)


def room(canvas: Canvas) -> None:
    """Wall and floor, perhaps a corner, a curtain and pictures; things stand on the floor."""
    draws = canvas.draws
    floor = draws.uniform(0.5, 0.95) * canvas.height
    wall_of(canvas)
    for _ in range(draws.whole(0, 2)):
        THINGS[3](
            canvas,
            (draws.uniform(0, canvas.width), draws.uniform(0.3, 0.9) * floor),
            draws.uniform(0.08, 0.3),
        )
    if draws.chance(0.3):
        curtain(canvas)
    paving(canvas, floor)
    if draws.chance(0.6):
        board = shapes.box((0, floor), (9, draws.uniform(0.01, 0.04)))
        canvas.cover(board(canvas.x, canvas.y), canvas.colour())
    if draws.chance(0.35):
        corner(canvas, floor)
    for _ in range(draws.whole(0, 3)):
        foot = (draws.uniform(0, canvas.width), draws.uniform(floor, canvas.height + 0.1))
        draws.one_of(STANDING)(canvas, foot, draws.uniform(0.08, 0.28))


def corner(canvas: Canvas, floor: float) -> None:
    """Another wall from the corner to the picture's side, its foot running towards the viewer."""
    draws = canvas.draws
    at, slope, side = draws.uniform(0.15, 0.85) * canvas.width, draws.uniform(0.2, 0.9), draws.one_of((-1, 1))
    beside = side * (canvas.x - at)
    above = (floor + slope * beside - canvas.y) / math.hypot(1, slope)
    inside = torch.minimum(beside.expand(canvas.size), above)
    canvas.cover(inside, any_surface(canvas, 0.2, 0.8))
    if draws.chance(0.5):
        edge = torch.minimum(inside, draws.uniform(0.01, 0.04) - above)
        canvas.cover(edge, canvas.colour())


def curtain(canvas: Canvas) -> None:
    draws = canvas.draws
    plane = patterns.facing(canvas, (draws.uniform(0.04, 0.15), 1.0), draws.uniform(0, 0.3))
    left = draws.uniform(-3, 0) / 0.1
    inside = plane.part(left, left + draws.uniform(0.2, 0.6) * 10, -9, 9, canvas.pixel)
    canvas.cover(inside, patterns.folds(plane, any_surface(canvas), draws.uniform(0.1, 0.3)))


def wall_of(canvas: Canvas) -> None:
    """The whole picture one wall, plain or with a pattern."""
    draws = canvas.draws
    canvas.mix(torch.ones(()), any_surface(canvas))
    if draws.chance(0.5):
        cell = draws.uniform(0.06, 0.3)
        plane = patterns.facing(canvas, (cell, cell * draws.uniform(0.5, 1.5)), draws.uniform(0, 0.9))
        canvas.mix(torch.ones(()), patterns.any_pattern(canvas, plane))


def facade(canvas: Canvas) -> None:
    """A wall from near, with the shadow of something on it, and things in front."""
    draws = canvas.draws
    wall_of(canvas)
    if draws.chance(0.5):
        angle = draws.uniform(-math.pi, math.pi)
        shape = shapes.side_of(shapes.waves(draws, draws.uniform(0, 0.1)), canvas.place(), angle)
        soft_shadow(canvas, shape, (0, 0), draws.uniform(0.2, 0.6), draws.uniform(0.01, 0.15))
    if draws.chance(0.4):
        _fence(canvas, draws.uniform(0.4, 1) * canvas.height)
    some_things(canvas, 2, 0.4)


def table(canvas: Canvas) -> None:
    """Things on a table, before a background out of focus."""
    draws = canvas.draws
    partition(canvas)
    canvas.blur(draws.uniform(2, 6))
    edge = draws.uniform(0.35, 0.8) * canvas.height
    canvas.focus = draws.uniform(1, 3)
    tilt = 0.08 * draws.normal() if draws.chance(0.4) else 0.0
    top = shapes.half_plane((canvas.width / 2, edge), math.pi / 2 + tilt)
    plane = patterns.ground(
        canvas, edge - draws.uniform(0.2, 0.6), (draws.uniform(0.1, 0.5), draws.uniform(0.1, 0.5)), 0
    )
    surface = patterns.any_pattern(canvas, plane) if draws.chance(0.35) else any_surface(canvas, 0.15, 0.9)
    canvas.cover(top(canvas.x, canvas.y), surface)
    canvas.focus = draws.uniform(1, 1.6)
    feet = sorted(draws.uniform(edge, canvas.height + 0.1) for _ in range(draws.whole(1, 4)))
    for foot in feet:
        make = draws.one_of((*STANDING[:4], rings_of))
        make(canvas, (draws.uniform(0, canvas.width), foot), draws.uniform(0.08, 0.3))


def rings_of(canvas: Canvas, foot: shapes.Point, radius: float) -> None:
    THINGS[7](canvas, foot, radius)


def closeup(canvas: Canvas) -> None:
    """Leaves, petals or stones that fill the picture, before a background out of focus."""
    draws = canvas.draws
    partition(canvas)
    canvas.blur(draws.uniform(2, 8))
    make = draws.one_of((THINGS[4], THINGS[5], THINGS[6], THINGS[7], THINGS[5]))
    for k in range(draws.whole(2, 9)):
        canvas.focus = draws.uniform(1, 1.5 if k > 3 else 4)
        make(canvas, canvas.place(), draws.uniform(0.15, 0.5))


def partition(canvas: Canvas) -> None:
    """Regions bounded by lines, circles and curves through the whole picture."""
    draws = canvas.draws
    canvas.mix(torch.ones(()), any_surface(canvas))
    for _ in range(draws.whole(1, 5)):
        through, angle = canvas.place(), draws.uniform(-math.pi, math.pi)
        kind = draws.one_of(("line", "upright", "curve", "arc", "band"))
        if kind == "line":
            shape = shapes.half_plane(through, angle)
        elif kind == "upright":
            shape = shapes.half_plane(through, draws.one_of((0.0, math.pi / 2, math.pi, -math.pi / 2)))
        elif kind == "curve":
            shape = shapes.side_of(shapes.waves(draws, draws.uniform(0.02, 0.3)), through, angle)
        elif kind == "arc":
            reach = draws.uniform(0.3, 1.5)
            shape = shapes.ellipse(through, (reach, reach * draws.uniform(0.5, 1)), angle)
        else:
            curve = shapes.waves(draws, draws.uniform(0, 0.2), 2, 2)
            shape = shapes.stroke(
                curve,
                (through[0] - 3 * math.cos(angle), through[1] - 3 * math.sin(angle)),
                angle,
                6.0,
                (draws.uniform(0.02, 0.3),) * 2,
            )
        if draws.chance(0.3):
            soft_shadow(
                canvas,
                shape,
                (0.02 * draws.normal(), 0.02),
                draws.uniform(0.1, 0.5),
                draws.uniform(0.02, 0.1),
            )
        canvas.cover(shape(canvas.x, canvas.y), any_surface(canvas))


def shapes_alone(canvas: Canvas) -> None:
    """Regions, and things among them."""
    partition(canvas)
    some_things(canvas, 4, 0.4)


def some_things(canvas: Canvas, most: int, largest: float) -> None:
    draws = canvas.draws
    for _ in range(draws.whole(0, most)):
        draws.one_of(THINGS)(canvas, canvas.place(), draws.uniform(0.08, largest))


PLACES = (landscape, street, room, facade, table, closeup, shapes_alone)
