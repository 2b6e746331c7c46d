"""The ways through the fused backends that exist on this machine: each backend, the CPU's by SIMD level."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from contextual_attention import available_backends, backends


@dataclass(frozen=True)
class Road:
    backend: str
    simd: str | None = None  # None: the backend has no SIMD levels

    def __str__(self) -> str:
        return self.backend if self.simd is None else f"{self.backend}-{self.simd}"

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """Within, the backend computes at this SIMD level."""
        if self.simd is None:
            yield
            return
        before = backends.extension.simd_level()
        backends.extension.set_simd_level(self.simd)
        try:
            yield
        finally:
            backends.extension.set_simd_level(before)


def _roads() -> list[Road]:
    # Of tensors on the CPU: a GPU's backends have tests of their own (tests/gpu).
    unfit = backends.refusals(torch.device("cpu"), torch.float32)
    usable = [name for name in available_backends() if name not in unfit and name != "reference"]
    roads = [Road(name) for name in usable if name != "cpu"]
    if "cpu" in usable:
        roads += [Road("cpu", level) for level in backends.extension.supported_simd_levels()]
    return roads


ROADS = _roads()
