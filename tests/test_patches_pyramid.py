"""Pyramids of known pixels, against values worked by hand."""

import numpy as np
import pytest
import scipy.ndimage
import torch

from contextual_attention.models.patches.pyramid import dilate, finest_level, halve, smooth_fill


def test_halving_averages_what_is_known():
    image = torch.tensor([[1.0, 3.0, 5.0], [7.0, 9.0, 11.0], [2.0, 4.0, 6.0]])[None, None]
    hole = torch.tensor([[0, 1, 0], [0, 0, 0], [1, 1, 0]]).bool()[None, None]
    level = halve(finest_level(image, hole))
    assert torch.allclose(level.image, torch.tensor([[17 / 3, 8.0], [0.0, 6.0]]))
    assert torch.allclose(level.known, torch.tensor([[0.75, 1.0], [0.0, 1.0]]))
    assert level.missing.tolist() == [[[[True, False], [True, False]]]]
    assert level.hole.tolist() == [[[[False, False], [True, False]]]]


@pytest.mark.parametrize("radius", [0, 1, 3])
def test_dilation_is_scipys(radius):
    mask = np.random.default_rng(0).uniform(size=(17, 23)) < 0.05
    square = np.ones((2 * radius + 1,) * 2)
    expected = scipy.ndimage.binary_dilation(mask, square)
    assert np.array_equal(dilate(torch.from_numpy(mask)[None, None], radius)[0, 0].numpy(), expected)


def test_smooth_fill_keeps_known_pixels_and_stays_between_them():
    image = torch.rand(2, 3, 21, 30, generator=torch.Generator().manual_seed(0))
    hole = torch.zeros(2, 1, 21, 30, dtype=torch.bool)
    hole[0, :, 4:17, 6:25] = True
    hole[1, :, :, 1:] = True
    filled = smooth_fill(image, hole)
    known = ~hole.expand_as(image)
    assert torch.equal(filled[known], image[known])
    for one, seen, where in zip(filled, image, known, strict=True):
        assert one.min() >= seen[where].min()
        assert one.max() <= seen[where].max()
    assert torch.allclose(smooth_fill(torch.full_like(image, 0.3), hole), torch.tensor(0.3))
