"""Blending copies against a dense least-squares solution of the energy that its docstring states."""

import numpy as np
import pytest
import torch

from contextual_attention.models.filling.blend import blend_copies, copy_pixels
from contextual_attention.models.filling.smooth import BLOCK, Smooth, continue_into, find_smooth

SCREENING, SMOOTH_SCREENING, TORN, TOLERANCE = 0.01, 0.3, 30 / 127.5, 2.5e-5


def scattered_problem(seed, height=9, width=11):
    """Noise with a ragged hole that reaches an edge, and offsets to known pixels at random.

    Of two neighbours' copies about half fit together.
    """
    random = np.random.default_rng(seed)
    image = random.uniform(-0.25, 0.25, (2, height, width)).astype(np.float32)
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


def least_squares(image, hole, offsets, levels=None):
    """The energy pair by pair, one row of a dense system for each of its squares; the share of torn pairs.

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

    rows, values, torn = [], [], 0

    def add(weight, coefficients, value):
        row = np.zeros(len(unknowns))
        for at, coefficient in coefficients.items():
            row[unknowns[at]] += coefficient * np.sqrt(weight)
        rows.append(row)
        values.append(value * np.sqrt(weight))

    for p in unknowns:
        source = np.add(p, offsets[:, p[0], p[1]])
        screening = SCREENING + share(p) * (SMOOTH_SCREENING - SCREENING)
        add(screening, {p: 1}, copied(p, source))
        for move in ((0, 1), (0, -1), (1, 0), (-1, 0)):
            q = tuple(np.add(p, move))
            steps = [copied(p, source) - copied(q, source + move)] if is_known(source + move) else []
            if q in unknowns and q > p:
                other = np.add(q, offsets[:, q[0], q[1]])
                if is_known(other - move):
                    steps.append(copied(p, other - move) - copied(q, other))
                if not steps:
                    continue
                step = np.mean(steps, 0)
                if np.abs(copied(p, source) - copied(q, other) - step).max() > TORN:
                    torn += 1
                else:
                    add(1, {p: 1, q: -1}, step)
            elif is_known(q) and steps:
                add(1, {p: 1}, steps[0] + image[:, q[0], q[1]])
    solution = np.linalg.lstsq(np.stack(rows), np.stack(values), rcond=None)[0]
    result = image.copy()
    for at, i in unknowns.items():
        result[:, at[0], at[1]] = solution[i].clip(image[:, ~hole].min(), image[:, ~hole].max())
    return result, torn / len(rows)


def blend_by_levels(image, hole, offsets, levels, tolerance=TOLERANCE):
    """The operator, by levels of blocks that are given."""
    given = [torch.from_numpy(x) for x in levels]
    return torch.ops.contextual_attention_filling.blend(
        *tensors(image, hole, offsets), *given, BLOCK, SCREENING, SMOOTH_SCREENING, TORN, tolerance
    )[0].numpy()


@pytest.mark.parametrize("seed", range(4))
def test_it_is_the_least_squares_solution(seed):
    problem = scattered_problem(seed)
    blended = blend_copies(*tensors(*problem))[0].numpy()
    expected, torn = least_squares(*problem)
    # What the docstring allows: an eighth of a step of 8 bits.
    assert np.abs(blended - expected).max() < 1e-3
    assert 0.03 < torn < 0.5
    assert np.array_equal(blended[:, ~problem[1]], problem[0][:, ~problem[1]])


@pytest.mark.parametrize("seed", range(4))
def test_levels_are_in_the_energy(seed):
    # Sizes that are no multiples of a block, and more pixels than the coarsest grid has.
    image, hole, offsets = scattered_problem(seed, height=21, width=18)
    random = np.random.default_rng(seed)
    rows, columns = (-(-size // BLOCK) for size in hole.shape)
    share = random.uniform(-1, 1, (rows, columns)).clip(0, 1).astype(np.float32)
    wanted, there = random.uniform(-0.2, 0.2, (2, 2, rows, columns)).astype(np.float32)
    blended = blend_by_levels(image, hole, offsets, (share, wanted, there))
    expected, torn = least_squares(image, hole, offsets, (share, wanted, there))
    assert np.abs(blended - expected).max() < 1e-3
    assert 0.03 < torn < 0.5


@pytest.mark.parametrize("contrast", [0.1, 0.4, 1.0])
def test_wide_holes_are_solved_as_exactly(contrast):
    """A wide one and many small ones in noise; few pairs of copies are torn, half of them, most."""
    height, width = 150, 260
    random = np.random.default_rng(3)
    image = random.uniform(-contrast, contrast, (1, height, width)).astype(np.float32)
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
    exact = blend_by_levels(image, hole, offsets, levels, tolerance=1e-7)
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
    everywhere, levels = torch.ones(smooth.share.shape[2:], dtype=torch.bool), smooth.levels[0]
    around, wanted = continue_into(smooth, everywhere, levels)
    assert around.shape == smooth.share.shape[1:]
    assert wanted.shape == smooth.levels.shape[1:]
    assert around[0, 16, 27] > 0.8


@pytest.mark.parametrize("even", [False, True])
def test_what_nothing_even_leads_to_stays_as_it_is(even):
    """Blocks that are only half smooth have no levels to go on with; a single even one has."""
    known = torch.ones(1, 1, 9, 12)
    known[..., 2:7, 3:9] = 0
    share = 0.4 * known
    share[..., 4, 2] = 1.0 if even else 0.4
    levels = torch.rand(1, 3, 9, 12, generator=torch.Generator().manual_seed(0))
    smooth = Smooth(share, levels, torch.zeros(1, 6, 9, 12), known)
    otherwise = levels[0] + 1
    missing = known[0, 0] == 0
    around, wanted = continue_into(smooth, torch.ones(9, 12, dtype=torch.bool), otherwise)
    if even:
        assert (around[0][missing] > 0.3).all()
        assert torch.allclose(wanted[:, missing], levels[0, :, 4, 2, None].expand(-1, 30), atol=1e-3)
    else:
        assert (around[0][missing] == 0).all()
        assert torch.equal(wanted[:, missing], otherwise[:, missing])


def copies_from_the_left(image):
    """A hole whose columns 80 to 150 are copied from 75 pixels further left."""
    hole = np.zeros(image.shape[1:], bool)
    hole[60:120, 80:150] = True
    return tensors(image, hole, np.where(hole, np.array([0, -75])[:, None, None], 0))


@pytest.mark.parametrize("contrast", [0.2, 0.5, 0.8])
def test_a_wall_says_nothing_of_the_sky(contrast):
    """A flat sky, and below the line of a roof what is as smooth, and darker by 25 to 100 steps of 8 bits."""
    random = np.random.default_rng(0)
    image = random.normal(0.3, 0.02, (3, 160, 200)).astype(np.float32)
    image[:, 96:] -= contrast
    problem = copies_from_the_left(image)
    change = (blend_copies(*problem) - copy_pixels(*problem))[0, :, 60:92, 80:148].numpy()
    # By blocks of 4 x 4, whose means have a quarter of the grain. It was up to 16 steps.
    assert np.abs(change.reshape(3, 8, 4, 17, 4).mean((2, 4))).max() < 2 / 127.5


def test_a_seam_that_cannot_be_hidden_is_not_smeared():
    """Half of a hole is copied from what is dark to the left of it, half from what is bright to the right."""
    image = np.random.default_rng(0).normal(0, 0.02, (1, 40, 120)).astype(np.float32)
    image[:, :, :60] -= 0.4
    image[:, :, 60:] += 0.4
    hole = np.zeros((40, 120), bool)
    hole[:, 30:90] = True
    offsets = np.zeros((2, 40, 120), np.int64)
    offsets[1, :, 30:60], offsets[1, :, 60:90] = -30, 30
    problem = tensors(image, hole, offsets)
    change = (blend_copies(*problem) - copy_pixels(*problem))[0].numpy()
    assert np.abs(change[:, :, 58:62].mean(1)).max() < 2 / 127.5


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
