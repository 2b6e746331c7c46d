"""The ways through the fused backends that exist on this machine: each backend, the CPU's by SIMD level.

One more leads through the CPU's kernels with matrix products that round otherwise every time: no result may
hinge on how a library rounds, or on one product rounding as another of the same numbers did.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from contextual_attention import available_backends, backends
from helpers import cpu_hooks
from helpers.compare import ROUNDED_OTHERWISE

# The whole suite with products that round otherwise, by their sizes, as another processor's might: not 0.
PERTURBED = int(os.environ.get("PERTURB_PRODUCTS", "0"))
ROUNDING = ROUNDED_OTHERWISE if PERTURBED else 0.0


def perturb_all_products() -> None:
    """As PERTURBED says, for all that is not on a road of its own."""
    if PERTURBED and backends.extension is not None:
        cpu_hooks.perturb_products(PERTURBED, anew=False)


@dataclass(frozen=True)
class Road:
    backend: str
    simd: str | None = None  # None: the backend has no SIMD levels
    perturbed: bool = False  # every product is off by an ulp or two, each time by others

    def __str__(self) -> str:
        name = self.backend if self.simd is None else f"{self.backend}-{self.simd}"
        return f"{name}-perturbed" if self.perturbed else name

    @property
    def rounding(self) -> float:
        """What it adds to the bounds of compare.py."""
        return ROUNDED_OTHERWISE if self.perturbed else ROUNDING

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """Within, the backend computes at this SIMD level, and rounds so."""
        if self.simd is None:
            yield
            return
        before = backends.extension.simd_level()
        backends.extension.set_simd_level(self.simd)
        if self.perturbed:
            cpu_hooks.perturb_products(1, anew=True)
        try:
            yield
        finally:
            if self.perturbed:
                cpu_hooks.perturb_products(PERTURBED, anew=False)
            backends.extension.set_simd_level(before)


def _roads() -> list[Road]:
    # Of tensors on the CPU: a GPU's backends have tests of their own (tests/gpu).
    unfit = backends.refusals(torch.device("cpu"), torch.float32)
    usable = [name for name in available_backends() if name not in unfit and name != "reference"]
    roads = [Road(name) for name in usable if name != "cpu"]
    if "cpu" in usable:
        levels = backends.extension.supported_simd_levels()
        roads += [Road("cpu", level) for level in levels]
        roads.append(Road("cpu", levels[-1], perturbed=True))
    return roads


ROADS = _roads()
# Those on which the same problem has the same bits every time.
STEADY_ROADS = [road for road in ROADS if not road.perturbed]
