"""Regression over thin holes: the equations in float64, what it represents, odd pictures."""

import numpy as np
import pytest
import torch

from contextual_attention.models.filling.thin import Regression, fill_thin, regress


def closeness(options, offset):
    outside = max(0, -offset, offset - options.tile + 1)
    return np.exp(-0.5 * (outside / options.spread) ** 2)


def place_patch(missing, row, column, options):
    """The patch of a tile, cut at the edge: its pixels' positions and their weights."""
    height, width = missing.shape
    top, left = row * options.tile - options.margin, column * options.tile - options.margin
    side = options.tile + 2 * options.margin
    rows = range(max(0, top), min(height, top + side))
    columns = range(max(0, left), min(width, left + side))
    pixels = [(y, x) for y in rows for x in columns]
    weights = [
        closeness(options, y - row * options.tile) * closeness(options, x - column * options.tile)
        for y, x in pixels
    ]
    return np.array(pixels), np.array(weights)


def predict_tile(picture, missing, pixels, weights, options):
    """The pixels' linear estimates of least mean squared error, (pixels, C); None: nothing to learn from."""
    known = ~missing[tuple(pixels.T)] & (weights >= 0.01)
    moves = [
        (dy, dx)
        for dy in range(-options.reach, options.reach + 1)
        for dx in range(-options.reach, options.reach + 1)
        if (dy, dx) != (0, 0)
        and (pixels.min(0) + np.array([dy, dx]) >= 0).all()
        and (pixels.max(0) + np.array([dy, dx]) < missing.shape).all()
    ]
    if not known.any() or not moves:
        return None
    share = weights * known / weights[known].sum()
    own = picture[:, pixels[:, 0], pixels[:, 1]]
    own_mean = own @ share
    patches = np.stack([picture[:, pixels[:, 0] + dy, pixels[:, 1] + dx] for dy, dx in moves])
    patches = patches - (patches @ share)[..., None]
    differences = ((patches - (own - own_mean[:, None])) ** 2 @ share).mean(1)
    scale = max(options.alike**2, np.sort(differences)[(len(moves) - 1) // 10] / 4)
    nearest = np.argsort(differences, kind="stable")[: options.samples]
    say_of = np.exp(-differences[nearest] / scale)
    say_of /= say_of.sum()
    samples = patches[nearest]
    centre = np.einsum("t,tcd->cd", say_of, samples)
    grey = (samples - centre).mean(1)
    covariance = np.einsum("t,ti,tj->ij", say_of, grey, grey)
    noise = options.grain**2 + options.damping * np.diag(covariance)[known].mean()
    observed = covariance[np.ix_(known, known)] + np.diag(noise / weights[known])
    factors = np.linalg.solve(observed, (own - own_mean[:, None] - centre)[:, known].T)
    predicted = (own_mean[:, None] + centre).T + covariance[:, known] @ factors
    low, high = own[:, known].min(1), own[:, known].max(1)
    return np.clip(predicted, 2 * low - high, 2 * high - low)


def expected(picture, missing, options):
    picture = picture.astype(np.float64)
    height, width = missing.shape
    sums, totals = np.zeros_like(picture), np.zeros((height, width))
    for row in range(-(-height // options.tile)):
        for column in range(-(-width // options.tile)):
            block = np.s_[
                row * options.tile : (row + 1) * options.tile,
                column * options.tile : (column + 1) * options.tile,
            ]
            if not missing[block].any():
                continue
            pixels, weights = place_patch(missing, row, column, options)
            estimate = predict_tile(picture, missing, pixels, weights, options)
            if estimate is None:
                continue
            for (y, x), weight, colours in zip(pixels, weights, estimate, strict=True):
                sums[:, y, x] += weight * colours
                totals[y, x] += weight
    filled = missing & (totals > 0)
    return np.where(filled, np.clip(sums / np.where(filled, totals, 1), -1, 1), picture)


def draw(seed, channels, height, width, share=0.15):
    random = np.random.default_rng(seed)
    waves = np.add.outer(np.sin(np.arange(height) / 2), np.cos(np.arange(width) / 3)) / 3
    picture = waves + random.normal(0, 0.15, (channels, height, width))
    return np.clip(picture, -1, 1).astype(np.float32), random.uniform(size=(height, width)) < share


CASES = [
    (1, 23, 31, Regression(tile=3, margin=2, reach=5, samples=20)),
    (3, 26, 24, Regression(tile=2, margin=3, reach=7, samples=60, spread=1.5)),
    (4, 17, 40, Regression(tile=4, margin=1, reach=9, samples=1000, damping=0.1)),
    # All pixels alike: weights do not depend on the differences' scale but on `alike`.
    (2, 20, 20, Regression(tile=3, margin=3, reach=6, samples=50, alike=4.0)),
    # The corners of patches count too little.
    (3, 22, 27, Regression(reach=6, samples=60)),
    # Rows of samples shorter than what is compared at once.
    (3, 12, 9, Regression(tile=3, margin=2, reach=3, samples=15)),
]


@pytest.mark.parametrize(("channels", "height", "width", "options"), CASES)
def test_the_equations_in_float64(channels, height, width, options):
    picture, missing = draw(channels + height, channels, height, width)
    found = regress(torch.from_numpy(picture), torch.from_numpy(missing), options).numpy()
    # Float32 sums over some 100 pixels, times the condition of the covariance, below 1e4.
    assert np.abs(found - expected(picture, missing, options)).max() < 1e-3
    assert np.array_equal(found[:, ~missing], picture[:, ~missing])
    assert np.abs(found - picture)[:, missing].mean() > 0.01


def scratch(height, width):
    rows, columns = np.mgrid[:height, :width]
    return torch.from_numpy((np.abs(rows - 0.4 * columns - 10) < 2) | (columns == width - 1) | (rows == 0))[
        None, None
    ]


def test_waves_come_back_from_no_guess():
    """Of plane waves every pixel is the same linear combination of its neighbours everywhere."""
    rows, columns = np.mgrid[:60, :70]
    waves = sum(np.sin(a * rows + b * columns) for a, b in ((0.9, 0.3), (-0.4, 1.1), (1.3, 0.9))) / 3
    truth = torch.from_numpy(np.multiply.outer([0.9, 0.5, -0.2], waves).astype(np.float32))[None]
    hole = scratch(60, 70)
    filled = fill_thin(truth, hole, torch.zeros_like(truth))
    missing = hole.expand_as(truth)
    # What the noise term and the samples that touch the hole leave.
    assert (filled - truth)[missing].square().mean() < 0.01 * truth[missing].square().mean()


def test_a_plane_of_colour_continues_exactly():
    """Every patch of a ramp is every other one, but for its mean."""
    ramp = torch.linspace(-0.8, 0.8, 60)[None, :] * torch.tensor([1.0, -0.5, 0.2])[:, None]
    truth = ramp[None, :, None, :].expand(1, 3, 44, 60).contiguous()
    hole = scratch(44, 60)
    filled = fill_thin(truth, hole, truth)
    known = truth.masked_select(~hole)  # one end of the ramp is missing where the scratch meets the edge
    assert (filled - truth.clamp(known.min(), known.max())).abs().max() < 1e-5


def test_one_colour_stays_one_colour():
    """Though some patches that are of this colour too have the block's corner where this one is missing."""
    truth = torch.full((1, 3, 60, 60), -0.4)
    truth[..., 18:30, 18:30] = 0.9
    hole = torch.zeros(1, 1, 60, 60, dtype=torch.bool)
    hole[..., 56:, 56:] = True
    assert (fill_thin(truth, hole, truth) - truth).abs().max() < 1e-6


def test_the_hole_is_not_looked_at_in_the_picture_nor_the_rest_in_the_guess():
    picture, missing = draw(5, 3, 30, 34)
    image, hole = torch.from_numpy(picture)[None], torch.from_numpy(missing)[None, None]
    start = torch.rand(image.shape, generator=torch.Generator().manual_seed(1))
    filled = fill_thin(image, hole, start)
    assert torch.equal(filled, fill_thin(image.masked_fill(hole, 9), hole, start.masked_fill(~hole, 9)))
    assert torch.equal(filled[~hole.expand_as(image)], image[~hole.expand_as(image)])
    assert filled.abs().max() <= 1


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_change_no_bit(threads):
    picture, missing = draw(6, 3, 70, 64)
    image, hole = torch.from_numpy(picture)[None], torch.from_numpy(missing)[None, None]
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        once = fill_thin(image, hole, image)
        torch.set_num_threads(threads)
        assert torch.equal(fill_thin(image, hole, image), once)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 30), (30, 2), (5, 5), (11, 13)])
@pytest.mark.parametrize("channels", [1, 4])
def test_pictures_of_any_size(channels, height, width):
    picture, missing = draw(7, channels, height, width, share=0.3)
    missing[0, 0] = True
    image, hole = torch.from_numpy(picture)[None], torch.from_numpy(missing)[None, None]
    filled = fill_thin(image, hole, image)
    assert torch.isfinite(filled).all()
    assert torch.equal(filled[~hole.expand_as(image)], image[~hole.expand_as(image)])


def test_where_nothing_is_known_the_guess_stays():
    image = torch.rand(1, 3, 40, 40)
    assert torch.equal(fill_thin(image, torch.ones(1, 1, 40, 40, dtype=torch.bool), image), image)
    assert torch.equal(fill_thin(image, torch.zeros(1, 1, 40, 40, dtype=torch.bool), image), image)
