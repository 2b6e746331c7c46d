"""Single numbers drawn at random, as holes and crops need them."""

from __future__ import annotations

import torch


def integer(least: int, largest: int, generator: torch.Generator) -> int:
    """Uniform, both ends included."""
    return int(torch.randint(least, largest + 1, (), generator=generator))


def uniform(least: float, largest: float, generator: torch.Generator) -> float:
    """Uniform, the largest excluded."""
    return least + (largest - least) * float(torch.rand((), generator=generator))
