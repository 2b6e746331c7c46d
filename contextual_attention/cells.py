"""The O(N + M) tensor code around the fused operator: what it takes, and what becomes of what it returns.

The heavy part is torch.ops.contextual_attention.attend (see ops.py). Everything here is plain differentiable
torch code, and no shape depends on the contents of a tensor: it compiles and exports with dynamic sizes.

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

from .derivatives import by_samples, differentiable, keep_nothing, no_second_derivative
from .options import Options


def ceil_div(n: int, divisor: int) -> int:
    # Not -(-n // divisor): negative sizes are more than torch.compile can prove things about.
    return (n + divisor - 1) // divisor


def resolution(x: Tensor, features: Tensor) -> int:
    """How many times finer `x` is than `features`: m for a value, j for a mask.

    An int even where sizes are symbolic: a compiled graph serves all sizes of one resolution.
    """
    return int(x.shape[2] // features.shape[2])


# Downscaling
#
# Picking pixels and placing them back are each other's adjoint. They are operators for the sake of speed (the
# CPU kernels are one transposing copy, csrc/maps.cpp) and of torch.compile: with index_select its backward
# corrupted memory (2.13, CPU), and strided slices make it tell odd heights from even ones.


@torch.library.custom_op("contextual_attention::pick", mutates_args=())
def _pick(image: Tensor, rows: Tensor, columns: Tensor, kept: Tensor | None) -> Tensor:
    """The pixels where some rows (h,) and columns (w,) meet, zeros where not `kept`, (B or 1, h, w) bool.

    (B, C, H, W) -> (B, h, w, C), contiguous.
    """
    picked = image.index_select(2, rows).index_select(3, columns)
    return _only(kept, picked.permute(0, 2, 3, 1)).contiguous()


@torch.library.custom_op("contextual_attention::place", mutates_args=())
def _place(
    pixels: Tensor, rows: Tensor, columns: Tensor, height: int, width: int, kept: Tensor | None
) -> Tensor:
    """Pixels that are `kept` at different rows (h,) and columns (w,) of a map of zeros.

    (B, h, w, C) -> (B, C, H, W), contiguous.
    """
    image = pixels.new_zeros((pixels.shape[0], pixels.shape[3], height, width))
    image[:, :, rows[:, None], columns] = _only(kept, pixels).permute(0, 3, 1, 2)
    return image


def _only(kept: Tensor | None, x: Tensor) -> Tensor:
    """x (B, h, w, channels) where it is `kept`, (B or 1, h, w) bool, else 0, of NaN too; None: all is."""
    return x if kept is None else torch.where(kept[..., None], x, 0)


@_pick.register_fake
def _pick_fake(image, rows, columns, kept):
    return image.new_empty((image.shape[0], rows.shape[0], columns.shape[0], image.shape[1]))


@_place.register_fake
def _place_fake(pixels, rows, columns, height, width, kept):
    return pixels.new_empty((pixels.shape[0], pixels.shape[3], height, width))


def _keep_pixels(ctx, inputs, output):
    ctx.size = inputs[0].shape[2:]
    ctx.save_for_backward(*inputs[1:3], inputs[-1])


def _pick_backward(ctx, gradient):
    rows, columns, kept = ctx.saved_tensors
    return place(gradient, rows, columns, *ctx.size, kept), None, None, None


def _place_backward(ctx, gradient):
    return pick(gradient, *ctx.saved_tensors), None, None, None, None, None


pick = differentiable(_pick, _pick_backward, _keep_pixels, linear_in=(0,))
place = differentiable(_place, _place_backward, _keep_pixels, linear_in=(0,))


def downscale(x: Tensor, kept: Tensor | None, options: Options) -> Tensor:
    """The map at the pixels that stand for each position, zeros where not `kept`; None: all are.

    (B, C, H, W), (B or 1, h, w) bool -> (B, h, w, C), contiguous.
    """
    rows, columns = (_pixels(size, options.rate, x.device, options) for size in x.shape[2:])
    return pick(x, rows, columns, kept)


def _pixels(size: int, rate: int, device: torch.device, options: Options) -> Tensor:
    """The pixel, of `size`, that each of the ceil(size / rate) positions reads: int64."""
    small = ceil_div(size, rate)
    positions = torch.arange(small, device=device)
    if options.downscale == "strided":
        return positions * rate
    # floor(i * sigma + 1/2), sigma = (size - 1) / (small - 1), in float32 throughout, as in TensorFlow: where
    # the exact value is a tie, rounding decides. (One position reads pixel 0; max() keeps sigma finite.)
    intervals = torch.full((), max(small - 1, 1), dtype=torch.float32, device=device)
    sigma = torch.full((), size - 1, dtype=torch.float32, device=device) / intervals
    return torch.floor(positions.float() * sigma + 0.5).long()


def downscale_mask(mask: Tensor, features: Tensor, options: Options) -> Tensor:
    """Which positions are missing.

    Args:
        mask: (B or 1, 1, j * H, j * W), non-zero = missing.
        features: (B, C, H, W), the map that it is for.

    Returns:
        (B or 1, h, w) bool.
    """
    j = resolution(mask, features)
    missing = mask[:, 0] != 0
    if options.mask_downscale == "sampled":
        rows, columns = (
            _pixels(j * size, j, mask.device, options)[_pixels(size, options.rate, mask.device, options)]
            for size in features.shape[2:]
        )
        return missing[:, rows[:, None], columns]
    batch, height, width = missing.shape
    block = j * options.rate
    h, w = ceil_div(height, block), ceil_div(width, block)
    whole = F.pad(missing, (0, w * block - width, 0, h * block - height))
    return whole.view(batch, h, block, w, block).any(4).any(2)


def selection(foreground_mask: Tensor | None, foreground: Tensor, options: Options) -> Tensor | None:
    """Which foreground patches attend, those centred on a missing pixel: (B or 1, h, w) bool; None: all."""
    if foreground_mask is None:
        return None
    return downscale_mask(foreground_mask, foreground, options)


# Norms and validity


def reciprocal_norms(x: Tensor, options: Options) -> Tensor:
    """1 / |X_p| of the ksize x ksize patch around every position: (B, h, w, C) -> (B, h, w) float32."""
    # Not x.float() of half precision, which autograd would keep: twice the size of x.
    squares = x.square().sum(-1) if x.dtype == torch.float32 else _sum_of_squares(x)
    squares = _window_sum(squares, options.ksize)
    if options.eps_mode == "sum":
        return torch.rsqrt(squares + options.ksize**2 * x.shape[-1] * options.eps)
    # Clamped before the root, whose slope at 0 is infinite: a zero patch has gradient 0, not NaN.
    return torch.rsqrt(squares.clamp_min(options.eps**2))


@torch.library.custom_op("contextual_attention::squares", mutates_args=())
def _squares(x: Tensor) -> Tensor:
    """Summed over the channels: (B, h, w, C) -> (B, h, w) float32."""
    return x.float().square().sum(-1)


@_squares.register_fake
def _squares_fake(x):
    return x.new_empty(x.shape[:3], dtype=torch.float32)


def _keep_features(ctx, inputs, output):
    ctx.save_for_backward(*inputs)


def _squares_backward(ctx, gradient):
    (x,) = ctx.saved_tensors
    return (gradient[..., None] * (2 * x.float())).to(x.dtype)


_sum_of_squares = differentiable(_squares, _squares_backward, _keep_features, linear_in=())


def _window_sum(x: Tensor, ksize: int) -> Tensor:
    """Sums over ksize x ksize windows, zeros outside: (B, h, w) -> the same."""
    return F.avg_pool2d(x[:, None], ksize, stride=1, padding=ksize // 2, divisor_override=1)[:, 0]


def validity(mask: Tensor | None, background: Tensor, options: Options) -> Tensor:
    """Which background positions are candidates: on the stride grid, with no missing pixel in their window.

    Args:
        mask: (B or 1, 1, j * Hb, j * Wb), non-zero = missing; None: nothing is.
        background: (B, C, Hb, Wb), for its size and place.

    Returns:
        (B or 1, hb, wb) bool.
    """
    size = (ceil_div(n, options.rate) for n in background.shape[2:])
    rows, columns = (torch.arange(n, device=background.device) % options.stride == 0 for n in size)
    grid = rows[None, :, None] & columns
    if mask is None:
        return grid
    missing = downscale_mask(mask, background, options).float()[:, None]
    touched = F.max_pool2d(missing, options.ksize, stride=1, padding=options.ksize // 2)[:, 0]
    return grid & (touched == 0)


# What nobody looks at
#
# A pixel that takes no part in the result may hold anything, NaN and infinities too, which products with
# weights of 0 would spread. So 0 stands in for it, and it has gradient 0.


def read_by(centres: Tensor | None, options: Options) -> Tensor | None:
    """The positions that the patches at `centres`, or what is propagated to them, are made of.

    (B or 1, h, w) bool -> the same. None: every position.
    """
    if centres is None:
        return None
    propagates = options.propagates and options.propagation == "before"
    taps = options.fuse_k if propagates else 1
    return _read_by(centres, options.ksize, taps, options.stride, options.boundary == "wrap")


# An operator for the sake of torch.compile, as cells are.
@torch.library.custom_op("contextual_attention::read_by", mutates_args=())
def _read_by(centres: Tensor, ksize: int, taps: int, stride: int, wrap: bool) -> Tensor:
    if taps > 1 and wrap:
        # Left-right ran first, so what a position sums is found down the columns first.
        centres = _dilate_flat(_dilate_flat(centres.mT, taps).mT, taps)
    elif taps > 1:
        centres = _dilate(centres, taps, stride)
    return _dilate(centres, ksize)


@_read_by.register_fake
def _read_by_fake(centres, ksize, taps, stride, wrap):
    return centres.new_empty(centres.shape)


@_read_by.register_vmap
def _read_by_vmap(info, in_dims, *inputs):
    return by_samples(_read_by, info.batch_size, in_dims, inputs)


def _dilate(x: Tensor, size: int, step: int = 1) -> Tensor:
    """Whether any position of a size x size window is set, `step` apart: (B, h, w) bool -> the same."""
    reach = size // 2 * step  # pooling itself pads by half a window at most, as if its step were 1
    x = F.max_pool2d(F.pad(x[:, None].float(), (0, 0, reach, reach)), (size, 1), 1, dilation=(step, 1))
    return F.max_pool2d(F.pad(x, (reach, reach)), (1, size), 1, dilation=(1, step))[:, 0] > 0


def _dilate_flat(x: Tensor, size: int) -> Tensor:
    """The same along the flattened index, over the ends of rows."""
    return F.max_pool1d(x.float().flatten(1)[:, None], size, 1, size // 2).view(x.shape) > 0


def pasted_by(patches: Tensor | None) -> Tensor | None:
    """The cells that `patches` paste: (B or 1, h, w) bool -> (B or 1, h + 1, w + 1) bool. None: all."""
    if patches is None:
        return None
    return F.max_pool2d(patches[:, None].float(), 2, stride=1, padding=1)[:, 0] > 0


# Cells
#
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
    """A map of weighted cells, in the dtype of `foreground`. Its gradient: `lift`, in ops.py.

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
