"""Edges and lines of a picture that end at the rim of a hole: where, which way, and what they are like.

Shape legend: C channels; h, w a part of a picture; n ends of edges; S steps across an edge. Points are (row,
column); the left of a direction (r, c) is (-c, r).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from torch import Tensor

from .edge_bands import STEPS, left_of
from .edge_paths import BEHIND, Paths, Picture, find_seeds, follow_edges, sample, see_picture

# The fit's errors are not independent of each other.
_SPREAD = 1.5
# Colours across an edge are its mean along so many pixels, weighed by exp(-distance / _LOCAL).
_LOOK, _LOCAL = 24, 8.0
# The standard deviation of colours that are not known.
_UNKNOWN = 10.0
# An edge stands out from what varies along it by so much.
_CLEAR = 1.2
# Ends that are closer to each other, in pixels, and more alike in direction, are one.
_APART, _PARALLEL = 1.2, 0.9
# What counts of the colours across an edge.
NEAR_EDGE = np.exp(-0.5 * (STEPS / 2) ** 2) / np.exp(-0.5 * (STEPS / 2) ** 2).sum()


class Ends(NamedTuple):
    """Edges that end at the rim of a hole.

    Attributes:
        position: (n, 2) where they enter it.
        direction: (n, 2) unit vectors, into it.
        curvature: (n,) to the left of that.
        spread: (n,) standard deviation of the direction, in radians.
        length: (n,) how far they were followed outside.
        profile: (n, S, C) the colours across, from the right to the left of the direction.
        noise: (n, S) standard deviation of the colours along the edge from that.
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


def find_ends(image: Tensor, hole: Tensor, part: Tensor) -> Ends:
    """The edges that end at the rim of a part of a hole.

    Args:
        image: (1, C, h, w) floating; what is in the hole is not looked at.
        hole: (1, 1, h, w) bool.
        part: (1, 1, h, w) bool: pixels of the hole.
    """
    picture = see_picture(image, hole, part)
    return _ends(picture, follow_edges(picture, find_seeds(picture)))


def _ends(picture: Picture, paths: Paths) -> Ends:
    """How followed edges enter the hole, and what they are like; only those that stand out."""
    behind = paths.seeds.behind
    t = np.arange(-int(BEHIND), _LOOK + 1, dtype=np.float32)
    place, tangent = paths.at(t)
    # Into the hole, the left is the other side.
    at = place[:, :, None] - STEPS[:, None] * left_of(tangent)[:, :, None]
    since = t + behind[:, None]
    weight = np.exp(-since / _LOCAL) * (since >= 1) * (t < paths.length[:, None])
    inside = ((at >= 0) & (at <= np.array(picture.known.shape) - 1)).all(-1)
    known = sample(picture.known[..., None].astype(np.float32), at)[..., 0] > 0.999
    weight = (weight[..., None] * (known & inside)).astype(np.float32)
    total = weight.sum(1)
    colours = sample(picture.sharp, at)
    some = np.maximum(total, np.finfo(np.float32).eps)
    profile = (weight[..., None] * colours).sum(1) / some[..., None]
    variance = (weight * ((colours - profile[:, None]) ** 2).mean(-1)).sum(1) / some
    noise = np.where(total > 0.5, np.sqrt(variance), _UNKNOWN)
    contrast = np.sqrt((NEAR_EDGE[:, None] * centred(profile) ** 2).sum(1).mean(-1))
    rim, leaving = (x[:, 0] for x in paths.at(-behind[:, None]))
    # The slope there is b - 2 c behind.
    slope = np.stack([0 * behind, 0 * behind + 1, -2 * behind], -1)
    spread = _SPREAD * np.sqrt(np.einsum("ni,nij,nj->n", slope, paths.covariance, slope))
    clear = contrast >= _CLEAR * (NEAR_EDGE * noise).sum(1)
    ends = Ends(rim, -leaving, -2 * paths.terms[:, 2], spread, paths.length, profile, noise, contrast)
    return _distinct(Ends(*(x[clear] for x in ends)))


def centred(profile: np.ndarray) -> np.ndarray:
    """Profiles (..., S, C) less their mean colours near the edge."""
    return profile - (NEAR_EDGE[:, None] * profile).sum(-2, keepdims=True)


def _distinct(ends: Ends) -> Ends:
    """Each edge once: of several ends that are the same, what was followed furthest."""
    ends = Ends(*(x[np.argsort(-ends.length, kind="stable")] for x in ends))
    alike = np.linalg.norm(ends.position[:, None] - ends.position, axis=2) < _APART
    alike &= ends.direction @ ends.direction.T > _PARALLEL
    kept = np.ones(len(alike), bool)
    for i in range(1, len(alike)):
        kept[i] = not (alike[i, :i] & kept[:i]).any()
    return Ends(*(x[kept] for x in ends))
