"""The measures against NumPy and scikit-image, and against values worked out by hand."""

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from contextual_attention.models.evaluation.metrics import DEFINITIONS, picture_metrics


@pytest.fixture
def pictures():
    generator = torch.Generator().manual_seed(0)
    original = 2 * torch.rand(3, 3, 20, 24, generator=generator) - 1
    completed = (original + 0.3 * torch.randn(3, 3, 20, 24, generator=generator)).clamp(-1, 1)
    mask = torch.rand(3, 1, 20, 24, generator=generator) < torch.tensor([0.1, 0.5, 0.9]).view(3, 1, 1, 1)
    return completed, original, mask


def test_against_numpy(pictures):
    found = picture_metrics(*pictures)
    assert found.keys() == DEFINITIONS.keys()
    for i, (x, y, m) in enumerate(zip(*(tensor.double().numpy() for tensor in pictures), strict=True)):
        error = np.abs(x - y)
        twin = {
            "l1 %": 50 * error.mean(),
            "l2 %": 25 * (error**2).mean(),
            "PSNR": 10 * np.log10(4 / (error**2).mean()),
            "TV %": 50 * (np.abs(np.diff(x, axis=1)).sum() + np.abs(np.diff(x, axis=2)).sum()) / x.size,
            "hole l1 %": 50 * error[:, m[0] > 0].mean(),
        }
        for name, value in twin.items():
            assert float(found[name][i]) == pytest.approx(value, rel=1e-5), name  # float32 sums of 1440


def test_ssim_against_scikit_image(pictures):
    completed, original, mask = pictures
    found = picture_metrics(completed, original, mask)["SSIM"]
    for i, (x, y) in enumerate(zip(completed.numpy(), original.numpy(), strict=True)):
        _, full = structural_similarity(
            x, y, data_range=2, channel_axis=0, gaussian_weights=True, sigma=1.5,
            use_sample_covariance=False, full=True,
        )  # fmt: skip
        # Borders are treated in different ways: torchmetrics reflects, scikit-image leaves them out.
        assert float(found[i]) == pytest.approx(float(full.mean()), abs=0.01)


def test_by_hand():
    """A hole of a quarter, off by 0.5 in [-1, 1]: a quarter of the range there, a sixteenth over all."""
    original, mask = torch.zeros(1, 3, 16, 16), torch.zeros(1, 1, 16, 16)
    mask[..., :8, :8] = 1
    metrics = picture_metrics(0.5 * mask + original, original, mask)
    found = {name: float(value) for name, value in metrics.items()}
    assert found["hole l1 %"] == pytest.approx(25)
    assert found["l1 %"] == pytest.approx(6.25)
    assert found["l2 %"] == pytest.approx(100 * 0.25 * 0.0625)
    assert found["PSNR"] == pytest.approx(10 * np.log10(1 / 0.015625))
    assert found["TV %"] == pytest.approx(100 * 16 * 0.25 / 256)


def test_a_perfect_picture():
    original = torch.rand(1, 3, 16, 16)
    found = picture_metrics(original, original, torch.ones(1, 1, 16, 16))
    assert found["l1 %"] == found["l2 %"] == found["hole l1 %"] == 0
    assert found["SSIM"] == pytest.approx(1)
    assert found["PSNR"] == float("inf")
