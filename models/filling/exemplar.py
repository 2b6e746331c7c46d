"""Filling holes in photographs without training, by contextual attention to the photograph itself.

At every scale of a pyramid, from coarse to fine, the missing patches attend to the known patches of the same
picture, some rounds long, and are replaced by them. What was found at one scale is pasted at the next finer
one from the finer picture, as the layer's high-resolution `value`.

Shape legend: H, W the picture at a scale; N patches of the hole; M patches to borrow from; m resolution of a
value over the picture's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from contextual_attention import contextual_attention

from .blend import blend_copies, copy_pixels
from .descriptors import PATCHES, Patch, count_sources, describe, unusable, with_texture
from .pyramid import Level, dilate, finest_level, halve, is_thin, smooth_fill
from .tiles import Guide, attend_by_tiles

Progress = Callable[[float], None]

# A scale with fewer patches to borrow from has nothing to choose from.
_FEWEST_SOURCES = 64
# Descriptors take about 200 bytes a pixel: a full search over more pixels would fill the memory.
_LARGEST_FULL_SEARCH = 2**19


@dataclass(frozen=True)
class ExemplarOptions:
    """How `fill_exemplar` searches.

    Args:
        rounds: Rounds of attention at each scale, at least 1; default 3.
        softmax_scale: Of the last round at a scale, > 0; default 1e6: patches are copied, hardly mixed, even
            where they differ by a faint grain alone. Each round before it is half as sharp as the one after.
        fuse_k: Taps of the propagation, odd; default 5.
        start_depth: A scale is coarse enough to begin with if no pixel of the hole is deeper inside than
            this, in pixels, at least 1; default 6.
        full_search: Scores, N * M, up to which a scale is searched over all patches; default 3e8. Finer
            scales are searched around what the scale before has found.
        blend: Whether the levels of the copies are adapted to each other and to what is known, see
            `blend_copies`; default True. False: every pixel is a copy of a known one.
        workspace: As in `contextual_attention`.
        backend: As in `contextual_attention`.
    """

    rounds: int = 3
    softmax_scale: float = 1e6
    fuse_k: int = 5
    start_depth: int = 6
    full_search: float = 3e8
    blend: bool = True
    workspace: int | None = None
    backend: str | None = None

    def layer(self, patch: Patch, softmax_scale: float | None = None) -> dict[str, Any]:
        """The layer's options for comparing such patches."""
        return {
            "rate": 1,
            "ksize": patch.ksize,
            "fuse_k": self.fuse_k,
            "softmax_scale": self.softmax_scale if softmax_scale is None else softmax_scale,
            "workspace": self.workspace,
            "backend": self.backend,
            "return_offsets": True,
        }


class Filled(NamedTuple):
    """A filled picture.

    Attributes:
        image: (1, C, H, W); known pixels are those that came in, bit for bit.
        offsets: (1, 2, H, W) int64: (row, column) from each filled pixel to where its patch came from; 0
            elsewhere.
    """

    image: Tensor
    offsets: Tensor


@torch.no_grad()
def fill_exemplar(
    image: Tensor,
    hole: Tensor,
    options: ExemplarOptions | None = None,
    progress: Progress | None = None,
) -> Filled:
    """Fill the holes of a picture with its own patches; needs no weights.

    Rounds of contextual attention (Yu et al. 2018, arXiv:1801.07892, section 3.2, with its propagation), the
    picture being foreground and background at rate 1, in the coarse-to-fine scheme of Wexler et al.,
    "Space-Time Completion of Video", PAMI 2007. The coarsest scale is first filled ring by ring from the
    border of the hole, each finer one starts from the one before. At last the copies are joined by
    `blend_copies`. Nothing is random.

    Args:
        image: (1, C, H, W) float32 in [-1, 1].
        hole: (1, 1, H, W) bool: pixels to fill; at least one pixel is known.
        options: Default: ``ExemplarOptions()``.
        progress: Called after every round with the share of the work that is done, in (0, 1].

    Returns:
        Filled.

    Raises:
        ValueError: Shapes that do not fit, nothing known, or a workspace that is too small.

    Cost: at a scale, time goes with N * M up to ``full_search``, beyond it with N alone. Memory: about 200
    bytes a pixel of the picture, and ``workspace``. 12 megapixels, 1 % missing: 2.7 GB, 80 s of one core.

    Examples:
        >>> image = torch.linspace(-9, 9, 48).sin().expand(1, 3, 48, 48).contiguous()
        >>> hole = torch.zeros(1, 1, 48, 48, dtype=torch.bool)
        >>> hole[..., 20:28, 20:28] = True
        >>> bool((fill_exemplar(image, hole).image - image).abs().max() < 0.1)  # all rows are alike
        True
    """
    check_picture(image, hole)
    options = options or ExemplarOptions()
    patch = _widest_patch(hole)
    pyramid = _pyramid(with_texture(image, ~hole), hole, patch, options.start_depth)
    scales = [options.softmax_scale / 2**k for k in reversed(range(options.rounds))]
    advance = _meter(pyramid, options.rounds, progress)
    estimate, guide = _peel(pyramid[-1], patch, options), None
    for level, finer in zip(pyramid[:0:-1], pyramid[-2::-1], strict=True):
        estimate, guide = _sharpen(level, estimate, guide, patch, scales, options, advance)
        estimate, guide = _refine(level, finer, estimate, guide, patch, options)
    _, guide = _sharpen(pyramid[0], estimate, guide, patch, scales, options, advance)
    # Not the estimate: the layer averages patches that overlap or are equally alike, where grain is lost.
    place = blend_copies if options.blend else copy_pixels
    return Filled(torch.where(hole, place(image, hole, guide), image), guide * hole)


