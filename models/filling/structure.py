"""Filling holes in photographs: structure from a network, detail from the photograph itself.

The photograph fills its holes with its own patches (exemplar.py). At a low resolution a network, trained to
correct such fillings, says what colours belong there and how far off it may be (network/structure.py). What
is corrected so guides the patches when they fill the holes anew: every pixel is the photograph's again.

Shape legend: C channels; H, W the picture; h, w a window of it at a low resolution; G groups of channels.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..network.drafts import draw_drafts
from ..patches.blank import blank
from ..patches.completion import Progress
from ..patches.pyramid import Level, finest_level, halve, smooth_fill
from ..patches.scales import Guide
from .exemplar import ExemplarOptions, Filled, fill_exemplar
from .hole_parts import Part, wide_parts

if TYPE_CHECKING:  # which needs the extra models
    from ..network.structure import StructureNetwork

# Smaller parts of a hole have no structure of their own, and of very many the largest have the most to gain.
_SMALLEST_PART, _MOST_PARTS = 64, 64
# As the network was trained: a part of the hole spans at most so many pixels of its window, with at least so
# many known ones around it where the picture has them.
_SPAN, _MARGIN = 72, 32
# Over so many pixels of a window it is judged whether patches are wrong, and which texture there is.
_JUDGED, _TEXTURE = 5, 9
# Of the squared error that the network expects, so much is allowed for: with less of it figures are better
# and all is softer.
_ALLOWED = 0.35
# Steps between pixels with colours in [-1, 1]: what is less than rounding to 8 bits is no texture.
_LEAST_STEP = 1 / 127.5
# Of what was corrected, as a guide: a third at the finest scale, where texture is chosen.
_TRUST = 2 / 3
# On 48 crops of 64 x 64 of validation within 0.1 dB of the defaults, in a third of the time.
_QUICK = ExemplarOptions(rounds=4, full_search=0, start_depths=(10,))
# Which share of the time either filling takes, about.
_COPYING = 0.45


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
    """Fill the holes of a picture with its own patches, chosen by what a network says of structure.

    The holes are filled by `fill_exemplar`, corrected, and filled anew with what was corrected as a guide.

    Corrected: in a window around each part of the hole, halved until the part spans at most 72 pixels, let c
    be the colours of the copies, n what the network makes of the picture around them, with c as one of its
    drafts, and e the error that it expects. To the copies is added, at the full resolution, s (n - c) with

        s = max(0, 1 - 0.35 E[e^2] / E[(n - c)^2]) * min(1, G[n] / G[around]),

    means over 5 x 5 pixels of the window: how far the copies are off beyond what the network may be, after
    James and Stein ("Estimation with quadratic loss", 1961), who would allow for all of the error. Less of it
    is added where the network has lost texture: G[n] is the mean length of its steps from pixel to pixel over
    9 x 9 pixels, G[around] that of known ones, smoothly continued into the hole, both no less than a step of
    8 bits. Parts less than 8 pixels wide are not corrected, nor those in whose window nothing is known once
    it is halved; if none is left, nothing is filled anew.

    Args:
        image: (1, C, H, W) float32 in [-1, 1]. The network sees three channels at once, others as grey.
        hole: (1, 1, H, W) bool: pixels to fill; at least one pixel is known.
        network: Brought to where the image is.
        options: Of the patches, see `fill_exemplar`. Default: ``ExemplarOptions()``.
        progress: Called now and then with the share of the work that is done, in (0, 1].

    Returns:
        Filled.

    Raises:
        ValueError: As `fill_exemplar`.

    Cost: twice that of `fill_exemplar`, and some 0.1 s a part of the hole.

    Examples:
        >>> from contextual_attention.models import StructureNetwork
        >>> image = torch.linspace(-9, 9, 48).sin().expand(1, 3, 48, 48).contiguous()
        >>> hole = torch.zeros(1, 1, 48, 48, dtype=torch.bool)
        >>> hole[..., 20:28, 20:28] = True
        >>> fill_structure(image, hole, StructureNetwork(cnum=8).eval()).image.shape
        torch.Size([1, 3, 48, 48])
    """

    def partly(start: float) -> Progress | None:
        return None if progress is None else lambda done: progress(start + _COPYING * done)

    copies = fill_exemplar(image, hole, options, partly(0.0))
    network.to(image.device)
    windows = _windows(hole, network.least)
    corrected = False
    for number, window in enumerate(windows):
        if progress is not None:
            progress(_COPYING + (1 - 2 * _COPYING) * number / len(windows))
        corrected |= _correct(copies.image, image, hole, window, network)
    if corrected:
        weight = blank(hole.shape, np.float32).masked_fill_(hole.cpu(), _TRUST)
        guide = Guide(copies.image.cpu(), weight)
        copies = fill_exemplar(image, hole, options, partly(1 - _COPYING), guide)
    elif progress is not None:
        progress(1.0)
    return copies


@torch.no_grad()
def draw_copies(image: Tensor, missing: Tensor) -> Tensor:
    """What `fill_structure` shows the network, for its training: a quick filling, and copies.

    Args:
        image: (B, 3, H, W) floating, RGB in [-1, 1].
        missing: (B, 1, H, W) bool. Of samples with nothing known, or nothing missing, there are no copies.

    Returns:
        (B, 6, H, W) float32 on the CPU, as of `draw_drafts`, whose second filling the copies stand in for.

    Cost: about 60 ms for 64 x 64 with a quarter missing, on one core.
    """
    quick = draw_drafts(image, missing, count=1)
    copies = [
        first if bool(hole.all()) else fill_exemplar(picture, hole, _QUICK).image
        for picture, hole, first in zip(
            image.cpu().float().split(1), missing.cpu().split(1), quick.split(1), strict=True
        )
    ]
    return torch.cat((quick, torch.cat(copies)), 1)


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


def _correct(copies: Tensor, image: Tensor, hole: Tensor, window: Window, network: StructureNetwork) -> bool:
    """Draw the colours of copies (1, C, H, W) in a window to the network's, in place; whether it could."""
    colours = copies[(..., *window.box)]
    seen = finest_level(image[(..., *window.box)], hole[(..., *window.box)])
    found = Level(colours, torch.ones_like(seen.known))
    for _ in range(window.halvings):
        seen, found = halve(seen), halve(found)
    if bool(seen.missing.all()):
        return False  # such as in a frame narrower than a block: what the network says of no pixel is grey
    # From known pixels that are no number nothing follows, and the copies of the others stay.
    due = _due(seen, found.image, network).nan_to_num(0.0, 0.0, 0.0)
    change = F.interpolate(due, scale_factor=1 << window.halvings, mode="bilinear")
    corrected = (colours + change[..., : colours.shape[2], : colours.shape[3]]).clamp(-1, 1)
    colours.copy_(torch.where(window.part, corrected, colours))
    return True


