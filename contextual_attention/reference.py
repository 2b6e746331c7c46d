"""Contextual attention, step by step: the eager, dense oracle of the fused backends.

Equations: Yu et al. 2018, "Generative Image Inpainting with Contextual Attention" (arXiv:1801.07892),
section 3, with explicit ksize x ksize patches and every score held at once. It is written to be read and to
judge: it runs in any floating dtype on any device, can be differentiated twice, and shares no code with the
fused road.

Shape legend: B samples; C, Cv feature and value channels; (H, W), (Hb, Wb) foreground and background sizes;
(h, w), (hb, wb) the same downscaled by rate; (hs, ws) the background positions on the stride grid, the
candidates; N = h * w; m the resolution of `value` over the background's; cell = rate * m.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from .call import Call
from .graphs import without_autocast
from .options import Options

# ------------------------------------------------------------------------------------------------------------
# The whole layer


def contextual_attention(call: Call) -> tuple[Tensor, Tensor]:
    """Rebuild `foreground` from patches of `value`, weighted by the similarity of `background`'s patches.

    Half precision operands are computed in float32, as the fused backends accumulate. Holds several
    (B, N, hs * ws) arrays: see `dense_bytes`.

    Returns:
        The output (B, Cv, m * H, m * W) in the dtype of `foreground`, and the offsets (B, 2, h, w) int64.
    """
    options = call.options
    with without_autocast(call.foreground.device.type):
        f, b, v = widen(call.foreground), widen(call.background), widen(call.value)
        selected = select(call.foreground_mask, f.shape[-2:], options)
        weights = final_weights(f, b, call.mask, selected, options)
        valid = validity(call.mask, b.shape[-2:], options, f.device)
        pasted = zero_unless(valid, value_patches(v, call.m, options))
        output = deconvolve(weights, pasted, f, call.m, selected, options)
    return output.to(call.foreground.dtype), offsets(weights, options)


def final_weights(
    f: Tensor, b: Tensor, mask: Tensor | None, selected: Tensor | None, options: Options
) -> Tensor:
    """Final weights A (B, h, w, hs, ws): steps 1 to 6."""
    valid = validity(mask, b.shape[-2:], options, f.device)
    patches = known_patches(f, b, valid, selected, options)
    s = similarity(*patches, options)
    if options.fuse and options.propagation == "before":
        s = propagate(s, options)
    a = keep_selected(attend(s, valid, options), selected)
    if options.fuse and options.propagation == "after":
        a = keep_selected(rescale(propagate(a, options), valid), selected)
    return a


def dense_bytes(call: Call) -> int:
    """Bytes that `contextual_attention` takes at its peak, gradients included when an operand requires them.

    An estimate of the arrays that grow with N * hs * ws and of the patches; it reads shapes only.
    """
    foreground, background, value, options = call.foreground, call.background, call.value, call.options
    batch, channels, height, width = foreground.shape
    candidates = math.prod(_ceil(_ceil(n, options.rate), options.stride) for n in background.shape[-2:])
    positions = math.prod(_ceil(n, options.rate) for n in (height, width))
    everywhere = math.prod(_ceil(n, options.rate) for n in background.shape[-2:])
    cell = options.rate * call.m
    patches = options.ksize**2 * channels * (positions + everywhere)
    pasted = (2 * cell) ** 2 * value.shape[1] * (positions + everywhere)
    learns = torch.is_grad_enabled() and any(x.requires_grad for x in (foreground, background, value))
    # Measured: scores, logits, softmax, weights; propagation adds padded copies, a backward their gradients.
    copies = (8 if options.fuse else 5) if learns else (6 if options.fuse else 4)
    element = max(4, foreground.element_size())
    return batch * element * (copies * positions * candidates + 2 * (patches + pasted))


# ------------------------------------------------------------------------------------------------------------
# Step 1: downscale


def downscale(x: Tensor, options: Options) -> Tensor:
    """(B, C, H, W) -> (B, C, h, w), nearest."""
    rows, columns = (sampled_pixels(n, options.rate, options, x.device) for n in x.shape[-2:])
    return x[..., rows, :][..., columns]


def sampled_pixels(size: int, rate: int, options: Options, device: torch.device) -> Tensor:
    """The pixel, of `size`, that each of the ceil(size / rate) downscaled positions reads: int64."""
    small = _ceil(size, rate)
    position = torch.arange(small, device=device)
    if options.downscale == "strided":
        return position * rate
    if small == 1:
        return position
    # TensorFlow's nearest resize with align_corners=True, in float32 as there: its rounding decides the ties.
    pixels, intervals = (torch.tensor(n - 1, dtype=torch.float32, device=device) for n in (size, small))
    sigma = pixels / intervals
    return torch.floor(position.float() * sigma + 0.5).long()


# ------------------------------------------------------------------------------------------------------------
# Step 2: patches


def foreground_patches(f: Tensor, options: Options) -> Tensor:
    """F_p, the ksize x ksize patch around every position of the downscaled map: (B, h, w, ksize**2 * C)."""
    return _patches(downscale(f, options), options.ksize)


def background_patches(b: Tensor, options: Options) -> Tensor:
    """B_q, the patches around the positions on the stride grid: (B, hs, ws, ksize**2 * C)."""
    return _patches(downscale(b, options), options.ksize)[:, :: options.stride, :: options.stride]


def _patches(x: Tensor, ksize: int) -> Tensor:
    columns = F.unfold(x, ksize, padding=ksize // 2)
    return columns.transpose(1, 2).unflatten(1, x.shape[-2:])


# ------------------------------------------------------------------------------------------------------------
# Step 3: similarity


def similarity(foreground: Tensor, background: Tensor, options: Options) -> Tensor:
    """s[p, q] = <F_p, B_q> / (|F_p| |B_q|), or <F_p, B_q> / |B_q|.

    (B, x, y, K), (B, hs, ws, K) -> (B, x, y, hs, ws); (x, y) are (h, w), or a query and its taps.
    """
    if options.normalize == "both":
        foreground = foreground / norm(foreground, options)
    background = background / norm(background, options)
    return torch.einsum("bxyk,bijk->bxyij", foreground, background)


def norm(patches: Tensor, options: Options) -> Tensor:
    """|x| = max(||x||, eps), or sqrt(sum(x_i**2 + eps)): (B, x, y, K) -> (B, x, y, 1)."""
    squares = patches.square().sum(-1, keepdim=True)
    if options.eps_mode == "sum":
        return torch.sqrt(squares + patches.shape[-1] * options.eps)
    # Clamped under the root: the root's own slope at 0 is infinite, and 0 * inf would be NaN.
    return torch.sqrt(squares.clamp_min(options.eps**2))


# ------------------------------------------------------------------------------------------------------------
# Step 4: validity and selection


def validity(mask: Tensor | None, size: tuple[int, int], options: Options, device: torch.device) -> Tensor:
    """Which candidates have no missing pixel in their window: (B or 1, hs, ws) bool."""
    if mask is None:
        mask = torch.zeros(1, 1, *size, device=device)
    missing = downscale_mask(mask, size, options)
    touched = F.max_pool2d(missing, options.ksize, stride=1, padding=options.ksize // 2)
    return touched[:, 0, :: options.stride, :: options.stride] == 0


def select(foreground_mask: Tensor | None, size: tuple[int, int], options: Options) -> Tensor | None:
    """The foreground patches to rebuild, those centred on a missing pixel: (B or 1, h, w) bool; None: all."""
    if foreground_mask is None:
        return None
    return downscale_mask(foreground_mask, size, options)[:, 0] != 0


def downscale_mask(mask: Tensor, size: tuple[int, int], options: Options) -> Tensor:
    """(B, 1, j * H, j * W) over a map of `size` (H, W) -> (B, 1, h, w) float32, 1 = missing."""
    missing = (mask != 0).float()
    scale = missing.shape[-2] // size[0]
    if options.mask_downscale == "any":
        return F.max_pool2d(missing, scale * options.rate, ceil_mode=True)
    rows, columns = (sampled_pixels(scale * n, scale, options, mask.device) for n in size)
    return downscale(missing[..., rows, :][..., columns], options)


def keep_selected(weights: Tensor, selected: Tensor | None) -> Tensor:
    """Weights (B, h, w, hs, ws), 0 for the foreground patches that are not rebuilt."""
    return weights if selected is None else torch.where(selected[..., None, None], weights, 0)


def known_patches(
    f: Tensor, b: Tensor, valid: Tensor, selected: Tensor | None, options: Options
) -> tuple[Tensor, Tensor]:
    """F_p and B_q, zeros for those that take no part: what they hold, NaN too, must reach no other."""
    patches = foreground_patches(f, options)
    if selected is not None:
        patches = zero_unless(counting(selected, options.stride, options), patches)
    return patches, zero_unless(counting(valid, 1, options), background_patches(b, options))


def zero_unless(kept: Tensor, patches: Tensor) -> Tensor:
    """Patches (B, x, y, K), zeros where not `kept`, (B or 1, x, y) bool."""
    return torch.where(kept[..., None], patches, 0)


def counting(centres: Tensor, step: int, options: Options) -> Tensor:
    """The patches (B, x, y) whose similarities count for some at `centres`; taps are `step` apart."""
    if not (options.fuse and options.propagation == "before"):
        return centres

    def spread(x: Tensor, dim: int) -> Tensor:
        reach, n = options.fuse_k // 2 * step, x.shape[dim]
        padded = F.pad(x.movedim(dim, -1), (reach, reach))
        return sum(padded[..., i * step : i * step + n] for i in range(options.fuse_k)).movedim(-1, dim)

    height, width = centres.shape[1:]
    x = centres.float()
    if options.boundary == "zero":
        return spread(spread(x, 1), 2) > 0
    # Left-right comes first, so what a position reads goes down the columns first, over their ends.
    x = spread(x.transpose(1, 2).flatten(1), 1).unflatten(1, (width, height)).transpose(1, 2)
    return spread(x.flatten(1), 1).unflatten(1, (height, width)) > 0


# ------------------------------------------------------------------------------------------------------------
# Step 5: attention


def attend(s: Tensor, valid: Tensor, options: Options) -> Tensor:
    """A[p, .] = softmax over q of softmax_scale * s[p, q], 0 on the invalid: (B, x, y, hs, ws).

    "exclude" leaves the invalid out of the sum, "multiply" lets them in with a logit of 0. The product with
    `valid` also gives a row with no valid candidate its zeros, with zero gradients.
    """
    logit = torch.finfo(s.dtype).min if options.masking == "exclude" else 0.0
    valid = valid[:, None, None]
    logits = (options.softmax_scale * s).masked_fill(~valid, logit)
    return torch.softmax(logits.flatten(3), dim=-1).view_as(logits) * valid


def rescale(weights: Tensor, valid: Tensor) -> Tensor:
    """Drop what propagation laid on invalid candidates and bring every row back to sum 1 (or 0)."""
    weights = weights * valid[:, None, None]
    total = weights.sum((-2, -1), keepdim=True)
    # A sum that is not even a normal number holds no digits to rescale, and its reciprocal could overflow.
    least = torch.finfo(total.dtype).tiny
    return torch.where(total >= least, weights / total.clamp_min(least), 0)


# ------------------------------------------------------------------------------------------------------------
# Step 6: propagation


def propagate(x: Tensor, options: Options) -> Tensor:
    """x^[p, q] = sum_i x[p + i e, q + i e], left-right, then top-down: (B, h, w, hs, ws) -> the same."""
    k, (batch, h, w, hs, ws) = options.fuse_k, x.shape
    if options.boundary == "zero":
        x = diagonal_sum(x.permute(0, 1, 3, 2, 4), k, options.stride)  # (B, h, hs, w, ws)
        x = diagonal_sum(x.permute(0, 3, 4, 1, 2), k, options.stride)  # (B, w, ws, h, hs)
        return x.permute(0, 3, 1, 4, 2)
    # The published shift acts on flattened indices, so it runs over the ends of rows, then of columns.
    x = diagonal_sum(x.reshape(batch, h * w, hs * ws), k)
    x = x.view(batch, h, w, hs, ws).permute(0, 2, 1, 4, 3)
    x = diagonal_sum(x.reshape(batch, w * h, ws * hs), k)
    return x.view(batch, w, h, ws, hs).permute(0, 2, 1, 4, 3)


def diagonal_sum(x: Tensor, k: int, step: int = 1) -> Tensor:
    """sum_i x[..., p + i * step, q + i], |i| <= k // 2, zero outside: (..., n, m) -> the same.

    q counts candidates, which lie `step` = stride positions apart, as the taps do.
    """
    n, m = x.shape[-2:]
    reach = min(k // 2, m - 1, (n - 1) // step)  # taps further on read zeros alone
    padded = F.pad(x, (reach, reach, reach * step, reach * step))
    return sum(padded[..., i * step : i * step + n, i : i + m] for i in range(2 * reach + 1))


# ------------------------------------------------------------------------------------------------------------
# Step 7: deconvolution


def deconvolve(
    weights: Tensor, patches: Tensor, foreground: Tensor, m: int, selected: Tensor | None, options: Options
) -> Tensor:
    """Every foreground patch pastes its weighted sum of the value's `patches`, and overlaps are averaged.

    Returns (B, Cv, m H, m W).
    """
    batch, h, w, _, _ = weights.shape
    cell = options.rate * m
    channels = patches.shape[-1] // (2 * cell) ** 2
    height, width = (m * n for n in foreground.shape[-2:])
    half = cell // 2  # where the first patch begins, before the edge

    def paste(patches: Tensor) -> Tensor:  # (B, channels * (2 cell)**2, N) -> (B, channels, m H, m W)
        canvas = F.fold(patches, ((h + 1) * cell, (w + 1) * cell), 2 * cell, stride=cell)
        return canvas[..., half : half + height, half : half + width]

    borrowed = torch.einsum("bxyij,bijk->bkxy", weights, patches)
    pasted = paste(borrowed.flatten(2))
    counted = torch.ones(1, h, w, device=weights.device) if selected is None else selected.float()
    count = paste(counted.view(-1, 1, h * w).expand(-1, (2 * cell) ** 2, -1).to(weights.dtype))
    output = pasted / (count.clamp_min(1) if options.overlap == "mean" else 4)
    if selected is not None and m == 1 and channels == foreground.shape[1]:
        output = torch.where(count > 0, output, foreground)
    return output


def value_patches(value: Tensor, m: int, options: Options) -> Tensor:
    """The patch of `value` around every candidate, zeros outside: (B, hs, ws, Cv * (2 cell)**2)."""
    cell = options.rate * m
    before = cell // 2
    hb, wb = (_ceil(n, cell) for n in value.shape[-2:])
    bottom = (hb + 1) * cell - before - value.shape[-2]
    right = (wb + 1) * cell - before - value.shape[-1]
    columns = F.unfold(F.pad(value, (before, right, before, bottom)), 2 * cell, stride=cell)
    return columns.transpose(1, 2).unflatten(1, (hb, wb))[:, :: options.stride, :: options.stride]


# ------------------------------------------------------------------------------------------------------------
# Offsets


def offsets(weights: Tensor, options: Options) -> Tensor:
    """(row, column) from each foreground patch to its heaviest candidate, or 0: (B, 2, h, w) int64."""
    _, h, w, _, ws = weights.shape
    heaviest, candidate = weights.detach().flatten(3).max(-1)
    row = candidate // ws * options.stride - torch.arange(h, device=weights.device)[:, None]
    column = candidate % ws * options.stride - torch.arange(w, device=weights.device)
    return torch.stack((row, column), 1) * (heaviest > 0)[:, None]


# ------------------------------------------------------------------------------------------------------------
# Single rows of the weights


def attention_weights(call: Call, queries: Tensor) -> Tensor:
    """Final weights A[p, .] of chosen foreground positions, as maps over the downscaled background.

    Only the rows that reach a query by propagation are computed: O(Q * fuse_k**2 * hs * ws) memory.

    Args:
        call: Its value does not matter.
        queries: (Q, 2) or (B, Q, 2) integer, (row, column) on the downscaled foreground grid.

    Returns:
        (B, Q, hb, wb) in the dtype of `foreground`; 0 off the stride grid.
    """
    options = call.options
    with without_autocast(call.foreground.device.type):
        f, b = widen(call.foreground), widen(call.background)
        selected = select(call.foreground_mask, f.shape[-2:], options)
        rows = queries.to(f.device, torch.int64).expand(f.shape[0], -1, -1)
        weights = _weight_rows(f, b, call.mask, selected, rows, options)
        hb, wb = (_ceil(n, options.rate) for n in b.shape[-2:])
        maps = weights.new_zeros(*weights.shape[:2], hb, wb)
        maps[..., :: options.stride, :: options.stride] = weights
    return maps.to(call.foreground.dtype)


def _weight_rows(
    f: Tensor, b: Tensor, mask: Tensor | None, selected: Tensor | None, queries: Tensor, options: Options
) -> Tensor:
    """Final weights (B, Q, hs, ws) of the rows `queries` (B, Q, 2)."""
    valid = validity(mask, b.shape[-2:], options, f.device)
    f_patches, b_patches = known_patches(f, b, valid, selected, options)
    neighbours, inside = _neighbours(queries, f_patches.shape[1:3], options)  # (B, Q, T, 2), (B, Q, T)
    s = similarity(_at(f_patches, neighbours), b_patches, options)  # (B, Q, T, hs, ws)
    if options.fuse and options.propagation == "before":
        s = _gather_taps(s * inside[..., None, None], options)[:, :, None]
        inside = inside.new_ones(s.shape[:3])
    a = attend(s, valid, options) * inside[..., None, None]
    if options.fuse and options.propagation == "after":
        a = keep_selected(a, _selected_at(selected, neighbours))
        a = rescale(_gather_taps(a, options)[:, :, None], valid)
    return keep_selected(a, _selected_at(selected, queries[:, :, None]))[:, :, 0]


def _taps(options: Options) -> list[tuple[int, int]]:
    """The (row, column) taps whose rows reach a query: fuse_k**2, or the query's own alone."""
    reach = options.fuse_k // 2 if options.fuse else 0
    return [(j, i) for j in range(-reach, reach + 1) for i in range(-reach, reach + 1)]


