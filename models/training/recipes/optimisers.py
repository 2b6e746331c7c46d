"""Optimisers, and what the settings of each recipe's have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

from ..checks import check, check_not_negative
from ..updates import Learner


@dataclass(frozen=True)
class OptimiserConfig(ABC):
    """What every optimiser has.

    Args:
        batch: Samples of an update, over all processes.
        accumulate: Parts in which each process takes its share of a batch, to save memory. Ours: 1.
        average: Decay of the moving average of the generator's weights; 0: the weights themselves. Ours:
            0.999.
        decay_start: The step from which on the learning rates fall. Ours.
        decay_steps: In how many steps they fall to 0, along a straight line; 0: they stay. Ours: 0.
    """

    batch: int = 16
    accumulate: int = 1
    average: float = 0.999
    decay_start: int = 0
    decay_steps: int = 0

    def __post_init__(self) -> None:
        check("optimiser.average", self.average, 0 <= self.average < 1, "at least 0, less than 1")
        for name in ("batch", "accumulate"):
            number = getattr(self, name)
            check(f"optimiser.{name}", number, number >= 1, "at least 1")
        check_not_negative("optimiser", self, "decay_start", "decay_steps")
        has_decay = self.decay_steps or not self.decay_start
        check("optimiser.decay_start", self.decay_start, has_decay, "0 without optimiser.decay_steps")

    def rate_share(self, step: int) -> float:
        """The share of the learning rates that the step after ``step`` others has."""
        if not self.decay_steps:
            return 1.0
        return min(1.0, max(0.0, 1 - (step - self.decay_start) / self.decay_steps))

    @abstractmethod
    def make(self, learner: Learner, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """The optimiser of one of the networks."""


@dataclass(frozen=True)
class AdamConfig(OptimiserConfig):
    """Adam, one for the generator and one for the critics.

    Args:
        learning_rate: Of both.
        beta1, beta2: Of both; 0.999 is Adam's own.
    """

    learning_rate: float = 1e-4
    beta1: float = 0.5
    beta2: float = 0.999

    def __post_init__(self) -> None:
        super().__post_init__()
        check("optimiser.learning_rate", self.learning_rate, self.learning_rate > 0, "more than 0")
        for name in ("beta1", "beta2"):
            share = getattr(self, name)
            check(f"optimiser.{name}", share, 0 <= share < 1, "at least 0, less than 1")

    def make(self, learner: Learner, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.Adam(parameters, lr=self.rate(learner), betas=(self.beta1, self.beta2))

    def rate(self, learner: Learner) -> float:
        """The learning rate of one of the networks."""
        return self.learning_rate
