"""Yu et al. 2019 (arXiv:1806.03589), "DeepFill v2": SN-PatchGAN, a critic of all neighbourhoods, hinge loss.

    for every step:
        a fresh batch with fresh holes; update the critic
        a fresh batch with fresh holes; update the generator

"Published code" is the authors' TensorFlow code, v2.0.0 of github.com/JiahuiYu/generative_inpainting
(inpaint.yml, inpaint_model.py); "ours" a choice of this project. Two differences are left: there a batch
shares one mask, and one Adam counts the updates of both networks for its bias correction.

Shape legend: B samples; H, W the crop.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...data.samples import Sample
from ...network.faces import Inpainted
from ...network.generator import InpaintGenerator
from ...network.layers import PADDINGS, Padding
from ...network.patch_critic import PATCH, PatchCritic
from ..adversarial import hinge_critic_loss, wasserstein_generator_loss
from ..checks import check, check_channels, check_not_negative
from ..losses import discounted_l1
from ..updates import Phase, Terms, Update
from .base import Recipe, Settings, hole_l1
from .optimisers import AdamConfig

_CHANNELS = 4  # the image and the mask


@dataclass(frozen=True)
class LossConfig:
    """Weights of the terms; see `generator_terms` and `Critics`.

    Args:
        refined, coarse: Of the l1 of the whole image, holes and known pixels alike. Published code: 1.
        adversarial: Of the critic's scores in the generator's loss. Published code: 1.
        critic: Of the hinge loss. Published code: 0.5.
    """

    refined: float = 1.0
    coarse: float = 1.0
    adversarial: float = 1.0
    critic: float = 0.5

    def __post_init__(self) -> None:
        check_not_negative("loss", self, "refined", "coarse", "adversarial", "critic")
        check("loss.critic", self.critic, self.critic > 0, "more than 0")
        for_generator = (self.refined, self.adversarial)
        check("loss.refined, loss.adversarial", for_generator, any(for_generator), "one above 0")


@dataclass(frozen=True)
class CriticConfig:
    """SN-PatchGAN; see `PatchCritic`.

    Args:
        channels: Of its convolutions, each of stride 2. Published code: `patch_critic.PATCH`.
        padding: Published code: "same".
    """

    channels: tuple[int, ...] = PATCH
    padding: Padding = "same"

    def __post_init__(self) -> None:
        check_channels("critics", self, "channels")
        check("critics.padding", self.padding, self.padding in PADDINGS, f"one of {', '.join(PADDINGS)}")


@dataclass(frozen=True)
class OptimiserConfig(AdamConfig):
    """Adam, one for the generator and one for the critic.

    Args:
        learning_rate: Published code: 1e-4.
        beta1, beta2: Published code: 0.5, 0.999.
        batch: Samples of an update, over all processes. Published code: 16.
        critic_updates: Before each update of the generator, on fresh samples. Published code: 1.
    """

    critic_updates: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check("optimiser.critic_updates", self.critic_updates, self.critic_updates >= 1, "at least 1")


class Critics(nn.Module):
    """The critic, what it looks at, and its loss.

    Args:
        config: Its critics.
    """

    def __init__(self, config: Settings) -> None:
        super().__init__()
        self.patch = PatchCritic(_CHANNELS, config.critics.channels, config.critics.padding)

    def forward(self, sample: Sample, completed: Tensor) -> Terms:
        """The critic's loss, unweighted, and for the log the means of its scores.

        Args:
            sample: A batch.
            completed: (B, 3, H, W), the generator's.
        """
        both = torch.cat((_view(sample, sample.image), _view(sample, completed)))
        real, fake = self.patch(both).chunk(2)
        return {
            "patch_hinge": hinge_critic_loss(real, fake),
            "patch_real": real.mean(),
            "patch_fake": fake.mean(),
        }

    def scores(self, sample: Sample, completed: Tensor) -> Tensor:
        """What the critic thinks of completed images: (B, n)."""
        return self.patch(_view(sample, completed))


def _view(sample: Sample, image: Tensor) -> Tensor:
    """What the critic sees: (B, 4, H, W)."""
    return torch.cat((image, sample.mask.to(image.dtype)), 1)


def generator_terms(sample: Sample, result: Inpainted, scores: Tensor) -> Terms:
    """The generator's loss, unweighted: l1 of both images as a whole, and the critic's scores.

    Args:
        sample: A batch.
        result: The generator's.
        scores: Of `Critics.scores` for the completed images.

    Returns:
        Scalars; "hole_l1", in percent of the range of values, is for the log and has no weight.
    """
    everywhere = torch.ones_like(sample.discount)
    return {
        "refined_l1": discounted_l1(result.refined, sample.image, everywhere),
        "coarse_l1": discounted_l1(result.coarse, sample.image, everywhere),
        "patch_adversarial": wasserstein_generator_loss(scores),
        "hole_l1": hole_l1(sample, result.refined),
    }


class PatchGan(Recipe):
    """SN-PatchGAN by hinge loss."""

    network = InpaintGenerator
    critics = CriticConfig
    loss = LossConfig
    optimiser = OptimiserConfig
    parts_decide = True  # with each the spectral norm moves on
    headline = Recipe.headline | {"patch_hinge": "hinge {:.3g}"}

    def __init__(self, config: Settings) -> None:
        super().__init__(config)
        if config.generator.sketch:
            raise ValueError(
                "generator.sketch: expected False: samples of training have no sketches; a network that is "
                "guided by one can be converted, but not trained"
            )

    def make_critics(self) -> Critics:
        return Critics(self.config)

    def phases(self) -> tuple[Phase, ...]:
        loss = self.config.loss
        critics = critics_update(loss.critic, self.complete)
        weights = {
            "refined_l1": loss.refined,
            "coarse_l1": loss.coarse,
            "patch_adversarial": loss.adversarial,
            "hole_l1": 0.0,
        }
        generator = Update("generator", self._generator_terms, weights)
        return (Phase((critics,) * self.config.optimiser.critic_updates + (generator,)),)

    def _generator_terms(self, generator: InpaintGenerator, critics: Critics, sample: Sample) -> Terms:
        result = self.complete(generator, sample)
        return generator_terms(sample, result, critics.scores(sample, result.completed))


def critics_update(weight: float, complete: Callable[[Any, Sample], Inpainted]) -> Update:
    """The critic's update by its hinge loss of this weight.

    Args:
        weight: Of the loss.
        complete: `Recipe.complete`.
    """

    def terms(generator: nn.Module, critics: Critics, sample: Sample) -> Terms:
        return critics(sample, complete(generator, sample).completed)

    return Update("critics", terms, {"patch_hinge": weight, "patch_real": 0.0, "patch_fake": 0.0})
