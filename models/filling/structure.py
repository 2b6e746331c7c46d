"""Filling holes in photographs: texture from the photograph itself, structure corrected by a network.

The photograph fills its holes with its own patches (exemplar.py). At a low resolution, a network that has
seen many such fillings says what colours should be there and how far off it may be (network/structure.py).
Where the patches are further from that than it says, their colours are drawn to it, and their detail stays.

Shape legend: C channels; H, W the picture; h, w a window of it at a low resolution; G groups of channels.
"""

from __future__ import annotations

import os
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..network.drafts import draw_drafts
from ..network.structure import StructureNetwork
from ..patches.completion import Progress
from ..patches.pyramid import finest_level, halve
from ..patches.scales import Guide
from ..patches.blank import blank
from .edges import continue_edges
from .exemplar import ExemplarOptions, Filled, fill_by_copies
from .hole_parts import Part, wide_parts

_SPAN, _MARGIN = float(os.environ.get("SPAN", 36)), int(os.environ.get("MARGIN", 16))
_SMALLEST_PART, _MOST_PARTS = 64, 64
env = lambda n, d: float(os.environ.get(n, d))
DOUBT, SHRINK, GUIDE, EDGES, CORR, NETONLY, OWN, ALPHA, POOL = (env(*x) for x in (("DOUBT", .15), ("SHRINK", 1), ("GUIDE", 0), ("EDGES", 1), ("CORR", 1), ("NETONLY", 0), ("OWN", 1), ("ALPHA", 0), ("POOL", 5)))


class Window(NamedTuple):
    box: tuple[slice, slice]
    halvings: int


def windows(hole: Tensor) -> list[Window]:
    found = []
    for part in wide_parts(hole[0, 0].numpy(), _SMALLEST_PART, _MOST_PARTS):
        longer = max(part.mask.shape)
        halvings = max(0, int(np.ceil(np.log2(longer / _SPAN))))
        step = 1 << halvings
        margin = max(_MARGIN, int(_SPAN) - longer // step // 2) * step
        box = []
        for first, length, size in zip((part.top, part.left), part.mask.shape, hole.shape[2:], strict=True):
            start = max(0, first - margin) // step * step
            box.append(slice(start, min(size, first + length + margin)))
        found.append(Window(tuple(box), halvings))
    return found


def _up(x: Tensor, halvings: int, shape) -> Tensor:
    if halvings:
        x = F.interpolate(x, scale_factor=2**halvings, mode="bilinear")
    return x[..., : shape[0], : shape[1]]


def _down(image: Tensor, halvings: int) -> Tensor:
    for _ in range(halvings):
        image = F.avg_pool2d(image, 2, ceil_mode=True, count_include_pad=False)
    return image


def low(image, hole, window):
    level = finest_level(image[(..., *window.box)], hole[(..., *window.box)])
    for _ in range(window.halvings):
        level = halve(level)
    return level


def restore(level, filled, network):
    """colours, error by the network at a level; filled: (1,3,h,w) what patches have there, or None"""
    image, missing = level.image, level.missing
    drafts = draw_drafts(image, missing)
    if filled is not None:
        drafts = torch.cat((drafts[:, :3], filled) if OWN == 1 else (filled, drafts[:, 3:]) if OWN == 2 else (filled, filled), 1)
    with torch.no_grad():
        r = network(image, missing, drafts)
    return torch.where(missing, r.refined.clamp(-1, 1), image), r.error


def guide_of(image, hole, network) -> Guide:
    guide = Guide(blank(image.shape, np.float32), blank(hole.shape, np.float32))
    for window in windows(hole):
        level = low(image, hole, window)
        colours, error = restore(level, None, network)
        inside = hole[(..., *window.box)]
        weight = torch.exp(-0.5 * (error / DOUBT) ** 2) * GUIDE
        weight = _up(weight, window.halvings, inside.shape[2:]) * inside
        colours = _up(colours, window.halvings, inside.shape[2:])
        at, there = (x[(..., *window.box)] for x in guide)
        better = weight > there
        at.copy_(torch.where(better, colours, at))
        there.copy_(torch.where(better, weight, there))
    return guide


def _smooth(x, hole, n):
    k = int(n)
    return F.avg_pool2d(x * hole, k, 1, k // 2) / F.avg_pool2d(hole, k, 1, k // 2).clamp(min=1e-6) * hole


def correct(image, hole, filled, network):
    filled = filled.clone()
    for window in windows(hole):
        level = low(image, hole, window)
        there = filled[(..., *window.box)]
        inside = hole[(..., *window.box)]
        ex = _down(there, window.halvings)
        colours, error = restore(level, ex if OWN else None, network)
        if NETONLY:
            there.copy_(torch.where(inside, _up(colours, window.halvings, inside.shape[2:]), there))
            continue
        apart = (colours - ex) * level.missing
        h = level.missing.float()
        power = _smooth(apart.square().mean(1, keepdim=True), h, POOL)
        share = (1 - SHRINK * _smooth(error**2, h, POOL) / power.clamp(min=1e-8)).clamp(0, 1) * h
        if ALPHA:
            share = ALPHA * h
        change = _up(share * apart, window.halvings, inside.shape[2:]) * inside
        there.copy_((there + change).clamp(-1, 1))
    return filled


def fill_structure(image, hole, network, options=None, progress: Progress | None = None) -> Filled:
    options = options or ExemplarOptions()

    def guide(image, hole):
        e = continue_edges(image, hole) if EDGES else None
        if not GUIDE:
            return e
        g = guide_of(image, hole, network)
        if e is not None:
            better = e.weight > g.weight
            g = Guide(torch.where(better, e.colours, g.colours), torch.where(better, e.weight, g.weight))
        return g

    return fill_by_copies(image, hole, options, guide, (lambda f: correct(image, hole, f, network)) if CORR else None, progress)
