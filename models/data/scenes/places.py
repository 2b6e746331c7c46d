"""Where things are: each kind of place paints the whole picture, far to near."""

from __future__ import annotations

import math

from . import backgrounds, patterns, shapes, things
from .canvas import Canvas
from .surfaces import any_surface


def landscape(canvas: Canvas) -> None:
    """Sky, ridges and a plain; on it trees and other things, or a row of them."""
    draws = canvas.draws
    horizon = draws.uniform(0.2, 0.8) * canvas.height
    backgrounds.sky(canvas, horizon)
    backgrounds.ridges(canvas, horizon)
    canvas.focus = draws.uniform(1, 2)
    backgrounds.plain(canvas, horizon)
    if draws.chance(0.3):
        far, near = (draws.uniform(0, canvas.width), horizon), (draws.uniform(-0.2, 1.2) * canvas.width, 1.0)
        things.row(canvas, far, near, draws.uniform(0.1, 0.35))
    for _ in range(draws.whole(0, 2)):
        foot = (draws.uniform(0, canvas.width), horizon + draws.uniform(0, 0.3))
        make = draws.one_of((things.tree, things.tree, things.stone, things.crate))
        make(canvas, foot, draws.uniform(0.05, 0.3))


def street(canvas: Canvas) -> None:
    """Buildings under a sky, on a pavement, perhaps behind a fence."""
    draws = canvas.draws
    foot = draws.uniform(0.55, 1.1) * canvas.height
    backgrounds.sky(canvas, foot)
    for _ in range(draws.whole(1, 3)):
        backgrounds.building(canvas)
    backgrounds.paving(canvas, foot)
    if draws.chance(0.4):
        backgrounds.fence(canvas, foot)


def room(canvas: Canvas) -> None:
    """Wall and floor, perhaps a ceiling, a corner, a curtain; things hang and stand there."""
    draws = canvas.draws
    floor = draws.uniform(0.5, 0.95) * canvas.height
    backgrounds.wall(canvas)
    for _ in range(draws.whole(0, 2)):
        foot = (draws.uniform(0, canvas.width), draws.uniform(0.3, 0.9) * floor)
        things.panel(canvas, foot, draws.uniform(0.08, 0.3))
    if draws.chance(0.3):
        backgrounds.curtain(canvas)
    backgrounds.paving(canvas, floor)
    if draws.chance(0.2):
        backgrounds.paving(canvas, draws.uniform(0.05, 0.3), above=True)
    if draws.chance(0.5):
        board = shapes.box((0, floor), (9, draws.uniform(0.01, 0.04)))
        canvas.cover(board(canvas.x, canvas.y), canvas.colour())
    if draws.chance(0.35):
        backgrounds.corner(canvas, floor)
    _stand(canvas, floor, draws.whole(0, 3))


def facade(canvas: Canvas) -> None:
    """A wall from near, and what is in front of it."""
    draws = canvas.draws
    backgrounds.wall(canvas)
    if draws.chance(0.4):
        backgrounds.fence(canvas, draws.uniform(0.4, 1) * canvas.height)
    things.some_things(canvas, 2, 0.4)


def table(canvas: Canvas) -> None:
    """Things on a table, before a background out of focus."""
    draws = canvas.draws
    backgrounds.partition(canvas)
    canvas.blur(draws.uniform(0.01, 0.03))
    edge = draws.uniform(0.35, 0.8) * canvas.height
    tilt = 0.08 * draws.normal() if draws.chance(0.4) else 0.0
    top = shapes.half_plane((canvas.width / 2, edge), math.pi / 2 + tilt)
    cell = (draws.uniform(0.1, 0.5), draws.uniform(0.1, 0.5))
    plane = patterns.ground(canvas, edge - draws.uniform(0.2, 0.6), cell)
    surface = patterns.any_pattern(canvas, plane) if draws.chance(0.35) else any_surface(canvas, 0.15, 0.9)
    canvas.focus = draws.uniform(1, 3)
    canvas.cover(top(canvas.x, canvas.y), surface)
    canvas.focus = draws.uniform(1, 1.6)
    _stand(canvas, edge, draws.whole(1, 4))


def _stand(canvas: Canvas, floor: float, count: int) -> None:
    """So many things on a floor, those behind first."""
    draws = canvas.draws
    for foot in sorted(draws.uniform(floor, canvas.height + 0.1) for _ in range(count)):
        make = draws.one_of((*things.STANDING, things.rings))
        make(canvas, (draws.uniform(0, canvas.width), foot), draws.uniform(0.08, 0.3))


def closeup(canvas: Canvas) -> None:
    """Leaves, flowers, stones or plates that fill the picture, before a background out of focus."""
    draws = canvas.draws
    backgrounds.partition(canvas)
    canvas.blur(draws.uniform(0.01, 0.04))
    make = draws.one_of((things.leaf, things.leaf, things.flower, things.stone, things.rings))
    for k in range(draws.whole(4, 10)):
        canvas.focus = draws.uniform(1, 1.5 if k > 3 else 4)
        make(canvas, canvas.place(), draws.radius(0.15, 0.5))


def regions(canvas: Canvas) -> None:
    """Regions, and things among them."""
    backgrounds.partition(canvas)
    things.some_things(canvas, 4, 0.5)


PLACES = (landscape, street, room, facade, table, closeup, regions)
