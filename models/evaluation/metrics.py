"""How far a completed picture is from the original, by the measures of the paper's table 1, and SSIM.

Shape legend: B samples; H, W the picture. D = 2 is the range of values, which are in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from torch import Tensor
from torchmetrics.functional.image import (
    peak_signal_noise_ratio,
    structural_similarity_index_measure,
    total_variation,
)

_RANGE = 2.0

# What the columns are, for the reader of a table; "%" is percent of the range of values (l2: of its square).
DEFINITIONS: Mapping[str, str] = MappingProxyType(
    {
        "l1 %": "mean of |x - y| over all pixels and channels, over D",
        "l2 %": "mean of (x - y)^2 over all pixels and channels, over D^2",
        "PSNR": "10 log10(D^2 / mean of (x - y)^2), in dB, of each picture, then the mean over pictures",
        "TV %": "mean over all pixels and channels of |x - its right one| + |x - its lower one|, over D",
        "SSIM": "Wang et al. 2004, Gaussian window of 11 pixels and sigma 1.5, mean over the picture",
        "hole l1 %": "l1 over missing pixels alone",
    }
)


def picture_metrics(completed: Tensor, original: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """Every measure of DEFINITIONS for each picture, with x = ``completed``, y = ``original``.

    Yu et al. 2018 (arXiv:1801.07892), table 1, gives l1, l2, PSNR and TV without definitions: these are
    ours. Known pixels count in all but the last.

    Args:
        completed: (B, 3, H, W) floating, in [-1, 1], H, W >= 11.
        original: Likewise.
        mask: (B, 1, H, W), non-zero = missing; a picture with nothing missing has NaN for "hole l1 %".

    Returns:
        A (B,) tensor for each name.
    """
    difference = (completed - original).abs()
    missing = (mask != 0).to(difference.dtype).expand_as(difference)
    each = (1, 2, 3)
    psnr = peak_signal_noise_ratio(completed, original, data_range=_RANGE, dim=each, reduction="none")
    ssim = structural_similarity_index_measure(completed, original, data_range=_RANGE, reduction="none")
    return {
        "l1 %": 100 * difference.mean(each) / _RANGE,
        "l2 %": 100 * difference.square().mean(each) / _RANGE**2,
        "PSNR": psnr,
        "TV %": 100 * total_variation(completed, reduction="none") / completed[0].numel() / _RANGE,
        "SSIM": ssim.reshape(-1),  # torchmetrics gives a scalar for one picture
        "hole l1 %": 100 * (difference * missing).sum(each) / missing.sum(each) / _RANGE,
    }
