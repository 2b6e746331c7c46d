"""The positions of the downscaled maps: their features and norms, which are candidates, which are read.

Tensor code of O(N + M), before the operator (operators.py). No shape depends on what a tensor holds: it
compiles and exports with dynamic sizes.

Shape legend: B samples; C feature channels; H, W a map; h = ceil(H / rate), w likewise, the downscaled map;
j the resolution of a mask over the features'.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .derivatives import by_samples, differentiable
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
# CPU kernels are one transposing copy, csrc/cpu/map_copies.cpp) and of torch.compile: with index_select its
# backward corrupted memory (2.13, CPU), and strided slices make it tell odd heights from even ones.


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


# Not by torch.library.custom_op: what runs as Python under it imports the compiler, which takes two seconds.
_library = torch.library.Library("contextual_attention", "FRAGMENT")


def _squares(x: Tensor) -> Tensor:
    """Summed over the channels: (B, h, w, C) -> (B, h, w) float32."""
    return x.float().square().sum(-1)


_library.define("squares(Tensor x) -> Tensor")
_library.impl("squares", _squares, "CompositeExplicitAutograd")


@torch.library.register_fake("contextual_attention::squares", lib=_library)
def _squares_fake(x):
    return x.new_empty(x.shape[:3], dtype=torch.float32)


def _keep_features(ctx, inputs, output):
    ctx.save_for_backward(*inputs)


def _squares_backward(ctx, gradient):
    (x,) = ctx.saved_tensors
    return (gradient[..., None] * (2 * x.float())).to(x.dtype)


_sum_of_squares = differentiable(
    torch.ops.contextual_attention.squares.default, _squares_backward, _keep_features, linear_in=()
)


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
    wraps = options.boundary == "wrap"
    return torch.ops.contextual_attention.read_by(centres, options.ksize, taps, options.stride, wraps)


# An operator for the sake of torch.compile, as cells are.
def _read_by(centres: Tensor, ksize: int, taps: int, stride: int, wrap: bool) -> Tensor:
    if taps > 1 and wrap:
        # Left-right ran first, so what a position sums is found down the columns first.
        centres = _dilate_flat(_dilate_flat(centres.mT, taps).mT, taps)
    elif taps > 1:
        centres = _dilate(centres, taps, stride)
    return _dilate(centres, ksize)


_library.define("read_by(Tensor centres, int ksize, int taps, int stride, bool wrap) -> Tensor")
_library.impl("read_by", _read_by, "CompositeExplicitAutograd")


@torch.library.register_fake("contextual_attention::read_by", lib=_library)
def _read_by_fake(centres, ksize, taps, stride, wrap):
    return centres.new_empty(centres.shape)


def _read_by_vmap(info, in_dims, *inputs):
    read_by = torch.ops.contextual_attention.read_by.default
    return by_samples(read_by, info.batch_size, in_dims, inputs)


torch.library.register_vmap("contextual_attention::read_by", _read_by_vmap, lib=_library)


def _dilate(x: Tensor, size: int, step: int = 1) -> Tensor:
    """Whether any position of a size x size window is set, `step` apart: (B, h, w) bool -> the same."""
    reach = size // 2 * step  # pooling itself pads by half a window at most, as if its step were 1
    x = F.max_pool2d(F.pad(x[:, None].float(), (0, 0, reach, reach)), (size, 1), 1, dilation=(step, 1))
    return F.max_pool2d(F.pad(x, (reach, reach)), (1, size), 1, dilation=(1, step))[:, 0] > 0


def _dilate_flat(x: Tensor, size: int) -> Tensor:
    """The same along the flattened index, over the ends of rows."""
    return F.max_pool1d(x.float().flatten(1)[:, None], size, 1, size // 2).view(x.shape) > 0
