"""The procedural pictures: reproducible, in range, varied, with structure at every scale."""

import math

import numpy as np
import torch

from contextual_attention.models.data.dead_leaves import dead_leaves, scale_invariant

# Of `test_seeds_keep_their_pictures`.
KEPT = [
    0.5835, -0.2345, 0.5288, -0.8944, -0.1796, 0.3593, -0.8944, -0.1651, 0.4092, -0.4527, -0.0416, -0.3296,
    0.2278, 0.7836, -0.3809, 0.2278, -0.9115, -0.2955, 0.5157, 0.4654, 0.2887, -0.634, 0.5026, -0.1101,
    -0.634, -0.0629, 0.3347,
]  # fmt: skip


def picture(seed, size=(64, 80)):
    return dead_leaves(size, torch.Generator().manual_seed(seed))


def test_a_seed_is_a_picture():
    first = picture(0)
    assert first.shape == (3, 64, 80)
    assert first.dtype == torch.float32
    assert first.abs().max() <= 1
    assert torch.equal(first, picture(0))
    assert not torch.equal(first, picture(1))


def test_seeds_keep_their_pictures():
    """Of trained models and of tests: to rounding, as another processor may draw them."""
    drawn = picture(0)[:, 10::20, 12::24]
    kept = torch.tensor(KEPT).view(3, 3, 3)
    torch.testing.assert_close(drawn, kept, rtol=0, atol=1e-4)


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
