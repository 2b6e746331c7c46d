"""Edges and lines of a picture continued across its holes, as a guide for what is filled in.

Two edges that end at the rim of a hole are joined if they continue each other: in direction, curvature and
the colours across them (good continuation). Most of this is reasons not to join: a false line is worse than
none, and textures are full of edges that lead nowhere.

Shape legend: C channels; H, W the picture; h, w a part of it; n ends of edges at a hole's rim. Points are
(row, column); the left of a direction (r, c) is (-c, r).
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..patches.blank import blank
from ..patches.pyramid import dilate, finest_level, halve
from ..patches.scales import Guide
from .edge_bands import BAND, SPACING, STEPS, Curve, draw_bands, hermite, left_of
from .edge_ends import NEAR_EDGE, Ends, centred, find_ends
from .edge_paths import REACH, holds
from .hole_parts import Part, wide_parts

# Smaller parts of a hole need no guide, and of very many the largest have the most to gain.
_SMALLEST_PART, _MOST_PARTS = 100, 64
# Larger parts, by the square root of their area, are seen at a coarser scale: structures grow with pictures.
_LARGEST_SIDE = 300
# What is seen of the picture around a part of a hole: all that edges are followed through.
_MARGIN = REACH + 8
# Two ends that a cost of 1 each sets apart. In radians: how much more a curve turns at one end than at the
# other; how much more than the curvatures say. Of the contrast: by how much the colours across differ, in
# shape and in level; how much they vary along an edge.
_UNEVEN, _TURNED, _UNLIKE, _SHIFTED, _ROUGH = 0.07, 0.3, 0.35, 1.0, 0.4
# Curvatures are only known so well, in 1 / pixels.
_CURVATURE = 0.002
# No curve turns more than this at an end, or is shorter.
_STEEPEST, _NEAREST = 0.9, 6.0
# What the shortest ends cost more than the longest.
_SHORT = 4.0
# The dearest pair that is joined, and by how much it must be cheaper than others that could be.
_DEAREST, _CHEAPER = 9.5, 2.0
# Ends this close, in pixels, are no rivals.
_SAME = 2.0
# So many pixels of a curve may lie outside the hole.
_OUTSIDE = 3.0
# The error of colours, in [-1, 1], by which trust falls to exp(-1/2).
_DOUBT = 0.2


# Rows and columns of a picture.
Box = tuple[slice, slice]


@torch.no_grad()
def continue_edges(image: Tensor, hole: Tensor) -> Guide | None:
    """Continue the edges that end at the rims of holes, where they are sure to go on.

    Each is drawn as a band, some pixels wide on both sides, of the colours at its two ends. Parts of the hole
    that are less than 8 pixels wide are left out, as are all but the 64 largest.

    Args:
        image: (1, C, H, W) float32 in [-1, 1]; what is in the hole is not looked at.
        hole: (1, 1, H, W) bool.

    Returns:
        Guide; None where no edge is sure to go on.

    Cost: some 20 ms a part of the hole, and 2 microseconds a pixel of the part and what is around it.

    Examples:
        >>> image = torch.ones(1, 3, 96, 96)
        >>> image[..., 40:, :] = -1  # a horizon
        >>> hole = torch.zeros(1, 1, 96, 96, dtype=torch.bool)
        >>> hole[..., 30:50, 40:60] = True
        >>> guide = continue_edges(image, hole)
        >>> bool(((guide.colours - image).abs() * guide.weight).max() < 0.1)
        True
    """
    guide = None
    for part in wide_parts(hole[0, 0].cpu().numpy(), _SMALLEST_PART, _MOST_PARTS):
        box, bands = _continue_into(image, hole, part)
        if bands is None:
            continue
        if guide is None:
            shapes = image.shape, hole.shape
            guide = Guide(*(blank(shape, np.float32).to(image.device) for shape in shapes))
        colours, weight = (x[(..., *box)] for x in guide)
        better = bands.weight > weight
        colours.copy_(torch.where(better, bands.colours, colours))
        weight.copy_(torch.where(better, bands.weight, weight))
    return guide


def _continue_into(image: Tensor, hole: Tensor, part: Part) -> tuple[Box, Guide | None]:
    """The edges that are continued into a part of the hole: a box around it, and what is drawn in that."""
    halvings = max(0, int(np.ceil(np.log2(part.mask.sum() ** 0.5 / _LARGEST_SIDE))))
    box, entered = _around(part, _MARGIN << halvings, hole)
    missing = hole[(..., *box)]
    level = finest_level(image[(..., *box)], missing)
    for _ in range(halvings):
        level, entered = halve(level), F.max_pool2d(entered.float(), 2, ceil_mode=True).bool()
    ends = find_ends(level.image, level.missing, entered)
    curves = join_ends(ends, level.missing[0, 0].cpu().numpy())
    if not curves:
        return box, None
    # A pixel too far: where the hole begins, finer pixels are between two of these.
    colours, weight = draw_bands(curves, dilate(level.missing, 1)[0, 0].cpu().numpy())
    bands = torch.from_numpy(np.dstack([colours * weight[..., None], weight])).to(image)
    bands = bands.permute(2, 0, 1)[None]
    if halvings:
        bands = F.interpolate(bands, scale_factor=2**halvings, mode="bilinear")
    bands = bands[..., : missing.shape[2], : missing.shape[3]] * missing
    weighed, trust = bands[:, :-1], bands[:, -1:]
    return box, Guide(weighed / trust.clamp(min=torch.finfo(trust.dtype).tiny), trust)


def _around(part: Part, margin: int, hole: Tensor) -> tuple[Box, Tensor]:
    """A part of a hole (1, 1, H, W) bool with some pixels around it: where it is, and (1, 1, h, w) bool."""
    top, left = max(0, part.top - margin), max(0, part.left - margin)
    height, width = part.mask.shape
    box = (slice(top, part.top + height + margin), slice(left, part.left + width + margin))
    mask = torch.zeros_like(hole[(..., *box)])
    rows = slice(part.top - top, part.top - top + height)
    columns = slice(part.left - left, part.left - left + width)
    mask[0, 0, rows, columns] = torch.from_numpy(part.mask)
    return box, mask


def join_ends(ends: Ends, hole: np.ndarray) -> list[Curve]:
    """Join pairs of ends that continue each other through a hole (h, w) bool, those first that do it best.

    Left are ends that could go to several others, and pairs whose curve leaves the hole or crosses one that
    is there already.
    """
    cost = _costs(ends)
    curves: list[Curve] = []
    pairs = [(int(i), int(j)) for i, j in np.argwhere(cost <= _DEAREST) if i < j]
    for i, j in sorted(pairs, key=lambda pair: cost[pair]):
        if _is_doubtful(cost, ends.position, i, j):
            continue
        curve = _curve(ends, i, j)
        inside = SPACING * (~holds(hole, curve.points)).sum() <= _OUTSIDE
        if inside and not any(_cross(curve.points, other.points) for other in curves):
            curves.append(curve)
    return curves


def _costs(ends: Ends) -> np.ndarray:
    """How badly ends continue each other: (n, n), infinite where they do not."""
    gap = ends.position - ends.position[:, None]
    distance = np.linalg.norm(gap, axis=2)
    chord = gap / np.maximum(distance, np.finfo(np.float32).eps)[..., None]
    ahead, left = ends.direction[:, None], left_of(ends.direction)[:, None]
    # How a curve turns to the left from one end to the chord, and from the chord to the other end.
    leave = np.arctan2((chord * left).sum(2), (chord * ahead).sum(2))
    arrive = -leave.T
    unsure = ends.spread**2 + ends.spread[:, None] ** 2
    uneven = (leave - arrive) ** 2 / (_UNEVEN**2 + unsure)
    curved = distance * (ends.curvature[:, None] - ends.curvature) / 2
    turned = (leave + arrive - curved) ** 2 / (_TURNED**2 + unsure + (_CURVATURE * distance) ** 2)
    short = np.minimum(ends.length[:, None], ends.length) / REACH
    support = (ends.length[:, None] + ends.length) / 2
    cost = uneven + turned + _unlikeness(ends) + distance / support + _SHORT * (1 - short)
    apart = (np.abs(leave) > _STEEPEST) | (np.abs(arrive) > _STEEPEST) | (distance < _NEAREST)
    # Rounded alike both ways: pairs are compared with each other.
    return np.where(apart | apart.T, np.inf, np.maximum(cost, cost.T))


def _unlikeness(ends: Ends) -> np.ndarray:
    """How different ends are across, and how rough along: (n, n)."""
    contrast = ends.contrast[:, None] * ends.contrast
    here, there = ends.profile[:, None], ends.profile[None, :, ::-1]
    shape = (NEAR_EDGE[:, None] * (centred(here) - centred(there)) ** 2).sum(2).mean(2)
    level = ((NEAR_EDGE[:, None] * (here - there)).sum(2) ** 2).mean(2)
    rough = (NEAR_EDGE * ends.noise).sum(1) / ends.contrast
    rough = np.maximum(rough[:, None], rough)
    return (shape / _UNLIKE**2 + level / _SHIFTED**2) / contrast + (rough / _ROUGH) ** 2


def _is_doubtful(cost: np.ndarray, position: np.ndarray, i: int, j: int) -> bool:
    """Whether one of two ends could go to another one as well, for which nothing else is better."""
    best = cost.min(1)
    for one, other in ((i, j), (j, i)):
        rivals = (cost[one] < cost[i, j] + _CHEAPER) & (cost[one] <= best)
        rivals &= np.linalg.norm(position - position[other], axis=1) > _SAME
        if cost[i, j] > best[one] or bool(rivals.any()):
            return True
    return False


def _curve(ends: Ends, i: int, j: int) -> Curve:
    """From one end to another."""
    points, lefts = hermite(ends.position[[i, j]], np.stack([ends.direction[i], -ends.direction[j]]))
    profiles = np.stack([ends.profile[i], ends.profile[j, ::-1]])
    differ = ((profiles[0] - profiles[1]) ** 2).mean(-1)
    error = ends.noise[i] ** 2 + ends.noise[j, ::-1] ** 2 + differ
    fading = np.clip(2 * (1 - np.abs(STEPS) / BAND), 0, 1)
    return Curve(points, lefts, profiles, fading * np.exp(-0.5 * error / _DOUBT**2))


def _cross(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two curves, (K, 2) points each, cross."""
    one, other = (x[np.linspace(0, len(x) - 1, 24).astype(np.int64)] for x in (one, other))

    def across(line: np.ndarray, points: np.ndarray) -> np.ndarray:
        left = left_of(np.diff(line, axis=0))
        side = ((points - line[:-1, None]) * left[:, None]).sum(2)
        return side[:, 1:] * side[:, :-1] < 0

    return bool((across(one, other) & across(other, one).T).any())
