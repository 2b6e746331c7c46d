"""What runs through the whole picture, thin or thick: wires, poles, tubes."""

from __future__ import annotations

import math

from . import shapes
from .canvas import Canvas
from .shading import padded, soft_shadow, upright
from .surfaces import any_surface


def wires(canvas: Canvas) -> None:
    """Thin lines beside each other, straight or sagging: wires, ropes, stalks, cracks."""
    draws = canvas.draws
    start, angle, length = (-0.1, draws.uniform(0, canvas.height)), draws.uniform(-0.5, 0.5), canvas.width
    if draws.chance(0.3):
        start, length = (draws.uniform(0, canvas.width), -0.1), canvas.height
        angle = math.pi / 2 + 0.3 * draws.normal()
    length = 1.4 * length + 0.2
    colour, width = canvas.colour(0.02, 0.9), draws.uniform(0.6, 3) * canvas.pixel + draws.uniform(0, 0.01)
    depth = draws.uniform(-0.1, 0.25) * length * draws.uniform(0, 1)
    for _ in range(draws.whole(1, 4)):
        widths = (width, width * draws.uniform(0.4, 1.6))
        line = shapes.stroke(shapes.sag(depth, length), start, angle, length, widths)
        canvas.cover(line(canvas.x, canvas.y), colour, draws.uniform(0.6, 1))
        start = shapes.towards(start, angle + math.pi / 2, draws.uniform(0.02, 0.12))
        depth, angle = depth * draws.uniform(0.9, 1.1), angle + 0.03 * draws.normal()


def pole(canvas: Canvas) -> None:
    """A pole, a trunk or a column, shaded round: from above the picture or from a height in it to below."""
    draws = canvas.draws
    middle, radius = draws.uniform(0, canvas.width), draws.uniform(0.01, 0.08)
    top = draws.uniform(-0.1, 0.5) * canvas.height if draws.chance(0.5) else -0.1
    lean = math.pi / 2 + (0.05 * draws.normal() if draws.chance(0.4) else 0.0)
    widths = (2 * radius, 2 * radius * draws.uniform(1, 1.3))
    line = shapes.stroke(shapes.sag(0, 1), (middle, top), lean, 2 * canvas.height, widths)
    canvas.cover(line(canvas.x, canvas.y), upright(canvas, canvas.colour(), middle, radius))


def tube(canvas: Canvas) -> None:
    """Something long, bent and round: a hose, an arm, a branch, a rail."""
    draws = canvas.draws
    angle, width = draws.uniform(-math.pi, math.pi), draws.uniform(0.03, 0.2)
    start = shapes.towards(canvas.place(), angle, -3)
    curve = shapes.waves(draws, draws.uniform(0, 0.2), 2, 2)
    shape = shapes.stroke(curve, start, angle, 6, (width, width * draws.uniform(0.6, 1.5)))
    if draws.chance(0.6):
        soft_shadow(canvas, shape, (-canvas.light[0] * width, -canvas.light[1] * width), width)
    distance = shape(canvas.x, canvas.y)
    surface = padded(any_surface(canvas, 0.3, 0.9), distance, width / 2, draws.uniform(0.3, 0.9))
    canvas.cover(distance, surface)
