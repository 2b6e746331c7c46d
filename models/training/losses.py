"""The losses of Yu et al. 2018: Wasserstein with a masked gradient penalty, and spatially discounted l1.

Each is unweighted; their weights are the trainer's. Shape legend: B samples; (H, W) the image.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn


def wasserstein_critic_loss(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """mean D(fake) - mean D(real): minus the critic's estimate of the Wasserstein-1 distance.

    Arjovsky et al. 2017 (arXiv:1701.07875), equation 2 (arXiv:1801.07892, section 3.2).

    Args:
        real_scores, fake_scores: (B,), the critic's of photographs and of completed images.

    Returns:
        A scalar.

    Examples:
        >>> wasserstein_critic_loss(torch.tensor([3.0, 1.0]), torch.tensor([0.0, 1.0]))
        tensor(-1.5000)
    """
    return fake_scores.mean() - real_scores.mean()


def wasserstein_generator_loss(fake_scores: Tensor) -> Tensor:
    """-mean D(fake): what the generator lowers to bring its images nearer to photographs.

    Args:
        fake_scores: (B,), the critic's of completed images.

    Returns:
        A scalar.

    Examples:
        >>> wasserstein_generator_loss(torch.tensor([0.0, 1.0]))
        tensor(-0.5000)
    """
    return -fake_scores.mean()


def gradient_penalty(
    critic: Callable[[Tensor], Tensor],
    real: Tensor,
    fake: Tensor,
    mask: Tensor | None = None,
    *,
    position: Tensor | None = None,
) -> Tensor:
    """mean (|grad D(x) * m| - 1)**2 at points x on the straight lines between real and fake images.

    x = real + t (fake - real), t in [0, 1]. arXiv:1801.07892, section 3.2, with its m turned round: here
    non-zero is the hole. Only pixels that the generator makes can move, so only there must the critic be
    1-Lipschitz. Without a mask it is the penalty of Gulrajani et al. 2017 (arXiv:1704.00028), equation 3.

    Args:
        critic: From (B, 3, H, W) to (B,), without operations across the samples.
        real, fake: (B, 3, H, W), floating. No gradient flows into either: the penalty is the critic's.
        mask: (B or 1, 1, H, W), bool or floating, 1 in the hole: multiplies the gradients. Default: all ones.
        position: (B,), t in [0, 1] of each sample. Default: uniform, from torch's global generator.

    Returns:
        A scalar that can be differentiated by the critic's parameters; the paper multiplies it by 10. A
        sample whose gradient is 0 throughout adds 1 and passes a gradient of 0, not NaN.

    Raises:
        ValueError: Real and fake of different shapes.

    Cost: a forward, a backward and, when it is differentiated, a backward of both.

    Examples:
        >>> weight = torch.tensor(2.0, requires_grad=True)
        >>> critic = lambda x: weight * x[:, 0, 0, 0]  # its gradient has norm 2 everywhere
        >>> gradient_penalty(critic, torch.zeros(1, 3, 4, 4), torch.ones(1, 3, 4, 4))
        tensor(1., grad_fn=<MeanBackward0>)
    """
    if real.shape != fake.shape:
        raise ValueError(f"fake: expected the shape of real, {tuple(real.shape)}, got {tuple(fake.shape)}")
    if position is None:
        position = torch.rand(len(real), device=real.device, dtype=real.dtype)
    points = torch.lerp(real.detach(), fake.detach(), position.view(-1, 1, 1, 1)).requires_grad_()
    # The sum gives every sample its own gradient, since a score depends on its own sample alone.
    (gradients,) = torch.autograd.grad(critic(points).sum(), points, create_graph=True)
    if mask is not None:
        gradients = gradients * mask
    # Not a root of a sum of squares: vector_norm has gradient 0 at 0, where the root's is infinite.
    norms = torch.linalg.vector_norm(gradients.flatten(1), dim=1)
    return (norms - 1).square().mean()


@torch.no_grad()
def clip_weights(critic: nn.Module, limit: float) -> None:
    """Clamp every parameter to [-limit, limit], in place: the critic's bound before there was the penalty.

    Arjovsky et al. 2017 (arXiv:1701.07875), algorithm 1, limit 0.01. For comparison: the paper has the
    penalty.

    Args:
        critic: Changed.
        limit: > 0.

    Raises:
        ValueError: A limit that is not positive.

    Examples:
        >>> layer = torch.nn.Linear(4, 1)
        >>> clip_weights(layer, 0.01)
        >>> bool(layer.weight.abs().max() <= 0.01)
        True
    """
    if not limit > 0:
        raise ValueError(f"limit: expected a positive number, got {limit}")
    for parameter in critic.parameters():
        parameter.clamp_(-limit, limit)


def discounted_l1(output: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    """Mean over the samples of sum w |output - target| / (number of pixels and channels where w is not 0).

    arXiv:1801.07892, section 3.3. With `discount_weights` (data/discount.py) times the mask it is the
    published code's loss of the hole; with the mask turned round, its loss of the known pixels. Every sample
    counts alike, whatever the size of its hole, so that the mean over processes is that over their batches.

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
    error = (weights * (output - target).abs()).sum((1, 2, 3))
    count = output.shape[1] * torch.count_nonzero(weights, (1, 2, 3))
    return (error / count.clamp_min(1)).mean()
