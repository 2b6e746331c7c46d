"""Blending copies against a dense least-squares solution of the energy that its docstring states."""

import numpy as np
import pytest
import torch

from contextual_attention.models.filling.blend import blend_copies, copy_pixels
from contextual_attention.models.filling.smooth import BLOCK, continue_into, find_smooth

SCREENING, SMOOTH_SCREENING = 0.01, 0.3


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


def between_blocks(map, at):
    """Linearly between the centres of blocks, at a pixel."""
    place = [np.clip((i + 0.5) / BLOCK - 0.5, 0, n - 1) for i, n in zip(at, map.shape[-2:], strict=True)]
    shares = [
        np.clip(1 - np.abs(np.arange(n) - i), 0, None) for i, n in zip(place, map.shape[-2:], strict=True)
    ]
    return np.einsum("...yx,y,x->...", map.astype(float), *shares)


def least_squares(image, hole, offsets, levels=None, estimate=None):
    """The energy pair by pair, one row of a dense system for each of its squares.

    `levels` are the share of smooth levels, those wanted and those there; None: nothing is smooth.
    """
    unknowns = {tuple(at): i for i, at in enumerate(np.argwhere(hole))}
    height, width = hole.shape

    def is_known(at):
        return 0 <= at[0] < height and 0 <= at[1] < width and tuple(at) not in unknowns

    def share(at):
        return 0 if levels is None else between_blocks(levels[0], at)

    def copied(to, source):
        """What the pixel at `source` is where it is copied to `to`."""
        colour = image[:, source[0], source[1]].astype(float)
        if share(to) == 0:
            return colour
        return colour + share(to) * (between_blocks(levels[1], to) - between_blocks(levels[2], source))

    rows, values = [], []

    def add(weight, coefficients, value):
        row = np.zeros(len(unknowns))
        for at, coefficient in coefficients.items():
            row[unknowns[at]] += coefficient * np.sqrt(weight)
        rows.append(row)
        values.append(value * np.sqrt(weight))

    for p in unknowns:
        source = np.add(p, offsets[:, p[0], p[1]])
        screening = SCREENING + share(p) * (SMOOTH_SCREENING - SCREENING)
        add(
            screening,
            {p: 1},
            copied(p, source) if estimate is None else estimate[:, p[0], p[1]].astype(float),
        )
        for move in ((0, 1), (0, -1), (1, 0), (-1, 0)):
            q = tuple(np.add(p, move))
            steps = [copied(p, source) - copied(q, source + move)] if is_known(source + move) else []
            if q in unknowns and q > p:
                other = np.add(q, offsets[:, q[0], q[1]])
                if is_known(other - move):
                    steps.append(copied(p, other - move) - copied(q, other))
                if steps:
                    add(1, {p: 1, q: -1}, np.mean(steps, 0))
            elif is_known(q) and steps:
                add(1, {p: 1}, steps[0] + image[:, q[0], q[1]])
    solution = np.linalg.lstsq(np.stack(rows), np.stack(values), rcond=None)[0]
    result = image.copy()
    for at, i in unknowns.items():
        result[:, at[0], at[1]] = solution[i].clip(image[:, ~hole].min(), image[:, ~hole].max())
    return result


def blend_by_levels(image, hole, offsets, levels, estimate=None):
    """The operator, by levels of blocks that are given."""
    given = [torch.from_numpy(x) for x in levels]
    estimate = None if estimate is None else torch.from_numpy(estimate)[None]
    return torch.ops.contextual_attention_filling.blend(
        *tensors(image, hole, offsets), *given, BLOCK, estimate, SCREENING, SMOOTH_SCREENING, 2.5e-4
    )[0].numpy()


@pytest.mark.parametrize("seed", range(4))
def test_it_is_the_least_squares_solution(seed):
    problem = scattered_problem(seed)
    blended = blend_copies(*tensors(*problem))[0].numpy()
    # What the docstring allows: an eighth of a step of 8 bits.
    assert np.abs(blended - least_squares(*problem)).max() < 1e-3
    assert np.array_equal(blended[:, ~problem[1]], problem[0][:, ~problem[1]])


