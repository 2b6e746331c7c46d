"""Where in a photograph holes go: its straight edges, bends, horizons, slopes of colour, and what is rough.

Each gives a score for every pixel, (H, W), of grey values, (H, W); the higher it is, the better the place.
Lengths, with `unit`, are as in shapes.py.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage


def straightness(grey: np.ndarray, sigma: float) -> tuple[np.ndarray, np.ndarray]:
    """How strong and straight the edges around each pixel are, and the angle of their normal; both (H, W)."""
    difference, coherence, normal = _structure_tensor(grey, sigma)
    return difference * coherence**2, normal


def roughness(grey: np.ndarray, sigma: float) -> np.ndarray:
    """The mean length of the gradient around each pixel, (H, W)."""
    return ndimage.gaussian_filter(np.hypot(*np.gradient(ndimage.gaussian_filter(grey, 1.0))), sigma)


def bending(grey: np.ndarray, unit: float) -> np.ndarray:
    """High where edges that are straight close up turn within a hole: rims of cups, wheels and leaves.

    Not where all around is full of edges, as in gravel.
    """
    straight = ndimage.gaussian_filter(straightness(grey, 3 * unit)[0], 14 * unit)
    return straight * (1 - _structure_tensor(grey, 14 * unit)[1]) ** 2 / (1 + roughness(grey, 50 * unit)) ** 2


def levelness(grey: np.ndarray, unit: float) -> np.ndarray:
    """High where a straight edge goes on to the left and right for long, more or less level: horizons."""
    strength, normal = straightness(grey, 6 * unit)
    return ndimage.gaussian_filter(strength * np.sin(normal) ** 16, (3 * unit, 50 * unit))


def slope(grey: np.ndarray, unit: float) -> np.ndarray:
    """1 where brightness changes evenly, 0 where it does not change, or by edges and grain.

    By Gaussian windows: the length of the mean gradient over the root of the mean square of its length.
    """
    down, across = np.gradient(ndimage.gaussian_filter(grey, 1.0))
    mean, square = (
        [ndimage.gaussian_filter(part**power, 20 * unit) for part in (down, across)] for power in (1, 2)
    )
    return np.hypot(*mean) / np.sqrt(sum(square) + 0.1)  # 0.1: steps of a third of a level are none


def disorder(grey: np.ndarray, unit: float) -> np.ndarray:
    """High where everything up to a hole's size away is rough, in no direction: foliage, gravel, fur."""
    least = ndimage.minimum_filter(roughness(grey, 8 * unit), round(110 * unit))
    return least * (1 - _structure_tensor(grey, 15 * unit)[1])


def _structure_tensor(grey: np.ndarray, sigma: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The difference of its eigenvalues, their coherence, 0 to 1, and the angle of the normal of edges."""
    smooth = ndimage.gaussian_filter(grey, 1.0)
    x, y = (ndimage.sobel(smooth, axis) / 8 for axis in (1, 0))
    xx, xy, yy = (ndimage.gaussian_filter(product, sigma) for product in (x * x, x * y, y * y))
    difference = np.hypot(xx - yy, 2 * xy)
    coherence = difference / (xx + yy + 1)  # 1: what is next to nothing is not straight
    return difference, coherence, 0.5 * np.arctan2(2 * xy, xx - yy)
