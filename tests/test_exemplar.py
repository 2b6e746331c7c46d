"""The training-free filler: what must come back, what must stay, and what it refuses."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import torch

from contextual_attention.models.filling.exemplar import ExemplarOptions, fill_exemplar

# Full search over nothing: every scale but the coarsest goes by tiles.
TILES = ExemplarOptions(full_search=0)


def periodic(height, width, period=8, channels=3):
    """A texture that repeats exactly, (1, C, H, W) in [-1, 1]."""
    cell = np.random.default_rng(3).uniform(-1, 1, (channels, period, period))
    repeats = (1, -(-height // period), -(-width // period))
    return torch.from_numpy(np.tile(cell, repeats)[None, :, :height, :width].astype(np.float32)).contiguous()


def square(height, width, top, left, side):
    hole = torch.zeros(1, 1, height, width, dtype=torch.bool)
    hole[..., top : top + side, left : left + side] = True
    return hole


def worst(filled, truth):
    return float((filled.image - truth).abs().max())


@pytest.mark.parametrize("options", [None, TILES], ids=["full", "tiles"])
@pytest.mark.parametrize("side", [6, 14])
def test_a_periodic_texture_comes_back(options, side):
    truth = periodic(64, 72)
    hole = square(64, 72, 21, 27, side)
    filled = fill_exemplar(truth.masked_fill(hole, 0), hole, options)
    # Copies are exact; what neighbours of the winning patch weigh is exp(-1e5 * 0.01) and less.
    assert worst(filled, truth) < 1e-3


def test_a_replica_is_found_and_copied():
    """A photograph beside its own copy: the hole's content stands there, and the offsets say where."""
    noise = torch.rand(1, 3, 48, 40, generator=torch.Generator().manual_seed(0)) * 2 - 1
    truth = torch.cat([noise, noise], 3)
    hole = square(48, 80, 20, 14, 10)
    filled = fill_exemplar(truth.masked_fill(hole, 0), hole)
    psnr = 10 * torch.log10(4 / (filled.image - truth)[hole.expand_as(truth)].square().mean())
    assert psnr > 35
    inside = filled.offsets[0][:, hole[0, 0]]
    assert (inside == torch.tensor([[0], [40]])).float().mean() > 0.95


def test_offsets_point_to_what_was_pasted():
    truth = periodic(64, 64)
    hole = square(64, 64, 24, 24, 12)
    for options in (None, TILES):
        filled = fill_exemplar(truth.masked_fill(hole, 0), hole, options)
        rows, columns = hole[0, 0].nonzero().T
        moved = filled.offsets[0][:, rows, columns]
        source = (rows + moved[0], columns + moved[1])
        assert not hole[0, 0][source].any()
        assert torch.allclose(truth[0][:, source[0], source[1]], truth[0][:, rows, columns], atol=1e-6)
        assert not filled.offsets[0][:, ~hole[0, 0]].any()


@hypothesis.settings(max_examples=12)
@hypothesis.given(
    height=st.integers(1, 40), width=st.integers(1, 40), channels=st.sampled_from([1, 3]), data=st.data()
)
def test_known_pixels_are_bit_identical(height, width, channels, data):
    random = np.random.default_rng(data.draw(st.integers(0, 99)))
    share = data.draw(st.floats(0, 0.99))
    missing = random.uniform(size=(height, width)) < share
    missing[random.integers(height), random.integers(width)] = False
    image = torch.from_numpy(random.uniform(-1, 1, (1, channels, height, width)).astype(np.float32))
    hole = torch.from_numpy(missing)[None, None]
    filled = fill_exemplar(image, hole).image
    assert torch.equal(filled[~hole.expand_as(image)], image[~hole.expand_as(image)])
    assert filled.abs().max() <= 1
    # What is in the hole is not looked at.
    assert torch.equal(fill_exemplar(image.masked_fill(hole, 0.7), hole).image, filled)


def test_one_known_pixel_fills_everything():
    image = torch.full((1, 3, 9, 9), 0.25)
    hole = torch.ones(1, 1, 9, 9, dtype=torch.bool)
    hole[..., 4, 4] = False
    assert worst(fill_exemplar(image.masked_fill(hole, -1), hole), image) < 1e-6


def test_progress_ends_at_one():
    seen = []
    hole = square(48, 48, 10, 10, 20)
    fill_exemplar(periodic(48, 48), hole, progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 1
    assert len(seen) > 3


def test_refusals():
    image, hole = torch.zeros(1, 3, 8, 8), torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    with pytest.raises(ValueError, match="every pixel is missing"):
        fill_exemplar(image, ~hole)
    with pytest.raises(ValueError, match=r"hole: expected bool of shape \(1, 1, 8, 8\)"):
        fill_exemplar(image, hole[..., :7])
    with pytest.raises(ValueError, match=r"image: expected shape \(1, C, H, W\)"):
        fill_exemplar(image[0], hole)
    hole[..., 3, 3] = True
    with pytest.raises(ValueError, match="workspace"):
        fill_exemplar(image, hole, ExemplarOptions(workspace=1))


def test_faint_grain_is_kept():
    """A mean of many patches would be closest to every one of them, and without grain."""
    random = np.random.default_rng(0)
    waves = 0.05 * np.sin(np.arange(96) / 9)[:, None]
    truth = waves + random.normal(0, 0.02, (3, 96, 120))
    image, hole = torch.from_numpy(truth.astype(np.float32))[None], square(96, 120, 30, 40, 32)
    filled = fill_exemplar(image.masked_fill(hole, 0), hole).image
    steps = [x[0, :, 31:61, 41:71].diff(dim=2).abs().mean() for x in (filled, image)]
    assert 0.75 < steps[0] / steps[1] < 1.25


def test_copies_are_pixels_of_the_picture_unless_blended():
    image = torch.rand(1, 1, 48, 48, generator=torch.Generator().manual_seed(0)) * 2 - 1
    hole = square(48, 48, 18, 18, 9)
    copied, blended = (fill_exemplar(image, hole, ExemplarOptions(blend=blend)) for blend in (False, True))
    assert torch.isin(copied.image[hole], image[~hole]).all()
    assert not torch.isin(blended.image[hole], image[~hole]).all()
    assert torch.equal(copied.offsets, blended.offsets)