@pytest.mark.parametrize("seed", range(4))
def test_levels_and_an_estimate_are_in_the_energy(seed):
    # Sizes that are no multiples of a block, and more pixels than the coarsest grid has.
    image, hole, offsets = scattered_problem(seed, height=21, width=18)
    random = np.random.default_rng(seed)
    rows, columns = (-(-size // BLOCK) for size in hole.shape)
    share = random.uniform(-1, 1, (rows, columns)).clip(0, 1).astype(np.float32)
    wanted, there = random.uniform(-0.5, 0.5, (2, 2, rows, columns)).astype(np.float32)
    estimate = random.uniform(-1, 1, image.shape).astype(np.float32) if seed % 2 else None
    blended = blend_by_levels(image, hole, offsets, (share, wanted, there), estimate)
    expected = least_squares(image, hole, offsets, (share, wanted, there), estimate)
    assert np.abs(blended - expected).max() < 1e-3


def test_an_estimate_gives_the_levels_and_copies_give_the_steps():
    """The estimate of a picture of noise that is darker by 0.5 than the copies, far from what is known."""
    image, hole, offsets = scattered_problem(0, height=21, width=18)
    estimate = np.random.default_rng(1).uniform(-1, 1, image.shape).astype(np.float32)
    blended = blend_copies(*tensors(image, hole, offsets), torch.from_numpy(estimate)[None])[0].numpy()
    assert np.abs(blended - least_squares(image, hole, offsets, estimate=estimate)).max() < 1e-3


def test_wide_holes_are_solved_as_exactly():
    """A wide one and many small ones in a picture of noise, against the equations' own residual."""
    height, width = 150, 260
    random = np.random.default_rng(3)
    image = random.uniform(-1, 1, (1, height, width)).astype(np.float32)
    hole = random.uniform(size=(height, width)) < 0.02
    hole[20:130, 30:150] = True
    ys, xs = np.nonzero(hole)
    known = np.argwhere(~hole)
    offsets = np.zeros((2, height, width), np.int64)
    offsets[:, ys, xs] = known[random.integers(len(known), size=len(ys))].T - [ys, xs]
    rows, columns = (-(-size // BLOCK) for size in hole.shape)
    levels = [
        np.zeros(shape, np.float32) for shape in ((rows, columns), (1, rows, columns), (1, rows, columns))
    ]
    blended = blend_by_levels(image, hole, offsets, levels)
    given = (torch.from_numpy(x) for x in levels)
    exact = torch.ops.contextual_attention_filling.blend(
        *tensors(image, hole, offsets), *given, BLOCK, None, SCREENING, SMOOTH_SCREENING, 1e-6
    )[0].numpy()
    assert np.abs(blended - exact).max() < 1e-3


def test_threads_change_nothing():
    image, hole, offsets = (x.clone() for x in tensors(*scattered_problem(1, height=500, width=700)))
    threads = torch.get_num_threads()
    try:
        results = []
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append(blend_copies(image, hole, offsets))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


@pytest.mark.parametrize("offset", [(0, 1), (-9, 0)])
def test_offsets_to_what_is_not_known_are_refused(offset):
    image = torch.rand(1, 1, 6, 6)
    hole = torch.zeros(1, 1, 6, 6, dtype=torch.bool)
    hole[..., 2, 2:4] = True
    offsets = torch.tensor(offset).view(1, 2, 1, 1) * hole
    with pytest.raises(
        RuntimeError, match="offsets: expected to lead from every pixel of the hole to a known"
    ):
        blend_copies(image, hole, offsets)


def grainy_sky(height=160, width=200, grain=0.02):
    """A sky that brightens faster and faster downwards; a square hole; copies from the left of it."""
    rows, columns = np.mgrid[:height, :width] / height
    sky = np.stack([0.8 * rows**2 - 0.5 + 0.1 * columns, 0.5 * rows**2, 0.3 - 0.2 * columns])
    noise = np.random.default_rng(0).normal(0, grain, sky.shape)
    image = (sky + noise).astype(np.float32)
    hole = np.zeros((height, width), bool)
    hole[60:120, 80:150] = True
    offsets = np.where(hole, np.array([0, -75])[:, None, None], 0)
    return sky, image, hole, offsets


def test_a_sky_keeps_its_course_and_its_grain():
    sky, image, hole, offsets = grainy_sky()
    image[:, hole] = 9  # is not looked at
    blended = blend_copies(*tensors(image, hole, offsets))[0].numpy()
    error = (blended - sky)[:, 60:120, 80:150]
    # By blocks of 10 x 10, whose means have a tenth of the grain.
    blocks = error.reshape(3, 6, 10, 7, 10).mean((2, 4))
    assert np.abs(blocks).max() < 0.015
    assert 0.9 < error.std() / 0.02 < 1.1


def test_texture_and_edges_are_not_smooth():
    _, image, hole, _ = grainy_sky()
    random = np.random.default_rng(1)
    image[:, 120:] += random.uniform(-0.3, 0.3, (40, 200))
    image[:, :, :20] += 0.5
    smooth = find_smooth(*tensors(image, hole, image)[:2])
    share = smooth.share[0, 0].numpy()
    assert (share[31:] == 0).all()
    assert (share[:28, 4:6] == 0).all()
    assert (share[:14, 9:] > 0.9).all()
    around, wanted = continue_into(smooth)
    assert around.shape == smooth.share.shape[1:]
    assert wanted.shape == smooth.levels.shape[1:]
    assert around[0, 16, 27] > 0.8


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
