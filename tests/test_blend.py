"""Blending copies against a dense least-squares solution of the energy that its docstring states."""

import numpy as np
import pytest
import torch

from contextual_attention.models.filling.blend import blend_copies, copy_pixels

SCREENING = 0.01


def scattered_problem(seed, height=9, width=11):
    """Noise with a ragged hole that reaches an edge, and offsets to known pixels at random."""
    random = np.random.default_rng(seed)
    image = random.uniform(-1, 1, (2, height, width)).astype(np.float32)
    hole = random.uniform(size=(height, width)) < 0.3
    hole[3:6, :4] = True
    known = np.argwhere(~hole)
    offsets = np.zeros((2, height, width), np.int64)
    for at in np.argwhere(hole):
        offsets[:, at[0], at[1]] = known[random.integers(len(known))] - at
    return image, hole, offsets


def tensors(image, hole, offsets):
    return torch.from_numpy(image)[None], torch.from_numpy(hole)[None, None], torch.from_numpy(offsets)[None]


def least_squares(image, hole, offsets):
    """The energy pair by pair, one row of a dense system for each of its squares."""
    unknowns = {tuple(at): i for i, at in enumerate(np.argwhere(hole))}
    height, width = hole.shape

    def colour(at):
        """What is known there, else None."""
        inside = 0 <= at[0] < height and 0 <= at[1] < width
        return image[:, at[0], at[1]].astype(float) if inside and tuple(at) not in unknowns else None

    rows, values = [], []

    def add(weight, coefficients, value):
        row = np.zeros(len(unknowns))
        for at, coefficient in coefficients.items():
            row[unknowns[at]] += coefficient * np.sqrt(weight)
        rows.append(row)
        values.append(value * np.sqrt(weight))

    for p in unknowns:
        source = np.add(p, offsets[:, p[0], p[1]])
        add(SCREENING, {p: 1}, colour(source))
        for move in ((0, 1), (0, -1), (1, 0), (-1, 0)):
            q = tuple(np.add(p, move))
            steps = [colour(source) - colour(source + move)] if colour(source + move) is not None else []
            if q in unknowns and q > p:
                other = np.add(q, offsets[:, q[0], q[1]])
                if colour(other - move) is not None:
                    steps.append(colour(other - move) - colour(other))
                if steps:
                    add(1, {p: 1, q: -1}, np.mean(steps, 0))
            elif colour(q) is not None and steps:
                add(1, {p: 1}, steps[0] + colour(q))
    solution = np.linalg.lstsq(np.stack(rows), np.stack(values), rcond=None)[0]
    result = image.copy()
    for at, i in unknowns.items():
        result[:, at[0], at[1]] = solution[i].clip(image[:, ~hole].min(), image[:, ~hole].max())
    return result


@pytest.mark.parametrize("seed", range(4))
def test_it_is_the_least_squares_solution(seed):
    problem = scattered_problem(seed)
    blended = blend_copies(*tensors(*problem))[0].numpy()
    # What the docstring allows: an eighth of a step of 8 bits.
    assert np.abs(blended - least_squares(*problem)).max() < 1e-3
    assert np.array_equal(blended[:, ~problem[1]], problem[0][:, ~problem[1]])


def test_copies_that_fit_stay_as_they_are():
    cell = np.random.default_rng(0).uniform(-1, 1, (3, 8, 8)).astype(np.float32)
    truth = np.tile(cell, (1, 4, 4))
    hole = np.zeros((32, 32), bool)
    hole[10:17, 0:9] = True
    offsets = np.stack([np.where(hole, 8, 0), np.where(hole, 16, 0)])
    offsets[0, :, :4] *= -1
    problem = tensors(np.where(hole, 0, truth).astype(np.float32), hole, offsets)
    assert np.array_equal(blend_copies(*problem)[0].numpy(), truth)
    assert np.array_equal(copy_pixels(*problem)[0].numpy(), truth)


def test_a_level_that_does_not_fit_fades_out_over_some_pixels():
    """A column of bright copies ends, at the top, on a dark pixel: x_i = 1 - 2 r^(i + 1), r + 1/r = 2.01."""
    height = 80
    image = np.ones((1, height, 2), np.float32)
    image[0, 0, 0] = -1
    hole = np.zeros((height, 2), bool)
    hole[1:, 0] = True
    # Sideways there is no step to be kept: the column to the right is borrowed from, and ends the picture.
    offsets = np.zeros((2, height, 2), np.int64)
    offsets[1][hole] = 1
    blended = blend_copies(*tensors(image, hole, offsets))[0, 0, 1:, 0].numpy()
    r = (2.01 - np.sqrt(2.01**2 - 4)) / 2
    expected = 1 - 2 * r ** np.arange(1, height)
    assert np.abs(blended - expected).max() < 2e-3


def test_nothing_missing_is_nothing_to_do():
    image = torch.rand(1, 3, 5, 6)
    nothing = torch.zeros(1, 1, 5, 6, dtype=torch.bool)
    offsets = torch.zeros(1, 2, 5, 6, dtype=torch.int64)
    assert torch.equal(blend_copies(image, nothing, offsets), image)
    assert torch.equal(copy_pixels(image, nothing, offsets), image)
