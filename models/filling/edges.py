"""Edges and lines of a picture continued across its holes, as a guide for what is filled in.

Where an edge meets the rim of a hole, it is followed outside, away from the hole: a short polynomial fitted to
where the colours change most. Two such ends that continue each other (direction, curvature and the colours
across them) are joined by a smooth curve, see `edge_bands`. Most of this file is reasons not to: textures
have edges everywhere that go nowhere, and a false line is worse than none.

Shape legend: C channels; H, W the picture; n ends of edges at a hole's rim; T steps along an edge; S steps
across it. Points are (row, column).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .edge_bands import BAND, STEPS, Curve, draw_bands, hermite, left_of
from .pyramid import dilate, smooth_fill

# A hole's part that no square of so many pixels a side fits into needs no guide.
_THIN = 8
_SMALLEST = 100
# How far outside the hole an edge is looked for first, where the blur sees nothing of the hole.
_RING = 3
_BLUR = 1.0
# Steps of a pixel along an edge, at once and at most.
_STRIDE, _REACH = 8, 64
_SHORTEST = 8
# Of a neighbourhood's change of colour: how much more across an edge than along it. The least change a pixel.
_COHERENCE, _FAINTEST = 0.6, 0.02
# A seed's edge enters the hole within so many pixels.
_BEHIND = 8
# An edge ends where it changes colours by so much less than where it begins, is so far off, or so crooked.
_FADED, _STRAYED, _CROOKED = 0.4, 1.8, 0.5
# Across an edge: how far from where it is expected it may be, by half pixels.
_ACROSS = np.arange(-3, 3.25, 0.5, dtype=np.float32)
# Standard deviation, in pixels, of where an edge is found from where it is; of a curvature, in 1 / pixels.
_POSITION_NOISE, _CURVATURE_PRIOR, _NEARBY = 0.4, 0.01, 32.0


class EdgeGuide(NamedTuple):
    """What continued edges say of the colours in a hole.

    Attributes:
        colours: (1, C, H, W) float32 in [-1, 1].
        weight: (1, 1, H, W) float32 in [0, 1]: how far to trust them; 0 where there are none.
    """

    colours: Tensor
    weight: Tensor


class _Ends(NamedTuple):
    """Edges that end at the rim of a hole.

    Attributes:
        position: (n, 2) where they enter it.
        direction: (n, 2) unit vectors, into it.
        curvature: (n,) to the left of that.
        spread: (n,) standard deviation of the direction, in radians.
        length: (n,) how far they were followed outside.
        profile: (n, S, C) the colours across, from the right to the left of the direction.
        noise: (n, S) standard deviation of a colour from that along the edge.
        contrast: (n,) standard deviation of the profile near the edge.
    """

    position: np.ndarray
    direction: np.ndarray
    curvature: np.ndarray
    spread: np.ndarray
    length: np.ndarray
    profile: np.ndarray
    noise: np.ndarray
    contrast: np.ndarray


@torch.no_grad()
def continue_edges(image: Tensor, hole: Tensor) -> EdgeGuide | None:
    """Continue the edges that end at the rims of holes.

    Args:
        image: (1, C, H, W) float32 in [-1, 1]; what is in the hole is not looked at.
        hole: (1, 1, H, W) bool.

    Returns:
        EdgeGuide, None where no edge is sure to go on.

    Cost: goes with the area of the holes that are wider than some pixels, and of what is around them.
    """
    parts = wide_parts(hole[0, 0].cpu().numpy())
    colours, weight = torch.zeros_like(image), torch.zeros_like(image[:, :1])
    margin = _REACH + 2 * _RING + 2
    found = False
    for part in parts:
        top, left = max(0, part.top - margin), max(0, part.left - margin)
        height, width = part.mask.shape
        area = (slice(top, part.top + height + margin), slice(left, part.left + width + margin))
        crop, missing = image[(..., *area)], hole[(..., *area)]
        inside = np.zeros(tuple(missing.shape[2:]), bool)
        inside[part.top - top :, part.left - left :][:height, :width] = part.mask
        curves = _continued(crop, missing, inside)
        if not curves:
            continue
        found = True
        drawn, trust = draw_bands(curves, missing[0, 0].cpu().numpy())
        drawn = torch.from_numpy(drawn).to(image).permute(2, 0, 1)
        trust = torch.from_numpy(trust).to(image)
        better = trust > weight[(0, 0, *area)]
        colours[(0, slice(None), *area)] = torch.where(better, drawn, colours[(0, slice(None), *area)])
        weight[(0, 0, *area)] = torch.where(better, trust, weight[(0, 0, *area)])
    return EdgeGuide(colours, weight) if found else None


class Part(NamedTuple):
    """A connected part of a hole: its bounding box's corner, and (h, w) bool in that box."""

    top: int
    left: int
    mask: np.ndarray


