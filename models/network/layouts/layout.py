"""What a published checkpoint format is: how it is recognised, and how a network is made of its numbers."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..folders import FolderOfWeights
from ..weight_files import WeightsError, as_tensor, check_finite

_COLOURS = 3


class Weights:
    """What a file of named tensors holds, each looked at only when it is asked for.

    Args:
        values: As `weight_files.read_weights` returns them.
        path: Of the file, for messages.
        prefix: Before every name that is asked for.
    """

    def __init__(self, values: Mapping[str, Any], path: str | os.PathLike[str], prefix: str = "") -> None:
        self.values, self.path, self.prefix = values, path, prefix

    def under(self, prefix: str) -> Weights:
        """The same file, with another prefix."""
        return Weights(self.values, self.path, prefix)

    def __contains__(self, name: str) -> bool:
        return self.prefix + name in self.values

    def shape(self, name: str) -> tuple[int, ...]:
        """Of a tensor or array; of whatever else, or nothing, ()."""
        return tuple(getattr(self.values.get(self.prefix + name), "shape", ()))

    def tensor(self, name: str) -> Tensor:
        """A tensor of floating-point numbers.

        Raises:
            WeightsError: There is none of that name, or it is none.
        """
        key = self.prefix + name
        if key not in self.values:
            raise WeightsError(f"{self.path}: {key} is missing: it does not hold the whole network")
        return as_tensor(self.values[key], key, self.path)


@dataclass(frozen=True, kw_only=True)
class Layout(ABC):
    """A published checkpoint format.

    Args:
        name: What it is called here.
        origin: Where the format and its behaviour are published.
        licence: Of the weights that are published in it.
        example: The key of its first layer's weights, prefix and all.
        choices: The options of `convert.convert` that it knows, by which a caller says what a file cannot.
        variants: What the same weights compute in one or another program: options of the network by name, the
            default first; none where there is one behaviour.
    """

    name: str
    origin: str
    licence: str
    example: str
    choices: frozenset[str] = frozenset()
    variants: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @abstractmethod
    def prefix_in(self, weights: Weights) -> str | None:
        """The prefix under which a file has this format's tensors; None: it is of another format."""

    @abstractmethod
    def build(self, weights: Weights, given: Mapping[str, Any]) -> FolderOfWeights:
        """The network of RGB images that a file of this format holds.

        Args:
            weights: Of the file, with the prefix found.
            given: Of ``choices`` those that were given, and as ``variant`` the options of one.

        Raises:
            WeightsError: Weights missing, of other shapes than the network's or not finite.
            ValueError: Options that the network refuses.
        """


def assemble(
    make: Callable[[], FolderOfWeights],
    tensors: Mapping[str, tuple[str, Tensor]],
    path: str | os.PathLike[str],
) -> FolderOfWeights:
    """A network with the numbers of a file, in evaluation mode.

    Args:
        make: Makes the network; called first on the device meta: no memory before it is known that the file
            fills it.
        tensors: By our names of parameters and buffers: the published name, for messages, and the numbers. A
            counter of batches may be left out.
        path: Of the file, for messages.

    Raises:
        WeightsError: Shapes that are not the network's, or numbers that are not finite.
    """
    with torch.device("meta"):
        own = make().state_dict()
    numbers = {}
    for name, each in own.items():
        if name.endswith("num_batches_tracked"):
            continue
        published, tensor = tensors[name]
        if tensor.shape != each.shape:
            shapes = f"expected shape {tuple(each.shape)}, got {tuple(tensor.shape)}"
            raise WeightsError(f"{path}: {published}: {shapes}: weights of another network")
        numbers[name] = tensor.to(each.dtype)
        check_finite(numbers[name], published, path)
    network = make()
    network.load_state_dict(network.state_dict() | numbers)
    return network.eval()


@torch.no_grad()
def reverse_colours(weight: Tensor, dim: int) -> None:
    """Exchange blue and red, in place.

    Args:
        weight: Weights or biases whose first three entries along ``dim`` are of colours.
        dim: 0 for what comes out, 1 for what goes in.
    """
    colours = weight.narrow(dim, 0, _COLOURS)
    colours.copy_(colours.flip(dim))
