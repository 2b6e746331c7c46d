"""What a run will be, before it starts: its numbers, its parameters, and the memory it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from ..data.samples import Sample
from ..network.generator import InpaintGenerator
from .config import TrainConfig
from .settings import setting_names, to_dict
from .updates import Critics, critic_weights, frozen, generator_terms, generator_weights, weigh

_FLOAT = 4


@dataclass(frozen=True)
class Estimate:
    """Counts of parameters, and bytes.

    Attributes:
        generator, local, whole: Parameters of the generator and of both critics.
        state: Bytes of weights, gradients, Adam's two moments, and the generator's average.
        activations: Bytes that one sample keeps for the backward, the larger of both updates.
    """

    generator: int
    local: int
    whole: int
    state: int
    activations: int


def estimate(config: TrainConfig) -> Estimate:
    """Parameters and memory of a run, found by a step on tensors that have shapes and no numbers."""
    with FakeTensorMode():
        generator, critics = InpaintGenerator(config.generator), Critics(config)
        sample = _fake_sample(config)
        with _kept(generator, critics) as for_critics, torch.no_grad():
            completed = generator(sample.image, sample.mask).completed
            with torch.enable_grad():
                loss = weigh(critics(sample, completed), critic_weights(config.loss))
        with _kept(generator, critics) as for_generator, frozen(critics):
            result = generator(sample.image, sample.mask)
            terms = generator_terms(sample, result, critics.scores(sample, result.completed))
            loss = weigh(terms, generator_weights(config.loss))
        del loss  # held until here, as in a step
        counts = [_parameters(network) for network in (generator, critics.local, critics.whole)]
    # Weight, gradient and two moments each, and the average of the generator's.
    state = _FLOAT * (4 * sum(counts) + counts[0])
    return Estimate(*counts, state, max(sum(for_critics.values()), sum(for_generator.values())))


def _fake_sample(config: TrainConfig) -> Sample:
    side, box = config.data.size, config.masks.box
    image, mask = torch.zeros(1, 3, side, side), torch.zeros(1, 1, side, side, dtype=torch.bool)
    # Plain numbers for the box: a tensor without numbers cannot say where it is.
    return Sample(image, mask, torch.ones(1, 1, side, side), [[0, 0, box, box]], torch.zeros(1), ())


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
    found = estimate(config)
    parts = config.optimiser.batch // config.optimiser.accumulate
    total = found.state + parts * found.activations
    say(f"parameters: generator {found.generator:,}, critics local {found.local:,}, whole {found.whole:,}")
    say(
        f"memory, float32: {_bytes(found.state)} of weights, gradients, Adam and average; {parts} samples at "
        f"a time in one process keep {_bytes(found.activations)} each for the backward; {_bytes(total)} in "
        "all, without what convolutions need while they run"
    )


def _bytes(number: int) -> str:
    return f"{number / 2**30:.2f} GiB" if number >= 2**30 else f"{number / 2**20:.1f} MiB"
