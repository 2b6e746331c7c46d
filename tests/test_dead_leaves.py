"""The procedural pictures: reproducible, in range, varied, with structure at every scale."""

import math

import numpy as np
import torch

from contextual_attention.models.data.dead_leaves import dead_leaves, scale_invariant


def picture(seed, size=(64, 80)):
    return dead_leaves(size, torch.Generator().manual_seed(seed))


def test_a_seed_is_a_picture():
    first = picture(0)
    assert first.shape == (3, 64, 80)
    assert first.dtype == torch.float32
    assert first.abs().max() <= 1
    assert torch.equal(first, picture(0))
    assert not torch.equal(first, picture(1))


def test_radii_have_the_density_of_the_scale_invariant_model():
    """r**-3 between a and b has the distribution function (a**-2 - r**-2) / (a**-2 - b**-2)."""
    draws = np.sort([scale_invariant(u, 0.15, 0.5) for u in np.linspace(0, 1, 1001)])
    a, b = draws[0], draws[-1]
    expected = (a**-2 - draws**-2) / (a**-2 - b**-2)
    assert np.allclose(expected, np.linspace(0, 1, 1001))
    assert math.isclose(a, 0.15)
    assert math.isclose(b, 0.5)


def test_the_ground_hardly_shows():
    """Leaves cover it: no colour holds most of a picture, and pictures have edges."""
    for seed in range(5):
        pixels = picture(seed)
        _, counts = pixels.flatten(1).T.unique(dim=0, return_counts=True)
        assert counts.max() < 0.5 * 64 * 80
        assert (pixels.diff(dim=2).abs() > 0.2).float().mean() > 0.01


def test_colours_do_not_lean_to_a_side():
    mean = torch.stack([picture(seed) for seed in range(40)]).mean()
    # The deviation of a uniform colour is 0.58; a picture averages over about ten of them.
    assert abs(mean) < 4 * 0.58 / math.sqrt(40 * 10)
