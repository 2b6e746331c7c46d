"""Attention offsets as a picture, coloured like figure 4 of the paper.

Shape legend: B samples; h, w the grid of foreground patches; H, W the picture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

# The Middlebury flow colour wheel (Baker et al., "A Database and Evaluation Methodology for Optical Flow",
# IJCV 2011): a corner of the RGB cube, and in how many steps it turns into the next.
_WHEEL = (
    ((255, 0, 0), 15),  # red to yellow
    ((255, 255, 0), 6),  # yellow to green
    ((0, 255, 0), 4),  # green to cyan
    ((0, 255, 255), 11),  # cyan to blue
    ((0, 0, 255), 13),  # blue to magenta
    ((255, 0, 255), 6),  # magenta to red
)


def offsets_to_image(offsets: Tensor, size: tuple[int, int] | None = None) -> Tensor:
    """Draw displacements with the colour wheel of figure 4 of the paper.

    The hue is the direction of a displacement, the saturation its length over the largest of its sample:
    white is a patch that attends to its own position, pink one that attends to its bottom-left, green to its
    top-right. It is the Middlebury wheel with u = row, v = column (Yu et al. 2018, published code).

    Args:
        offsets: (B, 2, h, w), any integer dtype: (row, column) displacements, as
            ``contextual_attention(..., return_offsets=True)`` returns them.
        size: (H, W) of the picture, enlarged by nearest neighbour. Default: (h, w), a pixel a patch.

    Returns:
        (B, 3, H, W) uint8, red, green, blue, on the device of ``offsets``.

    Raises:
        TypeError: ``offsets`` is not a tensor of integers.
        ValueError: ``offsets`` is not (B, 2, h, w), or ``size`` is not two positive integers.

    Cost: the picture and about ten float64 maps of h·w.

    Examples:
        >>> offsets = torch.tensor([[3, -3, 0], [-3, 3, 0]]).reshape(1, 2, 1, 3)
        >>> offsets_to_image(offsets)[0, :, 0].T.tolist()  # bottom-left, top-right, itself
        [[220, 0, 255], [32, 255, 0], [255, 255, 255]]
    """
    _check(offsets, size)
    rows, columns = offsets.to(torch.float64).unbind(1)
    length = torch.hypot(rows, columns)
    # Displacements are whole numbers: where the largest is below 1 they are all 0, and stay white.
    saturation = length / length.amax((1, 2), keepdim=True).clamp(min=1)
    colour = 255 - saturation[..., None] * (255 - _hue(rows, columns))
    image = colour.floor().to(torch.uint8).movedim(-1, 1).contiguous()
    return image if size is None else _enlarge(image, size)


def _check(offsets: Tensor, size: tuple[int, int] | None) -> None:
    if not isinstance(offsets, Tensor):
        raise TypeError(f"offsets: expected an integer tensor, got {type(offsets).__name__}")
    if offsets.is_floating_point() or offsets.is_complex() or offsets.dtype == torch.bool:
        raise TypeError(f"offsets: expected an integer dtype such as int64, got {offsets.dtype}")
    if offsets.ndim != 4 or offsets.shape[1] != 2 or 0 in offsets.shape[2:]:
        raise ValueError(f"offsets: expected shape (B, 2, h, w), got {tuple(offsets.shape)}")
    if size is not None and not _is_size(size):
        raise ValueError(f"size: expected (H, W), two integers of at least 1, got {size!r}")


def _is_size(size: object) -> bool:
    return (
        isinstance(size, Sequence)
        and len(size) == 2
        and all(hasattr(n, "__index__") and n >= 1 for n in size)
    )


def _hue(rows: Tensor, columns: Tensor) -> Tensor:
    """The saturated colour of each direction, interpolated between the wheel's steps: (..., 3), 0 to 255."""
    wheel = _wheel(rows.device)
    # The published wheel spreads 2*pi over one step less than it has, so its two ends do not quite meet.
    step = (torch.atan2(-columns, -rows) / math.pi + 1) / 2 * (len(wheel) - 1)
    first = step.floor().long()
    return torch.lerp(wheel[first], wheel[(first + 1) % len(wheel)], (step - first)[..., None])


def _wheel(device: torch.device) -> Tensor:
    """The 55 colours of the wheel: (55, 3) float64, whole numbers 0 to 255."""
    colours = []
    for (start, steps), (end, _) in zip(_WHEEL, _WHEEL[1:] + _WHEEL[:1], strict=True):
        for k in range(steps):
            change = 255 * k // steps  # of the one channel that differs; truncated, as published
            colours.append([a + change * ((b > a) - (b < a)) for a, b in zip(start, end, strict=True)])
    return torch.tensor(colours, dtype=torch.float64, device=device)


def _enlarge(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Nearest neighbour in whole numbers: exact, and defined for uint8 on every device."""
    (height, width), (h, w) = size, image.shape[2:]
    rows = torch.arange(height, device=image.device) * h // height
    columns = torch.arange(width, device=image.device) * w // width
    return image[:, :, rows[:, None], columns]