def _due(seen: Level, copies: Tensor, network: StructureNetwork) -> Tensor:
    """What is to be added to copies (1, C, h, w), as `fill_structure` says."""
    image, found = _as_rgb(seen.image), _as_rgb(copies)
    missing = seen.missing.expand(len(image), -1, -1, -1)
    drafts = torch.cat((draw_drafts(image, missing, count=1).to(found), found), 1)
    result = network(image, missing, drafts)
    apart = (result.completed - found) * missing
    inside = missing.to(found.dtype)
    power = _mean_inside(apart.square().mean(1, keepdim=True), inside)
    allowed = _ALLOWED * _mean_inside(result.error.square(), inside)
    share = (1 - allowed / power.clamp(min=torch.finfo(power.dtype).tiny)).clamp(0, 1)
    share = share * _kept_texture(image, result.completed, missing)
    return _from_rgb(share * apart, copies.shape[1])


def _kept_texture(image: Tensor, completed: Tensor, missing: Tensor) -> Tensor:
    """Which share of the texture around a hole completed images have in it, at most 1: (G, 1, h, w)."""
    # A step that leads into the hole is not known.
    unknown = F.max_pool2d(missing.to(image.dtype), 3, 1, 1) > 0
    around = smooth_fill(_steps(image), unknown)
    found = F.avg_pool2d(_steps(completed), _TEXTURE, 1, _TEXTURE // 2, count_include_pad=False)
    return (found.clamp(min=_LEAST_STEP) / around.clamp(min=_LEAST_STEP)).clamp(max=1)


def _steps(x: Tensor) -> Tensor:
    """The length of the step to the next pixels, right and down, root mean square of channels: (G, 1, h, w).

    From the last ones it is as long as to them.
    """
    across = F.pad(x.diff(dim=3), (0, 1, 0, 0), mode="replicate")
    down = F.pad(x.diff(dim=2), (0, 0, 0, 1), mode="replicate")
    return (across.square() + down.square()).mean(1, keepdim=True).sqrt()


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
