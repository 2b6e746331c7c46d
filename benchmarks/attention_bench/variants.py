"""What competes: every backend of the package, the textbook form, the dense form, and that one compiled.

Shape legend: B samples; C channels; N foreground patches, M candidates of a sample; cell = rate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor

from contextual_attention import backends, contextual_attention, reference
from contextual_attention.call import Call
from contextual_attention.options import Options

from .cases import Problem
from .devices import default_workspace, device_of
from .forms import dense, textbook

# The forms that the package is measured against. They know no foreground_mask: they always do the whole.
FORMS = ("textbook", "dense", "compiled")


@dataclass(frozen=True)
class Variant:
    """A way to solve a problem; can be sent to another process.

    Args:
        name: A backend's, or one of FORMS.
        whole: Solves the problem without its `foreground_mask`.
        dtype: In place of the problem's.
    """

    name: str
    whole: bool = False
    dtype: torch.dtype | None = None

    @property
    def label(self) -> str:
        dtype = f" {name_of(self.dtype)}" if self.dtype else ""
        return self.name + dtype + (", whole" if self.whole else "")

    @property
    def is_backend(self) -> bool:
        return self.name not in FORMS

    @property
    def is_fused(self) -> bool:
        return self.is_backend and self.name != "reference"

    def problem(self, problem: Problem) -> Problem:
        """What it solves of a problem, up to its own dtype."""
        return problem.whole() if self.whole else problem

    def function(self, options: Options) -> Callable[[dict[str, Any]], Tensor]:
        """From the keyword arguments of the package's function to the output."""
        if self.is_backend:
            return lambda inputs: contextual_attention(**inputs, backend=self.name)
        form = {"textbook": textbook, "dense": dense}.get(self.name) or _compiled()
        return lambda inputs: form(inputs["foreground"], inputs["background"], inputs["mask"], options)

    def refusal(self, problem: Problem) -> str | None:
        """Why it cannot solve a problem of this dtype here, if it is a backend."""
        if not self.is_backend:
            return None
        return backends.refusals(torch.device(problem.device), problem.dtype).get(self.name)

    def estimated_bytes(self, problem: Problem) -> int:
        """About what it takes beyond the inputs."""
        problem = self.problem(problem)
        options, channels, batch = problem.options, problem.channels, problem.case.batch
        itemsize = (self.dtype or problem.dtype).itemsize
        features = batch * channels * math.prod(problem.case.size) * itemsize
        if self.name == "reference":
            operand = torch.empty(batch, channels, *problem.case.size, dtype=problem.dtype, device="meta")
            operand.requires_grad_(problem.learns)
            return reference.dense_bytes(Call(operand, operand, None, operand, None, options))
        if self.is_backend:
            # What the package promises: three times its inputs, and the bound on the scores.
            return 6 * features + default_workspace(problem.device)
        n = math.prod(math.ceil(side / options.rate) for side in problem.case.size)
        m = math.prod(math.ceil(side / options.rate / options.stride) for side in problem.case.size)
        patches = 2 * m * channels * (options.ksize**2 + (2 * options.rate) ** 2)
        # N x M arrays that a form holds of a sample, as measured; two of them are of propagation.
        alone, learning = {"textbook": (5, 11), "dense": (6, 9), "compiled": (4, 8)}[self.name]
        copies = (learning if problem.learns else alone) - (0 if options.fuse else 2)
        sample = (copies * n * m + patches) * itemsize
        # The textbook form is through with a sample before it takes the next, unless it must keep it.
        samples = 1 if self.name == "textbook" and not problem.learns else batch
        convolution = 0
        if self.name == "textbook" and options.fuse and (problem.device, itemsize) == ("cpu", 4):
            # For a convolution of one channel, oneDNN pads it to 16, in float32.
            convolution = (27 if problem.learns else 15) * n * m * itemsize
        return samples * sample + convolution + features


@cache
def _compiled() -> Callable[..., Tensor]:
    # One whole graph, for the very sizes: what it does best, or an error that says why it cannot.
    return torch.compile(dense, dynamic=False, fullgraph=True)


def variants_for(
    problem: Problem, named: Sequence[str], forms: Sequence[str], quick: bool = False
) -> list[Variant]:
    """What is measured on a problem.

    Where only a hole is rebuilt, the whole is measured too, and no form is compiled. In half
    precision the textbook form also runs in float32.
    """
    inside = problem.case.inside
    backends = [Variant(name) for name in named if name == "reference" or device_of(name) == problem.device]
    if inside:
        backends += [replace(variant, whole=True) for variant in backends if variant.is_fused]
        forms = [form for form in forms if form != "compiled"]
    variants = [Variant(form, whole=inside) for form in forms if not (quick and form == "compiled")]
    if problem.dtype.itemsize < 4 and "textbook" in forms:
        # First, for it can judge the others.
        variants.insert(0, Variant("textbook", whole=inside, dtype=torch.float32))
    # The fused ones last: the others can judge them.
    return variants + sorted(backends, key=lambda variant: variant.is_fused)


def name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
