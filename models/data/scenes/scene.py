"""One scene: a place, what hangs and stands in front of it, and the camera that takes it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .canvas import Canvas, gaussian
from .lines import pole, tube, wires
from .places import PLACES
from .surfaces import uneven


def draw_scene(size: tuple[int, int], generator: torch.Generator) -> Tensor:
    """Draw one picture.

    A seed is the same scene at every size of the same proportions, its noise apart.

    Args:
        size: (H, W) in pixels, each at least 16.
        generator: On the CPU; all that is random comes from it.

    Returns:
        (3, H, W) float32, red, green, blue in [-1, 1].

    Cost: about 17 ms for 192 x 192 on one core.

    Examples:
        >>> draw_scene((64, 96), torch.Generator().manual_seed(0)).shape
        torch.Size([3, 64, 96])
    """
    canvas = Canvas(size, generator)
    draws = canvas.draws
    draws.one_of(PLACES)(canvas)
    canvas.focus = draws.uniform(1, 1.6)
    for line, share in ((pole, 0.15), (tube, 0.1), (wires, 0.25)):
        if draws.chance(share):
            line(canvas)
    return _taken(canvas)


def _taken(canvas: Canvas) -> Tensor:
    """As a camera shows it: uneven light, exposure, white balance, contrast, softness and grain."""
    draws = canvas.draws
    picture = canvas.picture
    if draws.chance(0.5):
        picture = uneven(canvas, picture, draws.uniform(-math.pi, math.pi))
    balance = torch.exp(0.05 * draws.normals(3, 1, 1))
    exposure = (draws.uniform(0.3, 0.6) / float(picture.mean())) ** 0.7  # not all of the way, as cameras do
    picture = (picture * balance * min(max(exposure, 0.6), 1.8)).clamp(0, 1)
    picture = picture ** math.exp(0.15 * draws.normal())
    if draws.chance(0.5):
        picture = gaussian(picture, draws.uniform(0.3, 0.9))
    if draws.chance(0.4):
        picture = picture + draws.uniform(0.004, 0.025) * draws.field(1, *canvas.size)
    return (2 * picture - 1).clamp(-1, 1)
