"""Time and memory of a variant on a problem.

Time: all variants of a problem take turns in one process, so that a slower minute of the machine is shared;
a sample is one call, or as many as take 10 ms; what is reported is the median.

Memory: each variant runs once, on a CPU in a fresh process that has only warmed up, and the highest growth of
that process is taken; on a GPU torch itself keeps count of its memory (see `devices.growth`). Inputs and
upstream gradient exist before. The output, and the gradients of the inputs, are subtracted: every
implementation must make them, and must keep its inputs for a backward. What else a variant keeps for its
backward, as the textbook form does its scores, is working memory.
"""

from __future__ import annotations

import math
import multiprocessing
import os
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from functools import partial
from multiprocessing import forkserver
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from . import devices
from .cases import Problem
from .judge import Result
from .variants import Variant

Key = TypeVar("Key", bound=Hashable)

# From this many seconds on, the call whose result is checked is the first sample: warmth is no matter.
SLOW = 5.0
_SAMPLE = 0.01
_MOST_SAMPLES = 50
_SAMPLES_OF_SLOW = 3


class Run:
    """One pass of one variant over one problem, ready to be run again and again.

    Args:
        problem: As it is asked for.
        variant: What solves it.
        inputs: Those of the variant's problem, with what requires gradients, in place of making them.
        upstream: Its gradient of the output, likewise.
    """

    def __init__(
        self,
        problem: Problem,
        variant: Variant,
        inputs: dict[str, Any] | None = None,
        upstream: Tensor | None = None,
    ) -> None:
        self.problem = problem = variant.problem(problem)
        self._inputs = problem.inputs(problem.learns, variant.dtype) if inputs is None else inputs
        self._leaves = (self._inputs["foreground"], self._inputs["background"])
        self._function = variant.function(problem.options)
        self._upstream = problem.upstream(variant.dtype) if problem.learns and upstream is None else upstream

    def once(self) -> Result:
        """The whole pass; "backward" has its forward too."""
        output = self.forward()
        return Result(output.detach(), self.backward(output))

    def seconds(self, calls: int = 1) -> float:
        """Of one call, the mean of `calls`."""
        device = self.problem.device
        if self.problem.direction != "backward":
            return devices.mean_seconds(device, lambda: self.backward(self.forward()), calls)
        alone = (partial(self.backward, self.forward()) for _ in range(calls))
        return sum(devices.mean_seconds(device, backward) for backward in alone) / calls

    def forward(self) -> Tensor:
        """The output, with what a backward needs unless the pass is forward alone."""
        with torch.set_grad_enabled(self.problem.learns):
            return self._function(self._inputs)

    def backward(self, output: Tensor) -> tuple[Tensor, ...]:
        """The gradients of foreground and background; none if the pass is forward alone."""
        return torch.autograd.grad(output, self._leaves, self._upstream) if self.problem.learns else ()


def gemm(problem: Problem, side: int) -> Callable[[int], float]:
    """Seconds of a square matrix product in the problem's dtype, out of place into the same memory."""
    a, b = (torch.randn(side, side).to(problem.device, problem.dtype) for _ in range(2))
    product = a @ b
    return lambda calls: devices.mean_seconds(problem.device, lambda: torch.matmul(a, b, out=product), calls)


def interleave(
    runs: Mapping[Key, Callable[[int], float]],
    first: Mapping[Key, float],
    once: set[Key],
    budget: float,
    least: int,
    tell: Callable[[Key], None],
) -> dict[Key, list[float]]:
    """Samples of every run, in turns.

    Args:
        runs: From a number of calls to seconds a call.
        first: What a call has taken when it was checked. Slow ones start with this as their first sample.
        once: Runs of which one sample is enough if they are slow.
        budget: Seconds to spend on each run, if this gives `least` to 50 samples; slow ones have 3.
        least: See there.
        tell: Told whenever a run has its turn.

    Returns:
        Seconds a call, in the order in which they were taken.
    """
    samples: dict[Key, list[float]] = {key: [] for key in runs}
    plans: dict[Key, tuple[int, int]] = {}  # samples still to take, calls in each
    for key, run in runs.items():
        if first[key] >= SLOW:
            samples[key].append(first[key])
            plans[key] = (0 if key in once else _SAMPLES_OF_SLOW - 1, 1)
            continue
        seconds = run(1)
        calls = max(1, math.ceil(_SAMPLE / seconds))
        wanted = int(min(max(budget / (seconds * calls), least), _MOST_SAMPLES))
        plans[key] = (wanted, calls)
    rounds = max(wanted for wanted, _ in plans.values())
    for turn in range(rounds):
        for key, (wanted, calls) in plans.items():
            # The turns of those with fewer samples are spread evenly over the rounds.
            if (turn + 1) * wanted // rounds > turn * wanted // rounds:
                tell(key)
                samples[key].append(runs[key](calls))
    return samples


def working_memory(problem: Problem, variant: Variant) -> int | str:
    """Bytes, as the head of this file defines them; or why there are none.

    "backward" is measured with its forward: what one keeps for the other must be there.
    """
    if problem.device == "cuda":
        return working_bytes(Run(problem, variant))
    return in_fresh_process(_growth_in_this_process, problem, variant)


def in_fresh_process(function: Callable[..., int], *arguments: Any) -> int | str:
    """What a function of a module returns in a process that has computed nothing yet; or why nothing."""
    context = multiprocessing.get_context("forkserver")
    # Imported once: each measurement starts from there, with nothing computed yet.
    context.set_forkserver_preload(["torch", "contextual_attention"])
    _start_server()
    threads = (torch.get_num_threads(),)
    with ProcessPoolExecutor(1, context, initializer=torch.set_num_threads, initargs=threads) as pool:
        try:
            return pool.submit(function, *arguments).result()
        except BrokenProcessPool:
            return "its process was killed"


def _start_server() -> None:
    """The process that measurements are forked from, in benchmarks/, where the package's sources are not.

    It imports from the folder where it starts before all others: in the checkout the sources there, where the
    process that times has the installed package.
    """
    here = os.getcwd()
    os.chdir(Path(__file__).parents[1])
    try:
        forkserver.ensure_running()
    finally:
        os.chdir(here)


def _growth_in_this_process(problem: Problem, variant: Variant) -> int:
    gemm(problem, 512)(1)  # large enough to start all threads
    # A compiled form is compiled for these very sizes; the others only load libraries and start threads.
    Run(problem if variant.name == "compiled" else _tiny(problem), variant).once()
    return working_bytes(Run(problem, variant))


def working_bytes(run: Run) -> int:
    """By how much the memory of this process grows in one pass, less its results."""
    results: list[Result] = []
    grown = devices.growth(run.problem.device, lambda: results.append(run.once()))
    return max(0, grown - sum(x.nbytes for x in results[0].tensors()))


def _tiny(problem: Problem) -> Problem:
    hole = None if problem.case.hole is None else (8, 8)
    return replace(problem, case=replace(problem.case, batch=1, size=(24, 24), hole=hole))
