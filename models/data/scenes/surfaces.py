"""What regions look like: colours that change over the picture, and noise with the spectra of photographs."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .canvas import Canvas


def linear(canvas: Canvas, first: Tensor, second: Tensor, angle: float) -> Tensor:
    """From one colour to the other across the picture, (3, H, W)."""
    ramp = math.cos(angle) * canvas.x / canvas.width + math.sin(angle) * canvas.y / canvas.height
    return torch.lerp(first, second, _normalised(ramp))


def uneven(canvas: Canvas, surface: Tensor, angle: float) -> Tensor:
    """A surface in light that changes along an angle, (3, H, W)."""
    draws = canvas.draws
    first, second = (torch.full((1, 1, 1), draws.uniform(0.65, 1.1)) for _ in range(2))
    return surface * linear(canvas, first, second, angle)


def radial(
    canvas: Canvas, first: Tensor, second: Tensor, middle: tuple[float, float], radius: float
) -> Tensor:
    """From one colour at a place to the other at a distance of it, (3, H, W)."""
    distance = torch.hypot(canvas.x - middle[0], canvas.y - middle[1])
    t = (distance / radius).clamp(0, 1)
    return torch.lerp(first, second, t * t * (3 - 2 * t))


def noise(
    canvas: Canvas,
    fall: float = 1.0,
    longest: float = 1.0,
    shortest: float = 0.0,
    stretch: float = 1.0,
    angle: float = 0.0,
) -> Tensor:
    """Gaussian noise (H, W) of deviation 1, whose amplitude falls as frequency**-fall.

    Args:
        canvas: Gives size and random numbers.
        fall: 1.0: as in photographs; more: smoother.
        longest, shortest: Wavelengths between which it lies.
        stretch: How much longer waves are along the angle than across it.
        angle: In radians.
    """
    white = canvas.draws.field(*canvas.size)
    cycles_y = torch.fft.fftfreq(canvas.size[0], canvas.pixel)[:, None]
    cycles_x = torch.fft.rfftfreq(canvas.size[1], canvas.pixel)[None, :]
    cos, sin = math.cos(angle), math.sin(angle)
    along, across = cos * cycles_x + sin * cycles_y, cos * cycles_y - sin * cycles_x
    cycles = torch.hypot(along * stretch, across)
    gain = (cycles * longest).clamp(min=1) ** -fall * torch.exp(-0.5 * (cycles * shortest) ** 2)
    gain = gain * (1 - torch.exp(-((cycles * longest) ** 2)))
    made = torch.fft.irfft2(torch.fft.rfft2(white) * gain, s=canvas.size)
    return made / made.std().clamp(min=1e-6)


def grain(canvas: Canvas) -> Tensor:
    """Some noise of a kind drawn at random: clouds, specks of a size, or fibres."""
    draws = canvas.draws
    kind = draws.one_of(("clouds", "specks", "fibres"))
    if kind == "clouds":
        return noise(canvas, draws.uniform(1.0, 1.8), draws.uniform(0.2, 1.0))
    if kind == "specks":
        length = draws.uniform(0.02, 0.12)
        return noise(canvas, draws.uniform(1.0, 2.0), length, length / 3)
    stretch, angle = draws.uniform(4, 12), draws.uniform(0, math.pi)
    return noise(canvas, draws.uniform(0.8, 1.8), draws.uniform(0.03, 0.15), 0.0, stretch, angle)


def grained(canvas: Canvas, surface: Tensor, strength: float) -> Tensor:
    """A surface whose lightness varies by noise, of a deviation of ``strength`` and mostly less."""
    return surface * (1 + strength * canvas.draws.uniform(0, 1) ** 1.5 * grain(canvas))


def any_surface(canvas: Canvas, low: float = 0.08, high: float = 0.92) -> Tensor:
    """Flat, shaded or lit, with or without grain: (3, H, W) or (3, 1, 1)."""
    draws = canvas.draws
    first = canvas.colour(low, high)
    kind = draws.one_of(("flat", "linear", "linear", "radial"))
    surface = first
    if kind != "flat":
        second = torch.lerp(canvas.colour(low, high), first * draws.uniform(0.4, 1.4), 0.6)
        surface = (
            linear(canvas, first, second, draws.uniform(-math.pi, math.pi))
            if kind == "linear"
            else radial(canvas, first, second, canvas.place(), draws.uniform(0.4, 1.2))
        )
    return grained(canvas, surface, 0.2) if draws.chance(0.45) else surface


def _normalised(ramp: Tensor) -> Tensor:
    low, high = ramp.amin(), ramp.amax()
    return (ramp - low) / (high - low)