def wide_parts(hole: np.ndarray) -> list[Part]:
    """The connected parts of what remains of a hole (H, W) bool without all that is thin."""
    rows, columns = np.flatnonzero(hole.any(1)), np.flatnonzero(hole.any(0))
    if not len(rows):
        return []
    top, left = rows[0], columns[0]
    wide = _opened(hole[top : rows[-1] + 1, left : columns[-1] + 1])
    steps = np.diff(np.pad(wide.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    row, start = np.nonzero(steps == 1)
    end = np.nonzero(steps == -1)[1]
    label = _connected(row, start, end, wide.shape[1] + 2)
    parts = []
    order = np.argsort(label, kind="stable")
    for runs in np.split(order, np.flatnonzero(np.diff(label[order])) + 1):
        r, s, e = row[runs], start[runs], end[runs]
        if (e - s).sum() < _SMALLEST:
            continue
        mask = np.zeros((r[-1] - r[0] + 1, e.max() - s.min()), bool)
        for y, x, z in zip(r - r[0], s - s.min(), e - s.min(), strict=True):
            mask[y, x:z] = True
        parts.append(Part(int(top + r[0]), int(left + s.min()), mask))
    return parts


def _opened(hole: np.ndarray) -> np.ndarray:
    """The union of all squares of `_THIN` pixels a side that lie in a mask (h, w) bool."""
    if min(hole.shape) < _THIN:
        return np.zeros_like(hole)
    return _grown(_grown(_shrunk(_shrunk(hole).T).T).T).T


def _shrunk(mask: np.ndarray) -> np.ndarray:
    """Whether `_THIN` pixels downwards are all set: (h - 7, w) bool."""
    for shift in (1, 2, 4):
        mask = mask[shift:] & mask[:-shift]
    return mask


def _grown(mask: np.ndarray) -> np.ndarray:
    """Whether any of `_THIN` pixels upwards is set: (h + 7, w) bool."""
    mask = np.pad(mask, ((_THIN - 1, _THIN - 1), (0, 0)))
    for shift in (1, 2, 4):
        mask = mask[shift:] | mask[:-shift]
    return mask


def _connected(row: np.ndarray, start: np.ndarray, end: np.ndarray, width: int) -> np.ndarray:
    """Labels of runs of pixels, ``start`` to before ``end`` of a row, in reading order: alike where they touch."""
    first = np.searchsorted(row * width + end, (row + 1) * width + start)
    last = np.searchsorted(row * width + start, (row + 1) * width + end, side="right")
    count = np.maximum(last - first, 0)
    above = np.repeat(np.arange(len(row)), count)
    below = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + np.repeat(first, count)
    label = np.arange(len(row))
    while True:
        before = label.copy()
        least = np.minimum(label[above], label[below])
        np.minimum.at(label, label[above], least)
        np.minimum.at(label, label[below], least)
        label = label[label]
        if (label == before).all():
            return label


def _continued(image: Tensor, hole: Tensor, part: np.ndarray) -> list[Curve]:
    """The curves across a part (h, w) bool of a hole."""
    # A smooth filling: the hole's own rim is no edge.
    smooth = smooth_fill(image, hole)
    part_ = torch.from_numpy(part)[None, None].to(hole.device)
    ring = dilate(part_, _RING + 1) & ~dilate(hole, _RING - 1)
    picture = _Picture(
        *(x[0].permute(1, 2, 0).cpu().numpy() for x in (smooth, _blur(smooth))),
        ~hole[0, 0].cpu().numpy(),
        part,
    )
    seeds = _seeds(picture, ring[0, 0].cpu().numpy())
    ends = _ends(picture, _follow(picture, seeds))
    return _join(ends, ~picture.known)


class _Picture(NamedTuple):
    """A part of a picture: (h, w, C) sharp and blurred, and (h, w) bool: what is known, and the hole's part."""

    sharp: np.ndarray
    blurred: np.ndarray
    known: np.ndarray
    part: np.ndarray


def _blur(image: Tensor) -> Tensor:
    """Convolve a picture (1, C, H, W) with a Gaussian."""
    reach = int(3 * _BLUR)
    taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / _BLUR) ** 2)
    for axis in (2, 3):
        size = image.shape[axis]
        padded = F.pad(image, (0, 0, reach, reach) if axis == 2 else (reach, reach, 0, 0), mode="replicate")
        image = sum(float(t) * padded.narrow(axis, i, size) for i, t in enumerate(taps / taps.sum()))
    return image


