"""The quick fillings that the structure network starts from."""

import math

import pytest
import torch

from contextual_attention.models.network.drafts import DRAFTS, draw_drafts


def striped(batch=2, height=40, width=48):
    """Columns that repeat every 6 pixels, and a hole of its own in each image."""
    columns = torch.linspace(-1, 1, 6)[torch.arange(width) % 6]
    image = columns.expand(batch, 3, height, width).clone()
    missing = torch.zeros(batch, 1, height, width, dtype=torch.bool)
    for each in range(batch):
        missing[each, :, 10 + each : 22, 15 : 25 + 3 * each] = True
    return image, missing


def test_known_pixels_are_kept_and_what_repeats_goes_on():
    image, missing = striped()
    drafts = draw_drafts(image, missing)
    assert (drafts.shape, drafts.dtype) == ((2, 3 * DRAFTS, 40, 48), torch.float32)
    for draft in drafts.split(3, 1):
        known = ~missing.expand_as(draft)
        assert torch.equal(draft[known], image[known])
        # Features have 8 bits, votes are means of patches: of stripes that all agree on.
        assert (draft - image).abs().mean() < 0.01


def test_the_drafts_differ_where_nothing_repeats():
    image, missing = striped()
    image = torch.rand(image.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    first, second = draw_drafts(image, missing).split(3, 1)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("garbage", [math.nan, math.inf, -7.0])
def test_what_is_in_the_hole_is_not_read(garbage):
    image, missing = striped()
    assert torch.equal(draw_drafts(image.masked_fill(missing, garbage), missing), draw_drafts(image, missing))


def test_samples_do_not_know_each_other():
    image, missing = striped(3)
    together = draw_drafts(image, missing)
    for each in range(3):
        assert torch.equal(draw_drafts(image[each : each + 1], missing[each : each + 1])[0], together[each])


def test_nothing_missing_and_nothing_known():
    image, missing = striped()
    missing[0], missing[1] = False, True
    drafts = draw_drafts(image, missing)
    assert torch.equal(drafts[0], image[0].repeat(DRAFTS, 1, 1))
    assert (drafts[1] == 0).all()


def test_a_hole_without_a_patch_to_borrow():
    """Every second row is missing: no patch of 3 x 3 pixels is known."""
    image, missing = striped(1, 16, 16)
    missing[:], missing[:, :, ::2] = False, True
    assert draw_drafts(image, missing).isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions_are_read(dtype):
    image, missing = striped()
    drafts = draw_drafts(image.to(dtype), missing)
    assert drafts.dtype == torch.float32
    assert (drafts - draw_drafts(image.to(dtype).float(), missing)).abs().max() == 0
