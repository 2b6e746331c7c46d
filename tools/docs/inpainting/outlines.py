"""Outlines of things that people remove from photographs, as holes.

Each is a few thick lines, by (x, y) of both ends and half the width, of a thing around (0, 0) whose longer
side is 1.
"""

from __future__ import annotations

import numpy as np

Line = tuple[float, float, float, float, float]
OUTLINES: dict[str, tuple[Line, ...]] = {
    "person": (
        (0.0, -0.35, 0.0, -0.35, 0.1),
        (0.0, -0.23, 0.0, 0.02, 0.13),
        (-0.1, -0.24, -0.22, 0.06, 0.05),
        (0.1, -0.24, 0.22, 0.06, 0.05),
        (-0.06, 0.05, -0.1, 0.44, 0.06),
        (0.06, 0.05, 0.1, 0.44, 0.06),
    ),
    "animal": (
        (-0.24, -0.04, 0.2, -0.06, 0.13),
        (0.2, -0.1, 0.33, -0.26, 0.07),
        (0.33, -0.27, 0.43, -0.24, 0.07),
        (-0.28, 0.02, -0.31, 0.35, 0.04),
        (-0.19, 0.02, -0.16, 0.35, 0.04),
        (0.14, 0.02, 0.11, 0.35, 0.04),
        (0.23, 0.02, 0.26, 0.35, 0.04),
        (-0.33, -0.08, -0.46, 0.1, 0.03),
    ),
    "bottle": ((0.0, -0.02, 0.0, 0.35, 0.15), (0.0, -0.44, 0.0, 0.0, 0.06)),
    "sign": ((0.0, -0.3, 0.0, -0.3, 0.2), (0.0, -0.3, 0.0, 0.46, 0.04)),
    "bird": (
        (-0.2, 0.0, 0.2, -0.05, 0.1),
        (0.3, -0.12, 0.3, -0.12, 0.08),
        (0.0, 0.0, -0.25, -0.42, 0.08),
        (0.05, 0.0, -0.1, 0.42, 0.08),
        (-0.2, 0.0, -0.5, 0.08, 0.05),
    ),
}


def outline(name: str, x: np.ndarray, y: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The pixels of a thing, at these places in its own coordinates; no two draws hold it alike."""
    missing = np.zeros(np.broadcast_shapes(x.shape, y.shape), bool)
    for *ends, half_width in OUTLINES[name]:
        first_x, first_y, last_x, last_y = np.add(ends, random.uniform(-0.03, 0.03, 4))
        along_x, along_y = last_x - first_x, last_y - first_y
        share = ((x - first_x) * along_x + (y - first_y) * along_y) / (along_x**2 + along_y**2)
        share = share.clip(0, 1)
        gap = np.hypot(x - first_x - share * along_x, y - first_y - share * along_y)
        missing |= gap < half_width * random.uniform(0.8, 1.2)
    return missing
