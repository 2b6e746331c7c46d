"""Pictures of every kind as colour planes and back: what `inpaint` takes and returns.

Shape legend: B pictures; C colour channels, 1 or 3; H, W their size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Planes:
    """The colours of a picture, and how to put changed ones back.

    Attributes:
        colours: (B, C, H, W) float32 in [-1, 1].
        put_back: From colours like these, the pixels that changed and those that were missing, (B, 1, H, W)
            bool, to a picture of the kind that came in, all other pixels as they were.
    """

    colours: Tensor
    put_back: Callable[[Tensor, Tensor, Tensor], Any]


def planes_of(image: Any) -> Planes:
    """The planes of a Pillow image, a NumPy array or a tensor.

    Raises:
        TypeError, ValueError: As `inpaint`.
    """
    if isinstance(image, Tensor):
        return _planes_of_tensor(image)
    if isinstance(image, np.ndarray):
        return _planes_of_array(image)
    if _is_pillow(image):
        return _planes_of_pillow(image)
    raise TypeError(f"image: expected a Pillow image, a NumPy array or a tensor, got {type(image).__name__}")


def hole_of(mask: Any, planes: Planes) -> Tensor:
    """A mask of any kind as (B, 1, H, W) bool, True = missing, checked against the picture."""
    batch, _, height, width = planes.colours.shape
    if isinstance(mask, Tensor):
        hole = mask != 0
    elif isinstance(mask, np.ndarray):
        hole = torch.from_numpy(mask != 0)
        hole = hole[..., 0] if hole.dim() == 3 and hole.shape[2] == 1 else hole
    elif _is_pillow(mask):
        hole = torch.from_numpy(np.array(mask.convert("L")) > 127)
    else:
        raise TypeError(
            f"mask: expected a Pillow image, a NumPy array or a tensor, got {type(mask).__name__}"
        )
    hole = hole[(None,) * (4 - hole.dim())] if 2 <= hole.dim() <= 4 else hole
    if hole.dim() != 4 or hole.shape[1] != 1 or hole.shape[0] not in (1, batch):
        raise ValueError(
            f"mask: expected one channel and {batch} pictures or 1, got shape {tuple(mask.shape)}"
        )
    if hole.shape[2:] != (height, width):
        raise ValueError(
            f"mask: expected the size of the image, {width} x {height}, got {hole.shape[3]} x {hole.shape[2]}"
        )
    return hole.expand(batch, -1, -1, -1)


def _planes_of_tensor(image: Tensor) -> Planes:
    if image.dtype != torch.uint8 and not image.is_floating_point():
        raise TypeError(f"image: expected uint8 or floating, got {image.dtype}")
    pixels = image[None] if image.dim() == 3 else image
    if pixels.dim() != 4 or pixels.shape[1] not in (1, 3) or 0 in pixels.shape:
        raise ValueError(f"image: expected (C, H, W) or (B, C, H, W), C 1 or 3, got {tuple(image.shape)}")
    colours = pixels.to(torch.float32)
    if image.dtype == torch.uint8:
        colours = colours / 127.5 - 1

    def put_back(filled: Tensor, changed: Tensor, _missing: Tensor) -> Tensor:
        if image.dtype == torch.uint8:
            filled = ((filled + 1) * 127.5).round()
        return torch.where(changed, filled.to(image.dtype), pixels).view_as(image)

    return Planes(colours, put_back)


def _planes_of_array(image: np.ndarray) -> Planes:
    pixels = image[..., None] if image.ndim == 2 else image
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 2, 3, 4) or 0 in pixels.shape:
        raise ValueError(f"image: expected (H, W) or (H, W, C), C from 1 to 4, got {image.shape}")
    white = _white(image.dtype)
    count = pixels.shape[2] - (pixels.shape[2] % 2 == 0)
    colours = torch.from_numpy(pixels[..., :count].astype(np.float32) / white * 2 - 1)

    def put_back(filled: Tensor, changed: Tensor, missing: Tensor) -> np.ndarray:
        values = (filled[0].permute(1, 2, 0).cpu().double().numpy() + 1) / 2 * white
        if np.issubdtype(image.dtype, np.integer):
            values = values.round()
        result = pixels.copy()
        where = changed[0, 0].cpu().numpy()
        result[where, :count] = values.astype(image.dtype)[where]
        result[missing[0, 0].cpu().numpy(), count:] = white
        return result.reshape(image.shape)

    return Planes(colours.permute(2, 0, 1)[None].contiguous(), put_back)


def _planes_of_pillow(image: Any) -> Planes:
    if image.mode not in ("L", "LA", "RGB", "RGBA", "I;16"):
        raise TypeError(
            f"image: expected a Pillow image of mode L, LA, RGB, RGBA or I;16, got {image.mode}; "
            'convert it, such as image.convert("RGB")'
        )
    planes = _planes_of_array(np.array(image))

    def put_back(filled: Tensor, changed: Tensor, missing: Tensor) -> Any:
        result = image.copy()
        result.frombytes(planes.put_back(filled, changed, missing).tobytes())
        return result

    return Planes(planes.colours, put_back)


def _white(dtype: np.dtype) -> float:
    if dtype in (np.uint8, np.uint16):
        return float(np.iinfo(dtype).max)
    if np.issubdtype(dtype, np.floating):
        return 1.0
    raise TypeError(f"image: expected uint8, uint16 or floating, got {dtype}")


def _is_pillow(image: Any) -> bool:
    """Without importing Pillow: who passes an image of its has done so."""
    return any(kind.__module__ == "PIL.Image" and kind.__name__ == "Image" for kind in type(image).__mro__)
