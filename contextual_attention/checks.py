"""Checks of the layer's tensor arguments. Every message names the argument, what was expected and what came.

They read shapes, dtypes and devices only, never contents, so that they compile and export.

Shape legend: as in functional.py.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .options import Options, checked_integer
from .positions import resolution

_DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
_MOST_WORKSPACE = 2**48


def check_operands(foreground: Tensor, background: Tensor, value: Tensor | None, options: Options) -> None:
    """Check the maps, one by one and against each other."""
    _check_map("foreground", foreground)
    _check_map("background", background)
    _check_like("background", background, foreground)
    if background.shape[1] != foreground.shape[1]:
        raise ValueError(
            f"background: expected as many channels as foreground, {foreground.shape[1]}, "
            f"got {background.shape[1]}"
        )
    if options.downscale == "aligned":
        _check_aligned("foreground", foreground, options.rate)
        _check_aligned("background", background, options.rate)
    if value is not None:
        _check_map("value", value)
        _check_like("value", value, foreground)
        _check_multiple("value", value, "background", background)


def check_mask(name: str, mask: Tensor | None, over: str, features: Tensor) -> None:
    """Check a mask over a map (B, C, H, W)."""
    if mask is None:
        return
    _check_tensor(name, mask)
    if mask.dtype != torch.bool and mask.dtype not in _DTYPES:
        raise TypeError(
            f"{name}: expected a bool or float tensor, non-zero = missing, got {mask.dtype}; pass {name} != 0"
        )
    if mask.dim() != 4 or mask.shape[1] != 1:
        raise ValueError(f"{name}: expected shape (B or 1, 1, height, width), got {tuple(mask.shape)}")
    if mask.shape[0] != 1 and mask.shape[0] != features.shape[0]:
        raise ValueError(f"{name}: expected {features.shape[0]} samples, or 1 for all, got {mask.shape[0]}")
    _check_device(name, mask, features)
    _check_multiple(name, mask, over, features)


def check_queries(queries: Tensor, foreground: Tensor, options: Options) -> None:
    """Check (Q, 2) or (B, Q, 2) integer positions on the downscaled foreground grid."""
    if not isinstance(queries, Tensor):
        raise TypeError(f"queries: expected a tensor, got {type(queries).__name__}")
    if queries.dtype == torch.bool or queries.is_floating_point() or queries.is_complex():
        raise TypeError(f"queries: expected integer positions, got {queries.dtype}")
    batch = foreground.shape[0]
    leading = queries.shape[:-2]
    if queries.dim() < 2 or queries.shape[-1] != 2 or leading not in ((), (batch,)):
        raise ValueError(f"queries: expected shape (Q, 2) or ({batch}, Q, 2), got {tuple(queries.shape)}")
    grid = tuple(-(-n // options.rate) for n in foreground.shape[2:])
    outside = (queries < 0) | (queries >= queries.new_tensor(grid))
    if outside.any():
        first = queries[outside.any(-1)][0].tolist()
        raise ValueError(
            f"queries: expected (row, column) on the downscaled foreground grid {grid}, got {first}"
        )


def checked_workspace(workspace: Any) -> int | None:
    """Check the bound on score scratch: None or a positive number of bytes, returned as an int."""
    if workspace is None:
        return None
    workspace = checked_integer(workspace, "workspace: expected None or a number of bytes")
    if workspace < 1:
        raise ValueError(f"workspace: expected at least 1 byte, got {workspace}")
    if workspace > _MOST_WORKSPACE:
        raise ValueError(
            f"workspace: expected at most 2**48 bytes, more than any machine has, got {workspace}; "
            "None leaves the bound to the backend"
        )
    return workspace


def _check_tensor(name: str, x: Any) -> None:
    if not isinstance(x, Tensor):
        raise TypeError(f"{name}: expected a tensor, got {type(x).__name__}")
    if x.layout != torch.strided:
        raise TypeError(f"{name}: expected a dense (strided) tensor, got layout {x.layout}")


def _check_map(name: str, x: Any) -> None:
    """A (B, channels, height, width) floating tensor; B may be 0, nothing else."""
    _check_tensor(name, x)
    if x.dtype not in _DTYPES:
        raise TypeError(f"{name}: expected float32, bfloat16, float16 or float64, got {x.dtype}")
    if x.dim() != 4:
        raise ValueError(
            f"{name}: expected 4 dimensions (batch, channels, height, width), got shape {tuple(x.shape)}"
        )
    if x.shape[1] < 1 or x.shape[2] < 1 or x.shape[3] < 1:
        raise ValueError(f"{name}: expected at least one channel, row and column, got shape {tuple(x.shape)}")


def _check_like(name: str, x: Tensor, foreground: Tensor) -> None:
    if x.dtype != foreground.dtype:
        raise TypeError(
            f"{name}: expected the dtype of foreground, {foreground.dtype}, got {x.dtype}; "
            "convert one of them, or use autocast"
        )
    _check_device(name, x, foreground)
    if x.shape[0] != foreground.shape[0]:
        raise ValueError(
            f"{name}: expected as many samples as foreground, {foreground.shape[0]}, got {x.shape[0]}"
        )


def _check_device(name: str, x: Tensor, features: Tensor) -> None:
    if x.device != features.device:
        raise ValueError(f"{name}: expected to be on {features.device} with the features, got {x.device}")


def _check_aligned(name: str, x: Tensor, rate: int) -> None:
    if x.shape[2] % rate or x.shape[3] % rate:
        raise ValueError(
            f'{name}: expected height and width in multiples of rate, {rate}, for downscale="aligned", '
            f'got {tuple(x.shape[2:])}; crop or pad it, or use downscale="strided"'
        )


def _check_multiple(name: str, x: Tensor, over: str, features: Tensor) -> None:
    height, width = features.shape[2:]
    multiple = resolution(x, features)
    if multiple < 1 or x.shape[2] != multiple * height or x.shape[3] != multiple * width:
        raise ValueError(
            f"{name}: expected the height and width of {over}, {(height, width)}, times one integer >= 1, "
            f"got {tuple(x.shape[2:])}"
        )
