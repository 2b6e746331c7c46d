"""Structure (network/structure.py): l1 and gradients at several scales, its own error, and later a critic.

    steps to completion_steps:  a batch; update the network by what it gets wrong in the hole
    from then on:               a batch; update the critic; a batch; update the network by its scores too

This package's own, as all of its numbers. The network says how far off it will be by the likelihood of a
Laplace distribution (Kendall and Gal, "What uncertainties do we need in Bayesian deep learning for computer
vision?", arXiv:1703.04977, equation 5 with the absolute error), but no colour is excused by that: the error
that it learns from carries no gradient. The critic is SN-PatchGAN's (arXiv:1806.03589), as in patch_gan.py.

Shape legend: B samples; H, W the crop, or the crop at a scale.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ...data.samples import Sample
from ...filling.structure import draw_copies
from ...network.drafts import DRAFTS
from ...network.faces import Inpainted
from ...network.structure import StructureNetwork
from ..adversarial import wasserstein_generator_loss
from ..checks import check, check_not_negative
from ..updates import Phase, Terms, Update
from . import patch_gan
from .base import Recipe, Settings, hole_l1


@dataclass(frozen=True)
class LossConfig:
    """Weights of the terms; see `structure_terms`.

    Args:
        l1: Of the l1 in the hole, the mean over the scales.
        gradient: Of the l1 of steps from pixel to pixel there, likewise.
        error: Of the likelihood of the error that the network expects.
        scales: At how many scales l1 and gradients are taken, each half the one before; 1 to 6.
        adversarial: Of the critic's scores in the network's loss, once there is a critic.
        critic: Of the critic's own loss.
    """

    l1: float = 1.0
    gradient: float = 0.5
    error: float = 0.1
    scales: int = 3
    adversarial: float = 0.01
    critic: float = 0.5

    def __post_init__(self) -> None:
        check_not_negative("loss", self, "gradient", "error", "adversarial")
        for name in ("l1", "critic"):
            weight = getattr(self, name)
            check(f"loss.{name}", weight, weight > 0, "more than 0")
        check("loss.scales", self.scales, 1 <= self.scales <= 6, "from 1 to 6")


@dataclass(frozen=True)
class CriticConfig(patch_gan.CriticConfig):
    """SN-PatchGAN, narrower; see `patch_gan.CriticConfig`."""

    channels: tuple[int, ...] = (32, 64, 128, 128)


@dataclass(frozen=True)
class OptimiserConfig(patch_gan.OptimiserConfig):
    """Adam, one for the network and one for the critic; the schedule.

    Args:
        learning_rate, beta1, beta2: Ours.
        completion_steps: Of the network alone, before there is a critic.
    """

    learning_rate: float = 5e-4
    beta1: float = 0.9
    beta2: float = 0.99
    completion_steps: int = 40_000

    def __post_init__(self) -> None:
        super().__post_init__()
        check_not_negative("optimiser", self, "completion_steps")


def structure_terms(sample: Sample, result: Inpainted, scales: int) -> Terms:
    """What the network gets wrong, unweighted.

    Args:
        sample: A batch.
        result: The network's.
        scales: As in `LossConfig`.

    Returns:
        Scalars; "hole_l1", in percent of the range of values, is for the log and has no weight.
    """
    mask = sample.mask.to(result.refined.dtype)
    # Known pixels are never wrong: they are taken from the image.
    levels = list(_halved((result.refined - sample.image) * mask, mask, scales))
    return {
        "l1": torch.stack([_mean(wrong.abs(), weights) for wrong, weights in levels]).mean(),
        "gradient": torch.stack([_gradient_l1(wrong, weights) for wrong, weights in levels]).mean(),
        "error": _mean(_surprise(sample, result), mask),
        "hole_l1": hole_l1(sample, result.refined),
    }


def _halved(wrong: Tensor, weights: Tensor, scales: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Differences (B, 3, H, W) and how much of each is the hole's (B, 1, H, W), at scale after scale."""
    for scale in range(scales):
        if scale:
            wrong, weights = F.avg_pool2d(wrong, 2), F.avg_pool2d(weights, 2)
        yield wrong, weights


def _gradient_l1(wrong: Tensor, weights: Tensor) -> Tensor:
    """The l1 of the steps across and down that begin or end in the hole, the mean of both."""
    total = []
    for axis in (2, 3):
        count = wrong.shape[axis] - 1
        steps = wrong.narrow(axis, 1, count) - wrong.narrow(axis, 0, count)
        counts = torch.maximum(weights.narrow(axis, 1, count), weights.narrow(axis, 0, count))
        total.append(_mean(steps.abs(), counts))
    return torch.stack(total).mean()


def _surprise(sample: Sample, result: Inpainted) -> Tensor:
    """-log p of the error under a Laplace distribution of the expected one, less log 2: (B, 1, H, W)."""
    found = (result.refined - sample.image).abs().mean(1, keepdim=True).detach()
    return found / result.error + result.error.log()


def _mean(x: Tensor, weights: Tensor) -> Tensor:
    """The mean over the samples of the weighted means of each; a sample without weights adds 0."""
    total = (x * weights).sum((1, 2, 3))
    return (total / (x.shape[1] * weights.sum((1, 2, 3))).clamp(min=torch.finfo(x.dtype).tiny)).mean()


class Structure(Recipe):
    """The network alone, then with a critic. Samples bring its drafts, made where they are decoded."""

    network = StructureNetwork
    critics = CriticConfig
    loss = LossConfig
    optimiser = OptimiserConfig
    draft_channels = 3 * DRAFTS
    parts_decide = True  # with each the spectral norm of the critic moves on
    headline = Recipe.headline | {"patch_hinge": "hinge {:.3g}"}

    def __init__(self, config: Settings) -> None:
        super().__init__(config)
        # The mask of a batch is not empty at any scale, and steps have two ends.
        least = 2**config.loss.scales
        check("loss.scales", config.loss.scales, config.data.size >= least, f"data.size of at least {least}")

    @property
    def draft(self) -> Callable[[Tensor, Tensor], Tensor]:
        return draw_copies

    def complete(self, network: StructureNetwork, sample: Sample, **options: Any) -> Inpainted:
        return network(sample.image, sample.mask, sample.drafts, **options)

    def make_critics(self) -> patch_gan.Critics:
        return patch_gan.Critics(self.config)

    def phases(self) -> tuple[Phase, ...]:
        loss, optimiser = self.config.loss, self.config.optimiser
        weights = {"l1": loss.l1, "gradient": loss.gradient, "error": loss.error, "hole_l1": 0.0}
        alone = Update("generator", self._terms, weights)
        judged = Update("generator", self._judged_terms, weights | {"patch_adversarial": loss.adversarial})
        critics = patch_gan.critics_update(loss.critic, self.complete)
        return (
            Phase((alone,), optimiser.completion_steps),
            Phase((critics,) * optimiser.critic_updates + (judged,)),
        )

    def _terms(self, generator: StructureNetwork, critics: patch_gan.Critics, sample: Sample) -> Terms:
        result = self.complete(generator, sample)
        return structure_terms(sample, result, self.config.loss.scales)

    def _judged_terms(self, generator: StructureNetwork, critics: patch_gan.Critics, sample: Sample) -> Terms:
        result = self.complete(generator, sample)
        scores = critics.scores(sample, result.completed)
        terms = structure_terms(sample, result, self.config.loss.scales)
        return terms | {"patch_adversarial": wasserstein_generator_loss(scores)}
