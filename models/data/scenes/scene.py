"""One scene: a place, what hangs and stands in front of it, and the camera that takes it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .canvas import Canvas, gaussian
from .places import PLACES
from .surfaces import linear
from .things import pole, wires


def draw_scene(size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Draw one picture.

    Args:
        size: (H, W) in pixels.
        generator: On the CPU; all that is random comes from it.

    Returns:
        (3, H, W) float32, red, green, blue in [-1, 1].

    Examples:
        >>> draw_scene((64, 96), torch.Generator().manual_seed(0)).shape
        torch.Size([3, 64, 96])
    """
    canvas = Canvas(size, generator)
    draws = canvas.draws
    draws.one_of(PLACES)(canvas)
    canvas.focus = draws.uniform(1, 1.6)
    if draws.chance(0.15):
        pole(canvas)
    if draws.chance(0.25):
        wires(canvas)
    return _taken(canvas)


def _taken(canvas: Canvas) -> Tensor:
    """As a camera shows it: uneven light, exposure, white balance, contrast, softness and grain."""
    draws = canvas.draws
    picture = canvas.picture
    if draws.chance(0.5):
        ends = (torch.full((1, 1, 1), draws.uniform(0.6, 1.1)) for _ in range(2))
        picture = picture * linear(canvas, *ends, draws.uniform(-math.pi, math.pi))
    balance = torch.exp(0.06 * draws.normals(3, 1, 1))
    picture = (picture * balance * math.exp(0.15 * draws.normal())).clamp(0, 1)
    picture = picture ** math.exp(0.15 * draws.normal())
    if draws.chance(0.5):
        picture = gaussian(picture, draws.uniform(0.3, 0.9))
    if draws.chance(0.4):
        picture = picture + draws.uniform(0.004, 0.03) * draws.normals(1, *canvas.size)
    return (2 * picture - 1).clamp(-1, 1)
