"""Objects that stand in front of each other: each with its shading, a rim or a shadow of its own."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from . import shapes
from .canvas import Canvas
from .shapes import Point, Shape
from .surfaces import any_surface, grained, linear, radial


def soft_shadow(canvas: Canvas, shape: Shape, offset: Point, strength: float, blend: float) -> None:
    """The shadow that a shape throws on what has been painted, its edge ``blend`` wide."""
    canvas.shade(shape(canvas.x - offset[0], canvas.y - offset[1]), strength, blend)


def contact_shadow(canvas: Canvas, foot: Point, radius: float) -> None:
    """The shadow on the floor around what stands at a place, away from the light."""
    draws = canvas.draws
    reach = radius * draws.uniform(0.9, 1.8)
    middle = (foot[0] - canvas.light[0] * radius * draws.uniform(0.2, 1.0), foot[1])
    under = shapes.ellipse(middle, (reach, reach * draws.uniform(0.15, 0.35)))
    soft_shadow(canvas, under, (0, 0), draws.uniform(0.25, 0.7), radius * draws.uniform(0.3, 0.8))


def ball(canvas: Canvas, foot: Point, radius: float) -> None:
    """A sphere on the floor, with the light's gloss."""
    draws = canvas.draws
    contact_shadow(canvas, foot, radius)
    middle = (foot[0], foot[1] - radius)
    a, b = (canvas.x - middle[0]) / radius, (canvas.y - middle[1]) / radius
    facing = torch.sqrt((1 - a**2 - b**2).clamp(min=0))
    lit = 0.6 * (canvas.light[0] * a + canvas.light[1] * b) + 0.7 * facing
    colour = any_surface(canvas, 0.3, 0.9)
    surface = colour * (draws.uniform(0.2, 0.5) + 0.8 * lit.clamp(min=0))
    surface = surface + draws.uniform(0, 0.6) * lit.clamp(0, 1) ** draws.whole(10, 40)
    canvas.cover(shapes.ellipse(middle, (radius, radius))(canvas.x, canvas.y), surface)


def cup(canvas: Canvas, foot: Point, radius: float) -> None:
    """A cup, a tin or a pot: a cylinder that may taper, its rim seen from above, perhaps a handle."""
    draws = canvas.draws
    contact_shadow(canvas, foot, radius)
    height, flat = radius * draws.uniform(1.0, 3.5), radius * draws.uniform(0.1, 0.35)
    top, base = radius, radius * draws.uniform(0.65, 1.1)
    x, y, rim = canvas.x, canvas.y, foot[1] - height
    colour = canvas.colour(0.25, 0.95)
    if draws.chance(0.4):
        side = foot[0] + draws.one_of((-1, 1)) * radius * 1.05
        grip = (radius * draws.uniform(0.3, 0.5), height * draws.uniform(0.22, 0.35))
        handle = shapes.ring((side, rim + 0.45 * height), grip, radius * draws.uniform(0.1, 0.2))
        canvas.cover(handle(x, y), colour * draws.uniform(0.6, 0.9))
    outline = [
        (foot[0] - top, rim),
        (foot[0] + top, rim),
        (foot[0] + base, foot[1]),
        (foot[0] - base, foot[1]),
    ]
    body = torch.maximum(shapes.polygon(outline)(x, y), shapes.ellipse(foot, (base, flat * base / top))(x, y))
    surface = _round(canvas, colour, foot[0], radius)
    if draws.chance(0.4):
        band = (y > rim + height * draws.uniform(0.2, 0.4)) & (y < rim + height * draws.uniform(0.5, 0.8))
        surface = torch.where(band, _round(canvas, canvas.colour(), foot[0], radius), surface)
    canvas.cover(body, surface)
    mouth = (foot[0], rim)
    canvas.cover(shapes.ellipse(mouth, (top, flat))(x, y), colour * draws.uniform(0.9, 1.2))
    edge = draws.uniform(0.86, 0.95)
    dark = linear(canvas, colour * 0.25, colour * 0.8, draws.uniform(-math.pi, math.pi))
    canvas.cover(shapes.ellipse(mouth, (top * edge, flat * edge - 0.004))(x, y), dark)


def _round(canvas: Canvas, colour: Tensor, middle: float, radius: float) -> Tensor:
    """A colour shaded as an upright cylinder is, (3, 1, W)."""
    across = ((canvas.x - middle) / radius).clamp(-1, 1)
    lit = 0.55 * torch.sqrt(1 - across**2) + 0.35 * canvas.light[0] * across
    return colour * (canvas.draws.uniform(0.3, 0.5) + lit)


