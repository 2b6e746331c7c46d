"""Critics against generators: Wasserstein with a masked gradient penalty, hinge, cross entropy.

Each loss is unweighted; its weight is the trainer's. It is a mean over all scores, (B,) or (B, n), of which
every sample has equally many, so that the mean over processes is that over their batches. Shape legend: B
samples; (H, W) the image; n scores a sample.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
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

    Also beside the critic of `hinge_critic_loss` (arXiv:1806.03589, section 3.2).

    Args:
        fake_scores: (B,) or (B, n), the critic's of completed images.

    Returns:
        A scalar.

    Examples:
        >>> wasserstein_generator_loss(torch.tensor([0.0, 1.0]))
        tensor(-0.5000)
    """
    return -fake_scores.mean()


def hinge_critic_loss(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """mean max(0, 1 - D(real)) + mean max(0, 1 + D(fake)): scores beyond the margin of 1 teach nothing.

    Yu et al. 2019 (arXiv:1806.03589), section 3.2, with D(real) pushed up; the published code counts it half.
    The generator's side of it is `wasserstein_generator_loss`.

    Args:
        real_scores, fake_scores: (B, n), the critic's of photographs and of completed images.

    Returns:
        A scalar.

    Examples:
        >>> hinge_critic_loss(torch.tensor([[3.0, 0.5]]), torch.tensor([[-4.0, 1.0]]))
        tensor(1.2500)
    """
    return F.relu(1 - real_scores).mean() + F.relu(1 + fake_scores).mean()


def cross_entropy_critic_loss(real_scores: Tensor, fake_scores: Tensor) -> Tensor:
    """-mean log s(D(real)) - mean log(1 - s(D(fake))), s the logistic function: photograph or not.

    Goodfellow et al. 2014 (arXiv:1406.2661), equation 1. Of Pathak et al. 2016 and Iizuka et al. 2017, whose
    implementations apply s in the critic; from scores before it, no logarithm meets a 0.

    Args:
        real_scores, fake_scores: (B,), the critic's of photographs and of completed images, before s.

    Returns:
        A scalar.

    Examples:
        >>> cross_entropy_critic_loss(torch.tensor([0.0]), torch.tensor([-200.0]))  # log 2 + 0
        tensor(0.6931)
    """
    return F.softplus(-real_scores).mean() + F.softplus(fake_scores).mean()


def cross_entropy_generator_loss(fake_scores: Tensor) -> Tensor:
    """-mean log s(D(fake)), s the logistic function: the generator's side of `cross_entropy_critic_loss`.

    Not the log(1 - s(D(fake))) of the game's equation: that is flat where the critic sees through everything
    (arXiv:1406.2661, section 3).

    Args:
        fake_scores: (B,), the critic's of completed images, before s.

    Returns:
        A scalar.

    Examples:
        >>> cross_entropy_generator_loss(torch.tensor([-200.0, 200.0]))
        tensor(100.)
    """
    return F.softplus(-fake_scores).mean()


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
