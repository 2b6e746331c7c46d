"""Where a tensor is wrong, in words: how much of it, on which indices of each axis, and what is worst."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

# Lanes of a warp, which take columns side by side.
_LANES = 32


@dataclass(frozen=True)
class Wrong:
    """A stage that is not as it should be."""

    stage: str
    how: str

    def __str__(self) -> str:
        return f"{self.stage}: {self.how}"


def largest(x: Tensor) -> float:
    return x.detach().abs().max().item() if x.numel() else 0.0


def compared(
    stage: str, found: Tensor, exact: Tensor, bound: float | Tensor, axes: tuple[str, ...]
) -> Iterator[Wrong]:
    """Where an entry is off by more than the bound, or is NaN or inf without need."""
    if found.shape != exact.shape:
        yield Wrong(stage, f"shape {tuple(found.shape)}, expected {tuple(exact.shape)}")
        return
    x, y = found.detach().cpu().double(), exact.detach().cpu().double()
    error = torch.where(x == y, 0, (x - y).abs().nan_to_num(torch.inf))
    wrong = error > bound
    if wrong.any():
        yield Wrong(stage, _where(x, y, error, wrong, axes))


def _where(x: Tensor, y: Tensor, error: Tensor, wrong: Tensor, axes: tuple[str, ...]) -> str:
    at = np.unravel_index(int(error.argmax()), error.shape)
    places = wrong.nonzero().unbind(1)
    described = [
        f"{axis} {text}"
        for axis, indices, size in zip(axes, places, wrong.shape, strict=True)
        if (text := _summary(sorted(set(indices.tolist())), size)) is not None
    ]
    share = 100 * wrong.double().mean().item()
    worst = f"{x[at].item():.4g} for {y[at].item():.4g} at {tuple(map(int, at))}"
    lost = int((~x.isfinite() & y.isfinite()).sum())
    return ", ".join([f"{share:.2g}% wrong", *described, worst, *([f"{lost} NaN or inf"] if lost else [])])


def _summary(indices: list[int], size: int) -> str | None:
    """Which indices of an axis: a few, a range, every so many, those of a lane; None: all of them."""
    if len(indices) == size:
        return None
    first, last = indices[0], indices[-1]
    steps = set(np.diff(indices).tolist())
    if len(indices) <= 3:
        text = ",".join(map(str, indices))
    elif len(steps) == 1:
        (step,) = steps
        text = f"{first}..{last}" + (f" step {step}" if step > 1 else "")
    else:
        lanes = {i % _LANES for i in indices}
        text = f"{len(indices)} in {first}..{last}"
        if len(lanes) <= 3 and size > 2 * _LANES:
            text += f" ({','.join(map(str, sorted(lanes)))} mod {_LANES})"
    return f"{text} of {size}"
