"""Attention near what a coarser scale has found, for pictures too large to search whole.

The hole is cut into tiles. Each tile attends to a few windows of the picture: the tile's own place, moved by
the offsets that most of its pixels have. The windows of a tile, stacked, are the background of the layer.

Shape legend: n tiles of a batch; K windows a tile; s side of a window; H, W the picture; m resolution of the
value over the picture's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from contextual_attention import contextual_attention

from .descriptors import Patch, describe, unusable

# Pixels a side: small tiles have few offsets, large ones little overhead at their borders.
_TILE = 32
_MOST_WINDOWS = 6
_WINDOWS_AT_A_TIME = 48
# Offsets are counted as alike within steps of this many pixels ...
_STEP = 8
# ... and windows reach beyond a moved tile by half a step and the widest patch with its propagation.
_MARGIN = 8


class Guide(NamedTuple):
    """Where to look, (1, 2, H, W) int64 as `contextual_attention` returns it, and the patch to compare by."""

    offsets: Tensor
    patch: Patch


def attend_by_tiles(
    estimate: Tensor, missing: Tensor, selected: Tensor, value: Tensor, guide: Guide, layer: dict[str, Any]
) -> tuple[Tensor, Tensor]:
    """Rebuild selected patches from patches near those that the guide points to.

    Args:
        estimate: (1, C, H, W), the picture so far.
        missing: (1, 1, H, W) bool, not to be borrowed from.
        selected: (1, 1, H, W) bool, patches to rebuild.
        value: (1, Cv, m * H, m * W), what is pasted.
        guide: Every offset of a selected pixel leads to within 4 pixels of a whole known patch.
        layer: Options of `contextual_attention`, with ``return_offsets``.

    Returns:
        (1, Cv, m * H, m * W), 0 outside the tiles, and the offsets, (1, 2, H, W) int64.

    Cost: 1 to 6 windows of 48 x 48 patches for each tile of 32 x 32: time and memory go with the hole alone.
    """
    m = value.shape[2] // estimate.shape[2]
    output, offsets = torch.zeros_like(value), torch.zeros_like(guide.offsets)
    for corners, shifts in _batches(guide.offsets, selected):
        found, where = _attend_tiles(
            estimate, missing, selected, value, corners, shifts, guide.patch.dilation, layer
        )
        for (top, left), pixels, offset in zip(corners.tolist(), found, where, strict=True):
            height, width = (
                min(_TILE, n - at) for n, at in zip(estimate.shape[2:], (top, left), strict=True)
            )
            output[0, :, m * top : m * (top + height), m * left : m * (left + width)] = pixels[
                :, : m * height, : m * width
            ]
            offsets[0, :, top : top + height, left : left + width] = offset[:, :height, :width]
    return output, offsets.mul_(selected)


def _batches(offsets: Tensor, selected: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Tiles with a selected pixel and as many windows: corners (n, 2) int64 and shifts (n, K, 2)."""
    touched = torch.nn.functional.max_pool2d(selected.to(torch.float32), _TILE, ceil_mode=True)
    by_count: dict[int, list[tuple[Tensor, Tensor]]] = {}
    for corner in _TILE * touched[0, 0].nonzero():
        shifts = _common_offsets(offsets, selected, corner.tolist())
        by_count.setdefault(len(shifts), []).append((corner, shifts))
    for count, tiles in by_count.items():
        size = max(1, _WINDOWS_AT_A_TIME // count)
        for first in range(0, len(tiles), size):
            corners, shifts = zip(*tiles[first : first + size], strict=True)
            yield torch.stack(corners), torch.stack(shifts)


def _common_offsets(offsets: Tensor, selected: Tensor, corner: list[int]) -> Tensor:
    """The offsets of a tile, rounded to steps, the commonest first: (K, 2), K at most 6."""
    rows, columns = (slice(at, at + _TILE) for at in corner)
    own = offsets[0, :, rows, columns][:, selected[0, 0, rows, columns]].T
    steps = torch.div(own + _STEP // 2, _STEP, rounding_mode="floor") * _STEP
    distinct, counts = steps.unique(dim=0, return_counts=True)
    return distinct[counts.argsort(descending=True, stable=True)[:_MOST_WINDOWS]]


def _attend_tiles(
    estimate: Tensor,
    missing: Tensor,
    selected: Tensor,
    value: Tensor,
    corners: Tensor,
    shifts: Tensor,
    dilation: int,
    layer: dict[str, Any],
) -> tuple[Tensor, Tensor]:
    """The layer on tiles at ``corners`` (n, 2), each with windows moved by ``shifts`` (n, K, 2)."""
    m = value.shape[2] // estimate.shape[2]
    side = _TILE + 2 * _MARGIN
    count = shifts.shape[1]
    origins = corners - _MARGIN
    sources = (origins[:, None] + shifts).flatten(0, 1)
    tile, inside = _cut(estimate, origins, side)
    wanted = _cut(selected, origins, side)[0] & inside
    windows, within = _cut(estimate, sources, side)
    unknown = _cut(missing, sources, side)[0] | ~within
    output, offsets = contextual_attention(
        describe(tile, dilation, inside),
        _stack(describe(windows, dilation), count),
        # Every window's rim is unusable as well, so that no patch lies across two windows.
        _stack(unusable(unknown, max(1, dilation)), count),
        value=_stack(_cut(value, m * sources, m * side)[0], count),
        foreground_mask=wanted,
        **layer,
    )
    offsets = _in_the_picture(offsets, origins, sources)
    core = slice(_MARGIN, -_MARGIN)
    return output[..., m * _MARGIN : -m * _MARGIN, m * _MARGIN : -m * _MARGIN], offsets[..., core, core]


def _cut(x: Tensor, origins: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Squares of (1, C, H, W) at ``origins`` (n, 2): (n, C, side, side), and which pixels lie within it.

    Beyond the picture its nearest pixels are repeated.
    """
    steps = torch.arange(side, device=x.device)
    rows, columns = (origins[:, axis, None] + steps for axis in (0, 1))
    height, width = x.shape[2:]
    inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None]
    squares = x[0][:, rows.clamp(0, height - 1)[:, :, None], columns.clamp(0, width - 1)[:, None]]
    return squares.transpose(0, 1).contiguous(), inside[:, None]


def _stack(windows: Tensor, count: int) -> Tensor:
    """(n * K, C, s, s) as (n, C, K * s, s): the windows of a tile one under the other."""
    channels, side = windows.shape[1:3]
    grouped = windows.view(-1, count, channels, side, side)
    return grouped.transpose(1, 2).reshape(-1, channels, count * side, side)


def _in_the_picture(offsets: Tensor, origins: Tensor, sources: Tensor) -> Tensor:
    """Offsets (n, 2, s, s) from a tile into its stacked windows, as offsets in the picture."""
    tiles, _, side, _ = offsets.shape
    steps = torch.arange(side, device=offsets.device)
    rows = offsets[:, 0] + steps[:, None]
    columns = offsets[:, 1] + steps
    starts = sources.view(tiles, -1, 2)
    window = torch.div(rows, side, rounding_mode="floor").clamp(0, starts.shape[1] - 1)
    tile = torch.arange(tiles, device=offsets.device)[:, None, None]
    moved = starts[tile, window] - origins[:, None, None]
    return torch.stack([moved[..., 0] + rows % side - steps[:, None], moved[..., 1] + columns - steps], 1)
