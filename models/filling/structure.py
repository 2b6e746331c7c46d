"""Filling holes in photographs: detail from the photograph itself, structure corrected by a network.

The photograph fills its holes with its own patches (exemplar.py). At a low resolution a network, trained to
correct such fillings, says what colours belong there and how far off it may be (network/structure.py). Where
the patches are further from that than it allows for, their colours are drawn to it, and their detail stays.

Shape legend: C channels; H, W the picture; h, w a window of it at a low resolution; G groups of channels.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..network.drafts import draw_drafts
from ..patches.completion import Progress
from ..patches.pyramid import Level, finest_level, halve
from .exemplar import ExemplarOptions, Filled, fill_exemplar
from .hole_parts import Part, wide_parts

if TYPE_CHECKING:  # which needs the extra models
    from ..network.structure import StructureNetwork

# Smaller parts of a hole have no structure of their own, and of very many the largest have the most to gain.
_SMALLEST_PART, _MOST_PARTS = 64, 64
# As the network was trained: a part of the hole spans at most so many pixels of its window, with at least so
# many known ones around it where the picture has them.
_SPAN, _MARGIN = 72, 32
# Over so many pixels of a window it is judged whether patches are wrong.
_JUDGED = 5
# How much of the error that the network expects is its own, and not the copies' too.
_ALLOWED = 0.35
# Which share of the time the patches take, about.
_COPYING = 0.9


class Window(NamedTuple):
    """What the network sees of a picture around a part of its hole.

    Attributes:
        box: Its rows and columns in the picture.
        halvings: How many times it is halved.
        part: (1, 1, rows, columns) bool: the part of the hole in it.
    """

    box: tuple[slice, slice]
    halvings: int
    part: Tensor


@torch.no_grad()
def fill_structure(
    image: Tensor,
    hole: Tensor,
    network: StructureNetwork,
    options: ExemplarOptions | None = None,
    progress: Progress | None = None,
) -> Filled:
    """Fill the holes of a picture with its own patches, their structure corrected by a network.

    In a window around each part of the hole, halved until the part spans at most 72 pixels, let c be the
    colours of the copies, n what the network makes of the picture around them, with c as one of its drafts,
    and e the error that it expects. To the copies is added, at the full resolution, s (n - c) with

        s = max(0, 1 - a E[e^2] / E[(n - c)^2]),

    means over 5 x 5 pixels of the window: how far the copies are off beyond what the network may be, as James
    and Stein estimate it ("Estimation with quadratic loss", 1961). Both are wrong in the same places, so a,
    which would be 1 if their errors were independent, is 0.35. Parts less than 8 pixels wide are left as they
    are, and those in whose window nothing is known once it is halved.

    Args:
        image: (1, C, H, W) float32 in [-1, 1]. The network sees three channels at once, others as grey.
        hole: (1, 1, H, W) bool: pixels to fill; at least one pixel is known.
        network: Brought to where the image is.
        options: Of the patches, see `fill_exemplar`. Default: ``ExemplarOptions()``.
        progress: Called now and then with the share of the work that is done, in (0, 1].

    Returns:
        Filled; its offsets are 0 where the network's colours count more than the copies'.

    Raises:
        ValueError: As `fill_exemplar`.

    Cost: that of `fill_exemplar`, and some 0.1 s a part of the hole.

    Examples:
        >>> from contextual_attention.models import StructureNetwork
        >>> image = torch.linspace(-9, 9, 48).sin().expand(1, 3, 48, 48).contiguous()
        >>> hole = torch.zeros(1, 1, 48, 48, dtype=torch.bool)
        >>> hole[..., 20:28, 20:28] = True
        >>> fill_structure(image, hole, StructureNetwork(cnum=8).eval()).image.shape
        torch.Size([1, 3, 48, 48])
    """
    copying = None if progress is None else lambda done: progress(_COPYING * done)
    filled = fill_exemplar(image, hole, options, copying)
    network.to(image.device)
    windows = _windows(hole, network.least)
    for number, window in enumerate(windows):
        if progress is not None:
            progress(_COPYING + (1 - _COPYING) * number / len(windows))
        _correct(filled, image, hole, window, network)
    if progress is not None:
        progress(1.0)
    return filled


def _windows(hole: Tensor, least: int) -> list[Window]:
    """Around the parts of a hole (1, 1, H, W) bool, but for those with less than ``least`` pixels a side."""
    parts = wide_parts(hole[0, 0].cpu().numpy(), _SMALLEST_PART, _MOST_PARTS)
    windows = (_window(part, hole) for part in parts)
    return [window for window in windows if min(window.part.shape[2:]) >> window.halvings >= least]


def _window(part: Part, hole: Tensor) -> Window:
    longer = max(part.mask.shape)
    halvings = max(0, math.ceil(math.log2(longer / _SPAN)))
    margin = max(_MARGIN << halvings, (_SPAN << halvings) - longer // 2)
    box, at = [], []
    for first, length, size in zip((part.top, part.left), part.mask.shape, hole.shape[2:], strict=True):
        start = max(0, first - margin) >> halvings << halvings  # where a block begins that becomes a pixel
        box.append(slice(start, min(size, first + length + margin)))
        at.append(slice(first - start, first - start + length))
    mask = torch.zeros_like(hole[(..., *box)])
    mask[(..., *at)] = torch.from_numpy(part.mask).to(hole.device)
    return Window((box[0], box[1]), halvings, mask)


def _correct(filled: Filled, image: Tensor, hole: Tensor, window: Window, network: StructureNetwork) -> None:
    """Draw the colours of copies in a window to those of the network, in place."""
    colours, offsets = (x[(..., *window.box)] for x in filled)
    seen = finest_level(image[(..., *window.box)], hole[(..., *window.box)])
    copies = Level(colours, torch.ones_like(seen.known))
    for _ in range(window.halvings):
        seen, copies = halve(seen), halve(copies)
    if bool(seen.missing.all()):
        return  # such as in a frame narrower than a block: what the network says without any pixel is grey
    apart, share = _judge(seen, copies.image, network)
    size = window.part.shape[2:]

    def finest(x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=1 << window.halvings, mode="bilinear")[..., : size[0], : size[1]]

    # From known pixels that are no number nothing follows, and the copies of the others stay.
    change = (share * apart).nan_to_num(0.0, 0.0, 0.0)
    corrected = (colours + finest(change)).clamp(-1, 1)
    colours.copy_(torch.where(window.part, corrected, colours))
    offsets.masked_fill_(window.part & (finest(share).amax(1, keepdim=True) > 0.5), 0)


def _judge(seen: Level, copies: Tensor, network: StructureNetwork) -> tuple[Tensor, Tensor]:
    """What the network would add to copies (1, C, h, w), and which share of it is due, in [0, 1]."""
    groups = [_as_rgb(x) for x in (seen.image, copies)]
    missing = seen.missing.expand(len(groups[0]), -1, -1, -1)
    drafts = torch.cat((draw_drafts(groups[0], missing, count=1).to(copies), groups[1]), 1)
    result = network(groups[0], missing, drafts)
    apart = (result.completed - groups[1]) * missing
    inside = missing.to(copies.dtype)
    due = _mean_inside(apart.square().mean(1, keepdim=True), inside)
    allowed = _ALLOWED * _mean_inside(result.error.square(), inside)
    share = (1 - allowed / due.clamp(min=torch.finfo(due.dtype).tiny)).clamp(0, 1) * inside
    channels = copies.shape[1]
    return _from_rgb(apart, channels), _from_rgb(share.expand_as(apart), channels)


def _as_rgb(x: Tensor) -> Tensor:
    """(1, C, h, w) as groups of three channels, (G, 3, h, w); those that are left over become grey."""
    whole = x.shape[1] // 3 * 3
    return torch.cat((x[0, :whole].unflatten(0, (-1, 3)), x[0, whole:, None].expand(-1, 3, -1, -1)))


def _from_rgb(groups: Tensor, channels: int) -> Tensor:
    """The inverse: (G, 3, h, w) -> (1, C, h, w)."""
    whole = channels // 3
    return torch.cat((groups[:whole].flatten(0, 1), groups[whole:].mean(1)))[None]


def _mean_inside(x: Tensor, inside: Tensor) -> Tensor:
    """Means over windows of pixels, of those inside alone; 0 where there is none."""
    total, count = (F.avg_pool2d(y, _JUDGED, 1, _JUDGED // 2) for y in (x * inside, inside))
    return total / count.clamp(min=torch.finfo(count.dtype).tiny)
