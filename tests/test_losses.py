"""Every reconstruction term against values worked out by hand, and those of published networks.

tests/data, described in test_golden_critics.py: outputs of published networks, and their losses of them.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from contextual_attention.models.training import losses

DATA = Path(__file__).parent / "data"
# Sums of tens of thousands of float32, in another order than the published.
PUBLISHED = 5e-6


def test_discounted_l1_by_hand():
    output, target = torch.zeros(2, 2, 1, 3), torch.zeros(2, 2, 1, 3)
    output[0, 0, 0] = torch.tensor([1.0, -2.0, 100.0])
    output[1] = 4.0
    weights = torch.tensor([[1.0, 0.5, 0.0], [0.25, 0.0, 0.0]]).view(2, 1, 1, 3)
    # (1 + 0.5 * 2) over 2 pixels of 2 channels; 2 channels of 0.25 * 4 over 1 pixel of 2 channels.
    assert losses.discounted_l1(output, target, weights).item() == pytest.approx((2 / 4 + 2 / 2) / 2)
    assert losses.discounted_l1(output, target, torch.zeros(2, 1, 1, 3)).item() == 0


def test_discounted_l1_over_processes_is_the_mean_of_theirs():
    torch.manual_seed(0)
    output, target = torch.randn(2, 4, 3, 5, 5)
    weights = torch.rand(4, 1, 5, 5) * (torch.rand(4, 1, 5, 5) > 0.6)
    halves = [losses.discounted_l1(output[i], target[i], weights[i]) for i in (slice(2), slice(2, 4))]
    whole = losses.discounted_l1(output, target, weights)
    assert whole.item() == pytest.approx(sum(halves).item() / 2)


def test_discounted_l1_of_the_whole_image_is_the_mean_absolute_error():
    output, target = torch.randn(2, 2, 3, 4, 5, dtype=torch.float64)
    found = losses.discounted_l1(output, target, torch.ones(1, 1, 4, 5))
    assert found.item() == pytest.approx((output - target).abs().mean().item(), rel=1e-12)


def test_squared_errors_by_hand():
    output, target = torch.zeros(2, 2, 1, 3), torch.zeros(2, 2, 1, 3)
    output[0, 0, 0] = torch.tensor([1.0, -2.0, 100.0])
    output[1] = 4.0
    weights = torch.tensor([[1.0, 0.5, 0.0], [0.25, 0.0, 0.0]]).view(2, 1, 1, 3)
    # (1 + 0.5 * 4) and 2 channels of 0.25 * 16, over what is weighted and over all 3 pixels of 2 channels.
    found = losses.discounted_l2(output, target, weights).item()
    assert found == pytest.approx((3 / 4 + 8 / 2) / 2)
    assert losses.weighted_l2(output, target, weights).item() == pytest.approx((3 / 6 + 8 / 6) / 2)
    for loss in (losses.discounted_l2, losses.weighted_l2):
        assert loss(output, target, torch.zeros(2, 1, 1, 3)).item() == 0


@pytest.mark.parametrize("loss", [losses.discounted_l1, losses.discounted_l2, losses.weighted_l2])
def test_gradients_are_the_slopes(loss):
    torch.manual_seed(2)
    output, target = torch.randn(2, 2, 3, 4, 5, dtype=torch.float64)
    weights = torch.rand(2, 1, 4, 5, dtype=torch.float64) * (torch.rand(2, 1, 4, 5) > 0.5)
    assert torch.autograd.gradcheck(lambda x: loss(x, target, weights), output.requires_grad_())


def test_overlap_weights_by_hand():
    weights = losses.overlap_weights(6, 5, overlap=2, factor=3.0)
    assert weights.shape == (1, 1, 6, 5)
    inside = torch.zeros(6, 5, dtype=torch.bool)
    inside[2:4, 2] = True
    assert torch.equal(weights[0, 0], torch.where(inside, 1.0, 3.0))
    assert (losses.overlap_weights(6, 5, overlap=0) == 1).all()


@pytest.mark.parametrize("overlap", [-1, 3])
def test_overlap_must_leave_something(overlap):
    with pytest.raises(
        ValueError, match=rf"overlap: expected from 0 to less than half of 6, .* got {overlap}"
    ):
        losses.overlap_weights(6, 8, overlap)


def published(file, *names):
    """Tensors of a file; images in [0, 255], masks 1 in the hole."""
    with np.load(DATA / f"{file}_net.npz") as arrays:
        return [torch.from_numpy(np.asarray(arrays[name], np.float32)) for name in names]


@pytest.mark.parametrize("case", "ab")
def test_squared_error_is_otenims(case):
    image, mask, output, expected = published(
        "glcic_otenim", *(f"{case}.{x}" for x in ("image", "mask", "y", "loss"))
    )
    found = losses.weighted_l2(output, image / 255, mask)
    assert found.item() == pytest.approx(expected.item(), rel=PUBLISHED)
    # As the docstring says of images in [-1, 1].
    wider = losses.weighted_l2(2 * output - 1, image / 127.5 - 1, mask)
    assert wider.item() == pytest.approx(4 * expected.item(), rel=PUBLISHED)


@pytest.mark.parametrize("case", "ab")
@pytest.mark.parametrize(("region", "is_hole"), [("hole", True), ("valid", False)])
def test_l1_is_mmagics(case, region, is_hole):
    """Over all samples' pixels at once: the samples' own losses by the sizes of their regions."""
    names = (f"{case}.{x}" for x in ("image", "mask", "x2", f"l1_{region}"))
    image, mask, output, expected = published("mmagic_v2", *names)
    weights = mask if is_hole else 1 - mask
    own = [
        losses.discounted_l1(*each)
        for each in zip(*(x.split(1) for x in (output, image / 127.5 - 1, weights)), strict=True)
    ]
    sizes = weights.sum((1, 2, 3))
    found = (torch.stack(own) * sizes).sum() / sizes.sum()
    assert found.item() == pytest.approx(expected.item(), rel=PUBLISHED)


def test_overlap_weighted_error_is_the_context_encoders():
    """Whose generator loss counts the squared error wtl2 times in its weights, and wtl2 times again."""
    image, patch, weighted, adversarial, whole = published(
        "context_encoder", "image", "y", "loss_l2_weighted", "loss_adv", "loss_g"
    )
    centre = (image / 127.5 - 1)[..., 32:96, 32:96]
    squared = losses.weighted_l2(patch, centre, losses.overlap_weights(64, 64)).item()
    assert 0.998 * squared == pytest.approx(weighted.item(), rel=PUBLISHED)
    found = 0.002 * adversarial.item() + 0.998 * 0.998 * squared
    assert found == pytest.approx(whole.item(), rel=PUBLISHED)