def crate(canvas: Canvas, foot: Point, radius: float) -> None:
    """A box of three visible faces, in parallel perspective."""
    draws = canvas.draws
    contact_shadow(canvas, foot, radius)
    left, right = radius * draws.uniform(0.5, 1.3), radius * draws.uniform(0.5, 1.3)
    slope_left, slope_right, height = (
        draws.uniform(0.1, 0.5),
        draws.uniform(0.1, 0.5),
        radius * draws.uniform(0.5, 2),
    )
    near, surface = foot, any_surface(canvas, 0.3, 0.8)
    west = (foot[0] - left, foot[1] - slope_left * left)
    east = (foot[0] + right, foot[1] - slope_right * right)
    far = (west[0] + right, west[1] - slope_right * right)
    up = lambda point: (point[0], point[1] - height)  # noqa: E731
    lit = draws.uniform(0.5, 0.7)
    faces = ([up(west), up(near), near, west], lit), ([up(near), up(east), east, near], 1.4 - lit)
    for face, light in (*faces, ([up(west), up(far), up(east), up(near)], 1.15)):
        canvas.cover(shapes.polygon(face)(canvas.x, canvas.y) + canvas.pixel / 2, surface * light)


def panel(canvas: Canvas, foot: Point, radius: float) -> None:
    """Something flat and rectangular: a door, a picture, a book, a screen; framed, and turned a little."""
    draws = canvas.draws
    radii = (radius * draws.uniform(0.5, 1.3), radius * draws.uniform(0.5, 1.5))
    middle, turn = (foot[0], foot[1] - radii[1]), draws.normal() * 0.15 if draws.chance(0.4) else 0.0
    corner = min(radii) * draws.uniform(0, 0.4) if draws.chance(0.3) else 0.0
    shape = shapes.box(middle, radii, turn, corner)
    if draws.chance(0.7):
        shift = draws.uniform(0, 0.06)
        soft_shadow(canvas, shape, (-canvas.light[0] * shift, shift), draws.uniform(0.2, 0.6), 0.05)
    distance = shape(canvas.x, canvas.y)
    canvas.cover(distance, any_surface(canvas))
    rim = min(radii) * draws.uniform(0.05, 0.3)
    if draws.chance(0.7):
        canvas.cover(distance - rim, any_surface(canvas))


def stone(canvas: Canvas, foot: Point, radius: float) -> None:
    """A rounded thing of no regular form: a stone, a bush, a loaf, a cloud's shadow side below."""
    draws = canvas.draws
    contact_shadow(canvas, foot, radius)
    middle, stretch = (foot[0], foot[1] - 0.8 * radius), draws.uniform(0.6, 1.1)
    distance = shapes.blob(middle, radius, draws, draws.uniform(0.05, 0.35), stretch)(canvas.x, canvas.y)
    lit = middle[0] + canvas.light[0] * radius, middle[1] + canvas.light[1] * radius
    colour = canvas.colour(0.3, 0.9)
    surface = radial(canvas, colour * 1.1, colour * draws.uniform(0.2, 0.6), lit, 2.2 * radius)
    canvas.cover(distance, grained(canvas, surface, draws.uniform(0.02, 0.25)))


def leaf(canvas: Canvas, foot: Point, radius: float) -> None:
    """A leaf with its vein, lit on one half."""
    draws = canvas.draws
    angle = draws.uniform(-math.pi, math.pi)
    tip = (foot[0] + 2 * radius * math.cos(angle), foot[1] + 2 * radius * math.sin(angle))
    shape = shapes.lens(foot, tip, draws.uniform(0.25, 0.6))
    if draws.chance(0.6):
        soft_shadow(canvas, shape, (0.02 * draws.normal(), 0.03), draws.uniform(0.2, 0.5), 0.04)
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
        distance = shapes.petals(foot, reach, count, draws.uniform(0.2, 0.6), draws.uniform(0, 1))(
            canvas.x, canvas.y
        )
        inner = outer * draws.uniform(0.4, 0.8)
        canvas.cover(distance, radial(canvas, inner, outer, foot, reach))
    middle = radius * draws.uniform(0.15, 0.3)
    distance = shapes.ellipse(foot, (middle, middle))(canvas.x, canvas.y)
    canvas.cover(distance, grained(canvas, canvas.colour(0.1, 0.7), 0.2))


