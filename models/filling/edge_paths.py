"""Edges and lines of a picture followed away from the rim of a hole, while they go where they are expected.

Where colours change much just outside the rim, a parabola is fitted to where the edge was found, some pixels
at a time, and says where to look for it next. Most edges of a texture end after some pixels.

Shape legend: C channels; h, w a part of a picture; n edges; T steps along an edge. Points are (row, column);
the left of a direction (r, c) is (-c, r).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..patches.pyramid import dilate, smooth_fill
from .edge_bands import left_of

# Edges are followed at most so far, in pixels, so many at a time; shorter ones than the last are none.
REACH, _STRIDE, _SHORTEST = 64, 8, 8
# Standard deviation of the blur that edges are sought under, in pixels.
_BLUR = 1.0
# How far outside the hole they are sought first: the blur sees nothing of the hole there.
_RING = 3
# They enter the hole within so many pixels, and stay in it for some more.
BEHIND, _STAY = 8.0, 4.0
# Colours change at least so much from a pixel to the next, and this much more across an edge than along it.
_FAINTEST, _COHERENCE = 0.02, 0.6
# Where an edge is sought, across it from where it is expected.
_ACROSS = np.arange(-3, 3.25, 0.5, dtype=np.float32)
# It ends where colours change so much less than at first, where it is so far from expected, or so crooked.
_FADED, _STRAYED, _CROOKED = 0.4, 1.8, 0.5
# Or where it is so steep against how it began: a parabola no longer fits the arc of a circle.
_STEEPEST = 0.5
# Standard deviations: of a place that is found, in pixels, and beforehand of the parabola's a, b and c.
_FOUND, _BEFOREHAND = 0.4, np.array([10.0, 0.5, 0.005])
# What is this far away from the hole says half as much about how the edge enters it.
_NEARBY = 32.0


class Picture(NamedTuple):
    """A part of a picture.

    Attributes:
        sharp: (h, w, C).
        blurred: (h, w, C).
        known: (h, w) bool.
        part: (h, w) bool: the part of the hole that edges are to enter.
        ring: (h, w) bool: pixels around that.
    """

    sharp: np.ndarray
    blurred: np.ndarray
    known: np.ndarray
    part: np.ndarray
    ring: np.ndarray


def see_picture(image: Tensor, hole: Tensor, part: Tensor) -> Picture:
    """A picture (1, C, h, w) outside its hole, and a part of that: (1, 1, h, w) bool both."""
    # A smooth filling: the hole's own rim is no edge.
    smooth = smooth_fill(image, hole)
    ring = dilate(part, _RING + 1) & ~dilate(hole, _RING - 1)
    sharp, blurred = (x[0].permute(1, 2, 0).contiguous().cpu().numpy() for x in (smooth, _blur(smooth)))
    return Picture(sharp, blurred, *(x[0, 0].cpu().numpy() for x in (~hole, part, ring)))


def _blur(image: Tensor) -> Tensor:
    """Convolve a picture (1, C, h, w) with a Gaussian."""
    reach = int(3 * _BLUR)
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / _BLUR) ** 2)
    taps /= taps.sum()
    padded = F.pad(image, (reach,) * 4, mode="replicate")
    for axis, size in ((2, image.shape[2]), (3, image.shape[3])):
        shifted = (float(tap) * padded.narrow(axis, i, size) for i, tap in enumerate(taps))
        padded = sum(shifted, torch.zeros(()))
    return padded


def sample(values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Of (h, w, C) what is at points (..., 2), bilinear, or nearest to those outside: (..., C)."""
    last = np.array(values.shape[:2]) - 1
    low = np.floor(np.clip(at, 0, last)).astype(np.int64)
    high = np.minimum(low + 1, last)
    r, c = np.moveaxis(np.clip(at - low, 0, 1), -1, 0)[..., None].astype(np.float32)
    upper = (1 - c) * values[low[..., 0], low[..., 1]] + c * values[low[..., 0], high[..., 1]]
    lower = (1 - c) * values[high[..., 0], low[..., 1]] + c * values[high[..., 0], high[..., 1]]
    return (1 - r) * upper + r * lower


