"""Problems on the GPU and how their results are judged: by the float64 reference, on the same device."""

from __future__ import annotations

from typing import Any

import torch
from helpers.compare import FORWARD, assert_gradients_near, assert_near, in_dtype, solve, steepness
from torch import Tensor

from contextual_attention.testing import CASES, Case, make_inputs

BY_NAME = {case.name: case for case in CASES}


def on_gpu(case: Case, dtype: torch.dtype = torch.float32, requires_grad: bool = True) -> dict[str, Any]:
    return make_inputs(case, dtype, "cuda", requires_grad=requires_grad)


def assert_exact(problem: dict[str, Any], result: tuple[Tensor, Tensor, dict[str, Tensor]]) -> None:
    """Of a float32 problem: output and gradients, to the tolerances of compare.py."""
    output, _, found = result
    expected, _, slopes = solve(in_dtype(problem, torch.float64), "reference")
    assert_near("output", output, expected, steepness(problem) * FORWARD)
    assert_gradients_near(problem, found, slopes)


def on_cpu(problem: dict[str, Any]) -> dict[str, Any]:
    return {name: x.cpu() if isinstance(x, Tensor) else x for name, x in problem.items()}


def relative_error(x: Tensor, exact: Tensor) -> float:
    scale = exact.double().norm().clamp_min(torch.finfo(torch.float64).tiny)
    error = ((x.double() - exact.double()).norm() / scale).item()
    return error if error < float("inf") else float("inf")


def features(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(shape, generator=generator).to("cuda", dtype)
