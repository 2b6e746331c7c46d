"""The terms of both losses of algorithm 1 (Yu et al. 2018, arXiv:1801.07892), and their weights.

Shape legend: B samples; H, W the crop; S the side of the local critic's region.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ..data.masks import crop_boxes
from ..data.samples import Sample
from ..network.critics import Critic
from ..network.generator import Inpainted
from .adversarial import gradient_penalty, wasserstein_critic_loss, wasserstein_generator_loss
from .config import LossConfig, TrainConfig
from .losses import discounted_l1

Terms = dict[str, Tensor]

# In [-1, 1] the range of values is 2: l1 in percent of it.
_PERCENT = 100 / 2


class Critics(nn.Module):
    """The local and the global critic; what they look at, and their loss.

    The whole loss is computed within one forward: DistributedDataParallel admits one for each backward, and
    a critic's loss takes three.

    Args:
        config: Its critics, sizes and loss.
    """

    def __init__(self, config: TrainConfig) -> None:
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
    terms["hole_l1"] = _PERCENT * discounted_l1(result.refined.detach(), image, sample.mask)
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


def weigh(terms: Terms, weights: Mapping[str, float]) -> Tensor:
    """The loss: the sum of the terms that have a weight."""
    return torch.stack([weights[name] * term for name, term in terms.items() if weights[name]]).sum()


def mean_terms(terms: Sequence[Mapping[str, Tensor]]) -> Terms:
    """The mean of each term over parts of a batch, or over updates."""
    return {name: torch.stack([each[name] for each in terms]).mean() for name in terms[0]}


def first_not_finite(updates: Sequence[Mapping[str, Tensor]]) -> str | None:
    """Where the first NaN or infinity of a step is, in words; None if there is none.

    Args:
        updates: The terms of each update, in order: the critics', then the generator's. A weight that is not
            finite makes nearly all terms of later updates so: the first says where to look.
    """
    for number, terms in enumerate(updates, 1):
        for name, term in terms.items():
            if not term.isfinite():
                which = (
                    "the generator's update" if number == len(updates) else f"update {number} of the critics"
                )
                return f"the term {name} of {which} is {float(term)}"
    return None


def logged_terms(updates: Sequence[Mapping[str, Tensor]]) -> dict[str, float]:
    """What a step is in the log: means over the updates of the critics, and the generator's terms.

    Args:
        updates: As for `first_not_finite`.

    Returns:
        Numbers by name; "distance", the estimate of the Wasserstein distance, in place of the critic's loss,
        which is minus that.
    """
    *critics, generator = updates
    means = mean_terms(critics)
    distances = {f"{name}_distance": -means.pop(f"{name}_critic") for name in ("local", "whole")}
    return {name: float(term) for name, term in {**distances, **means, **generator}.items()}


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Let gradients pass through a module without reaching its parameters."""
    module.requires_grad_(False)
    try:
        yield
    finally:
        module.requires_grad_(True)
