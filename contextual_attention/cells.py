"""The cells that patches paste: of the value before the operator (operators.py), of the output behind it.

Tensor code of O(N + M). No shape depends on what a tensor holds: it compiles and exports with dynamic sizes.

Shape legend: B samples; C, Cv feature and value channels; H, W a map; h = ceil(H / rate), w likewise, the
downscaled map; m the resolution of `value` over the background's; cell = rate * m, the side of a cell in
pixels of `value`; K = cell**2 * Cv. A pasted patch is 2 x 2 cells, so the patches cover (h + 1) x (w + 1)
cells, and the first one starts cell // 2 pixels before the edge.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from .derivatives import differentiable, keep_nothing, no_second_derivative
from .options import Options
from .positions import ceil_div


def pasted_by(patches: Tensor | None) -> Tensor | None:
    """The cells that `patches` paste: (B or 1, h, w) bool -> (B or 1, h + 1, w + 1) bool. None: all."""
    if patches is None:
        return None
    return F.max_pool2d(patches[:, None].float(), 2, stride=1, padding=1)[:, 0] > 0


# Cutting a map into cells and joining cells into a map are each other's adjoint. They are operators, not
# plain views and pads: the symbolic sizes in between would keep torch.compile busy for minutes.


@torch.library.custom_op("contextual_attention::cut", mutates_args=())
def _cut(image: Tensor, cell: int, rows: int, columns: int, kept: Tensor | None) -> Tensor:
    """Cells of a map, the first of which starts cell // 2 before the edge, zeros beyond the map.

    (B, C, H, W) -> (B, rows, columns, cell**2 * C), contiguous; zeros where not `kept`, (B or 1, rows,
    columns) bool.
    """
    cells = image.new_empty((image.shape[0], rows, columns, cell**2 * image.shape[1]))
    for pixels, place, band in _bands_of_map(image, cells, cell):
        _copy(pixels, place, None if kept is None else kept[:, band])
    return cells


@torch.library.custom_op("contextual_attention::join", mutates_args=())
def _join(cells: Tensor, cell: int, height: int, width: int, kept: Tensor | None) -> Tensor:
    """Inverse of `cut`: (B, rows, columns, cell**2 * C) -> (B, C, height, width), contiguous."""
    image = cells.new_empty((cells.shape[0], cells.shape[3] // cell**2, height, width))
    for pixels, place, band in _bands_of_cells(cells, image, cell):
        _copy(pixels, place, None if kept is None else kept[:, band])
    return image


def _copy(pixels: Tensor, place: Tensor, kept: Tensor | None) -> None:
    """Of a band, zeros for the cells that are not `kept`, (B or 1, rows, columns) bool; None: all are."""
    if kept is None:
        place.copy_(pixels)
    else:
        torch.where(_per_cell(kept), pixels, pixels.new_zeros(()), out=place)


# Between a map and its cells lies a map of whole cells, which reaches beyond the edges. It is made of a few
# rows of cells at a time: as a whole it would be one copy of the map more.
_BAND_BYTES = 16 * 2**20


def _bands_of_map(image: Tensor, cells: Tensor, cell: int) -> Iterator[tuple[Tensor, Tensor, slice]]:
    """For every band of rows of cells: the map's pixels, zeros beyond it; their place in `cells`; the rows.

    Both (B, rows, columns, cell, cell, C).
    """
    height, width = image.shape[2:]
    half, columns = cell // 2, cells.shape[2]
    for band, inside, over in _bands(image, cells, cell):
        pads = (half, columns * cell - half - width, *over)
        pixels = F.pad(image[:, :, inside], pads).unflatten(3, (columns, cell)).unflatten(2, (-1, cell))
        yield pixels.permute(0, 2, 4, 3, 5, 1), cells[:, band].unflatten(3, (cell, cell, -1)), band


def _bands_of_cells(cells: Tensor, image: Tensor, cell: int) -> Iterator[tuple[Tensor, Tensor, slice]]:
    """The same from cells to a map, which has what is written in a place when the next one is asked for."""
    batch, channels, _, width = image.shape
    half, columns = cell // 2, cells.shape[2]
    for band, inside, (above, below) in _bands(image, cells, cell):
        height = above + inside.stop - inside.start + below
        whole = image.new_empty((batch, channels, height, columns * cell))
        place = whole.unflatten(3, (columns, cell)).unflatten(2, (-1, cell)).permute(0, 2, 4, 3, 5, 1)
        yield cells[:, band].unflatten(3, (cell, cell, -1)), place, band
        image[:, :, inside] = whole[:, :, above : height - below, half : half + width]


def _bands(image: Tensor, cells: Tensor, cell: int) -> Iterator[tuple[slice, slice, tuple[int, int]]]:
    """Rows of cells, the rows of the map that lie in them, and how many lie above and below the map."""
    height, rows, half = image.shape[2], cells.shape[1], cell // 2
    row_bytes = cells[:, :1].numel() * image.element_size()
    step = max(1, min(rows, _BAND_BYTES // max(1, row_bytes)))
    for first in range(0, rows, step):
        last = min(first + step, rows)
        top, bottom = first * cell - half, last * cell - half
        begin, end = (min(max(y, 0), height) for y in (top, bottom))
        above = max(0, -top)
        yield slice(first, last), slice(begin, end), (above, bottom - top - above - (end - begin))


def _per_cell(x: Tensor) -> Tensor:
    """(B or 1, rows, columns), beside the six dimensions of a band."""
    return x[..., None, None, None]


@_cut.register_fake
def _cut_fake(image, cell, rows, columns, kept):
    return image.new_empty((image.shape[0], rows, columns, cell**2 * image.shape[1]))


@_join.register_fake
def _join_fake(cells, cell, height, width, kept):
    return cells.new_empty((cells.shape[0], cells.shape[3] // cell**2, height, width))


def _keep_map(ctx, inputs, output):
    image, ctx.cell, _, _, kept = inputs
    ctx.size = image.shape[2:]
    ctx.save_for_backward(kept)


def _keep_cells(ctx, inputs, output):
    cells, ctx.cell, _, _, kept = inputs
    ctx.size = cells.shape[1:3]
    ctx.save_for_backward(kept)


def _cut_backward(ctx, gradient):
    return join(gradient, ctx.cell, *ctx.size, *ctx.saved_tensors), None, None, None, None


def _join_backward(ctx, gradient):
    return cut(gradient, ctx.cell, *ctx.size, *ctx.saved_tensors), None, None, None, None


cut = differentiable(_cut, _cut_backward, _keep_map, linear_in=(0,))
join = differentiable(_join, _join_backward, _keep_cells, linear_in=(0,))


@torch.library.custom_op("contextual_attention::paste", mutates_args=())
def paste(
    cells: Tensor, weight: Tensor, foreground: Tensor, keep: bool, cell: int, height: int, width: int
) -> Tensor:
    """A map of weighted cells, in the dtype of `foreground`. Its gradient: `lift`, in operators.py.

    Args:
        cells: (B, rows, columns, cell**2 * C) float32.
        weight: (B or 1, rows, columns) float32; a cell of weight 0 is not there.
        foreground: (B, C, height, width), what its pixels show in its place with `keep`; without: 0.

    Returns:
        (B, C, height, width), contiguous.
    """
    image = foreground.new_empty((cells.shape[0], cells.shape[3] // cell**2, height, width))
    for pixels, place, band in _bands_of_cells(cells, image, cell):
        # Rounded as it is written: there are no weighted cells in float32.
        torch.mul(pixels, _per_cell(weight[:, band]), out=place)
    if keep:
        torch.where(_covered(weight, cell, height, width), image, foreground, out=image)
    return image


@torch.library.custom_op("contextual_attention::lift", mutates_args=())
def _lift(
    image: Tensor, weight: Tensor, keep: bool, cell: int, rows: int, columns: int, wide: bool
) -> tuple[Tensor, Tensor]:
    """The gradients of `paste` from that of its map: cells, and what is kept, or (0,) if nothing is.

    The cells are float32 if `wide`, else of the dtype of the map.
    """
    dtype = torch.float32 if wide else image.dtype
    cells = image.new_empty((image.shape[0], rows, columns, cell**2 * image.shape[1]), dtype=dtype)
    for pixels, place, band in _bands_of_map(image, cells, cell):
        torch.mul(pixels, _per_cell(weight[:, band]), out=place)
    if not keep:
        return cells, image.new_zeros((0,))
    return cells, torch.where(_covered(weight, cell, *image.shape[2:]), torch.zeros_like(image), image)


def _covered(weight: Tensor, cell: int, height: int, width: int) -> Tensor:
    """Whether the cell of each pixel has a weight: (B or 1, 1, height, width) bool."""
    return _join((weight != 0)[..., None].expand(-1, -1, -1, cell**2), cell, height, width, None)


@paste.register_fake
def _paste_fake(cells, weight, foreground, keep, cell, height, width):
    return foreground.new_empty((cells.shape[0], cells.shape[3] // cell**2, height, width))


@_lift.register_fake
def _lift_fake(image, weight, keep, cell, rows, columns, wide):
    size = (image.shape[0], rows, columns, cell**2 * image.shape[1])
    cells = image.new_empty(size, dtype=torch.float32 if wide else image.dtype)
    return cells, image.new_empty(image.shape if keep else (0,))


lift = differentiable(_lift, no_second_derivative, keep_nothing, linear_in=(0,))


def value_cells(value: Tensor, m: int, kept: Tensor | None, options: Options) -> Tensor:
    """(B, Cv, m * Hb, m * Wb) -> (B, hb + 1, wb + 1, K): position q pastes the 2 x 2 cells from cell q on.

    Zeros where not `kept`, (B or 1, hb + 1, wb + 1) bool; None: all are.
    """
    cell = options.rate * m
    rows, columns = (ceil_div(n, cell) + 1 for n in value.shape[2:])
    return cut(value, cell, rows, columns, kept)


def shares(positions: tuple[int, int], selected: Tensor | None, options: Options, like: Tensor) -> Tensor:
    """What a patch pasted on a cell counts for, 0 where none is: one over the patches in its sum.

    Args:
        positions: h, w.
        selected: (B or 1, h, w) bool, the patches that paste; None: all.
        like: For the device.

    Returns:
        (B or 1, h + 1, w + 1) float32.
    """
    pasted = like.new_ones((1, *positions), dtype=torch.float32) if selected is None else selected.float()
    pasted = F.pad(pasted, (1, 1, 1, 1))
    count = pasted[:, :-1, :-1] + pasted[:, :-1, 1:] + pasted[:, 1:, :-1] + pasted[:, 1:, 1:]
    divisor = count if options.overlap == "mean" else torch.full_like(count, 4)
    return torch.where(count > 0, 1 / divisor, 0)
