"""Shapes of holes.

Shape legend: H, W the picture. Lengths are in pixels of a picture whose longest side is LONGEST_SIDE, and are
scaled with it; those of `Canvas.extent` are in pixels of the picture as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from ...photographs import LONGEST_SIDE
from .outlines import OUTLINES, outline
from .places import bending, disorder, levelness, roughness, slope, straightness

Random = np.random.Generator


@dataclass(frozen=True)
class Canvas:
    """Draws holes of one picture; `unit` is a pixel of the legend above."""

    height: int
    width: int
    random: Random

    @property
    def unit(self) -> float:
        return max(self.height, self.width) / LONGEST_SIDE

    def between(self, least: float, most: float) -> float:
        """A length between two of the legend's, in pixels."""
        return self.unit * self.random.uniform(least, most)

    def extent(self, least: float = 32, most: float = 128) -> float:
        """How far a hole reaches, every octave alike; at most a third of the picture's shorter side."""
        drawn = np.exp(self.random.uniform(np.log(least), np.log(most)))
        return min(float(drawn), min(self.height, self.width) / 3)

    def anywhere(self, margin: float) -> tuple[int, int]:
        """A pixel that is so far from the border."""
        rim = round(self.unit * margin)
        return tuple(int(self.random.integers(rim, n - rim)) for n in (self.height, self.width))

    def margin(self, extent: float) -> float:
        """How far from the border the centre of a hole of this extent is; a length of the legend's."""
        return (0.6 * extent + 4) / self.unit

    def around(self, centre: tuple[int, int], angle: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        """Distances from a pixel along a direction (of the x axis, clockwise) and across it."""
        down, across = np.ogrid[: self.height, : self.width]
        y, x = down - centre[0], across - centre[1]
        return x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)

    def rectangle(self, centre: tuple[int, int], angle: float, along: float, across: float) -> np.ndarray:
        u, v = self.around(centre, angle)
        return (np.abs(u) < along / 2) & (np.abs(v) < across / 2)

    def ellipse(self, centre: tuple[int, int], along: float, across: float) -> np.ndarray:
        u, v = self.around(centre, self.random.uniform(0, np.pi))
        return (u / along) ** 2 + (v / across) ** 2 < 1

    def blob(self, centre: tuple[int, int], radius: float) -> np.ndarray:
        """A disc whose radius swings with the angle, up to four times around it."""
        u, v = self.around(centre)
        angle = np.arctan2(v, u)
        swings = (
            self.random.uniform(-0.2, 0.2) / times * np.cos(times * angle + self.random.uniform(0, 2 * np.pi))
            for times in range(1, 5)
        )
        return np.hypot(u, v) < radius * (1 + sum(swings))

    def best(self, score: np.ndarray, margin: float) -> tuple[int, int]:
        """One of the six pixels of highest score that are 40 pixels apart, and so far from the border."""
        rim, apart = round(self.unit * margin), round(self.unit * 40)
        left = np.full_like(score, -np.inf)
        left[rim:-rim, rim:-rim] = score[rim:-rim, rim:-rim]
        found = []
        for _ in range(6):
            y, x = np.unravel_index(left.argmax(), left.shape)
            if left[y, x] == -np.inf:
                break
            found.append((int(y), int(x)))
            left[max(0, y - apart) : y + apart, max(0, x - apart) : x + apart] = -np.inf
        return found[int(self.random.integers(len(found)))]


# Kinds of holes: each draws one, (H, W) bool, in a photograph of these grey values, (H, W)


def square(canvas: Canvas, grey: np.ndarray) -> np.ndarray:
    side = canvas.between(80, 140)
    return canvas.rectangle(canvas.anywhere(90), 0.0, side, side)


def edge(canvas: Canvas, grey: np.ndarray) -> np.ndarray:
    strength, normal = straightness(grey, 8 * canvas.unit)
    centre = canvas.best(strength, 80)
    if canvas.random.random() < 0.5:
        return canvas.blob(centre, canvas.between(34, 56))
    angle = normal[centre] + canvas.random.uniform(-0.35, 0.35)
    return canvas.rectangle(centre, angle, canvas.between(120, 180), canvas.between(36, 64))


