"""Iizuka et al. 2017 (SIGGRAPH, doi:10.1145/3072959.3073659): a network alone, its critics alone, then both.

    steps to completion_steps:              a batch; update the network by the squared error in the hole
    the critic_steps after them:            a batch; update the critics
    from then on:                           a batch; update the critics, and on it the network by both

"Paper" is Iizuka et al. 2017, as notes on it have it: their code of training is not public. "otenim" and
"mmagic" are github.com/otenim/GLCIC-PyTorch and github.com/open-mmlab/mmagic, which trained it anew; "ours" a
choice of this project. The critics see completed images, known pixels and all (mmagic; otenim: the network's
output), and of a photograph the region where its own hole is (mmagic; paper, otenim: another at random).

Shape legend: B samples; H, W the crop; S the side of the region around the hole.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...data.masks import crop_boxes
from ...data.samples import Sample
from ...network.faces import Inpainted
from ...network.iizuka import CompletionNetwork
from ...network.iizuka_critics import LOCAL, WHOLE, JointCritic
from ..adversarial import cross_entropy_critic_loss, cross_entropy_generator_loss
from ..checks import check, check_channels, check_not_negative
from ..losses import weighted_l2
from ..updates import Learner, Phase, Terms, Update
from . import optimisers
from .base import Recipe, Settings, hole_l1


@dataclass(frozen=True)
class LossConfig:
    """Weights of the terms; see `completion_terms` and `Critics`.

    Args:
        l2: Of the squared error in the hole. Paper, otenim: 1 for images in [0, 1], and so 0.25 for images
            in [-1, 1].
        adversarial: Of the critics' score in the network's loss. Paper, otenim: 4e-4; mmagic: 1e-3, beside
            an l1.
        critic: Of the critics' own loss. Mmagic: 1; otenim: 0.5, and 2e-4 beside the network.
    """

    l2: float = 0.25
    adversarial: float = 4e-4
    critic: float = 1.0

    def __post_init__(self) -> None:
        check_not_negative("loss", self, "adversarial")
        for name in ("l2", "critic"):
            weight = getattr(self, name)
            check(f"loss.{name}", weight, weight > 0, "more than 0")


@dataclass(frozen=True)
class CriticConfig:
    """The critics, joined into one score; see `JointCritic`.

    Args:
        local, whole: Channels of the convolutions, each of stride 2, of the critic of the region around the
            hole and of that of the image. Paper: `iizuka_critics.LOCAL`, `iizuka_critics.WHOLE`.
        features: Numbers that each of them hands on to the score. Paper: 1024.
    """

    local: tuple[int, ...] = LOCAL
    whole: tuple[int, ...] = WHOLE
    features: int = 1024

    def __post_init__(self) -> None:
        check_channels("critics", self, "local", "whole")
        check("critics.features", self.features, self.features >= 1, "at least 1")


@dataclass(frozen=True)
class OptimiserConfig(optimisers.OptimiserConfig):
    """Adadelta (Zeiler 2012, arXiv:1212.5701), one for the network and one for the critics; the schedule.

    Args:
        batch: Samples of an update, over all processes. Paper: 96.
        average: Paper: none, 0. The statistics of the network's normalisation are those of its weights.
        learning_rate: Paper: none, and so 1; otenim: 1.
        rho: Decay of Adadelta's averages. Otenim: 0.9, the default of PyTorch.
        completion_steps: Of the network alone. Paper: T_C = 90,000.
        critic_steps: Of the critics alone, after them. Paper: T_D = 10,000.
    """

    batch: int = 96
    average: float = 0.0
    learning_rate: float = 1.0
    rho: float = 0.9
    completion_steps: int = 90_000
    critic_steps: int = 10_000

    def __post_init__(self) -> None:
        super().__post_init__()
        check("optimiser.learning_rate", self.learning_rate, self.learning_rate > 0, "more than 0")
        check("optimiser.rho", self.rho, 0 <= self.rho < 1, "at least 0, less than 1")
        check_not_negative("optimiser", self, "completion_steps", "critic_steps")

    def make(self, learner: Learner, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.Adadelta(parameters, lr=self.learning_rate, rho=self.rho)


class Critics(nn.Module):
    """The joint critic, what it looks at, and its loss.

    Args:
        config: Its critics and sizes.
    """

    def __init__(self, config: Settings) -> None:
        super().__init__()
        box, size = config.masks.box, config.data.size
        self.joint = JointCritic(
            config.critics.local,
            config.critics.whole,
            local_size=(box, box),
            whole_size=(size, size),
            features=config.critics.features,
        )
        self.box = box

    def forward(self, sample: Sample, completed: Tensor) -> Terms:
        """The critics' loss, unweighted.

        Args:
            sample: A batch.
            completed: (B, 3, H, W), the network's.
        """
        return {
            "joint_critic": cross_entropy_critic_loss(
                self.scores(sample, sample.image), self.scores(sample, completed)
            )
        }

    def scores(self, sample: Sample, images: Tensor) -> Tensor:
        """What the critics think of images, (B,). Photographs and others are normalised apart."""
        return self.joint(crop_boxes(images, sample.box, self.box), images)


def completion_terms(sample: Sample, result: Inpainted) -> Terms:
    """The network's loss without its critics, unweighted.

    Args:
        sample: A batch.
        result: The network's.

    Returns:
        "hole_l2", the squared error in the hole over the number of all pixels (otenim); "hole_l1", in percent
        of the range of values, is for the log and has no weight.
    """
    return {
        "hole_l2": weighted_l2(result.refined, sample.image, sample.mask),
        "hole_l1": hole_l1(sample, result.refined),
    }


class Iizuka(Recipe):
    """Three phases: the network, its critics, both."""

    network = CompletionNetwork
    critics = CriticConfig
    loss = LossConfig
    optimiser = OptimiserConfig
    parts_decide = True
    headline = Recipe.headline | {"joint_critic": "cross entropy {:.3g}"}

    def make_critics(self) -> Critics:
        return Critics(self.config)

    def phases(self) -> tuple[Phase, ...]:
        loss, optimiser = self.config.loss, self.config.optimiser
        weights = {"hole_l2": loss.l2, "hole_l1": 0.0}
        completion = Update("generator", _completion_terms, weights)
        critics = Update("critics", _critic_terms, {"joint_critic": loss.critic})
        weights = weights | {"joint_adversarial": loss.adversarial}
        both = Update("generator", _joint_terms, weights, fresh=False)
        phases = (
            Phase((completion,), optimiser.completion_steps),
            Phase((critics,), optimiser.critic_steps),
            Phase((critics, both)),
        )
        return tuple(phase for phase in phases if phase.steps != 0)


def _completion_terms(network: CompletionNetwork, _critics: Critics, sample: Sample) -> Terms:
    return completion_terms(sample, network(sample.image, sample.mask))


def _critic_terms(network: CompletionNetwork, critics: Critics, sample: Sample) -> Terms:
    return critics(sample, network(sample.image, sample.mask).completed)


def _joint_terms(network: CompletionNetwork, critics: Critics, sample: Sample) -> Terms:
    result = network(sample.image, sample.mask)
    score = cross_entropy_generator_loss(critics.scores(sample, result.completed))
    return completion_terms(sample, result) | {"joint_adversarial": score}
