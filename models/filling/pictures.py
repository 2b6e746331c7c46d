"""Pictures of every kind as colour planes and back: what `inpaint` takes and returns.

Shape legend: B pictures; C planes: 1 or 3 of colour, and one of opacity if there is one; H, W their size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from contextual_attention.marks import read_marks


@dataclass(frozen=True)
class Planes:
    """What is seen of a picture, and how to put changed planes back.

    Colours are premultiplied by opacity: what a fully transparent pixel holds is seen by nobody, often black
    or white, and must be neither compared nor copied as if it were.

    Attributes:
        seen: (B, C, H, W) float32 in [-1, 1].
        has_opacity: Whether the last of them is opacity, from transparent, -1, to opaque, 1.
        put_back: From planes like these, with opacity or, if all is opaque, without, and the pixels that
            changed, (B, 1, H, W) bool, to a picture of the kind that came in, all others as they were.
    """

    seen: Tensor
    put_back: Callable[[Tensor, Tensor], Any]
    has_opacity: bool = False

    def around(self, hole: Tensor) -> Tensor:
        """The planes, without opacity where everything around a hole, (B, 1, H, W) bool, is opaque."""
        if self.has_opacity and bool((self.seen[:, -1:] == 1)[~hole].all()):
            return self.seen[:, :-1]
        return self.seen


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


def marked_of(name: str, mask: Any, planes: Planes) -> Tensor:
    """A mask of any kind as (B, 1, H, W) bool, True where it marks, checked against the picture.

    Args:
        name: Of the argument, for messages.
        mask, planes: As `inpaint` has them.
    """
    batch, _, height, width = planes.seen.shape
    if isinstance(mask, Tensor):
        hole = mask != 0
    elif isinstance(mask, np.ndarray):
        hole = torch.from_numpy(mask != 0)
        hole = hole[..., 0] if hole.dim() == 3 and hole.shape[2] == 1 else hole
    elif _is_pillow(mask):
        hole = torch.from_numpy(_marked(mask))
    else:
        raise TypeError(
            f"{name}: expected a Pillow image, a NumPy array or a tensor, got {type(mask).__name__}"
        )
    hole = hole[(None,) * (4 - hole.dim())] if 2 <= hole.dim() <= 4 else hole
    if hole.dim() != 4 or hole.shape[1] != 1 or hole.shape[0] not in (1, batch):
        raise ValueError(
            f"{name}: expected one channel and {batch} pictures or 1, got shape {tuple(mask.shape)}"
        )
    if hole.shape[2:] != (height, width):
        got = f"{hole.shape[3]} x {hole.shape[2]}"
        raise ValueError(f"{name}: expected the size of the image, {width} x {height}, got {got}")
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

    def put_back(filled: Tensor, changed: Tensor) -> Tensor:
        if image.dtype == torch.uint8:
            filled = ((filled + 1) * 127.5).round()
        return torch.where(changed, filled.to(image.dtype), pixels).view_as(image)

    return Planes(colours, put_back)


def _planes_of_array(image: np.ndarray) -> Planes:
    pixels = image[..., None] if image.ndim == 2 else image
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 2, 3, 4) or 0 in pixels.shape:
        raise ValueError(f"image: expected (H, W) or (H, W, C), C from 1 to 4, got {image.shape}")
    white = _white(image.dtype)
    has_opacity = pixels.shape[2] % 2 == 0
    values = pixels.astype(np.float32) / white
    if has_opacity:  # not a product alone: what nobody sees may be no number
        values[..., :-1] = np.where(values[..., -1:] > 0, values[..., :-1] * values[..., -1:], 0)

    def put_back(filled: Tensor, changed: Tensor) -> np.ndarray:
        where = changed[0, 0].cpu().numpy()
        new = (filled[0][:, changed[0, 0]].T.cpu().double().numpy() + 1) / 2
        if has_opacity:
            new = _unmultiplied(new, pixels.shape[2])
        new *= white
        if np.issubdtype(image.dtype, np.integer):
            new = new.round()
        result = pixels.copy()
        result[where] = new.astype(image.dtype)
        return result.reshape(image.shape)

    planes = torch.from_numpy(values).mul_(2).sub_(1).permute(2, 0, 1)[None].contiguous()
    return Planes(planes, put_back, has_opacity)


def _unmultiplied(values: np.ndarray, channels: int) -> np.ndarray:
    """Colours and opacity in [0, 1], (n, channels), from premultiplied or, without opacity, opaque ones."""
    if values.shape[1] < channels:
        return np.concatenate([values, np.ones_like(values[:, :1])], 1)
    opacity = values[:, -1:].clip(0, 1)
    # Between them weights and blending may leave a colour a little brighter than its opacity allows.
    colours = np.divide(values[:, :-1], opacity, out=np.zeros_like(values[:, :-1]), where=opacity > 0)
    return np.concatenate([colours.clip(0, 1), opacity], 1)


def _planes_of_pillow(image: Any) -> Planes:
    if image.mode not in ("L", "LA", "RGB", "RGBA", "I;16"):
        raise TypeError(
            f"image: expected a Pillow image of mode L, LA, RGB, RGBA or I;16, got {image.mode}; "
            'convert it, such as image.convert("RGB")'
        )
    planes = _planes_of_array(np.array(image))

    def put_back(filled: Tensor, changed: Tensor) -> Any:
        result = image.copy()
        result.frombytes(planes.put_back(filled, changed).tobytes())
        return result

    return Planes(planes.seen, put_back, planes.has_opacity)


def _marked(mask: Any) -> np.ndarray:
    """What a Pillow mask marks as missing, (H, W) bool, if it marks something and not everything."""
    missing, seen = read_marks(mask)
    if missing.all() or not missing.any():
        raise ValueError(
            f"mask: marks {'everything' if missing.any() else 'nothing'} as missing: {seen}; an array of "
            "booleans leaves no doubt"
        )
    return missing


def _white(dtype: np.dtype) -> float:
    if dtype in (np.uint8, np.uint16):
        return float(np.iinfo(dtype).max)
    if np.issubdtype(dtype, np.floating):
        return 1.0
    raise TypeError(f"image: expected uint8, uint16 or floating, got {dtype}")


def _is_pillow(image: Any) -> bool:
    """Without importing Pillow: who passes an image of its has done so."""
    return any(kind.__module__ == "PIL.Image" and kind.__name__ == "Image" for kind in type(image).__mro__)
