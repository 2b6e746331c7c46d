"""How far an output is from the photograph: the reconstruction terms of the published systems.

Each is unweighted; its weight is the trainer's. It is the mean of what the samples give alone, so that the
mean over processes is that over their batches. Shape legend: B samples; C channels; (H, W) the image.
"""

from __future__ import annotations

import torch
from torch import Tensor


def discounted_l1(output: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Mean over the samples of sum w |output - target| / (number of pixels and channels where w is not 0).

    arXiv:1801.07892, section 3.3. With `discount_weights` (data/discount.py) times the mask it is the
    published code's loss of the hole; with the mask turned round, its loss of the known pixels; with ones,
    the mean absolute error of the whole image, the loss of arXiv:1806.03589's published code. mmagic takes
    both regions without a discount, over all samples' pixels at once; here a sample with a small hole counts
    as much as one with a large hole.

    Args:
        output, target: (B, C, H, W), floating.
        weights: (B or 1, 1, H, W), >= 0; pixels of weight 0 are left out, a sample that has no others adds 0.

    Returns:
        A scalar.

    Examples:
        >>> weights = torch.tensor([1.0, 0.5, 0.0]).view(1, 1, 1, 3)
        >>> discounted_l1(torch.full((1, 3, 1, 3), 2.0), torch.zeros(1, 3, 1, 3), weights)
        tensor(1.5000)
    """
    return _mean_where_weighted(weights * (output - target).abs(), weights)


def discounted_l2(output: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Mean over the samples of sum w (output - target)**2 / (number of pixels and channels where w is not 0).

    With the mask as weights, the squared error in the hole of Iizuka et al. 2017 (equation 2: its sum).

    Args:
        output, target, weights: As for `discounted_l1`.

    Returns:
        A scalar.

    Examples:
        >>> weights = torch.tensor([1.0, 1.0, 0.0]).view(1, 1, 1, 3)
        >>> discounted_l2(torch.full((1, 3, 1, 3), 2.0), torch.zeros(1, 3, 1, 3), weights)
        tensor(4.)
    """
    return _mean_where_weighted(weights * (output - target).square(), weights)


def weighted_l2(output: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """mean w (output - target)**2 over all pixels and channels, those of weight 0 too.

    With the mask as weights, the loss of github.com/otenim/GLCIC-PyTorch for Iizuka et al. 2017, where a
    small hole counts less; its images are in [0, 1], so its figure is a quarter of that of images in [-1, 1].
    With `overlap_weights`, the loss of Pathak et al. 2016.

    Args:
        output, target: (B, C, H, W), floating.
        weights: (B or 1, 1, H, W), >= 0.

    Returns:
        A scalar.

    Examples:
        >>> weights = torch.tensor([1.0, 1.0, 0.0]).view(1, 1, 1, 3)
        >>> weighted_l2(torch.full((1, 3, 1, 3), 2.0), torch.zeros(1, 3, 1, 3), weights)
        tensor(2.6667)
    """
    return (weights * (output - target).square()).mean()


def overlap_weights(height: int, width: int, overlap: int = 4, factor: float = 10.0) -> Tensor:
    """What the pixels of a predicted patch count that overlaps the known picture on every side.

    Pathak et al. 2016 (arXiv:1604.07379) have the overlap predicted too, and counted 10 times, so
    that the patch continues its surroundings; there it is 7 pixels, in the published code 4.

    Args:
        height, width: Of the patch, overlap included.
        overlap: Pixels on every side, >= 0; less than half the shorter side.
        factor: Of the overlap.

    Returns:
        (1, 1, height, width), float32: `factor` in the overlap, 1 inside it.

    Raises:
        ValueError: An overlap that is negative or leaves nothing inside.

    Examples:
        >>> overlap_weights(3, 4, overlap=1)[0, 0]
        tensor([[10., 10., 10., 10.],
                [10.,  1.,  1., 10.],
                [10., 10., 10., 10.]])
    """
    if not 0 <= 2 * overlap < min(height, width):
        raise ValueError(
            f"overlap: expected from 0 to less than half of {min(height, width)}, the patch's shorter side, "
            f"got {overlap}"
        )
    weights = torch.full((1, 1, height, width), factor)
    weights[..., overlap : height - overlap, overlap : width - overlap] = 1
    return weights


def _mean_where_weighted(error: Tensor, weights: Tensor) -> Tensor:
    """The mean over the samples of the errors' sum over how many have a weight."""
    count = error.shape[1] * torch.count_nonzero(weights, (1, 2, 3))
    return (error.sum((1, 2, 3)) / count.clamp_min(1)).mean()
