"""Curves across a hole drawn as bands: what lies across an edge at one end turns into what does at the other.

Shape legend: C channels; h, w a part of a picture; K points of a curve, in order; S steps across it; m pixels
near it. Points are (row, column); the left of a direction (r, c) is (-c, r).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

# How far a band reaches on both sides, and its steps, in pixels.
BAND = 6
STEPS = np.arange(-BAND, BAND + 0.25, 0.5, dtype=np.float32)
# Of two bands, what is nearer to its own curve counts: standard deviation, in pixels.
_NEAR = 2.0
# Points of a curve are about so far apart, in pixels.
SPACING = 0.4


class Curve(NamedTuple):
    """A curve across a hole, and what it is like across.

    Attributes:
        points: (K, 2) float32, about `SPACING` apart.
        lefts: (K, 2) float32: unit vectors.
        profiles: (2, S, C) float32: the colours across its start and its end, from right to left.
        trust: (S,) float32 in [0, 1].
    """

    points: np.ndarray
    lefts: np.ndarray
    profiles: np.ndarray
    trust: np.ndarray


def hermite(ends: np.ndarray, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A smooth curve between two points.

    Args:
        ends: (2, 2) float32.
        directions: (2, 2) float32: unit vectors along the curve, from its start to its end.

    Returns:
        (K, 2) points and (K, 2) unit vectors to the left of it.
    """
    distance = float(np.hypot(*(ends[1] - ends[0])))
    t = np.linspace(0, 1, int(distance / SPACING) + 2, dtype=np.float32)[:, None]
    start, end = ends
    leave, arrive = distance * directions
    points = (
        (2 * t**3 - 3 * t**2 + 1) * start
        + (t**3 - 2 * t**2 + t) * leave
        + (3 * t**2 - 2 * t**3) * end
        + (t**3 - t**2) * arrive
    )
    along = (6 * t**2 - 6 * t) * (start - end) + (3 * t**2 - 4 * t + 1) * leave + (3 * t**2 - 2 * t) * arrive
    along /= np.linalg.norm(along, axis=1, keepdims=True).clip(1e-6)
    return points, left_of(along)


def left_of(directions: np.ndarray) -> np.ndarray:
    """(..., 2) unit vectors turned to the left."""
    return np.stack([-directions[..., 1], directions[..., 0]], -1)


def draw_bands(curves: list[Curve], hole: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Draw curves into a hole (h, w) bool: (h, w, C) colours and (h, w) weights, 0 where nothing is drawn."""
    channels = curves[0].profiles.shape[2]
    colours = np.zeros((*hole.shape, channels), np.float32)
    total, weight = (np.zeros(hole.shape, np.float32) for _ in range(2))
    for curve in curves:
        rows, columns, drawn, trust, across = _band(curve, hole)
        share = trust * np.exp(-0.5 * (across / _NEAR) ** 2)
        colours[rows, columns] += share[:, None] * drawn
        total[rows, columns] += share
        weight[rows, columns] = np.maximum(weight[rows, columns], trust)
    colours /= np.maximum(total, np.finfo(np.float32).tiny)[..., None]
    return colours, weight


def _band(curve: Curve, hole: np.ndarray) -> tuple[np.ndarray, ...]:
    """The pixels of a hole near a curve: (m,) rows, columns, (m, C) colours, (m,) trust, signed distances."""
    points, lefts, share = _lengthened(curve)
    pixels = np.rint(points[:, None] + STEPS[:, None] * lefts[:, None]).astype(np.int64)
    owner = np.broadcast_to(np.arange(len(points))[:, None], pixels.shape[:2]).ravel()
    pixels = pixels.reshape(-1, 2)
    for mask in (((pixels >= 0) & (pixels < hole.shape)).all(1), hole):
        kept = mask if mask.ndim == 1 else mask[pixels[:, 0], pixels[:, 1]]
        pixels, owner = pixels[kept], owner[kept]
    # Of all points that a pixel is beside, the one that it is most squarely beside.
    away = pixels - points[owner]
    along = np.abs((away * left_of(lefts[owner])).sum(1))
    index = pixels[:, 0] * hole.shape[1] + pixels[:, 1]
    order = np.lexsort((along, index))
    order = order[np.diff(index[order], prepend=-1) > 0]
    (rows, columns), owner = pixels[order].T, owner[order]
    across = (away[order] * lefts[owner]).sum(1)
    step = np.clip((across + BAND) / (STEPS[1] - STEPS[0]), 0, len(STEPS) - 1)
    below = np.minimum(step.astype(np.int64), len(STEPS) - 2)
    part, t = (x[:, None].astype(np.float32) for x in (step - below, share[owner]))
    start, end = (1 - part) * curve.profiles[:, below] + part * curve.profiles[:, below + 1]
    trust = np.interp(across, STEPS, curve.trust).astype(np.float32)
    return rows, columns, (1 - t) * start + t * end, trust, across


def _lengthened(curve: Curve) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A curve's points, vectors to the left, and how far along it they are, from 0 to 1.

    Straight on at both ends: where it enters the hole askew, a band has a corner there.
    """
    beyond = np.arange(1, BAND / SPACING + 1, dtype=np.float32)[:, None] * SPACING
    first, last = -left_of(curve.lefts[[0, -1]])
    points = [curve.points[0] - beyond[::-1] * first, curve.points, curve.points[-1] + beyond * last]
    ends = np.ones_like(beyond)
    lefts = [ends * curve.lefts[0], curve.lefts, ends * curve.lefts[-1]]
    share = [0 * ends[:, 0], np.linspace(0, 1, len(curve.points), dtype=np.float32), ends[:, 0]]
    return np.concatenate(points), np.concatenate(lefts), np.concatenate(share)