def _sample(values: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Bilinear, of (h, w, C) or (h, w) at points (..., 2) that lie in it or near it: (..., C) or (...)."""
    corner = np.floor(at)
    part = (at - corner).astype(np.float32)
    most = np.array(values.shape[:2]) - 1
    low = np.clip(corner, 0, most).astype(np.int64)
    high = np.clip(corner + 1, 0, most).astype(np.int64)
    r, c = (part[..., i].reshape(part.shape[:-1] + (1,) * (values.ndim - 2)) for i in (0, 1))
    upper = (1 - c) * values[low[..., 0], low[..., 1]] + c * values[low[..., 0], high[..., 1]]
    lower = (1 - c) * values[high[..., 0], low[..., 1]] + c * values[high[..., 0], high[..., 1]]
    return (1 - r) * upper + r * lower


def _holds(mask: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Whether points (..., 2) lie in pixels of a mask (h, w) bool."""
    pixels = np.rint(at).astype(np.int64)
    inside = ((pixels >= 0) & (pixels < mask.shape)).all(-1)
    pixels = np.clip(pixels, 0, np.array(mask.shape) - 1)
    return inside & mask[pixels[..., 0], pixels[..., 1]]


class _Seeds(NamedTuple):
    """Where edges are followed from.

    Attributes:
        position: (n, 2).
        outward: (n, 2) unit vectors along the edge, away from the hole.
        change: (n, C) unit vectors: the colours to the left less those to the right.
        strength: (n,) how much they change a pixel.
        behind: (n,) how far away the hole is.
    """

    position: np.ndarray
    outward: np.ndarray
    change: np.ndarray
    strength: np.ndarray
    behind: np.ndarray


def _seeds(picture: _Picture, ring: np.ndarray) -> _Seeds:
    """Pixels of a ring around the hole where colours change more than on both sides of them."""
    at = np.argwhere(ring).astype(np.float32)
    around = np.array([(r, c) for r in (-1, 0, 1) for c in (-1, 0, 1)], np.float32)
    near = at[:, None] + around
    unit = np.eye(2, dtype=np.float32)
    down, across = (_sample(picture.blurred, near + u) - _sample(picture.blurred, near - u) for u in unit)
    rr, cc, rc = ((x * y).sum((1, 2)) for x, y in ((down, down), (across, across), (down, across)))
    angle = 0.5 * np.arctan2(2 * rc, rr - cc)
    normal = np.stack([np.cos(angle), np.sin(angle)], -1).astype(np.float32)
    coherent = np.hypot(rr - cc, 2 * rc) >= _COHERENCE * (rr + cc)
    at, normal = at[coherent], normal[coherent]
    offsets = np.arange(-1.5, 2, dtype=np.float32)[:, None]
    steps = np.diff(_sample(picture.blurred, at[:, None] + offsets * normal[:, None]), axis=1)
    size = np.linalg.norm(steps, axis=2)
    ridge = (size[:, 1] >= _FAINTEST) & (size[:, 1] >= size[:, 0]) & (size[:, 1] >= size[:, 2])
    at, normal, change, size = at[ridge], normal[ridge], steps[ridge, 1], size[ridge, 1:2]
    # The left of a direction that is turned back to the right is that direction.
    along = -left_of(normal)
    both = [np.concatenate(x) for x in ((at, at), (along, -along), (change, -change), (size, size))]
    at, outward, change, size = both
    back = np.arange(0.5, _BEHIND + 4.5, 0.5, dtype=np.float32)
    inside = _holds(picture.part, at[:, None] - back[:, None] * outward[:, None])
    first = inside.argmax(1)
    enters = inside.any(1) & (back[first] <= _BEHIND)
    enters &= np.take_along_axis(inside, np.minimum(first + 8, len(back) - 1)[:, None], 1)[:, 0]
    return _Seeds(
        at[enters], outward[enters], (change / size)[enters], size[enters, 0], back[first[enters]] - 0.5
    )


class _Fits(NamedTuple):
    """Edges as they were followed: sideways by ``a + b t + c t^2`` after t pixels.

    Attributes:
        seeds: n of them.
        terms: (n, 3) float32: a, b, c.
        covariance: (n, 3, 3) of those.
        length: (n,) int64: how far they were followed.
    """

    seeds: _Seeds
    terms: np.ndarray
    covariance: np.ndarray
    length: np.ndarray


def _follow(picture: _Picture, seeds: _Seeds) -> _Fits:
    """Follow edges away from the hole, a few pixels at a time, as long as they are where they are expected."""
    count = len(seeds.position)
    sideways, found = np.zeros((count, _REACH), np.float32), np.zeros((count, _REACH), bool)
    terms = np.zeros((count, 3), np.float32)
    covariance = np.tile(np.eye(3, dtype=np.float32), (count, 1, 1))
    length = np.zeros(count, np.int64)
    alive = np.arange(count)
    for begin in range(0, _REACH, _STRIDE):
        t = np.arange(begin, begin + _STRIDE)
        powers = np.stack([t**0, t, t**2]).astype(np.float32)
        expected = terms[alive] @ powers
        one = _Seeds(*(x[alive] for x in seeds))
        sideways[alive, begin : begin + _STRIDE], found[alive, begin : begin + _STRIDE] = _locate(
            picture, one, t, expected
        )
        ahead = found[alive, begin : begin + _STRIDE]
        stops = ahead.sum(1) < _STRIDE - 1
        length[alive] = begin + np.where(stops, np.argmin(ahead, 1), _STRIDE)
        within = found[alive] & (np.arange(_REACH) < length[alive, None])
        new, spread, residual = _fit(sideways[alive], within)
        bent = residual > _CROOKED
        length[alive[bent]] = begin
        good = ~bent
        terms[alive[good]], covariance[alive[good]] = new[good], spread[good]
        steep = np.abs(new[:, 1] + 2 * new[:, 2] * (begin + _STRIDE)) > 0.7
        alive = alive[~stops & good & ~steep]
    kept = length >= _SHORTEST
    return _Fits(_Seeds(*(x[kept] for x in seeds)), terms[kept], covariance[kept], length[kept])


def _locate(
    picture: _Picture, seeds: _Seeds, t: np.ndarray, expected: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Where edges are, sideways, after (T,) pixels, and whether they are there, near (n, T): (n, T) both."""
    side = left_of(seeds.outward)[:, None, None]
    axis = seeds.position[:, None] + t[:, None].astype(np.float32) * seeds.outward[:, None]
    at = axis[:, :, None] + (expected[..., None] + _ACROSS)[..., None] * side
    colours = _sample(picture.blurred, at)
    change = ((colours[:, :, 2:] - colours[:, :, :-2]) * seeds.change[:, None, None]).sum(-1)
    near = 1 - (_ACROSS[1:-1] / 4) ** 2
    best = np.clip((change * near).argmax(2), 1, len(near) - 2)[..., None]
    left, here, right = (np.take_along_axis(change, best + i, 2)[..., 0] for i in (-1, 0, 1))
    sharp = np.maximum(2 * here - left - right, 1e-6)
    offset = _ACROSS[1:-1][best[..., 0]] + 0.25 * np.clip((right - left) / sharp, -1, 1)
    place = expected + offset
    known = _holds(picture.known, axis + place[..., None] * side[:, 0])
    return place, known & (here >= _FADED * seeds.strength[:, None]) & (np.abs(offset) <= _STRAYED)


def _fit(sideways: np.ndarray, found: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fit a parabola to each edge (n, T): (n, 3) terms, (n, 3, 3) covariance, (n,) what is left, in pixels."""
    t = np.arange(sideways.shape[1], dtype=np.float64)
    powers = np.stack([t**0, t, t**2], -1)
    weight = found / (_POSITION_NOISE**2 * (1 + (t / _NEARBY) ** 2))
    normal = np.einsum("nt,ti,tj->nij", weight, powers, powers)
    normal += np.diag([1e-2, 1 / 0.5**2, 1 / (_CURVATURE_PRIOR / 2) ** 2])
    covariance = np.linalg.inv(normal)
    terms = np.einsum("nij,nt,ti->nj", covariance, weight * sideways, powers)
    left = ((sideways - terms @ powers.T) ** 2 * found).sum(1) / np.maximum(1, found.sum(1))
    return terms.astype(np.float32), covariance.astype(np.float32), np.sqrt(left).astype(np.float32)


# How far along an edge the colours across it are taken, and those of how near count, in pixels.
_LOOK, _LOCAL = 24, 8.0
_UNKNOWN = 10.0
# Standard deviation across an edge, in pixels, of what its two ends are compared by.
_CORE = 2.0
_CLEAR = 1.2
_TELLING = np.exp(-0.5 * (STEPS / _CORE) ** 2) / np.exp(-0.5 * (STEPS / _CORE) ** 2).sum()


def _ends(picture: _Picture, fits: _Fits) -> _Ends:
    """Where followed edges enter the hole, which way, and what they are like; only those that stand out."""
    seeds = fits.seeds
    t = np.arange(-_BEHIND, _LOOK + 1, dtype=np.float32)
    place, tangent = _along(fits, t)
    at = place[:, :, None] - STEPS[:, None] * left_of(tangent)[:, :, None]
    known = _sample(picture.known.astype(np.float32), at) > 0.999
    known &= ((at >= 0) & (at <= np.array(picture.known.shape) - 1)).all(-1)
    since = t + seeds.behind[:, None]
    weight = np.exp(-since / _LOCAL) * (since >= 1) * (t < fits.length[:, None])
    weight = (weight[..., None] * known).astype(np.float32)
    total = weight.sum(1)
    colours = _sample(picture.sharp, at)
    profile = (weight[..., None] * colours).sum(1) / np.maximum(total, 1e-6)[..., None]
    square = (weight * ((colours - profile[:, None]) ** 2).mean(-1)).sum(1) / np.maximum(total, 1e-6)
    noise = np.where(total > 0.5, np.sqrt(square), _UNKNOWN)
    contrast = np.sqrt((_TELLING[:, None] * _centred(profile) ** 2).sum(1).mean(-1))
    rim, leaving = (x[:, 0] for x in _along(fits, -seeds.behind[:, None]))
    jacobian = np.stack([0 * seeds.behind, 0 * seeds.behind + 1, -2 * seeds.behind], -1)
    spread = 1.5 * np.sqrt(np.einsum("ni,nij,nj->n", jacobian, fits.covariance, jacobian))
    clear = contrast >= _CLEAR * (_TELLING * noise).sum(1)
    ends = _Ends(rim, -leaving, -2 * fits.terms[:, 2], spread, fits.length, profile, noise, contrast)
    return _distinct(_Ends(*(x[clear] for x in ends)))


def _along(fits: _Fits, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points of followed edges after (T,) or (n, T) pixels, and unit vectors along them: (n, T, 2) both."""
    a, b, c = fits.terms.T[:, :, None]
    outward, side = fits.seeds.outward[:, None], left_of(fits.seeds.outward)[:, None]
    place = fits.seeds.position[:, None] + (t + 0 * a)[..., None] * outward
    place = place + (a + b * t + c * t**2)[..., None] * side
    tangent = outward + (b + 2 * c * t)[..., None] * side
    return place, tangent / np.linalg.norm(tangent, axis=-1, keepdims=True)


def _centred(profile: np.ndarray) -> np.ndarray:
    """Profiles (..., S, C) less their mean colours near the edge."""
    return profile - (_TELLING[:, None] * profile).sum(-2, keepdims=True)


def _distinct(ends: _Ends) -> _Ends:
    """Each edge once: what was followed furthest of several that are the same."""
    order = np.argsort(-ends.length, kind="stable")
    ends = _Ends(*(x[order] for x in ends))
    apart = np.linalg.norm(ends.position[:, None] - ends.position, axis=2)
    alike = (apart < 1.2) & ((ends.direction[:, None] * ends.direction).sum(2) > 0.9)
    alike &= (_centred(ends.profile)[:, None] * _centred(ends.profile)).sum((2, 3)) > 0
    kept = np.ones(len(order), bool)
    for i in range(1, len(order)):
        kept[i] = not (alike[i, :i] & kept[:i]).any()
    return _Ends(*(x[kept] for x in ends))


# Costs of a pair, each in standard deviations, squared.
_BEND, _TURN = 0.07, 0.3
_UNLIKE, _SHIFTED, _ROUGH = 0.35, 1.0, 0.4
_STEEPEST = 0.9
_DEAREST, _MARGIN, _FAR = 9.5, 2.0, 4.0


def _join(ends: _Ends, hole: np.ndarray) -> list[Curve]:
    """Join pairs of ends that continue each other, the best first; those that are doubtful are left."""
    if len(ends.length) < 2:
        return []
    cost = _costs(ends)
    best = cost.min(1)
    curves: list[Curve] = []
    pairs = [(i, j) for i, j in np.argwhere(cost <= _DEAREST) if i < j]
    for i, j in sorted(pairs, key=lambda pair: cost[pair]):
        if cost[i, j] > min(best[i], best[j]) or _rivalled(cost, best, ends, i, j):
            continue
        points, lefts = hermite(ends.position[[i, j]], ends.direction[[i, j]] * [[1], [-1]])
        if not _holds(hole, points[2:-2]).mean() >= 0.98 or any(_cross(points, c.points) for c in curves):
            continue
        profiles = np.stack([ends.profile[i], ends.profile[j, ::-1]])
        error = ends.noise[i] ** 2 + ends.noise[j, ::-1] ** 2 + ((profiles[0] - profiles[1]) ** 2).mean(-1)
        trust = np.exp(-error / (2 * 0.15**2)) * np.clip((BAND - np.abs(STEPS)) / 3, 0, 1)
        curves.append(Curve(points, lefts, profiles, trust))
    return curves


def _rivalled(cost: np.ndarray, best: np.ndarray, ends: _Ends, i: int, j: int) -> bool:
    """Whether one of two ends could as well go elsewhere, to an end that has nothing better."""
    for one, other in ((i, j), (j, i)):
        rivals = (cost[one] < cost[i, j] + _MARGIN) & (cost[one] <= best + 0.5)
        rivals &= np.linalg.norm(ends.position - ends.position[other], axis=1) > 2
        if rivals.any():
            return True
    return False


def _costs(ends: _Ends) -> np.ndarray:
    """How badly ends continue each other: (n, n), infinite where they do not."""
    gap = ends.position - ends.position[:, None]
    distance = np.linalg.norm(gap, axis=2).clip(1e-6)
    chord = gap / distance[..., None]
    left = left_of(ends.direction)
    leave = np.arctan2((chord * left[:, None]).sum(2), (chord * ends.direction[:, None]).sum(2))
    # From the chord on to the direction out of the hole at the other end.
    arrive = -leave.T
    spread = ends.spread**2 + ends.spread[:, None] ** 2
    bend = (leave - arrive) ** 2 / (_BEND**2 + spread)
    curved = distance * (ends.curvature[:, None] - ends.curvature) / 2
    turn = (leave + arrive - curved) ** 2 / (_TURN**2 + spread + (distance * 0.002) ** 2)
    level = ends.profile[:, None], ends.profile[None, :, ::-1]
    differ = _TELLING[:, None] * (_centred(level[0]) - _centred(level[1])) ** 2
    differ = np.sqrt(differ.sum(2).mean(2)) / np.sqrt(ends.contrast[:, None] * ends.contrast)
    shift = _TELLING[:, None] * (level[0] - level[1])
    shift = np.sqrt((shift.sum(2) ** 2).mean(2)) / np.sqrt(ends.contrast[:, None] * ends.contrast)
    support = (ends.length[:, None] + ends.length) / 2
    rough = (_TELLING * ends.noise).sum(1) / ends.contrast
    rough = np.maximum(rough[:, None], rough) / _ROUGH
    cost = bend + turn + (differ / _UNLIKE) ** 2 + (shift / _SHIFTED) ** 2 + rough**2 + distance / support
    cost += _FAR * (1 - np.minimum(ends.length[:, None], ends.length) / _REACH)
    steep = (np.abs(leave) > _STEEPEST) | (np.abs(arrive) > _STEEPEST)
    return np.where(steep | (distance < 6), np.inf, cost)


def _cross(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two curves (K, 2) cross."""
    one, other = (x[np.linspace(0, len(x) - 1, 24).astype(int)] for x in (one, other))

    def sides(line: np.ndarray, points: np.ndarray) -> np.ndarray:
        left = left_of(np.diff(line, axis=0))
        return np.sign(((points - line[:-1, None]) * left[:, None]).sum(2))

    first, second = sides(one, other), sides(other, one)
    return bool(((first[:, 1:] * first[:, :-1] < 0) & (second[:, 1:] * second[:, :-1] < 0).T).any())
