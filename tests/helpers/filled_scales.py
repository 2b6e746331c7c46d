"""Scales with holes for the tests of the filling, and what patches cost, in plain loops."""

import contextlib

import hypothesis.strategies as st
import numpy as np
import scipy.ndimage
import torch

from contextual_attention import backends
from contextual_attention.models.patches.scales import Scale

COLOURS = 3
# What a candidate costs that is not there, or a patch of which no pixel is compared.
NOTHING = 2**31 - 1


def scale_of(missing, seed=0, smooth=0.0, colours=COLOURS):
    """Random features under (H, W) bool, smoothed by so many pixels."""
    random = np.random.default_rng(seed)
    noise = random.uniform(0, 255, (*missing.shape, 8))
    noise = scipy.ndimage.gaussian_filter(noise, (smooth, smooth, 0))
    low, high = noise.min(), noise.max()
    features = np.rint((noise - low) / max(1e-9, high - low) * 255).astype(np.uint8)
    features[..., colours + 2 :] = 0
    known = np.where(missing, 0, 255).astype(np.uint8)
    return Scale(torch.from_numpy(features), torch.from_numpy(known), colours)


def square(height, width, top, left, side):
    """What is missing: (H, W) bool."""
    missing = np.zeros((height, width), bool)
    missing[top : top + side, left : left + side] = True
    return missing


@st.composite
def scales(draw, most=16):
    """Of any size from 1 x 1; holes may touch all edges, at least one pixel is known."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    height, width = random.integers(1, most + 1, 2)
    missing = random.uniform(size=(height, width)) < random.choice([0, 0, 0.05, 0.6])
    for _ in range(random.integers(0, 3)):
        top, left = random.integers(-3, height), random.integers(-3, width)
        bottom, right = (max(0, x + int(random.integers(1, 9))) for x in (top, left))
        missing[max(0, top) : bottom, max(0, left) : right] = True
    if random.integers(4) == 0:
        missing[[0, -1]] = True
        missing[:, [0, -1]] = True
    missing[random.integers(height), random.integers(width)] = False
    return scale_of(missing, int(random.integers(99)), random.choice([0, 2]), int(random.integers(1, 5)))


def parts(scale, target, source, radius):
    """Pairs of pixels that lie on each other: of the target's patch all that lie in the picture."""
    height, width = scale.hole.shape
    y, x = divmod(int(target), width)
    down, right = np.subtract(divmod(int(source), width), (y, x))
    for row in range(max(0, y - radius), min(height, y + radius + 1)):
        for column in range(max(0, x - radius), min(width, x + radius + 1)):
            yield (row, column), (int(row + down), int(column + right))


def variance(features):
    """Of (n, 8) whole numbers, summed over the last axis and rounded down."""
    n = len(features)
    return int((n * (features**2).sum(0) - features.sum(0) ** 2).sum()) // n**2


def cost(scale, target, source, radius, proximity=0, compared=None):
    """What a source costs as if all of the patch had been compared: features and distance."""
    features = scale.features.numpy().astype(int)
    pairs = [(p, q) for p, q in parts(scale, target, source, radius) if compared is None or compared[p]]
    if not pairs:
        return NOTHING
    height, width = scale.hole.shape
    far = int(np.abs(np.subtract(divmod(int(target), width), divmod(int(source), width))).sum())
    unlike = sum(int(((features[p] - features[q]) ** 2).sum()) for p, q in pairs)
    values = np.array([features[p] for p, _ in pairs])
    total = unlike + far * min(proximity, variance(values)) * len(pairs) // max(height, width)
    return total * (2 * radius + 1) ** 2 // len(pairs)


@contextlib.contextmanager
def machine(threads, simd=None):
    """Within, the CPU computes with so many threads and at this SIMD level."""
    before = torch.get_num_threads(), backends.extension.simd_level()
    torch.set_num_threads(threads)
    backends.extension.set_simd_level(simd or before[1])
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        backends.extension.set_simd_level(before[1])


def machines():
    """Threads and SIMD levels that must make no difference."""
    levels = backends.extension.supported_simd_levels()
    return [(1, levels[0]), (2, levels[-1]), (3, levels[-1]), *((2, level) for level in levels[:-1])]
