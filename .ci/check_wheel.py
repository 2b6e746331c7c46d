"""Checks an installed wheel: its kernels against the float64 reference, forward and backward, in every case.

The tests run on the sources. This is for what a build on another system, for another Python, may have broken:
that the extension loads beside the torch at hand, and computes what it should.
"""

from __future__ import annotations

import torch
from torch import Tensor

from contextual_attention import available_backends, contextual_attention
from contextual_attention.testing import CASES, Case, make_inputs

# Relative to the largest number of a result: float32 is off by up to 3e-5, a wrong kernel by 0.01 and more.
TOLERANCE = 1e-4
OPERANDS = ("foreground", "background", "value")


def solve(case: Case, dtype: torch.dtype, backend: str) -> list[Tensor]:
    """The output and the gradients of the operands, of the numbers that float32 holds."""
    problem = make_inputs(case)
    leaves = {
        name: problem[name].to(dtype).requires_grad_() for name in OPERANDS if problem[name] is not None
    }
    output = contextual_attention(**problem | leaves, backend=backend)
    upstream = torch.randn(output.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    return [output.detach(), *torch.autograd.grad(output, list(leaves.values()), upstream)]


def main() -> None:
    absence = available_backends()["cpu"]
    if absence is not None:
        raise SystemExit(absence)
    for case in CASES:
        expected = solve(case, torch.float64, "reference")
        for exact, found in zip(expected, solve(case, torch.float32, "cpu"), strict=True):
            error = (found - exact).abs().max()
            if not error <= TOLERANCE * exact.abs().max():
                raise SystemExit(f"{case.name}: off by {error:.3g} of {exact.abs().max():.3g}")
    print(f"{len(CASES)} cases agree with the reference, with torch {torch.__version__}")


if __name__ == "__main__":
    main()