def check_picture(image: Tensor, hole: Tensor) -> None:
    """Refuse what no method can fill."""
    if image.dim() != 4 or image.shape[0] != 1 or 0 in image.shape:
        raise ValueError(f"image: expected shape (1, C, H, W), got {tuple(image.shape)}")
    if hole.dtype != torch.bool or hole.shape != (1, 1, *image.shape[2:]):
        raise ValueError(
            f"hole: expected bool of shape {(1, 1, *image.shape[2:])}, got {hole.dtype}, {tuple(hole.shape)}"
        )
    if bool(hole.all()):
        raise ValueError("hole: every pixel is missing, there is nothing to fill it with")


def _widest_patch(hole: Tensor) -> Patch:
    """The widest patch of which the picture has enough to borrow; a single pixel if it must be."""
    for patch in PATCHES[:-1]:
        if count_sources(hole, patch) >= _FEWEST_SOURCES:
            return patch
    return PATCHES[-1]


def _pyramid(image: Tensor, hole: Tensor, patch: Patch, start_depth: int) -> list[Level]:
    """The finest scale first, the last one so coarse that the hole is thin."""
    pyramid = [finest_level(image, hole)]
    while patch.reach > 0 and not is_thin(pyramid[-1].hole, start_depth):
        coarser = halve(pyramid[-1])
        if count_sources(coarser.missing, patch) < _FEWEST_SOURCES:
            break
        pyramid.append(coarser)
    return pyramid


def _meter(pyramid: list[Level], rounds: int, progress: Progress | None) -> Callable[[Level], None]:
    """What to call after each round at a level: it tells ``progress`` how much of all rounds is done."""
    sizes = [int(level.hole.sum()) for level in pyramid]
    total, done = max(1, rounds * sum(sizes)), 0

    def advance(level: Level) -> None:
        nonlocal done
        done += int(level.hole.sum())
        if progress is not None:
            progress(done / total)

    return advance


def _peel(level: Level, patch: Patch, options: ExemplarOptions) -> Tensor:
    """A first estimate: ring after ring is filled, compared by what is known or filled already."""
    # A pasted patch is 2 x 2 pixels: of a patch of one pixel, the others may lie in the hole.
    image, defined = smooth_fill(level.image, level.hole), ~level.hole
    while not bool(defined.all()):
        ring = dilate(defined, 1) & ~defined
        found, _ = _attend(level, image, defined, ring, image, patch, options.layer(patch))
        image, defined = torch.where(ring, found, image), defined | ring
    return image


def _sharpen(
    level: Level,
    estimate: Tensor,
    guide: Tensor | None,
    patch: Patch,
    scales: list[float],
    options: ExemplarOptions,
    advance: Callable[[Level], None],
) -> tuple[Tensor, Tensor]:
    """Rounds of attention at one scale, each sharper than the one before: the estimate and the offsets."""
    for scale in scales:
        found, guide = _search(level, estimate, guide, level.hole, estimate, patch, options, scale)
        estimate = torch.where(level.hole, found, estimate)
        advance(level)
    return estimate, guide


def _refine(
    level: Level, finer: Level, estimate: Tensor, guide: Tensor, patch: Patch, options: ExemplarOptions
) -> tuple[Tensor, Tensor]:
    """The same patches pasted from the next finer scale: its estimate, and offsets in its pixels."""
    (height, width), (H, W) = finer.image.shape[2:], level.image.shape[2:]
    value = F.pad(finer.image, (0, 2 * W - width, 0, 2 * H - height), mode="replicate")
    found, offsets = _search(
        level, estimate, guide, level.missing, value, patch, options, options.softmax_scale
    )
    offsets = 2 * offsets.repeat_interleave(2, 2).repeat_interleave(2, 3)
    estimate = torch.where(finer.hole, found[..., :height, :width], finer.image)
    return estimate, offsets[..., :height, :width]


def _search(
    level: Level,
    estimate: Tensor,
    guide: Tensor | None,
    selected: Tensor,
    value: Tensor,
    patch: Patch,
    options: ExemplarOptions,
    scale: float,
) -> tuple[Tensor, Tensor]:
    """Selected patches rebuilt in the value's pixels, and their offsets in this scale's.

    Over all patches where that is affordable or there is no guide yet, else around the guide.
    """
    pixels = estimate.shape[2] * estimate.shape[3]
    affordable = pixels <= _LARGEST_FULL_SEARCH and pixels * int(selected.sum()) <= options.full_search
    if affordable or guide is None:
        return _attend(level, estimate, None, selected, value, patch, options.layer(patch, scale))
    return attend_by_tiles(
        estimate, level.missing, selected, value, Guide(guide, patch), options.layer(patch, scale)
    )


def _attend(
    level: Level,
    estimate: Tensor,
    defined: Tensor | None,
    selected: Tensor,
    value: Tensor,
    patch: Patch,
    layer: dict[str, Any],
) -> tuple[Tensor, Tensor]:
    """Selected patches rebuilt from all patches of the scale."""
    background = describe(estimate, patch.dilation)
    foreground = background if defined is None else describe(estimate, patch.dilation, defined)
    missing = unusable(level.missing, patch.dilation)
    return contextual_attention(
        foreground, background, missing, value=value, foreground_mask=selected, **layer
    )
