"""Levels continued into a hole (csrc/cpu/filling/levels.cpp) against dense equations."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from contextual_attention.models.patches.native import operators

SIDES = ((0, 1), (0, -1), (1, 0), (-1, 0))
TOLERANCE = 2.5e-4


def by_hand(levels, missing, used, slopes):
    """Where it is reached, the steps from each pixel to those beside it, less the slopes, add up to nothing.

    Parts of what is missing that touch nothing used stay as they are.
    """
    result = levels.astype(float)
    parts, count = ndimage.label(missing)
    touched = np.unique(parts * ndimage.binary_dilation(used & ~missing))
    inside = np.isin(parts, touched[touched > 0])
    numbers = {tuple(at): i for i, at in enumerate(np.argwhere(inside))}
    matrix, right = np.zeros((len(numbers), len(numbers))), np.zeros((len(levels), len(numbers)))
    for at, i in numbers.items():
        for down, across in SIDES:
            other = at[0] + down, at[1] + across
            if not all(0 <= n < size for n, size in zip(other, missing.shape, strict=True)):
                continue
            if other not in numbers and not (used[other] and not missing[other]):
                continue
            along = slopes[:, 1 if down else 0]
            slope = (along[:, at[0], at[1]] + along[:, other[0], other[1]]) / 2
            right[:, i] -= (down + across) * slope
            matrix[i, i] += 1
            if other in numbers:
                matrix[i, numbers[other]] -= 1
            else:
                right[:, i] += levels[:, other[0], other[1]]
    if numbers:
        rows, columns = np.array(list(numbers)).T
        result[:, rows, columns] = np.linalg.solve(matrix, right.T).T
    return result


def problem(seed):
    """A ragged hole in many parts, few of whose surroundings are used."""
    random = np.random.default_rng(seed)
    shape = tuple(random.integers(1, 24, 2))
    missing = random.uniform(size=shape) < random.uniform(0.1, 0.9)
    used = random.uniform(size=shape) < random.choice([0.02, 0.2, 0.9])
    levels = random.uniform(-1, 1, (2, *shape)).astype(np.float32)
    slopes = random.uniform(-0.1, 0.1, (2, 2, *shape)).astype(np.float32)
    return levels, missing, used, slopes


def solve(levels, missing, used, slopes):
    given = (torch.from_numpy(x) for x in (levels, missing, used, slopes))
    return operators().continue_levels(*given, TOLERANCE).numpy()


@pytest.mark.parametrize("seed", range(60))
def test_equations(seed):
    drawn = problem(seed)
    # The tolerance is of the last step; across a part a few of them add up.
    assert np.abs(solve(*drawn) - by_hand(*drawn)).max() < 10 * TOLERANCE


@pytest.mark.parametrize("size", [1, 5, 16, 40])
def test_what_nothing_leads_to_stays(size):
    """Its equations have no one solution: with what was all but 0 to hold it, it became no number."""
    random = np.random.default_rng(size)
    levels = random.uniform(-1, 1, (3, 50, 50)).astype(np.float32)
    slopes = random.uniform(-0.1, 0.1, (3, 2, 50, 50)).astype(np.float32)
    missing, used = np.zeros((50, 50), bool), np.zeros((50, 50), bool)
    missing[2 : 2 + size, 3 : 3 + size] = missing[45:48, 45:49] = True
    used[44:, 44:] = True
    solved = solve(levels, missing, used, slopes)
    assert np.array_equal(solved[:, :44, :44], levels[:, :44, :44])
    assert not np.array_equal(solved[:, 45:48, 45:49], levels[:, 45:48, 45:49])
