"""Drafts: quick fillings with patches that the structure network starts from."""

from __future__ import annotations

import pytest
import torch

from contextual_attention.models.network.drafts import DRAFTS, draw_drafts
from contextual_attention.models.patches.pyramid import smooth_fill

HEIGHT, WIDTH = 40, 48
_BYTE = 1 / 127.5  # a step of 8 bits in [-1, 1]


@pytest.fixture
def image():
    """Upright stripes of 6 pixels, and the same turned: (2, 3, 40, 48)."""
    across = torch.where(torch.arange(WIDTH) % 12 < 6, 0.8, -0.6).expand(3, HEIGHT, WIDTH)
    down = torch.where(torch.arange(HEIGHT) % 12 < 6, 0.8, -0.6)[:, None].expand(3, HEIGHT, WIDTH)
    return torch.stack((across, down))


@pytest.fixture
def missing():
    """A hole in the middle of the first, and one that the border cuts off in the second."""
    mask = torch.zeros(2, 1, HEIGHT, WIDTH, dtype=torch.bool)
    mask[0, :, 12:26, 14:30] = mask[1, :, 30:, 40:] = True
    return mask


def test_stripes_go_on(image, missing):
    """Drafts are quick, not right: the better is at most half as wrong as no detail at all."""
    drafts = draw_drafts(image, missing).unflatten(1, (DRAFTS, 3))
    smooth = smooth_fill(image, missing)[:, None]
    wrong, smoothly = (
        ((x - image[:, None]).abs() * missing[:, None]).sum((2, 3, 4)) for x in (drafts, smooth)
    )
    assert (wrong.amin(1) < smoothly[:, 0] / 2).all()


def test_known_pixels_stay_and_holes_are_not_read(image, missing):
    drafts = draw_drafts(image, missing)
    known = ~missing.expand_as(drafts)
    assert torch.equal(drafts[known], image.repeat(1, DRAFTS, 1, 1)[known])
    for other in (0.3, float("nan")):
        assert torch.equal(draw_drafts(image.masked_fill(missing, other), missing), drafts)


def test_samples_do_not_depend_on_each_other(image, missing):
    both = draw_drafts(image, missing)
    for sample in range(2):
        alone = slice(sample, sample + 1)
        assert torch.equal(draw_drafts(image[alone], missing[alone]), both[alone])


def test_the_first_alone(image, missing):
    assert torch.equal(draw_drafts(image, missing, count=1), draw_drafts(image, missing)[:, :3])


def test_they_differ(image):
    """Otherwise the network would have nothing to choose from: in noise no two searches agree."""
    noise = torch.rand(1, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0)) * 2 - 1
    hole = torch.zeros(1, 1, HEIGHT, WIDTH, dtype=torch.bool)
    hole[..., 10:30, 10:30] = True
    one, other = draw_drafts(noise, hole).split(3, 1)
    assert ((one - other).abs() * hole).sum() / (3 * hole.sum()) > 0.05


def test_nothing_missing_is_the_image(image):
    nothing = torch.zeros(2, 1, HEIGHT, WIDTH, dtype=torch.bool)
    assert torch.equal(draw_drafts(image, nothing), image.repeat(1, DRAFTS, 1, 1))


def test_nothing_known_is_grey(image):
    everything = torch.ones(2, 1, HEIGHT, WIDTH, dtype=torch.bool)
    assert torch.equal(draw_drafts(image, everything), torch.zeros(2, 3 * DRAFTS, HEIGHT, WIDTH))


@pytest.mark.parametrize("known", [(0, 0), (20, 47)])
def test_one_known_pixel_is_enough(image, known):
    missing = torch.ones(2, 1, HEIGHT, WIDTH, dtype=torch.bool)
    missing[..., known[0], known[1]] = False
    drafts = draw_drafts(image, missing)
    wanted = image[..., known[0], known[1]].repeat(1, DRAFTS)[..., None, None]
    assert (drafts - wanted).abs().max() <= _BYTE


def test_half_precision_is_taken(image, missing):
    drafts = draw_drafts(image.bfloat16(), missing)
    assert drafts.dtype == torch.float32
    assert torch.equal(drafts, draw_drafts(image.bfloat16().float(), missing))
