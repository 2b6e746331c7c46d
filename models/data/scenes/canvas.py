"""What a scene is painted on, and with: random numbers, colours, layers that cover or shade each other.

Lengths are in shares of the picture's shorter side, places (x, y) from its upper left corner, colours
(3, 1, 1) in [0, 1] and as a display takes them. A distance (H, W) is signed, positive inside.

Shape legend: H, W the picture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from ..dead_leaves import scale_invariant

_T = TypeVar("_T")
# Hues that photographs have most of, in radians from red: skin, wood and earth, twice; leaves; sky.
_HUES = (0.4, 0.7, 1.6, 3.8)
_HUE_SPREAD = 0.4


class Draws:
    """Random numbers by what they are for, all from one generator."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=self.generator))

    def whole(self, low: int, high: int) -> int:
        """From low to high, both included."""
        return int(torch.randint(low, high + 1, (), generator=self.generator))

    def normal(self) -> float:
        return float(torch.randn((), generator=self.generator))

    def normals(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator)

    def field(self, *shape: int) -> Tensor:
        """Normal numbers for pixels: one draw for all of them, so that sizes share the other draws."""
        seed = self.whole(0, 2**31 - 1)
        return torch.randn(shape, generator=torch.Generator().manual_seed(seed))

    def chance(self, share: float) -> bool:
        return self.uniform(0, 1) < share

    def radius(self, least: float, largest: float) -> float:
        """Of a thing, small ones more often, as in photographs."""
        return scale_invariant(self.uniform(0, 1), least, largest)

    def one_of(self, options: Sequence[_T]) -> _T:
        return options[self.whole(0, len(options) - 1)]


class Canvas:
    """A picture in the making.

    Args:
        size: (H, W) in pixels.
        generator: On the CPU.

    Attributes:
        draws: Its random numbers.
        picture: (3, H, W) float32, what has been painted so far.
        x, y: (1, W) and (H, 1), the places of the pixels' middles.
        width, height: Of the picture.
        pixel: The side of a pixel.
        focus: Pixels over which edges are blended now; fewer than 1.5 count as that.
        light: Where the light comes from, a unit vector (x, y).
    """

    def __init__(self, size: tuple[int, int], generator: torch.Generator) -> None:
        self.size, self.draws = size, Draws(generator)
        self.pixel = 1 / min(size)
        self.height, self.width = size[0] * self.pixel, size[1] * self.pixel
        self.y = ((torch.arange(size[0]) + 0.5) * self.pixel)[:, None]
        self.x = ((torch.arange(size[1]) + 0.5) * self.pixel)[None, :]
        self.picture = torch.zeros(3, *size)
        self.focus = 1.0
        angle = self.draws.uniform(-math.pi, 0)  # from above
        self.light = (math.cos(angle), math.sin(angle))
        self._hues = [self._hue() for _ in range(self.draws.whole(2, 4))]
        self._saturation = self.draws.uniform(0.05, 0.35)

    def _hue(self) -> float:
        return self.draws.one_of(_HUES) + _HUE_SPREAD * self.draws.normal()

    def colour(self, low: float = 0.08, high: float = 0.92) -> Tensor:
        """A colour of this scene, of a lightness between the bounds; mostly muted, a few are strong."""
        accent = 2.0 if self.draws.chance(0.15) else 1.0
        saturation = self._saturation * accent * self.draws.uniform(0, 1)
        hue = self.draws.one_of(self._hues) + 0.15 * self.draws.normal()
        return tint(hue, saturation, self.draws.uniform(low, high))

    def place(self) -> tuple[float, float]:
        """Anywhere in the picture."""
        return self.draws.uniform(0, self.width), self.draws.uniform(0, self.height)

    def coverage(self, distance: Tensor, blend: float) -> Tensor:
        """How much of each pixel lies inside, in [0, 1]: its edge is ``blend`` wide, or 1.5 pixels."""
        t = (distance / max(blend, 1.5 * self.pixel) + 0.5).clamp(0, 1)
        return t * t * (3 - 2 * t)

    def fill(self, surface: Tensor) -> None:
        """Put a surface in place of everything."""
        self.picture.copy_(surface.expand_as(self.picture))

    def cover(self, distance: Tensor, surface: Tensor, opacity: float = 1.0) -> None:
        """Put a surface, which may be one colour, in front of what is inside."""
        alpha = self.coverage(distance, self.focus * self.pixel) * opacity
        self.mix(alpha, surface)

    def mix(self, alpha: Tensor, surface: Tensor) -> None:
        """Put a surface in front of everything, so much of it as alpha (H, W) says."""
        self.picture.lerp_(surface.expand_as(self.picture), alpha.expand_as(self.picture))

    def shade(self, distance: Tensor, strength: float, blend: float) -> None:
        """Darken what is inside, by ``strength`` in [0, 1]."""
        self.picture *= 1 - strength * self.coverage(distance, blend)

    def blur(self, sigma: float) -> None:
        """Put all that has been painted out of focus, by a Gaussian."""
        self.picture = gaussian(self.picture, sigma / self.pixel)


def tint(hue: float, saturation: float, lightness: float) -> Tensor:
    """A colour (3, 1, 1): lightness in [0, 1], to which all channels go at its ends; hue in radians."""
    strength = saturation * min(1.0, 3 * lightness, 3 * (1 - lightness))
    turns = torch.tensor([0.0, 2.0, 4.0]) * (math.pi / 3)
    return (lightness + strength * torch.cos(hue - turns)).clamp(0, 1)[:, None, None]


def gaussian(picture: Tensor, sigma: float) -> Tensor:
    """A picture (3, H, W) blurred with a deviation of sigma pixels, its border mirrored."""
    reach = min(math.ceil(2.5 * sigma), min(picture.shape[1:]) - 1)
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
    kernel = (kernel / kernel.sum())[None, None]
    padded = F.pad(picture[:, None], (reach, reach, reach, reach), mode="reflect")
    return F.conv2d(F.conv2d(padded, kernel[..., None]), kernel[..., None, :])[:, 0]
