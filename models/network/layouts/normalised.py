"""The layers of networks of convolutions and batch norms, by the names that a format has for them in turn."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from ..folders import FolderOfWeights
from .layout import Weights, assemble

_STATISTICS = ("weight", "bias", "running_mean")


def build_normalised(
    make: Callable[[], FolderOfWeights], convs: Sequence[str], norms: Sequence[str], weights: Weights
) -> FolderOfWeights:
    """A network with the numbers of a file, in evaluation mode.

    Args:
        make: Makes the network.
        convs, norms: The published names of its convolutions and of its norms, each in the order of ours.
        weights: Of the file.

    Raises:
        WeightsError: Weights missing, of other shapes than the network's or not finite.
    """
    with torch.device("meta"):
        modules = list(make().named_modules())
    tensors = {}
    ours = [(name, each) for name, each in modules if isinstance(each, (nn.Conv2d, nn.ConvTranspose2d))]
    for (name, module), published in zip(ours, convs, strict=True):
        for part in ("weight",) if module.bias is None else ("weight", "bias"):
            tensors[f"{name}.{part}"] = _named(weights, f"{published}.{part}")
    ours = [(name, each) for name, each in modules if isinstance(each, nn.BatchNorm2d)]
    for (name, module), published in zip(ours, norms, strict=True):
        for part in _STATISTICS:
            tensors[f"{name}.{part}"] = _named(weights, f"{published}.{part}")
        tensors[f"{name}.running_var"] = _variance(weights, published, module.eps)
    return assemble(make, tensors, weights.path)


def _named(weights: Weights, name: str) -> tuple[str, Tensor]:
    return weights.prefix + name, weights.tensor(name)


def _variance(weights: Weights, norm: str, eps: float) -> tuple[str, Tensor]:
    """Of a norm; older Torch7 files have the reciprocal of its square root, eps and all, in place of it."""
    if f"{norm}.running_std" not in weights:
        return _named(weights, f"{norm}.running_var")
    name, reciprocal = _named(weights, f"{norm}.running_std")
    return name, (reciprocal.double() ** -2 - eps).clamp(min=0)
