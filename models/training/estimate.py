"""What a run will be, before it starts: its numbers, its parameters, and the memory it takes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from ..data.samples import Sample
from .config import TrainConfig
from .recipes import make_recipe
from .settings import setting_names, to_dict
from .updates import Phase, Update, frozen, weigh

_FLOAT = 4


@dataclass(frozen=True)
class Estimate:
    """Counts of parameters, and bytes.

    Attributes:
        generator: Parameters of the generator.
        critics: Of each of the critics, by its name.
        state: Bytes of weights, gradients, the optimisers' two moments, and the generator's average.
        activations: Bytes that one sample keeps for the backward, the most of any update of the run.
    """

    generator: int
    critics: Mapping[str, int]
    state: int
    activations: int


def estimate(config: TrainConfig) -> Estimate:
    """Parameters and memory of a run, found by a step on tensors that have shapes and no numbers."""
    with FakeTensorMode():
        recipe = make_recipe(config)
        generator, critics = recipe.make_generator(), recipe.make_critics()
        updates = dict.fromkeys(update for phase in recipe.phases() for update in phase.updates)
        activations = max(
            # Of one more sample: normalisation needs two, and weights that are normalised are kept once.
            _kept_bytes(update, generator, critics, _fake_sample(config, 3))
            - _kept_bytes(update, generator, critics, _fake_sample(config, 2))
            for update in updates
        )
        each = {name: _parameters(critic) for name, critic in critics.named_children()}
        own = _parameters(generator)
    # Weight, gradient and two moments each (Adam's and Adadelta's alike), and the average of the generator's.
    state = _FLOAT * (4 * (own + sum(each.values())) + own)
    return Estimate(own, each, state, activations)


def _kept_bytes(update: Update, generator: nn.Module, critics: nn.Module, sample: Sample) -> int:
    """Bytes that an update keeps for its backward."""
    other = critics if update.learner == "generator" else generator
    with _kept(generator, critics) as storages, frozen(other):
        loss = weigh(update.terms(generator, critics, sample), update.weights)
    del loss  # held until here, as in a step
    return sum(storages.values())


def _fake_sample(config: TrainConfig, batch: int) -> Sample:
    side, box = config.data.size, config.masks.box
    image, mask = torch.zeros(batch, 3, side, side), torch.zeros(batch, 1, side, side, dtype=torch.bool)
    drafts = torch.zeros(batch, make_recipe(config).draft_channels, side, side)
    # Plain numbers for the boxes: a tensor without numbers cannot say where they are.
    boxes = [[0, 0, box, box]] * batch
    return Sample(image, mask, torch.ones(batch, 1, side, side), boxes, torch.zeros(batch), drafts, ())


def _parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@contextmanager
def _kept(*networks: nn.Module) -> Iterator[dict[int, int]]:
    """Bytes of each storage that autograd keeps, weights left out."""
    weights = {p.untyped_storage()._cdata for network in networks for p in network.parameters()}
    storages: dict[int, int] = {}
    held: list[Tensor] = []  # so that no two storages ever share an address

    def keep(x: Tensor) -> Tensor:
        storage = x.untyped_storage()
        if storage._cdata not in weights:
            held.append(x)
            storages[storage._cdata] = storage.nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        yield storages


def describe(config: TrainConfig, say: Callable[[str], None]) -> None:
    """Print the whole configuration, a line a setting, and the estimate."""
    values = to_dict(config)
    for name in setting_names(config):
        group, _, inner = name.partition(".")
        say(f"{name} = {values[group][inner] if inner else values[group]}")
    for line in _schedule(make_recipe(config).phases()):
        say(line)
    found = estimate(config)
    parts = config.optimiser.batch // config.optimiser.accumulate
    total = found.state + parts * found.activations
    critics = ", ".join(f"{name} {count:,}" for name, count in found.critics.items())
    say(f"parameters: generator {found.generator:,}, critics {critics}")
    say(
        f"memory, float32: {_bytes(found.state)} of weights, gradients, moments and average; {parts} samples "
        f"at a time in one process keep {_bytes(found.activations)} each for the backward; {_bytes(total)} "
        "in all, without what convolutions need while they run"
    )


def _schedule(phases: tuple[Phase, ...]) -> Iterator[str]:
    """The updates of each phase, a line a phase."""
    start = 1
    for phase in phases:
        end = "the last" if phase.steps is None else f"{start + phase.steps - 1:,}"
        updates = (
            f"{len(list(group))} x {learner}"
            for learner, group in itertools.groupby(update.learner for update in phase.updates)
        )
        yield f"updates of each step from {start:,} to {end}: {', then '.join(updates)}"
        start += phase.steps or 0


def _bytes(number: int) -> str:
    return f"{number / 2**30:.2f} GiB" if number >= 2**30 else f"{number / 2**20:.1f} MiB"
