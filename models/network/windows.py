"""Square windows around holes, for a network that takes pictures of one size and fills their middle.

Shape legend: B samples; (H, W) the image; S the side of a window; V the side of the network's view of it.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .layers import mirror_index


class Window(NamedTuple):
    """A square of S x S pixels, which may reach beyond its picture on every side.

    Attributes:
        top, left: Of its first pixel, in the picture's coordinates.
        side: S.
    """

    top: int
    left: int
    side: int


def windows_around_holes(missing: Tensor, least: int, middle: int) -> list[Window | None]:
    """For each sample the window whose middle holds all that is missing.

    The side is that of the hole's bounding box, the longer one made even, times ``least`` / ``middle``,
    rounded up to a multiple of 4, so that the half of it in the middle has whole pixels, and at least
    ``least``.

    Args:
        missing: (B, 1, H, W) bool.
        least: Side of the smallest window, a multiple of 4.
        middle: Side of what may be missing in the smallest window, in the middle of it, even.

    Returns:
        B windows, each centred on the bounding box, half a pixel up or left where it cannot be; None for a
        sample of which nothing is missing.
    """
    windows: list[Window | None] = []
    for first_row, end_row, first_column, end_column in _boxes(missing).tolist():
        if first_row >= end_row:
            windows.append(None)
            continue
        longer = max(end_row - first_row, end_column - first_column)
        longer += longer % 2  # an odd one is half a pixel off the centre
        side = max(least, 4 * -(-longer * least // (4 * middle)))
        windows.append(
            Window((first_row + end_row - side) // 2, (first_column + end_column - side) // 2, side)
        )
    return windows


def _boxes(missing: Tensor) -> Tensor:
    """First and end row, first and end column of what is missing: (B, 4); an end of 0 where nothing is."""
    bounds = []
    for dim in (3, 2):
        has = missing.any(dim).flatten(1)  # (B, rows), (B, columns)
        size = has.shape[1]
        place = torch.arange(size, device=missing.device)
        bounds += [torch.where(has, place, size).amin(1), torch.where(has, place + 1, 0).amax(1)]
    return torch.stack(bounds, 1)


def look(image: Tensor, missing: Tensor, window: Window, side: int) -> tuple[Tensor, Tensor]:
    """What is in a window, at the size of a network's view.

    Beyond the picture's edge is its reflection, as often as it takes. A pixel of the view is the mean of the
    known pixels that it covers, weighted as an antialiased bilinear resize weights them: nothing of what lies
    in a hole reaches it. A window of the size of the view is copied.

    Args:
        image: (C, H, W); missing: (1, H, W) bool.
        window: S >= ``side``.
        side: V.

    Returns:
        (C, V, V), 0 where nothing is known, and (1, V, V) bool: where that is.
    """
    rows, columns = (
        mirror_index(start, start + window.side, size, image.device)
        for start, size in zip((window.top, window.left), image.shape[-2:], strict=True)
    )
    image, missing = (x[:, rows][:, :, columns] for x in (image, missing))
    image = image.masked_fill(missing, 0)
    if window.side == side:
        return image, missing
    return shrink(image, missing, (side, side))


def shrink(image: Tensor, missing: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The known pixels of an image at another size, as `look` has them.

    Args:
        image: (..., C, H, W), 0 where it is missing; missing: (..., 1, H, W) bool.
        size: (h, w) of what comes out.

    Returns:
        (..., C, h, w), 0 where nothing is known, and (..., 1, h, w) bool: where that is.
    """
    known = resize((~missing).to(image.dtype), size)
    unknown = known <= torch.finfo(image.dtype).eps
    return (resize(image, size) / known.masked_fill(unknown, 1)).masked_fill(unknown, 0), unknown


def resize(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear, antialiased where it gets smaller: (..., C, H, W) -> (..., C, h, w)."""
    batched = image if image.dim() == 4 else image[None]
    # In half precision torch has no such resize on the CPU.
    batched = batched.to(torch.promote_types(image.dtype, torch.float32))
    resized = F.interpolate(batched, size, mode="bilinear", antialias=True).to(image.dtype)
    return resized if image.dim() == 4 else resized[0]


def place(middle: Tensor, window: Window, image: Tensor) -> Tensor:
    """An image with the middle of a window, half of its side, put in its place.

    Args:
        middle: (..., C, h, h) of any size; resized to half of the window's side.
        window: Its side a multiple of 4.
        image: (..., C, H, W).

    Returns:
        (..., C, H, W): what of the middle lies within the image, and the image around it.
    """
    half = window.side // 2
    if middle.shape[-1] != half:
        middle = resize(middle, (half, half))
    top, left = window.top + window.side // 4, window.left + window.side // 4
    margins = [left, image.shape[-1] - left - half, top, image.shape[-2] - top - half]
    inside = F.pad(torch.ones_like(middle[..., :1, :, :], dtype=torch.bool), margins)  # negative margins cut
    return torch.where(inside, F.pad(middle, margins), image)
