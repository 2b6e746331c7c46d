"""Things that stand in front of each other, each with its shading, its rim, its shadow.

Each is painted at its foot, a place, and about ``radius`` to either side of it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from . import shapes
from .canvas import Canvas
from .shading import contact_shadow, padded, soft_shadow, sphere, upright
from .shapes import Point
from .surfaces import any_surface, grained, linear, radial


def ball(canvas: Canvas, foot: Point, radius: float) -> None:
    contact_shadow(canvas, foot, radius)
    middle = (foot[0], foot[1] - radius)
    surface = sphere(canvas, any_surface(canvas, 0.3, 0.9), middle, radius)
    canvas.cover(shapes.ellipse(middle, (radius, radius))(canvas.x, canvas.y), surface)


def cup(canvas: Canvas, foot: Point, radius: float) -> None:
    """A cup, a tin or a pot: a cylinder that may taper, its rim seen from above, perhaps a handle."""
    draws = canvas.draws
    contact_shadow(canvas, foot, radius)
    height, flat = radius * draws.uniform(1.0, 3.5), radius * draws.uniform(0.1, 0.35)
    base, mouth = radius * draws.uniform(0.65, 1.1), (foot[0], foot[1] - height)
    colour = canvas.colour(0.25, 0.95)
    if draws.chance(0.4):
        side = foot[0] + draws.one_of((-1, 1)) * radius * 1.05
        grip = (radius * draws.uniform(0.3, 0.5), height * draws.uniform(0.22, 0.35))
        handle = shapes.ring((side, mouth[1] + 0.45 * height), grip, radius * draws.uniform(0.1, 0.2))
        canvas.cover(handle(canvas.x, canvas.y), colour * draws.uniform(0.6, 0.9))
    left, right = (foot[0] - base, foot[1]), (foot[0] + base, foot[1])
    sides = shapes.polygon([(foot[0] - radius, mouth[1]), (foot[0] + radius, mouth[1]), right, left])
    bottom = shapes.ellipse(foot, (base, flat * base / radius))
    surface = upright(canvas, colour, foot[0], radius)
    if draws.chance(0.4):
        top, end = draws.uniform(0.2, 0.4) * height, draws.uniform(0.5, 0.8) * height
        band = torch.minimum(canvas.y - mouth[1] - top, mouth[1] + end - canvas.y)
        printed = upright(canvas, canvas.colour(), foot[0], radius)
        surface = torch.lerp(surface, printed, canvas.coverage(band, 0))
    canvas.cover(torch.maximum(sides(canvas.x, canvas.y), bottom(canvas.x, canvas.y)), surface)
    canvas.cover(shapes.ellipse(mouth, (radius, flat))(canvas.x, canvas.y), colour * draws.uniform(0.9, 1.2))
    edge = draws.uniform(0.86, 0.95)
    inside = linear(canvas, colour * 0.25, colour * 0.8, draws.uniform(-math.pi, math.pi))
    canvas.cover(shapes.ellipse(mouth, (radius * edge, flat * edge))(canvas.x, canvas.y), inside)


def crate(canvas: Canvas, foot: Point, radius: float) -> None:
    """A box of which three faces are seen, in parallel perspective."""
    draws = canvas.draws
    contact_shadow(canvas, foot, radius)
    left, right = radius * draws.uniform(0.5, 1.3), radius * draws.uniform(0.5, 1.3)
    west = (foot[0] - left, foot[1] - left * draws.uniform(0.1, 0.5))
    east = (foot[0] + right, foot[1] - right * draws.uniform(0.1, 0.5))
    far = (west[0] + right, west[1] + east[1] - foot[1])
    height, lit = radius * draws.uniform(0.5, 2), draws.uniform(0.5, 0.7)
    top_west, top_east, top_near, top_far = ((x, y - height) for x, y in (west, east, foot, far))
    surface = any_surface(canvas, 0.3, 0.8)
    faces = (
        ([top_west, top_near, foot, west], lit),
        ([top_near, top_east, east, foot], 1.4 - lit),
        ([top_west, top_far, top_east, top_near], 1.15),
    )
    for corners, light in faces:
        # Half a pixel larger, so that nothing shows between faces.
        inside = shapes.polygon(corners)(canvas.x, canvas.y) + canvas.pixel / 2
        canvas.cover(inside, surface * light)


def panel(canvas: Canvas, foot: Point, radius: float) -> None:
    """Something flat: a door, a picture, a book, a screen, an arched window; perhaps turned a little."""
    draws = canvas.draws
    radii = (radius * draws.uniform(0.5, 1.3), radius * draws.uniform(0.5, 1.5))
    middle = (foot[0], foot[1] - radii[1])
    if draws.chance(0.25):
        shape = shapes.arch(middle, radii)
    else:
        turn = 0.15 * draws.normal() if draws.chance(0.4) else 0.0
        corner = min(radii) * draws.uniform(0, 0.4) if draws.chance(0.3) else 0.0
        shape = shapes.box(middle, radii, turn, corner)
    if draws.chance(0.7):
        shift = draws.uniform(0, 0.06)
        soft_shadow(canvas, shape, (-canvas.light[0] * shift, shift), 0.05)
    distance = shape(canvas.x, canvas.y)
    canvas.cover(distance, any_surface(canvas))
    if draws.chance(0.7):
        canvas.cover(distance - min(radii) * draws.uniform(0.05, 0.3), any_surface(canvas))


def stone(canvas: Canvas, foot: Point, radius: float) -> None:
    """Something rounded of no regular form: a stone, a bush, a loaf."""
    contact_shadow(canvas, foot, radius)
    _lump(canvas, (foot[0], foot[1] - 0.8 * radius), radius, canvas.colour(0.3, 0.9))


def _lump(canvas: Canvas, middle: Point, radius: float, colour: Tensor) -> None:
    draws = canvas.draws
    shape = shapes.blob(middle, radius, draws, draws.uniform(0.05, 0.35), draws.uniform(0.6, 1.1))
    distance = shape(canvas.x, canvas.y)
    lit = (middle[0] + canvas.light[0] * radius, middle[1] + canvas.light[1] * radius)
    surface = radial(canvas, colour * 1.1, colour * draws.uniform(0.2, 0.7), lit, 2.2 * radius)
    if draws.chance(0.5):
        surface = grained(canvas, surface, 0.3)
    canvas.cover(distance, padded(surface, distance, radius * draws.uniform(0.2, 0.8), draws.uniform(0, 0.5)))


def leaf(canvas: Canvas, foot: Point, radius: float) -> None:
    """A leaf with its vein, lit on one half."""
    draws = canvas.draws
    angle = draws.uniform(-math.pi, math.pi)
    shape = shapes.lens(foot, shapes.towards(foot, angle, 2 * radius), draws.uniform(0.25, 0.6))
    if draws.chance(0.6):
        soft_shadow(canvas, shape, (0.02 * draws.normal(), 0.03), 0.04)
    colour = canvas.colour(0.2, 0.85)
    distance = shape(canvas.x, canvas.y)
    canvas.cover(distance, linear(canvas, colour * 0.6, colour * 1.2, angle))
    half = shapes.half_plane(foot, angle + math.pi / 2)(canvas.x, canvas.y)
    canvas.cover(torch.minimum(distance, half), colour, draws.uniform(0.2, 0.8))
    if draws.chance(0.7):
        vein = draws.uniform(0.004, 0.014) - half.abs()
        canvas.cover(torch.minimum(vein, distance), colour * draws.uniform(0.4, 1.5), 0.8)


def flower(canvas: Canvas, foot: Point, radius: float) -> None:
    """Rings of petals about a middle."""
    draws = canvas.draws
    count, outer = draws.whole(5, 14), canvas.colour(0.3, 0.95)
    for k in range(draws.whole(1, 3)):
        reach = radius * 0.75**k
        shape = shapes.petals(foot, reach, count, draws.uniform(0.2, 0.6), draws.uniform(0, 1))
        inner = outer * draws.uniform(0.4, 0.8)
        canvas.cover(shape(canvas.x, canvas.y), radial(canvas, inner, outer, foot, reach))
    middle = radius * draws.uniform(0.15, 0.3)
    distance = shapes.ellipse(foot, (middle, middle))(canvas.x, canvas.y)
    canvas.cover(distance, padded(grained(canvas, canvas.colour(0.1, 0.7), 0.3), distance, middle, 0.5))


def rings(canvas: Canvas, foot: Point, radius: float) -> None:
    """Ellipses within each other: a plate, a wheel, a lamp, a clock."""
    draws = canvas.draws
    ratio, angle = draws.uniform(0.3, 1.0), 0.4 * draws.normal()
    if draws.chance(0.6):
        whole = shapes.ellipse(foot, (radius, radius * ratio), angle)
        soft_shadow(canvas, whole, (-0.05 * canvas.light[0], 0.05), 0.06)
    for _ in range(draws.whole(2, 4)):
        shape = shapes.ellipse(foot, (radius, radius * ratio), angle)
        canvas.cover(shape(canvas.x, canvas.y), any_surface(canvas))
        radius *= draws.uniform(0.6, 0.94)


def tree(canvas: Canvas, foot: Point, radius: float) -> None:
    """A trunk whose branches part, bare or with a crown."""
    draws = canvas.draws
    bark = canvas.colour(0.05, 0.35)
    limbs = [(foot, -math.pi / 2 + 0.08 * draws.normal(), 1.6 * radius, radius * draws.uniform(0.08, 0.2))]
    for level in range(draws.whole(1, 2)):
        for start, angle, length, width in limbs[-(2**level) :]:
            for side in (-1, 1):
                fork = shapes.towards(start, angle, draws.uniform(0.45, 0.9) * length)
                limbs.append((fork, angle + side * draws.uniform(0.3, 0.8), 0.65 * length, 0.5 * width))
    for start, angle, length, width in limbs:
        bend = shapes.sag(0.1 * length * draws.normal(), length)
        limb = shapes.stroke(bend, start, angle, length, (width, 0.4 * width))
        canvas.cover(limb(canvas.x, canvas.y), bark)
    if draws.chance(0.6):
        leaves = canvas.colour(0.2, 0.7)
        for _ in range(draws.whole(1, 3)):
            middle = (foot[0] + 0.3 * radius * draws.normal(), foot[1] - radius * draws.uniform(1.2, 2.0))
            _lump(canvas, middle, radius * draws.uniform(0.5, 0.9), leaves)


THINGS = (ball, cup, crate, panel, stone, leaf, flower, rings, tree)
STANDING = (ball, cup, cup, crate, stone, tree)


def some_things(canvas: Canvas, most: int, largest: float) -> None:
    """One or more, up to so many, anywhere."""
    draws = canvas.draws
    for _ in range(draws.whole(1, most)):
        draws.one_of(THINGS)(canvas, canvas.place(), draws.radius(0.1, largest))


def row(canvas: Canvas, far: Point, near: Point, radius: float) -> None:
    """The same thing again and again, from far to near, at equal steps in perspective.

    The near one, of that radius, has its foot in ``near``; all feet are on a line towards ``far``.
    """
    draws = canvas.draws
    make, count, state = draws.one_of(STANDING), draws.whole(3, 6), draws.generator.get_state()
    for steps in reversed(range(count)):
        draws.generator.set_state(state)  # the same draws, the same thing
        size = 1 / (1 + 0.5 * steps)
        foot = (far[0] + size * (near[0] - far[0]), far[1] + size * (near[1] - far[1]))
        make(canvas, foot, radius * size)