def smooth(canvas: Canvas, grey: np.ndarray) -> np.ndarray:
    clipped = ndimage.uniform_filter(((grey < 6) | (grey > 249)).astype(float), round(120 * canvas.unit))
    return canvas.blob(
        canvas.best(-roughness(grey, 30 * canvas.unit) - 100 * clipped, 70), canvas.between(40, 62)
    )


def anything(canvas: Canvas, grey: np.ndarray) -> np.ndarray:
    centre = canvas.anywhere(60)
    if canvas.random.random() < 0.5:
        return canvas.ellipse(centre, canvas.between(40, 60), canvas.between(24, 40))
    return canvas.blob(centre, canvas.between(32, 52))


# Those of 32 to 128 pixels, and things of 64 to 128


def box(canvas: Canvas, grey: np.ndarray) -> np.ndarray:
    side = canvas.extent()
    return canvas.rectangle(canvas.anywhere(canvas.margin(side)), 0.0, side, side)


def crossing(canvas: Canvas, grey: np.ndarray) -> np.ndarray:
    return _at(canvas, straightness(grey, 8 * canvas.unit)[0])


def rim(canvas: Canvas, grey: np.ndarray) -> np.ndarray:
    return _at(canvas, bending(grey, canvas.unit))


def horizon(canvas: Canvas, grey: np.ndarray) -> np.ndarray:
    return _at(canvas, levelness(grey, canvas.unit))


def gradient(canvas: Canvas, grey: np.ndarray) -> np.ndarray:
    return _at(canvas, slope(grey, canvas.unit))


def rough(canvas: Canvas, grey: np.ndarray) -> np.ndarray:
    return _at(canvas, disorder(grey, canvas.unit))


def _at(canvas: Canvas, score: np.ndarray) -> np.ndarray:
    """A box or a blob in one of the best places."""
    extent = canvas.extent()
    centre = canvas.best(score, canvas.margin(extent))
    if canvas.random.random() < 0.5:
        return canvas.blob(centre, 0.42 * extent)  # its radius swings
    return canvas.rectangle(centre, 0.0, extent, extent * canvas.random.uniform(0.5, 1))


def thing(canvas: Canvas, grey: np.ndarray) -> np.ndarray:
    """An object before straight edges, standing or a little tilted, and turned to either side."""
    length = canvas.extent(64)
    centre = canvas.best(straightness(grey, 8 * canvas.unit)[0], canvas.margin(length))
    x, y = canvas.around(centre, canvas.random.uniform(-0.2, 0.2))
    side = canvas.random.choice([-1, 1])
    name = str(canvas.random.choice(list(OUTLINES)))
    return outline(name, side * x / length, y / length, canvas.random)


# Thin ones


def scratches(canvas: Canvas, grey: np.ndarray) -> np.ndarray:
    drawn = Image.new("1", (canvas.width, canvas.height))
    size = np.array([canvas.width, canvas.height])
    for _ in range(int(canvas.random.integers(4, 9))):
        start, bend, end = canvas.random.uniform(0.03, 0.97, (3, 2)) * size
        t = np.linspace(0, 1, 80)[:, None]
        curve = (1 - t) ** 2 * start + 2 * t * (1 - t) * bend + t**2 * end
        width = round(canvas.between(3, 6))
        ImageDraw.Draw(drawn).line([tuple(point) for point in curve], fill=1, width=width, joint="curve")
    return np.array(drawn)


WORDS = ("rain", "falls", "on", "the", "old", "stones", "while", "a", "quick", "fox", "crosses", "quietly")


def text(canvas: Canvas, grey: np.ndarray) -> np.ndarray:
    drawn = Image.new("1", (canvas.width, canvas.height))
    font = ImageFont.load_default(canvas.between(34, 52))
    for line in range(int(canvas.random.integers(3, 5))):
        left = canvas.random.uniform(0.03, 0.2) * canvas.width
        top = (0.08 + 0.22 * line + canvas.random.uniform(0, 0.06)) * canvas.height
        words = " ".join(canvas.random.choice(WORDS, 4))
        ImageDraw.Draw(drawn).text((left, top), words, fill=1, font=font)
    return np.array(drawn)
