"""Pathak et al. 2016 (arXiv:1604.07379), Context Encoders: squared error and a critic of the predicted patch.

    for every step: a batch; update the critic, and on the same batch the network

"Paper" is Pathak et al. 2016; "published code" the authors' Torch code, github.com/pathak22/context-encoder
(train.lua, train_random.lua); "ours" a choice of this project. There the network learns from what the critic
said before its own update of a step; here the critic is asked again, as GANs are trained elsewhere.

Shape legend: B samples; H, W the crop, 128 x 128; S the side of the predicted patch.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...data.samples import Sample
from ...network.context_encoder import ContextEncoder
from ...network.context_encoder_config import CENTRE as CENTRE_SIDE
from ...network.context_encoder_config import VIEW, ContextEncoderConfig
from ...network.context_encoder_critic import CENTRE, ContextEncoderCritic
from ...network.faces import Inpainted
from ..adversarial import cross_entropy_critic_loss, cross_entropy_generator_loss
from ..checks import check, check_channels, check_not_negative
from ..losses import overlap_weights, weighted_l2
from ..updates import Learner, Phase, Terms, Update
from .base import Recipe, Settings, hole_l1
from .optimisers import AdamConfig


@dataclass(frozen=True)
class LossConfig:
    """Weights of the terms; see `network_terms` and `Critics`.

    Args:
        l2: Of the squared error over the predicted patch. Published code: 0.999 (``wtl2``).
        overlap: How many times as much known pixels count that are predicted too. Published code: 10.
        adversarial: Of the critic's score in the network's loss. Published code: 0.001 (1 - ``wtl2``).
    """

    l2: float = 0.999
    overlap: float = 10.0
    adversarial: float = 0.001

    def __post_init__(self) -> None:
        check_not_negative("loss", self, "l2", "overlap", "adversarial")
        for_network = (self.l2, self.adversarial)
        check("loss.l2, loss.adversarial", for_network, any(for_network), "one above 0")


@dataclass(frozen=True)
class CriticConfig:
    """The critic of the predicted patch; see `ContextEncoderCritic`.

    Args:
        channels: Of its convolutions of stride 2: as many as bring the patch to 4 x 4. Published code:
            `context_encoder_critic.CENTRE` and, for holes anywhere, `context_encoder_critic.ANYWHERE`.
    """

    channels: tuple[int, ...] = CENTRE

    def __post_init__(self) -> None:
        check_channels("critics", self, "channels")


@dataclass(frozen=True)
class OptimiserConfig(AdamConfig):
    """Adam, one for the network and one for its critic.

    Args:
        learning_rate: Of the critic. Published code: 2e-4.
        network_factor: How many times as large the network's is. Paper, published code: 10.
        beta1, beta2: Published code: 0.5, and Adam's own 0.999.
        batch: Samples of an update, over all processes. Published code: 64.
        average: Published code: none, 0. The statistics of the network's normalisation are those of its
            weights.
    """

    learning_rate: float = 2e-4
    batch: int = 64
    average: float = 0.0
    network_factor: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check("optimiser.network_factor", self.network_factor, self.network_factor > 0, "more than 0")
        at_once = (self.batch, self.accumulate)
        expected = "2 samples at a time or more, which the bottleneck's normalisation needs"
        check("optimiser.batch, optimiser.accumulate", at_once, at_once[0] >= 2 * at_once[1], expected)

    def rate(self, learner: Learner) -> float:
        return self.learning_rate * (self.network_factor if learner == "generator" else 1)


class Critics(nn.Module):
    """The critic, what it looks at, and its loss.

    Args:
        config: Its critics and network.
    """

    def __init__(self, config: Settings) -> None:
        super().__init__()
        self.patch = ContextEncoderCritic(config.critics.channels)

    def forward(self, sample: Sample, refined: Tensor) -> Terms:
        """The critic's loss, unweighted.

        Args:
            sample: A batch.
            refined: (B, 3, H, W), the network's.
        """
        real, fake = self.scores(sample.image), self.scores(refined)
        return {"patch_critic": cross_entropy_critic_loss(real, fake)}

    def scores(self, images: Tensor) -> Tensor:
        """What the critic thinks of the middle of images, (B,). Real and fake ones are normalised apart."""
        return self.patch(_middle(images, self.patch.size))


def _middle(images: Tensor, side: int) -> Tensor:
    """(B, C, H, W) -> (B, C, side, side)."""
    margin = (images.shape[-1] - side) // 2
    return images[..., margin : margin + side, margin : margin + side]


def patch_weights(sample: Sample, network: ContextEncoderConfig, overlap: float) -> Tensor:
    """What the pixels of the predicted patch count: 1 in the hole, ``overlap`` where they are known.

    Returns:
        (1, 1, S, S) for the centre model, whose holes are all alike; (B, 1, S, S) for the other.
    """
    if network.output == "centre":
        weights = overlap_weights(CENTRE_SIDE, CENTRE_SIDE, network.overlap, overlap)
        return weights.to(sample.image.device)
    return torch.where(sample.mask, 1.0, overlap)


def network_terms(sample: Sample, result: Inpainted, weights: Tensor, scores: Tensor) -> Terms:
    """The network's loss, unweighted.

    Args:
        sample: A batch.
        result: The network's.
        weights: Of `patch_weights`.
        scores: Of `Critics.scores` for its result.

    Returns:
        Scalars; "hole_l1", in percent of the range of values, is for the log and has no weight.
    """
    predicted, target = (_middle(x, weights.shape[-1]) for x in (result.refined, sample.image))
    return {
        "patch_l2": weighted_l2(predicted, target, weights),
        "patch_adversarial": cross_entropy_generator_loss(scores),
        "hole_l1": hole_l1(sample, result.refined),
    }


class ContextEncoders(Recipe):
    """Squared error, and a critic by cross entropy."""

    network = ContextEncoder
    critics = CriticConfig
    loss = LossConfig
    optimiser = OptimiserConfig
    parts_decide = True
    headline = Recipe.headline | {"patch_critic": "cross entropy {:.3g}"}

    def __init__(self, config: Settings) -> None:
        super().__init__(config)
        network, masks = config.generator, config.masks
        check("data.size", config.data.size, config.data.size == VIEW, f"{VIEW}, the network's")
        is_centre = network.output == "centre"
        if is_centre:
            hole, predicted = (masks.kind, masks.box, network.overlap), ("centre", CENTRE_SIDE, 4)
            expected = f"{predicted}, where a network with generator.output=centre predicts"
            check("masks.kind, masks.box, generator.overlap", hole, hole == predicted, expected)
        else:
            other = masks.kind != "centre"
            check("masks.kind", masks.kind, other, "another kind, with generator.output=whole")
        side, channels = CENTRE_SIDE if is_centre else VIEW, config.critics.channels
        expected = f"{side.bit_length() - 3} numbers, which bring a patch of {side} pixels to 4"
        check("critics.channels", channels, 4 * 2 ** len(channels) == side, expected)

    def make_critics(self) -> Critics:
        return Critics(self.config)

    def phases(self) -> tuple[Phase, ...]:
        loss = self.config.loss
        critics = Update("critics", _critic_terms, {"patch_critic": 1.0})
        weights = {"patch_l2": loss.l2, "patch_adversarial": loss.adversarial, "hole_l1": 0.0}
        network = Update("generator", self._network_terms, weights, fresh=False)
        return (Phase((critics, network)),)

    def _network_terms(self, network: ContextEncoder, critics: Critics, sample: Sample) -> Terms:
        result = _predict(network, sample)
        weights = patch_weights(sample, self.config.generator, self.config.loss.overlap)
        return network_terms(sample, result, weights, critics.scores(result.refined))


def _critic_terms(network: ContextEncoder, critics: Critics, sample: Sample) -> Terms:
    return critics(sample, _predict(network, sample).refined)


def _predict(network: ContextEncoder, sample: Sample) -> Inpainted:
    return network(sample.image, sample.mask, are_views=True)
