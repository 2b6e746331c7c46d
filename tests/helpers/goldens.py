"""The golden numbers of whole networks, in tests/data, and weights that are drawn and not stored."""

from __future__ import annotations

import ast
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

DATA = Path(__file__).parent.parent / "data"


def golden(file: str) -> dict[str, np.ndarray]:
    """The arrays of a file."""
    with np.load(DATA / f"{file}_net.npz") as arrays:
        return dict(arrays)


def away(found: Tensor, expected: np.ndarray) -> float:
    """Relative, by the norm."""
    wanted = torch.from_numpy(expected).double()
    assert found.shape == wanted.shape
    return ((found.detach().double() - wanted).norm() / wanted.norm()).item()


def drawn(arrays: dict[str, np.ndarray], norms: set[str] | None = None) -> dict[str, Tensor]:
    """Weights by the published names, each drawn from a generator that its name seeds.

    Args:
        arrays: Of a file, with ``names``, ``shapes`` and ``salt``.
        norms: Modules that are norms, by name; None: those with ``bn`` in their names.
    """
    weights = {}
    for name, shape in zip(arrays["names"].tolist(), arrays["shapes"].tolist(), strict=True):
        r = np.random.RandomState((zlib.crc32(name.encode()) + int(arrays["salt"])) % 2**32)
        sizes = ast.literal_eval(shape)
        module, _, part = name.rpartition(".")
        is_norm = "bn" in name if norms is None else module in norms
        numbers = r.randn(*sizes)
        if part == "running_var":
            numbers = np.exp(0.3 * numbers)
        elif part == "running_mean" or (is_norm and part == "bias"):
            numbers = 0.1 * numbers
        elif is_norm:
            numbers = 1 + 0.1 * numbers
        elif len(sizes) == 1:
            numbers = 0.05 * numbers
        else:
            numbers = numbers * np.sqrt(2 / np.prod(sizes[1:]))
        weights[name] = torch.from_numpy(numbers.astype(np.float32))
    return weights
