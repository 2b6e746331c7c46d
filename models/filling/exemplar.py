"""Filling holes in photographs without training, with patches of the photograph itself.

Every patch that touches the hole attends to the few known patches that are most like it, and is replaced by
them: contextual attention whose scores are found by search, not all computed. What is searched, and how
candidates vote, is in completion.py and search.py; where edges are sure to go on, they guide it (edges.py).

Shape legend: C channels; H, W the picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from .blend import blend_copies, copy_pixels
from .completion import Progress, Settings, complete
from .edges import continue_edges
from .scales import finest_scale
from contextual_attention import contextual_attention
from .descriptors import describe, unusable
from .search import Preferences, Search, fill_rings, positions, search_ring


@dataclass(frozen=True)
class ExemplarOptions:
    """How `fill_exemplar` searches.

    Args:
        radius: Patches are 2 * radius + 1 pixels a side, at least 1; default 3. Where a picture has no such
            patch to borrow, the largest that it has.
        candidates: Sources kept for each patch, 1 to 64; default 1: copies stay sharp.
        rounds: Of search and vote at the coarsest scale, at least 1; default 12. Each finer scale has two
            less, at least 3.
        iterations: Propagations and random searches in a scale's first search, at least 1; default 4.
        start_depths: The scales that are begun with, an attempt each: those at which no pixel of the hole is
            deeper inside than this, in pixels, at least 1. What comes out likeliest is gone on with. Default
            10, 5 and 7: coarse structure repeats in one picture, fine texture counts in another.
        proximity: What a source as far away as the picture is long costs, as a squared difference of bytes a
            pixel, at least 0; default 600.
        trust: How many times more a patch counts in a vote than one a pixel deeper in the hole, at least 1;
            default 3.
        guide: Whether edges that end at the hole are continued; default True.
        blend: Whether the levels of the copies are adapted to each other and to what is known, see
            `blend_copies`; default True. False: every pixel is a copy of a known one.
        seed: Of the random numbers; default 0.
    """

    radius: int = 3
    candidates: int = 1
    rounds: int = 12
    iterations: int = 4
    start_depths: tuple[int, ...] = (10, 5, 7)
    proximity: int = 600
    trust: float = 3.0
    guide: bool = True
    blend: bool = True
    seed: int = 0
    layer: bool = True

    def attempts(self) -> list[Settings]:
        preferences = Preferences(self.proximity, self.trust)
        return [
            Settings(
                *(self.radius, self.candidates, self.rounds, self.iterations, depth),
                *(1.0, preferences, self.seed + 100_000 * i),
            )
            for i, depth in enumerate(self.start_depths)
        ]


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
    """
    check_picture(image, hole)
    options = options or ExemplarOptions()
    home, image, hole = image.device, image.cpu(), hole.cpu()
    if not bool(hole.any()):
        return Filled(image.to(home), hole.new_zeros((1, 2, *image.shape[2:]), dtype=torch.int64).to(home))
    guide = continue_edges(image, hole) if options.guide else None
    search = complete(finest_scale(image, hole, guide), options.attempts(), lambda search: fill_rings(search, _attend_ring if options.layer and search.scale.hole.numel()<16000 else search_ring), progress)
    offsets = search.offsets()
    # Not what was voted: where patches overlap it is their mean, without grain.
    place = blend_copies if options.blend else copy_pixels
    return Filled(torch.where(hole, place(image, hole, offsets), image).to(home), offsets.to(home))


def _attend_ring(search: Search, defined: Tensor, ring: Tensor) -> Tensor:
    """`search.Attend` by the layer: exact, over all patches."""
    scale = search.scale
    colours = scale.features[..., : scale.colours] / 127.5 - 1
    texture = scale.features[..., scale.colours : scale.colours + 2] / 127.5
    image = torch.cat([colours, texture], 2).permute(2, 0, 1)[None].contiguous()
    image = image.masked_fill(~defined, 0)
    dilation, ksize = (1, 2 * search.radius - 1) if search.radius else (0, 1)
    keys = describe(image, dilation)
    _, offsets = contextual_attention(
        describe(image, dilation, defined[None, None]), keys, unusable(scale.missing[None, None], dilation),
        value=image[:, :1], foreground_mask=ring[None, None], rate=1, ksize=ksize, fuse_k=1, softmax_scale=1e6, return_offsets=True)
    at = positions(ring).long()
    width = ring.shape[1]
    moves = offsets[0].flatten(1)[:, at]
    return (at + moves[0] * width + moves[1]).int()


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
