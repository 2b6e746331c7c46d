"""Yu et al. 2018 (arXiv:1801.07892), algorithm 1: Wasserstein critics with a gradient penalty.

    for every step:
        five times: a fresh batch with fresh holes; update both critics
        a fresh batch with fresh holes; update the generator

"Paper" is Yu et al. 2018; "published code" the authors' TensorFlow code, v1.0.0 of
github.com/JiahuiYu/generative_inpainting (inpaint.yml, inpaint_model.py); "ours" a choice of this project.

Shape legend: B samples; H, W the crop; S the side of the local critic's region.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from ...data.masks import crop_boxes
from ...data.samples import Sample
from ...network.critics import LOCAL, WHOLE, Critic
from ...network.generator import Inpainted, InpaintGenerator
from ..adversarial import (
    clip_weights,
    gradient_penalty,
    wasserstein_critic_loss,
    wasserstein_generator_loss,
)
from ..checks import check, check_channels, check_not_negative
from ..losses import discounted_l1
from ..updates import Phase, Terms, Update
from .base import Recipe, Settings, hole_l1
from .optimisers import AdamConfig


@dataclass(frozen=True)
class LossConfig:
    """Weights of the terms; see `generator_terms` and `Critics`.

    Args:
        gamma: Base of the spatial discount of the l1 in the hole. Paper, section 3.3: 0.99; published
            code: 0.9.
        l1: Of the discounted l1 in the hole. Published code: 1.2 (the paper gives none).
        known: Of the l1 of known pixels. Published code: 1.2.
        coarse: Of the coarse network's l1 terms, times the above. Published code: 1.2.
        adversarial: Of the critics' scores in the generator's loss. Published code: 0.001.
        penalty: Of the gradient penalty. Paper, section 3.2: 10.
        penalty_masked: Whether the penalty looks at the gradients in the hole alone. Paper, section 3.2: yes.
        clip: Where it is not 0, critics' weights are clipped to [-clip, clip], in place of the penalty
            (Arjovsky et al. 2017: 0.01). Paper: 0.
    """

    gamma: float = 0.99
    l1: float = 1.2
    known: float = 1.2
    coarse: float = 1.2
    adversarial: float = 0.001
    penalty: float = 10.0
    penalty_masked: bool = True
    clip: float = 0.0

    def __post_init__(self) -> None:
        check("loss.gamma", self.gamma, 0 < self.gamma <= 1, "more than 0, at most 1")
        check_not_negative("loss", self, "l1", "known", "coarse", "adversarial", "penalty", "clip")
        for_generator = (self.l1, self.known, self.adversarial)
        check("loss.l1, loss.known, loss.adversarial", for_generator, any(for_generator), "one above 0")


@dataclass(frozen=True)
class CriticConfig:
    """Channels of the convolutions of each critic; four in the paper, figure 2, and in the published code.

    Args:
        local: Of the critic that sees the region of the hole. Paper and published code: `critics.LOCAL`.
        whole: Of the global critic, which has another name since ``global`` is a keyword of Python.
            Published code: `critics.WHOLE`.
    """

    local: tuple[int, ...] = LOCAL
    whole: tuple[int, ...] = WHOLE

    def __post_init__(self) -> None:
        check_channels("critics", self, "local", "whole")


@dataclass(frozen=True)
class OptimiserConfig(AdamConfig):
    """Adam, one for the generator and one for both critics.

    Args:
        learning_rate: Published code: 1e-4 (the paper gives none).
        beta1, beta2: Published code: 0.5, 0.9.
        batch: Samples of an update, over all processes. Published code: 16.
        critic_updates: Before each update of the generator, on fresh samples. Paper, algorithm 1: 5.
    """

    beta2: float = 0.9
    critic_updates: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        check("optimiser.critic_updates", self.critic_updates, self.critic_updates >= 1, "at least 1")


class Critics(nn.Module):
    """The local and the global critic; what they look at, and their loss.

    The whole loss is computed within one forward: DistributedDataParallel admits one for each backward, and
    a critic's loss takes three.

    Args:
        config: Its critics, sizes and loss.
    """

    def __init__(self, config: Settings) -> None:
        super().__init__()
        self.local = Critic(config.critics.local, config.masks.box)
        self.whole = Critic(config.critics.whole, config.data.size)
        self.has_penalty = config.loss.penalty > 0 and config.loss.clip == 0
        self.masks_penalty = config.loss.penalty_masked

    def forward(self, sample: Sample, completed: Tensor) -> Terms:
        """The critics' loss, unweighted.

        Args:
            sample: A batch.
            completed: (B, 3, H, W), the generator's.

        Returns:
            For each critic "critic" (minus its estimate of the Wasserstein distance) and "penalty", scalars.
        """
        terms: Terms = {}
        for name, critic, real, fake, mask in self._views(sample, completed):
            terms[f"{name}_critic"] = wasserstein_critic_loss(critic(real), critic(fake))
            if self.has_penalty:
                seen = mask if self.masks_penalty else None
                terms[f"{name}_penalty"] = gradient_penalty(critic, real, fake, seen, position=sample.blend)
        return terms

    def scores(self, sample: Sample, completed: Tensor) -> dict[str, Tensor]:
        """What each critic thinks of completed images, (B,) by its name."""
        return {"local": self.local(self._crop(completed, sample)), "whole": self.whole(completed)}

    def _views(
        self, sample: Sample, completed: Tensor
    ) -> Iterator[tuple[str, Critic, Tensor, Tensor, Tensor]]:
        """Name, critic, and what it sees: real and completed images, and the mask."""
        local = (self._crop(x, sample) for x in (sample.image, completed, sample.mask))
        yield "local", self.local, *local
        yield "whole", self.whole, sample.image, completed, sample.mask

    def _crop(self, images: Tensor, sample: Sample) -> Tensor:
        return crop_boxes(images, sample.box, self.local.size)


def critic_weights(loss: LossConfig) -> dict[str, float]:
    """What the terms of `Critics.forward` count: equations 1 and 5 of the paper, a separate loss each."""
    return {
        "local_critic": 1.0,
        "local_penalty": loss.penalty,
        "whole_critic": 1.0,
        "whole_penalty": loss.penalty,
    }


def generator_terms(sample: Sample, result: Inpainted, scores: Mapping[str, Tensor]) -> Terms:
    """The generator's loss, unweighted.

    In the hole, discounted l1 (section 3.3) of the refined and of the coarse image; outside, plain l1 of both
    (published code: ``ae_loss``). Each is a mean over the pixels it is about, of each sample and then over
    the samples; the published code takes the l1 of the hole over the local critic's box instead.

    Args:
        sample: A batch.
        result: The generator's.
        scores: Of `Critics.scores` for the completed images.

    Returns:
        Scalars; "hole_l1", in percent of the range of values, is for the log and has no weight.
    """
    image, hole, known = sample.image, sample.discount * sample.mask, ~sample.mask
    terms: Terms = {}
    for name, output in (("refined", result.refined), ("coarse", result.coarse)):
        terms[f"{name}_l1"] = discounted_l1(output, image, hole)
        terms[f"{name}_known"] = discounted_l1(output, image, known)
    for name, score in scores.items():
        terms[f"{name}_adversarial"] = wasserstein_generator_loss(score)
    terms["hole_l1"] = hole_l1(sample, result.refined)
    return terms


def generator_weights(loss: LossConfig) -> dict[str, float]:
    """What the terms of `generator_terms` count."""
    return {
        "refined_l1": loss.l1,
        "refined_known": loss.known,
        "coarse_l1": loss.l1 * loss.coarse,
        "coarse_known": loss.known * loss.coarse,
        "local_adversarial": loss.adversarial,
        "whole_adversarial": loss.adversarial,
        "hole_l1": 0.0,
    }


class Wasserstein(Recipe):
    """Algorithm 1 of Yu et al. 2018."""

    network = InpaintGenerator
    critics = CriticConfig
    loss = LossConfig
    optimiser = OptimiserConfig
    headline = Recipe.headline | {"whole_distance": "distance {:.3g}"}

    @property
    def gamma(self) -> float:
        return self.config.loss.gamma

    def make_critics(self) -> Critics:
        return Critics(self.config)

    def phases(self) -> tuple[Phase, ...]:
        loss, optimiser = self.config.loss, self.config.optimiser
        clip = functools.partial(clip_weights, limit=loss.clip) if loss.clip else None
        critics = Update("critics", _critic_terms, critic_weights(loss), after=clip)
        generator = Update("generator", _generator_terms, generator_weights(loss))
        return (Phase((critics,) * optimiser.critic_updates + (generator,)),)

    def logged(self, terms: Terms) -> Terms:
        """With "distance", the estimate of the Wasserstein distance, for the critic's loss, minus that."""
        critics = {f"{name}_distance": -terms[f"{name}_critic"] for name in ("local", "whole")}
        return critics | {name: term for name, term in terms.items() if not name.endswith("_critic")}


def _critic_terms(generator: InpaintGenerator, critics: Critics, sample: Sample) -> Terms:
    return critics(sample, generator(sample.image, sample.mask).completed)


def _generator_terms(generator: InpaintGenerator, critics: Critics, sample: Sample) -> Terms:
    result = generator(sample.image, sample.mask)
    return generator_terms(sample, result, critics.scores(sample, result.completed))
