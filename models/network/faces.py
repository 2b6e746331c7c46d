"""What every inpainting network takes and returns, whichever system it is of.

Shape legend: B samples; (H, W) the image; (h, w) the grid of an attention.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Inpainted(NamedTuple):
    """What an inpainting network returns.

    Attributes:
        coarse: (B, 3, H, W) in [-1, 1], the whole image as a first network has it; None where there is one
            network alone.
        refined: (B, 3, H, W) in [-1, 1], the whole image as the network has it. A network that does not
            keep to this range says so.
        completed: (B, 3, H, W): the input where it is known, bit for bit, and ``refined`` in the holes,
            clamped to [-1, 1].
        offsets: (B, 2, h, w) int64, where each patch looked, in patches of 8 x 8 pixels; as
            `contextual_attention` returns them. None unless asked for.
        error: (B, 1, H, W), how far off each pixel of ``refined`` is expected to be: the mean of its colours'
            absolute errors. None of a network that does not say.
    """

    coarse: Tensor | None
    refined: Tensor
    completed: Tensor
    offsets: Tensor | None = None
    error: Tensor | None = None


def check_image(image: Any, least: int) -> None:
    """Refuse what is no image of a network.

    Args:
        image: Expected to be (B, 3, H, W), floating, H and W at least ``least``.
        least: In pixels.

    Raises:
        TypeError, ValueError: It is not.
    """
    if not isinstance(image, Tensor) or not image.is_floating_point():
        kind = image.dtype if isinstance(image, Tensor) else type(image).__name__
        raise TypeError(f"image: expected a floating tensor, RGB in [-1, 1], got {kind}")
    if image.dim() != 4 or image.shape[1] != 3 or min(image.shape[2:]) < least:
        raise ValueError(
            f"image: expected shape (B, 3, height, width) of at least {least} x {least} pixels, got "
            f"{tuple(image.shape)}"
        )


def missing_of(mask: Any, image: Tensor) -> Tensor:
    """The mask of every sample of an image: (B, 1, H, W) bool, True = missing.

    Args:
        mask: (B or 1, 1, H, W), bool or floating, non-zero = missing.
        image: (B, 3, H, W).

    Raises:
        TypeError, ValueError: A mask of another type, shape or device.
    """
    check_beside("mask", "non-zero = missing", mask, image)
    return (mask != 0).expand(image.shape[0], -1, -1, -1)


def check_beside(name: str, meaning: str, x: Any, image: Tensor) -> None:
    """Refuse what is no map of one channel that goes with an image.

    Args:
        name: Of the argument.
        meaning: Of its numbers.
        x: Expected to be (B or 1, 1, H, W), bool or floating, on the device of the image.
        image: (B, 3, H, W).

    Raises:
        TypeError, ValueError: It is not.
    """
    if not isinstance(x, Tensor) or not (x.dtype == torch.bool or x.is_floating_point()):
        kind = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(f"{name}: expected a bool or floating tensor, {meaning}, got {kind}")
    expected = (image.shape[0], 1, *image.shape[2:])
    if x.shape not in (expected, (1, *expected[1:])):
        raise ValueError(f"{name}: expected shape {expected}, or 1 sample for all, got {tuple(x.shape)}")
    if x.device != image.device:
        raise ValueError(f"{name}: expected to be on {image.device} with the image, got {x.device}")


def pad_to_multiple(x: Tensor, grid: int) -> Tensor:
    """Reflect a map at its bottom and right up to multiples of ``grid``.

    Args:
        x: (B, C, H, W), H and W at least ``grid``.
        grid: >= 1.
    """
    bottom, right = (-size % grid for size in x.shape[-2:])
    return F.pad(x, (0, right, 0, bottom), mode="reflect") if bottom or right else x
