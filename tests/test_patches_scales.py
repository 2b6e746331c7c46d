"""Pictures with holes as features, at one scale after the other, against loops in Python."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import torch

from contextual_attention.models.patches.scales import Guide, Scale, finest_scale, touching, whole_patches

TEXTURE_REACH, TEXTURE_WEIGHT = 2, 5


@st.composite
def masks(draw, most=14):
    """(H, W) bool of any size from 1 x 1: scattered pixels, rectangles that may touch the edges, or both."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    height, width = random.integers(1, most + 1, 2)
    mask = random.uniform(size=(height, width)) < random.choice([0, 0.05, 0.3, 0.8, 1])
    for _ in range(random.integers(0, 3)):
        top, left = random.integers(height), random.integers(width)
        mask[top : top + random.integers(1, 8), left : left + random.integers(1, 8)] = True
    return mask


@st.composite
def pictures(draw):
    """(C, H, W) float32, some values beyond [-1, 1], and (H, W) bool."""
    mask = draw(masks())
    random = np.random.default_rng(draw(st.integers(0, 999)))
    return random.uniform(-1.1, 1.1, (draw(st.integers(1, 4)), *mask.shape)).astype(np.float32), mask


def pixels_of(shape):
    return [(y, x) for y in range(shape[0]) for x in range(shape[1])]


def window(mask, y, x, reach):
    return mask[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1]


def is_rounded(byte, exact):
    """Float arithmetic may differ from the exact by far less than this before it is rounded."""
    return abs(float(byte) - min(255, max(0, exact))) <= 0.5 + 1e-3


def mean_step(grey, hole, y, x, down, right):
    """Of the pairs of known neighbours that begin in the window; None: there is none."""
    steps = []
    for row in range(max(0, y - TEXTURE_REACH), min(grey.shape[0] - 1, y + TEXTURE_REACH) + 1):
        for column in range(max(0, x - TEXTURE_REACH), min(grey.shape[1] - 1, x + TEXTURE_REACH) + 1):
            other = row + down, column + right
            inside = other[0] < grey.shape[0] and other[1] < grey.shape[1]
            if inside and not hole[row, column] and not hole[other]:
                steps.append(abs(grey[row, column] - grey[other]))
    return np.mean(steps) if steps else None


@hypothesis.given(pictures())
def test_features_are_colours_and_mean_steps(picture):
    image, hole = picture
    scale = finest_scale(torch.from_numpy(image)[None], torch.from_numpy(hole)[None, None])
    features, channels = scale.features.numpy(), len(image)
    grey = image.astype(np.float64).mean(0)
    assert features.shape == (*hole.shape, 8)
    assert scale.colours == channels
    assert scale.guide is None
    for y, x in pixels_of(hole.shape):
        own = features[y, x]
        assert scale.known[y, x] == (0 if hole[y, x] else 255)
        if hole[y, x]:
            assert not own.any()
            continue
        for byte, colour in zip(own, image[:, y, x], strict=False):
            assert is_rounded(byte, (float(colour) + 1) * 127.5)
        for byte, (down, right) in zip(own[channels:], [(0, 1), (1, 0)], strict=False):
            step = mean_step(grey, hole, y, x, down, right)
            assert is_rounded(byte, 0 if step is None else TEXTURE_WEIGHT * 127.5 * step)
        assert not own[channels + 2 :].any()


def test_what_is_in_the_hole_is_not_looked_at():
    image = torch.rand(1, 3, 12, 13, generator=torch.Generator().manual_seed(0)) * 2 - 1
    hole = torch.zeros(1, 1, 12, 13, dtype=torch.bool)
    hole[..., 3:8, 5:13] = True
    scales = [finest_scale(image.masked_fill(hole, value), hole) for value in (-1.0, float("nan"))]
    assert torch.equal(scales[0].features, scales[1].features)


def test_six_colours_are_compared_and_all_are_grey():
    """Of a picture with more channels: the texture is that of all of them."""
    image = torch.zeros(1, 8, 4, 4)
    image[:, 7, :, ::2] = 0.8
    scale = finest_scale(image, torch.zeros(1, 1, 4, 4, dtype=torch.bool))
    assert scale.colours == 6
    assert (scale.features[..., :6] == 128).all()
    assert (scale.features[..., 6] == 64).all()  # 5 * 127.5 * 0.8 / 8 = 63.75
    assert (scale.features[..., 7] == 0).all()


