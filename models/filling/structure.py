"""Filling holes in photographs with structure from a network and texture from the photograph itself."""

from __future__ import annotations

import os
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..patches.blank import blank
from ..patches.completion import Progress
from ..network.drafts import draw_drafts
from ..patches.pyramid import finest_level, halve
from ..patches.scales import Guide
from .exemplar import ExemplarOptions, Filled, fill_by_copies
from .hole_parts import Part, wide_parts

_SPAN, _MARGIN = float(os.environ.get("SPAN", 72)), int(os.environ.get("MARGIN", 32))
_SMALLEST_PART, _MOST_PARTS = 64, 64
DOUBT = float(os.environ.get("DOUBT", 0.15))
SHRINK = float(os.environ.get("SHRINK", 1.0))
JOIN = float(os.environ.get("JOIN", 1.0))
GUIDE = float(os.environ.get("GUIDE", 1.0))
EDGES = int(os.environ.get("EDGES", 0))
ALPHA = float(os.environ.get("ALPHA", 0))
DRAFTEX = int(os.environ.get("DRAFTEX", 0))
NETWORK = []
NETONLY = int(os.environ.get("NETONLY", 0))


class Restored(NamedTuple):
    box: tuple[slice, slice]
    halvings: int
    colours: Tensor  # (1, C, h, w)
    error: Tensor  # (1, 1, h, w)
    hole: Tensor  # (1, 1, h, w) bool


def restore(image: Tensor, hole: Tensor, network) -> list[Restored]:
    parts = wide_parts(hole[0, 0].numpy(), _SMALLEST_PART, _MOST_PARTS)
    return [_restore_part(image, hole, part, network) for part in parts]


def _restore_part(image: Tensor, hole: Tensor, part: Part, network) -> Restored:
    longer = max(part.mask.shape)
    halvings = max(0, int(np.ceil(np.log2(longer / _SPAN))))
    step = 1 << halvings
    margin = max(_MARGIN, int(_SPAN) - longer // step // 2) * step
    box = []
    for first, length, size in zip((part.top, part.left), part.mask.shape, hole.shape[2:], strict=True):
        start = max(0, first - margin) // step * step
        box.append(slice(start, min(size, first + length + margin)))
    box = tuple(box)
    level = finest_level(image[(..., *box)], hole[(..., *box)])
    for _ in range(halvings):
        level = halve(level)
    with torch.no_grad():
        colours = level.image.expand(-1, 3, -1, -1) if level.image.shape[1] == 1 else level.image
        result = network(colours, level.missing)
    return Restored(
        box,
        halvings,
        torch.where(level.missing, result.refined.clamp(-1, 1), level.image),
        result.error,
        level.missing,
    )


def _up(x: Tensor, halvings: int, shape) -> Tensor:
    if halvings:
        x = F.interpolate(x, scale_factor=2**halvings, mode="bilinear")
    return x[..., : shape[0], : shape[1]]


def _down(image: Tensor, halvings: int) -> Tensor:
    for _ in range(halvings):
        image = F.avg_pool2d(image, 2, ceil_mode=True, count_include_pad=False)
    return image


def guide_of(found: list[Restored], image: Tensor, hole: Tensor) -> Guide:
    guide = Guide(blank(image.shape, np.float32), blank(hole.shape, np.float32))
    for one in found:
        inside = hole[(..., *one.box)]
        weight = torch.exp(-0.5 * (one.error / DOUBT) ** 2) * GUIDE
        weight = _up(weight, one.halvings, inside.shape[2:]) * inside
        colours = _up(one.colours, one.halvings, inside.shape[2:])
        at, there = (x[(..., *one.box)] for x in guide)
        better = weight > there
        at.copy_(torch.where(better, colours, at))
        there.copy_(torch.where(better, weight, there))
    return guide


@torch.no_grad()
def correct(found: list[Restored], filled: Tensor, hole: Tensor) -> Tensor:
    filled = filled.clone()
    for one in found:
        inside = hole[(..., *one.box)]
        there = filled[(..., *one.box)]
        if NETONLY:
            there.copy_(torch.where(inside, _up(one.colours, one.halvings, inside.shape[2:]), there))
            continue
        apart = (one.colours - _down(there, one.halvings)) * one.hole
        power = F.avg_pool2d((apart**2).mean(1, keepdim=True), 5, 1, 2) / F.avg_pool2d(
            one.hole.float(), 5, 1, 2
        ).clamp(min=0.04)
        if DRAFTEX:
            ex = _down(there, one.halvings)
            r = NETWORK[0](
                torch.where(one.hole, torch.zeros_like(ex), ex),
                one.hole,
                torch.cat((ex, ex) if DRAFTEX == 1 else (draw_drafts(ex, one.hole)[:, :3], ex), 1),
            )
            one = one._replace(colours=torch.where(one.hole, r.refined.clamp(-1, 1), ex), error=r.error)
            apart = (one.colours - ex) * one.hole
            power = F.avg_pool2d((apart**2).mean(1, keepdim=True), 5, 1, 2) / F.avg_pool2d(
                one.hole.float(), 5, 1, 2
            ).clamp(min=0.04)
        if ALPHA:
            share = one.hole * ALPHA
        else:
            share = (1 - SHRINK * (1.4 * one.error) ** 2 / power.clamp(min=1e-8)).clamp(0, 1) * JOIN
        change = _up(share * apart, one.halvings, inside.shape[2:]) * inside
        there.copy_((there + change).clamp(-1, 1))
    return filled


def fill_structure(
    image: Tensor, hole: Tensor, network, options=None, progress: Progress | None = None
) -> Filled:
    from .edges import continue_edges

    options = options or ExemplarOptions()
    found: list[Restored] = []
    NETWORK[:] = [network]

    def guide(image, hole):
        found.extend(restore(image, hole, network))
        if EDGES == 2:
            return continue_edges(image, hole)
        g = guide_of(found, image, hole)
        if EDGES:
            e = continue_edges(image, hole)
            if e is not None:
                better = e.weight > g.weight
                g = Guide(torch.where(better, e.colours, g.colours), torch.where(better, e.weight, g.weight))
        return g

    return fill_by_copies(image, hole, options, guide, lambda filled: correct(found, filled, hole), progress)
