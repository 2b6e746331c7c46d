"""PatchMatch, the reference's filler: what comes back, what stays, and what it refuses."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from helpers.filled_scales import machine, machines

from contextual_attention.models.filling.patchmatch import PatchMatchOptions, fill_patchmatch


def square(height, width, top, left, side):
    hole = torch.zeros(1, 1, height, width, dtype=torch.bool)
    hole[..., top : top + side, left : left + side] = True
    return hole


def noise(*shape):
    return torch.rand(1, *shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("side", [5, 10, 18])
def test_stripes_come_back_and_known_pixels_stay(side):
    columns = torch.arange(48) % 6 < 3
    truth = columns.float().mul(2).sub(1).expand(1, 3, 40, 48).contiguous()
    hole = square(40, 48, 12, 17, side)
    filled = fill_patchmatch(truth.masked_fill(hole, 0), hole)
    assert torch.equal(filled.image[~hole.expand_as(truth)], truth[~hole.expand_as(truth)])
    assert (filled.image - truth).abs().max() < 0.05


@hypothesis.settings(max_examples=30)
@hypothesis.given(channels=st.integers(1, 4), radius=st.integers(0, 5), seed=st.integers(0, 2**32))
def test_known_pixels_are_bit_identical(channels, radius, seed):
    random = np.random.default_rng(seed)
    height, width = random.integers(1, 33, 2)
    missing = random.uniform(size=(height, width)) < random.choice([0, 0.1, 0.5, 0.9, 0.99])
    missing[random.integers(height) :, random.integers(width) :] = True
    missing[random.integers(height), random.integers(width)] = False
    image = torch.from_numpy(random.uniform(-1, 1, (1, channels, height, width)).astype(np.float32))
    hole = torch.from_numpy(missing)[None, None]
    options = PatchMatchOptions(radius, rounds=4)
    filled = fill_patchmatch(image, hole, options)
    known = ~hole.expand_as(image)
    assert torch.equal(filled.image[known], image[known])
    assert filled.image.abs().max() <= 1
    rows, columns = missing.nonzero()
    down, right = filled.offsets[0][:, rows, columns].numpy()
    assert not missing[rows + down, columns + right].any()
    assert not filled.offsets[0][:, ~hole[0, 0]].any()
    # What is in the hole is not looked at.
    assert all(map(torch.equal, fill_patchmatch(image.masked_fill(hole, 0.7), hole, options), filled))


def test_one_known_pixel_fills_everything():
    image = torch.full((1, 3, 9, 9), 0.25)
    hole = torch.ones(1, 1, 9, 9, dtype=torch.bool)
    hole[..., 4, 4] = False
    assert (fill_patchmatch(image.masked_fill(hole, -1), hole).image - image).abs().max() < 1e-6


def test_the_seed_decides():
    image, hole = noise(1, 32, 32), square(32, 32, 10, 10, 10)
    first, again, other = (
        fill_patchmatch(image, hole, PatchMatchOptions(seed=seed, rounds=3)).image for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_threads_and_simd_levels_make_no_difference():
    image, hole = noise(3, 64, 60), square(64, 60, 15, 20, 30)
    image = torch.nn.functional.avg_pool2d(image, 5, 1, 2)
    results = []
    for threads, simd in machines():
        with machine(threads, simd):
            results.append(fill_patchmatch(image, hole))
    for other in results[1:]:
        assert all(map(torch.equal, other, results[0]))


def test_progress_ends_at_one():
    seen = []
    fill_patchmatch(noise(3, 48, 48), square(48, 48, 10, 10, 20), progress=seen.append)
    assert seen == sorted(seen)
    assert seen[0] > 0
    assert seen[-1] == 1
    assert len(seen) > 3


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("radius", -1, "from 0 to 10, got -1"),
        ("radius", 11, "from 0 to 10, got 11"),
        ("rounds", 0, "at least 1, got 0"),
        ("iterations", 0, "at least 1, got 0"),
        ("start_depth", 0, "at least 1, got 0"),
    ],
)
def test_options_out_of_range_are_refused(option, value, expected):
    with pytest.raises(ValueError, match=f"{option}: expected {expected}"):
        PatchMatchOptions(**{option: value})