def holds(mask: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Whether points (..., 2) lie in pixels of a mask (h, w) bool: (...)."""
    pixels = np.rint(at).astype(np.int64)
    inside = ((pixels >= 0) & (pixels < mask.shape)).all(-1)
    pixels = np.clip(pixels, 0, np.array(mask.shape) - 1)
    return inside & mask[pixels[..., 0], pixels[..., 1]]


class Seeds(NamedTuple):
    """Where edges are followed from.

    Attributes:
        position: (n, 2).
        outward: (n, 2) unit vectors along the edge, away from the hole.
        change: (n, C) unit vectors: colours to the left less colours to the right.
        strength: (n,) how much they change from a pixel to the next.
        behind: (n,) how far away the hole is.
    """

    position: np.ndarray
    outward: np.ndarray
    change: np.ndarray
    strength: np.ndarray
    behind: np.ndarray


def find_seeds(picture: Picture) -> Seeds:
    """Pixels of the ring where colours change more than on both sides of them."""
    at, normal = _normals(picture.blurred, np.argwhere(picture.ring).astype(np.float32))
    offsets = np.arange(-1.5, 2, dtype=np.float32)[:, None]
    changes = np.diff(sample(picture.blurred, at[:, None] + offsets * normal[:, None]), axis=1)
    before, here, after = np.linalg.norm(changes, axis=2).T
    best = (here >= _FAINTEST) & (here >= before) & (here >= after)
    at, normal, change, strength = at[best], normal[best], changes[best, 1], here[best]
    # To the left of this way along the edge is the normal; and the other way.
    outward = np.concatenate([-left_of(normal), left_of(normal)])
    at, strength = np.tile(at, (2, 1)), np.tile(strength, 2)
    change = np.concatenate([change, -change]) / strength[:, None]
    back = np.arange(0.5, BEHIND + _STAY + 0.5, 0.5, dtype=np.float32)
    inside = holds(picture.part, at[:, None] - back[:, None] * outward[:, None])
    first = inside.argmax(1)
    stays = np.minimum(first + int(2 * _STAY), len(back) - 1)
    enters = inside.any(1) & (back[first] <= BEHIND) & inside[np.arange(len(first)), stays]
    return Seeds(*(x[enters] for x in (at, outward, change, strength, back[first] - 0.5)))


def _normals(blurred: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Those of (n, 2) points where colours change one way, and which way: unit vectors.

    The structure tensor of all channels (Di Zenzo, "A note on the gradient of a multi-image", CVGIP 1986)
    over 3 x 3 pixels.
    """
    near = at[:, None] + np.array([(r, c) for r in (-1, 0, 1) for c in (-1, 0, 1)], np.float32)
    down, across = (
        sample(blurred, near + step) - sample(blurred, near - step) for step in np.eye(2, dtype=np.float32)
    )
    rr, cc, rc = ((x * y).sum((1, 2)) for x, y in ((down, down), (across, across), (down, across)))
    coherent = np.hypot(rr - cc, 2 * rc) >= _COHERENCE * (rr + cc)
    angle = 0.5 * np.arctan2(2 * rc, rr - cc)[coherent]
    return at[coherent], np.stack([np.cos(angle), np.sin(angle)], -1)


class Paths(NamedTuple):
    """Edges as they were followed: ``a + b t + c t^2`` to the left of the seed, t pixels on.

    Attributes:
        seeds: n of them.
        terms: (n, 3): a, b, c.
        covariance: (n, 3, 3) of those.
        length: (n,) int64: how far they were followed.
    """

    seeds: Seeds
    terms: np.ndarray
    covariance: np.ndarray
    length: np.ndarray

    def at(self, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Points after (T,) or (n, T) pixels, and unit vectors along the edge there: (n, T, 2) both."""
        a, b, c = self.terms.T[:, :, None]
        outward, side = self.seeds.outward[:, None], left_of(self.seeds.outward)[:, None]
        sideways = (a + b * t + c * t**2)[..., None] * side
        place = self.seeds.position[:, None] + np.broadcast_to(t, sideways.shape[:2])[..., None] * outward
        tangent = outward + (b + 2 * c * t)[..., None] * side
        return place + sideways, tangent / np.linalg.norm(tangent, axis=-1, keepdims=True)


def follow_edges(picture: Picture, seeds: Seeds) -> Paths:
    """Follow edges away from the hole as long as they are where they are expected."""
    count = len(seeds.position)
    sideways, found = np.zeros((count, REACH), np.float32), np.zeros((count, REACH), bool)
    terms, covariance = np.zeros((count, 3), np.float32), np.zeros((count, 3, 3), np.float32)
    length, alive = np.zeros(count, np.int64), np.arange(count)
    for begin in range(0, REACH, _STRIDE):
        steps = slice(begin, begin + _STRIDE)
        here = Seeds(*(x[alive] for x in seeds))
        place, seen = _locate(picture, here, np.arange(begin, begin + _STRIDE), terms[alive])
        sideways[alive, steps], found[alive, steps] = place, seen
        # One place in so many may be missed.
        goes_on = seen.sum(1) >= _STRIDE - 1
        reached = begin + np.where(goes_on, _STRIDE, np.argmin(seen, 1))
        within = found[alive] & (np.arange(REACH) < reached[:, None])
        fitted, spread, left = _fit(sideways[alive], within)
        straight = left <= _CROOKED
        kept = alive[straight]
        terms[kept], covariance[kept], length[kept] = fitted[straight], spread[straight], reached[straight]
        steep = np.abs(fitted[:, 1] + 2 * fitted[:, 2] * (begin + _STRIDE)) > _STEEPEST
        alive = alive[goes_on & straight & ~steep]
    long = length >= _SHORTEST
    return Paths(Seeds(*(x[long] for x in seeds)), terms[long], covariance[long], length[long])


def _locate(
    picture: Picture, seeds: Seeds, t: np.ndarray, terms: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """How far to the left edges are after (T,) pixels, (n, T), and whether they are there, near `terms`."""
    expected = terms @ np.stack([t**0, t, t**2]).astype(np.float32)
    side = left_of(seeds.outward)[:, None, None]
    axis = seeds.position[:, None] + t[:, None].astype(np.float32) * seeds.outward[:, None]
    colours = sample(picture.blurred, axis[:, :, None] + (expected[..., None] + _ACROSS)[..., None] * side)
    change = ((colours[:, :, 2:] - colours[:, :, :-2]) * seeds.change[:, None, None]).sum(-1)
    across = _ACROSS[1:-1]
    best = np.clip((change * (1 - (across / 4) ** 2)).argmax(2), 1, len(across) - 2)[..., None]
    before, here, after = (np.take_along_axis(change, best + i, 2)[..., 0] for i in (-1, 0, 1))
    # The top of the parabola through the three, in steps of half a pixel.
    sharp = np.maximum(2 * here - before - after, np.finfo(np.float32).eps)
    offset = across[best[..., 0]] + 0.25 * np.clip((after - before) / sharp, -1, 1)
    known = holds(picture.known, axis + (expected + offset)[..., None] * side[:, 0])
    clear = here >= _FADED * seeds.strength[:, None]
    return expected + offset, known & clear & (np.abs(offset) <= _STRAYED)


def _fit(sideways: np.ndarray, found: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Parabolas through (n, T) places: (n, 3) terms, (n, 3, 3) covariance, (n,) how far off they are."""
    t = np.arange(sideways.shape[1], dtype=np.float64)
    powers = np.stack([t**0, t, t**2], -1)
    weight = found / (_FOUND**2 * (1 + (t / _NEARBY) ** 2))
    precision = np.einsum("nt,ti,tj->nij", weight, powers, powers) + np.diag(_BEFOREHAND**-2)
    covariance = np.linalg.inv(precision)
    terms = np.einsum("nij,nt,ti->nj", covariance, weight * sideways, powers)
    left = ((sideways - terms @ powers.T) ** 2 * found).sum(1) / np.maximum(1, found.sum(1))
    return terms.astype(np.float32), covariance.astype(np.float32), np.sqrt(left)
