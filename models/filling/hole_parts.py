"""The connected parts of a hole, by runs of pixels, without those that are thin.

Shape legend: H, W the picture; h, w a box in it; n runs: pixels of a row that lie side by side.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

# Through the thin, no square of so many pixels a side fits: 1 more than the sum of the shifts.
_THIN = 8
_SHIFTS = (1, 2, 4)


class Part(NamedTuple):
    """A connected part of a hole.

    Attributes:
        top: Its box's first row.
        left: Its box's first column.
        mask: (h, w) bool: its pixels in that box.
    """

    top: int
    left: int
    mask: np.ndarray


def wide_parts(hole: np.ndarray, smallest: int, most: int) -> list[Part]:
    """The connected parts of what remains of a hole without all that is less than 8 pixels wide.

    Args:
        hole: (H, W) bool. Pixels that touch by a corner are connected.
        smallest: Parts with fewer pixels are left out.
        most: So many are returned at most, the largest.

    Returns:
        The largest part first.

    Cost: some passes over the box around the hole, and what the sorting of its runs takes.
    """
    rows, columns = np.flatnonzero(hole.any(1)), np.flatnonzero(hole.any(0))
    if not len(rows):
        return []
    top, left = rows[0], columns[0]
    wide = _opened(hole[top : rows[-1] + 1, left : columns[-1] + 1])
    steps = np.diff(np.pad(wide.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    row, start = np.nonzero(steps == 1)
    end = np.nonzero(steps == -1)[1]
    label = _labels(row, start, end, wide.shape[1] + 2)
    size = np.bincount(label, end - start, minlength=1).astype(np.int64)
    largest = np.argsort(-size, kind="stable")[:most]
    parts = []
    for one in largest[size[largest] >= max(1, smallest)]:
        runs = label == one
        r, s, e = row[runs], start[runs], end[runs]
        mask = np.zeros((r[-1] - r[0] + 1, e.max() - s.min()), bool)
        for i, first, last in zip(r - r[0], s - s.min(), e - s.min(), strict=True):
            mask[i, first:last] = True
        parts.append(Part(int(top + r[0]), int(left + s.min()), mask))
    return parts


def _opened(hole: np.ndarray) -> np.ndarray:
    """The union of all squares of `_THIN` pixels a side that lie in a mask (h, w) bool."""
    if min(hole.shape) < _THIN:
        return np.zeros_like(hole)
    return _grown(_grown(_shrunk(_shrunk(hole).T).T).T).T


def _shrunk(mask: np.ndarray) -> np.ndarray:
    """Whether `_THIN` pixels from here downwards are all set: (h - 7, w)."""
    for shift in _SHIFTS:
        mask = mask[shift:] & mask[:-shift]
    return mask


def _grown(mask: np.ndarray) -> np.ndarray:
    """Whether any of `_THIN` pixels from here upwards is set: (h + 7, w)."""
    mask = np.pad(mask, ((_THIN - 1, _THIN - 1), (0, 0)))
    for shift in _SHIFTS:
        mask = mask[shift:] | mask[:-shift]
    return mask


def _labels(row: np.ndarray, start: np.ndarray, end: np.ndarray, width: int) -> np.ndarray:
    """Which runs are connected: (n,) int64, alike for those that are.

    Args:
        row: (n,), and within a row from left to right, as are
        start: (n,) the first pixel of each, and
        end: (n,) the one after its last.
        width: More than any ``end``.
    """
    first = np.searchsorted(row * width + end, (row + 1) * width + start)
    last = np.searchsorted(row * width + start, (row + 1) * width + end, side="right")
    touched = np.maximum(last - first, 0)
    upper = np.repeat(np.arange(len(row)), touched)
    lower = np.arange(len(upper)) + np.repeat(first - np.cumsum(touched) + touched, touched)
    label = np.arange(len(row))
    while True:
        before = label.copy()
        least = np.minimum(label[upper], label[lower])
        for runs in (upper, lower):
            np.minimum.at(label, runs, least)
            np.minimum.at(label, before[runs], least)
        label = label[label]
        if np.array_equal(label, before):
            return label
