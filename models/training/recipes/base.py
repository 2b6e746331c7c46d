"""What a recipe is: all that one system's training has of its own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Protocol

import torch
from torch import nn

from ...data.samples import Sample
from ...network.faces import Inpainted
from ..losses import discounted_l1
from ..updates import Phase, Terms
from .optimisers import OptimiserConfig

# In [-1, 1] the range of values is 2: l1 in percent of it.
_PERCENT = 100 / 2


class Settings(Protocol):
    """What a recipe reads of a run's configuration, a `TrainConfig`: groups of settings by their names."""

    @property
    def recipe(self) -> str: ...
    @property
    def data(self) -> Any: ...
    @property
    def masks(self) -> Any: ...
    @property
    def generator(self) -> Any: ...
    @property
    def critics(self) -> Any: ...
    @property
    def loss(self) -> Any: ...
    @property
    def optimiser(self) -> Any: ...


class Recipe(ABC):
    """How a system is trained; the trainer does the rest, and knows no system.

    The critics are one module, which may hold several networks: its forward is what the critics' updates
    call, and computes all of their loss (`updates.Update`).

    Args:
        config: Of the run. Its groups are of the kinds that the attributes name.

    Attributes:
        network: The class of the generator, one of models/network.
        critics, loss, optimiser: Dataclasses of the groups of settings with these names, which need no
            arguments and check themselves.
        parts_decide: Whether the parts of `optimiser.accumulate` decide what is computed, and a resumed run
            cannot change them: a network normalises over the samples that it is given at once, or changes
            with every call.
        draft_channels: How many channels what `draft` makes has.
        headline: The terms of a step that are shown while it runs, each with its format.

    Raises:
        ValueError: Groups of settings that do not go together.
    """

    network: ClassVar[Any]
    critics: ClassVar[type]
    loss: ClassVar[type]
    optimiser: ClassVar[type[OptimiserConfig]]
    parts_decide: ClassVar[bool] = False
    draft_channels: ClassVar[int] = 0
    headline: ClassVar[dict[str, str]] = {"hole_l1": "hole l1 {:.2f} %"}

    def __init__(self, config: Settings) -> None:
        self.config = config

    @classmethod
    def groups(cls) -> dict[str, type]:
        """The groups of settings that the recipe decides the kinds of, by their names in `TrainConfig`."""
        return {
            "generator": cls.network.Config,
            "critics": cls.critics,
            "loss": cls.loss,
            "optimiser": cls.optimiser,
        }

    @property
    def gamma(self) -> float:
        """Base of the spatial discount of samples; 1: none."""
        return 1.0

    @property
    def draft(self) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor] | None:
        """What makes `Sample.drafts` of images and masks, for a network that starts from them; else None."""
        return None

    def complete(self, network: Any, sample: Sample, **options: Any) -> Inpainted:
        """What a network of the recipe makes of a batch; options are those of its forward."""
        return network(sample.image, sample.mask, **options)

    def make_generator(self) -> nn.Module:
        """The generator, its weights as they are before the first step."""
        return self.network(self.config.generator)

    @abstractmethod
    def make_critics(self) -> nn.Module:
        """The critics."""

    @abstractmethod
    def phases(self) -> tuple[Phase, ...]:
        """The parts of a run in their order, each with the updates of its steps."""

    def logged(self, terms: Terms) -> Terms:
        """The terms of a step, means over its updates, as the log has them."""
        return terms


@torch.no_grad()
def hole_l1(sample: Sample, output: torch.Tensor) -> torch.Tensor:
    """The l1 in the hole in percent of the range of values, for the log.

    Args:
        sample: A batch.
        output: (B, 3, H, W), what is to be compared with its images.
    """
    return _PERCENT * discounted_l1(output, sample.image, sample.mask)