@hypothesis.given(masks(), st.integers(0, 999))
def test_halving(hole, seed):
    """Whole numbers: sums rounded half up, shares rounded down, nothing where nothing is known."""
    random = np.random.default_rng(seed)
    features = random.integers(0, 256, (*hole.shape, 8)).astype(np.uint8)
    known = np.where(hole, 0, random.choice([1, 64, 128, 254, 255], hole.shape)).astype(np.uint8)
    coarser = Scale(torch.from_numpy(features), torch.from_numpy(known), 3, depth=1).halve()
    assert coarser.features.shape == (-(-hole.shape[0] // 2), -(-hole.shape[1] // 2), 8)
    assert (coarser.depth, coarser.colours, coarser.guide) == (2, 3, None)
    for y, x in pixels_of(coarser.known.shape):
        block = slice(2 * y, 2 * y + 2), slice(2 * x, 2 * x + 2)
        shares, values = known[block].astype(int), features[block].astype(int)
        total = int(shares.sum())
        sums = (shares[..., None] * values).sum((0, 1))
        expected = (sums + total // 2) // total if total else sums
        assert coarser.features[y, x].tolist() == expected.tolist()
        assert coarser.known[y, x] == total // shares.size


def test_missing_and_hole_of_a_scale():
    known = torch.tensor([[0, 127, 128, 254, 255]], dtype=torch.uint8)
    scale = Scale(torch.zeros(1, 5, 8, dtype=torch.uint8), known, 3)
    assert scale.missing.tolist() == [[True, True, True, True, False]]
    assert scale.hole.tolist() == [[True, True, False, False, False]]


@hypothesis.given(masks(), st.integers(0, 5))
def test_patches_that_are_whole_and_that_touch(mask, radius):
    whole = whole_patches(torch.from_numpy(mask), radius)
    touched = touching(torch.from_numpy(mask), radius)
    for y, x in pixels_of(mask.shape):
        near = window(mask, y, x, radius)
        assert touched[y, x] == near.any()
        assert whole[y, x] == (near.size == (2 * radius + 1) ** 2 and not near.any())


@hypothesis.given(masks())
def test_depths_are_steps_to_the_nearest_pixel_outside(mask):
    known = torch.from_numpy(np.where(mask, 0, 255).astype(np.uint8))
    scale = Scale(torch.zeros(*mask.shape, 8, dtype=torch.uint8), known, 3)
    outside = [at for at in pixels_of(mask.shape) if not mask[at]]
    for y, x in pixels_of(mask.shape):
        # Without anything outside it is as deep as can be said.
        expected = min((max(abs(y - i), abs(x - j)) for i, j in outside), default=32767)
        assert scale.depths[y, x] == expected
    assert scale.deepest == scale.depths.max()


@pytest.mark.parametrize("depth", [0, 1])
@pytest.mark.parametrize("share", [0.5, 0.9])
def test_pixels_are_drawn_towards_the_guide(depth, share):
    random = np.random.default_rng(1)
    features, guide = random.integers(0, 256, (2, 6, 7, 8)).astype(np.uint8)
    trust = random.choice([0, 1, 100, 200, 255], (6, 7)).astype(np.uint8)
    known = torch.zeros(6, 7, dtype=torch.uint8)
    scale = Scale(torch.from_numpy(features.copy()), known, 3, tuple(map(torch.from_numpy, (guide, trust))))
    scale.depth = depth
    asked = torch.arange(5, 37)
    scale.mix_guide(asked, share)
    for y, x in pixels_of((6, 7)):
        own, expected = scale.features[y, x].numpy(), features[y, x]
        # At coarse scales trust counts half as much again; never more than the share.
        weight = min(share, trust[y, x] / 255 * share * (1.5 if depth else 1))
        if y * 7 + x not in asked:
            weight = 0
        for c in range(8):
            towards = float(guide[y, x, c]) - expected[c] if c < 3 else 0
            assert is_rounded(own[c], expected[c] + weight * towards)


def test_without_a_guide_nothing_is_drawn():
    scale = Scale(torch.full((2, 2, 8), 9, dtype=torch.uint8), torch.zeros(2, 2, dtype=torch.uint8), 3)
    scale.mix_guide(torch.arange(4), 1)
    assert (scale.features == 9).all()


@hypothesis.given(pictures(), st.sampled_from([0, 0.02, 0.5, 1]))
def test_the_guide_is_described_as_a_picture_and_halved_by_its_trust(picture, drawn):
    image, hole = picture
    random = np.random.default_rng(0)
    colours = torch.from_numpy(random.uniform(-1, 1, image.shape).astype(np.float32))[None]
    weight = torch.from_numpy(random.uniform(size=hole.shape).astype(np.float32))[None, None]
    weight *= torch.from_numpy(random.uniform(size=hole.shape) < drawn)  # some have a box of their own
    picture = torch.from_numpy(image)[None], torch.from_numpy(hole)[None, None]
    scale = finest_scale(*picture, Guide(colours, weight))
    assert torch.equal(scale.features, finest_scale(*picture).features)
    guided, trust = scale.guide
    described = finest_scale(colours, torch.zeros_like(picture[1])).features
    assert torch.equal(guided[trust > 0], described[trust > 0])
    assert all(is_rounded(trust[at], 255 * float(weight[0, 0][at])) for at in pixels_of(hole.shape))
    # The same sums as those of a picture of which so much is known.
    halved = Scale(guided, trust, scale.colours).halve()
    assert all(map(torch.equal, scale.halve().guide, (halved.features, halved.known)))
