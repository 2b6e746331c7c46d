"""What a step of training consists of: updates, their terms, and what is said of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..data.samples import Sample

Terms = dict[str, Tensor]
Learner = Literal["generator", "critics"]


@dataclass(frozen=True, eq=False)
class Update:
    """One step of one optimiser.

    Args:
        learner: The network that learns. The other one is frozen meanwhile.
        terms: From the generator, the critics and a batch to the terms of the loss: scalars, unweighted, each
            a mean over the samples. It is called under autocast, and calls the learner exactly once, by its
            forward: with several processes that is what shares the gradients between them. The other network
            may be used in any way.
        weights: Of the terms, by their names; those of weight 0 are for the log.
        fresh: Whether it takes a batch of its own. False: that of the update before.
        after: Called with the learner's network after each step of its optimiser, such as to clip weights.
    """

    learner: Learner
    terms: Callable[[Any, Any, Sample], Terms]
    weights: Mapping[str, float]
    fresh: bool = True
    after: Callable[[nn.Module], None] | None = None


@dataclass(frozen=True)
class Phase:
    """A part of a run in which every step consists of the same updates.

    Args:
        updates: Of a step, in order; the first is a fresh one.
        steps: How many steps it lasts; None: to the end.
    """

    updates: tuple[Update, ...]
    steps: int | None = None


def phase_at(phases: Sequence[Phase], step: int) -> Phase:
    """The phase of the step after ``step`` others; the last one goes on for ever."""
    for phase in phases[:-1]:
        if phase.steps is None or step < phase.steps:
            return phase
        step -= phase.steps
    return phases[-1]


def weigh(terms: Terms, weights: Mapping[str, float]) -> Tensor:
    """The loss: the sum of the terms that have a weight."""
    return torch.stack([weights[name] * term for name, term in terms.items() if weights[name]]).sum()


def mean_terms(terms: Sequence[Mapping[str, Tensor]]) -> Terms:
    """The mean of each term over parts of a batch, or over updates."""
    return {name: torch.stack([each[name] for each in terms]).mean() for name in terms[0]}


def first_not_finite(learners: Sequence[Learner], terms: Sequence[Mapping[str, Tensor]]) -> str | None:
    """Where the first NaN or infinity of a step is, in words; None if there is none.

    Args:
        learners: Of each update, in order.
        terms: Of each update. A weight that is not finite makes nearly all terms of later updates so: the
            first says where to look.
    """
    for place, each in enumerate(terms):
        for name, term in each.items():
            if not term.isfinite():
                return f"the term {name} of {_update_in_words(learners, place)} is {float(term)}"
    return None


def _update_in_words(learners: Sequence[Learner], place: int) -> str:
    """Such as "the generator's update" for a step's only one of it, "update 3 of the critics" otherwise."""
    learner = learners[place]
    if learners.count(learner) > 1:
        return f"update {learners[: place + 1].count(learner)} of the {learner}"
    return f"the {learner}'{'' if learner.endswith('s') else 's'} update"


def step_terms(learners: Sequence[Learner], terms: Sequence[Mapping[str, Tensor]]) -> Terms:
    """The terms of a step: of each network the means over its updates, in their order.

    Args:
        learners, terms: As for `first_not_finite`.
    """
    means: Terms = {}
    for learner in dict.fromkeys(learners):
        its = [each for which, each in zip(learners, terms, strict=True) if which == learner]
        means |= mean_terms(its)
    return means


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Let gradients pass through a module without reaching its parameters."""
    module.requires_grad_(False)
    try:
        yield
    finally:
        module.requires_grad_(True)