def rings(canvas: Canvas, foot: Point, radius: float) -> None:
    """Ellipses within each other: a plate, a wheel, a lamp, a clock."""
    draws = canvas.draws
    ratio, angle = draws.uniform(0.3, 1.0), draws.normal() * 0.4
    if draws.chance(0.6):
        whole = shapes.ellipse(foot, (radius, radius * ratio), angle)
        soft_shadow(canvas, whole, (-0.05 * canvas.light[0], 0.05), draws.uniform(0.2, 0.5), 0.06)
    share = 1.0
    for _ in range(draws.whole(2, 4)):
        shape = shapes.ellipse(foot, (radius * share, radius * share * ratio), angle)
        canvas.cover(shape(canvas.x, canvas.y), any_surface(canvas))
        share *= draws.uniform(0.6, 0.94)


def tree(canvas: Canvas, foot: Point, radius: float) -> None:
    """A trunk with branches that part, bare or with a crown."""
    draws = canvas.draws
    bark, up = canvas.colour(0.05, 0.35), -math.pi / 2
    limbs = [(foot, up + 0.08 * draws.normal(), 1.6 * radius, radius * draws.uniform(0.08, 0.2))]
    for level in range(draws.whole(1, 2)):
        parents = limbs[-(2**level) :]
        for start, angle, length, width in parents:
            for side in (-1, 1):
                share = draws.uniform(0.45, 0.9)
                at = (
                    start[0] + share * length * math.cos(angle),
                    start[1] + share * length * math.sin(angle),
                )
                limbs.append((at, angle + side * draws.uniform(0.3, 0.8), 0.65 * length, 0.5 * width))
    for start, angle, length, width in limbs:
        bend = shapes.sag(0.1 * length * draws.normal(), length)
        limb = shapes.stroke(bend, start, angle, length, (width, 0.4 * width))
        canvas.cover(limb(canvas.x, canvas.y), bark)
    if draws.chance(0.6):
        for _ in range(draws.whole(1, 3)):
            at = (foot[0] + 0.4 * radius * draws.normal(), foot[1] - radius * draws.uniform(0.6, 1.6))
            stone(canvas, at, radius * draws.uniform(0.4, 0.8))


THINGS = (ball, cup, crate, panel, stone, leaf, flower, rings, tree)
STANDING = (ball, cup, crate, cup, stone, tree)


def wires(canvas: Canvas) -> None:
    """Thin lines through the picture, some beside each other: wires, ropes, cracks, stalks."""
    draws = canvas.draws
    start = (-0.1, draws.uniform(0, canvas.height))
    angle, length = draws.uniform(-0.5, 0.5), 1.4 * canvas.width + 0.2
    if draws.chance(0.3):  # upright ones
        start, angle, length = (
            (draws.uniform(0, canvas.width), -0.1),
            math.pi / 2 + 0.3 * draws.normal(),
            1.4 * canvas.height,
        )
    colour, width = canvas.colour(0.02, 0.9), draws.uniform(0.6, 4) * canvas.pixel + draws.uniform(0, 0.01)
    depth = draws.uniform(-0.1, 0.25) * length * draws.uniform(0, 1)
    for _ in range(draws.whole(1, 4)):
        widths = (width, width * draws.uniform(0.4, 1.6))
        line = shapes.stroke(shapes.sag(depth, length), start, angle, length, widths)
        canvas.cover(line(canvas.x, canvas.y), colour, draws.uniform(0.6, 1))
        step = draws.uniform(0.02, 0.12)
        start = (start[0] - step * math.sin(angle), start[1] + step * math.cos(angle))
        depth, angle = depth * draws.uniform(0.9, 1.1), angle + 0.03 * draws.normal()


def pole(canvas: Canvas) -> None:
    """A pole, a trunk or a column through the picture's height, shaded round."""
    draws = canvas.draws
    at, half = draws.uniform(0, canvas.width), draws.uniform(0.01, 0.08)
    top = draws.uniform(-0.1, 0.5) * canvas.height if draws.chance(0.5) else -0.1
    lean = math.pi / 2 + (0.05 * draws.normal() if draws.chance(0.4) else 0.0)
    line = shapes.stroke(
        shapes.sag(0, 1), (at, top), lean, 2 * canvas.height, (2 * half, 2 * half * draws.uniform(1, 1.3))
    )
    canvas.cover(line(canvas.x, canvas.y), _round(canvas, canvas.colour(), at, half))