def _neighbours(queries: Tensor, size: tuple[int, int], options: Options) -> tuple[Tensor, Tensor]:
    """The foreground positions (B, Q, T, 2) that each query's taps read, and whether they exist (B, Q, T)."""
    row, column = queries.unbind(-1)
    step = options.stride
    moved = [_moved(row, column, j * step, i * step, size, options) for j, i in _taps(options)]
    rows, columns, inside = (torch.stack(x, -1) for x in zip(*moved, strict=True))
    return torch.stack((rows, columns), -1), inside


def _gather_taps(x: Tensor, options: Options) -> Tensor:
    """sum_t of x[:, :, t] read at the candidates that tap t moves to: (B, Q, T, hs, ws) -> (B, Q, hs, ws)."""
    size = x.shape[-2:]
    row, column = torch.meshgrid(*(torch.arange(n, device=x.device) for n in size), indexing="ij")
    total = torch.zeros_like(x[:, :, 0])
    for t, (j, i) in enumerate(_taps(options)):
        from_row, from_column, inside = _moved(row, column, j, i, size, options)
        total = total + x[:, :, t][..., from_row, from_column] * inside
    return total


def _moved(
    row: Tensor, column: Tensor, down: int, right: int, size: tuple[int, int], options: Options
) -> tuple[Tensor, Tensor, Tensor]:
    """The position that a tap reads (0 if there is none), and whether there is one."""
    height, width = size
    if options.boundary == "zero":
        row, column = row + down, column + right
        inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    else:
        # Propagation runs left-right first, so its value at a position is read down the column first.
        flat = column * height + row + down
        inside = (flat >= 0) & (flat < height * width)
        flat = flat % height * width + flat // height + right
        inside = inside & (flat >= 0) & (flat < height * width)
        row, column = flat // width, flat % width
    return torch.where(inside, row, 0), torch.where(inside, column, 0), inside


def _at(x: Tensor, positions: Tensor) -> Tensor:
    """x (B, h, w, ...) at positions (B, ..., 2)."""
    batch = torch.arange(x.shape[0], device=x.device).view(-1, *[1] * (positions.dim() - 2))
    return x[batch, positions[..., 0], positions[..., 1]]


def _selected_at(selected: Tensor | None, positions: Tensor) -> Tensor | None:
    return None if selected is None else _at(selected.expand(positions.shape[0], -1, -1), positions)


# ------------------------------------------------------------------------------------------------------------
# Small helpers


def widen(x: Tensor) -> Tensor:
    """Half precision to float32: scores, sums and gradients accumulate there."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def _ceil(n: int, divisor: int) -> int:
    return -(-n // divisor)
