"""The course of a benchmark on one problem: check everything, time in turns, then weigh one by one."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from . import devices
from .cases import Problem
from .judge import Judge, Result, Verdict
from .measure import Run, gemm, interleave, working_memory
from .results import Row, add_ratios
from .variants import Variant, variants_for
from .wording import bytes_text, problem_text, time_text

_GEMM = "GEMM"
# What is left free of the memory: other programs, and the error of an estimate.
_MARGIN = 0.1


@dataclass(frozen=True)
class Plan:
    """What to measure, and how thoroughly: the command's options of the same names."""

    backends: tuple[str, ...]
    forms: tuple[str, ...]
    budget: float
    patience: float
    quick: bool


@dataclass
class Entry:
    """A variant while its problem is measured; `run` is None unless its result is there and right."""

    variant: Variant
    row: Row
    run: Run | None = None
    first: float = 0.0

    @property
    def is_quoted(self) -> bool:
        """Whether ratios are made of it: then a single slow sample is not enough."""
        return self.variant.name == "textbook" or self.variant.is_fused

    def fail(self, error: Exception) -> None:
        self.row.note, self.row.wrong, self.run = _in_a_line(error), self.variant.is_backend, None


def measure(problem: Problem, plan: Plan, tell: Callable[[str], None]) -> list[Row]:
    """A row for every variant; `tell` is told what is being done.

    An error is the note of its row, which is wrong if it is the package's; the others go on.
    """
    # Else a new size would count as a change of the last one, and soon be run without compiling.
    torch.compiler.reset()
    gc.collect()
    variants = variants_for(problem, plan.backends, plan.forms, plan.quick)
    entries = [Entry(each, Row.of(problem, each)) for each in variants]
    about = problem_text(entries[0].row)
    _check(entries, problem, plan, lambda what: tell(f"{about}: checking {what}"))
    right = [entry for entry in entries if entry.run is not None]
    _time(right, problem, plan, lambda what: tell(f"{about}: timing {what}"))
    for entry in (each for each in right if each.run is not None):
        tell(f"{about}: memory of {entry.row.label}")
        entry.run = None
        _weigh(entry, problem)
    add_ratios([entry.row for entry in entries])
    return [entry.row for entry in entries]


def obstacle(variant: Variant, problem: Problem) -> str | None:
    """Why a variant cannot run on a problem here; None: it can."""
    refusal = variant.refusal(problem)
    if refusal is not None:
        return refusal
    needed = variant.estimated_bytes(problem)
    if needed > (1 - _MARGIN) * devices.free_bytes(problem.device):
        return f"would need {bytes_text(needed)}"
    return None


def checked(variant: Variant, problem: Problem, judge: Judge) -> tuple[Run, float, Verdict]:
    """A variant's run after one pass: with the seconds that this took and what the judge says of it."""
    run = Run(problem, variant)
    if variant.name == "compiled":
        run.once()  # compiles
    results: list[Result] = []
    seconds = devices.mean_seconds(problem.device, lambda: results.append(run.once()))
    return run, seconds, judge.verdict(variant, problem, results[0])


def _check(entries: list[Entry], problem: Problem, plan: Plan, tell: Callable[[str], None]) -> None:
    judges: dict[Problem, Judge] = {}
    slowest_textbook = 0.0
    for entry in entries:
        variant, row = entry.variant, entry.row
        tell(row.label)
        row.note = obstacle(variant, problem)
        if row.note is None and slowest_textbook > plan.patience and not entry.is_quoted:
            row.note = f"left out, for the textbook form takes {time_text(slowest_textbook)}"
        if row.note is not None:
            continue
        solved = variant.problem(problem)
        try:
            if solved not in judges:
                judges[solved] = Judge(solved)
            run, entry.first, verdict = checked(variant, problem, judges[solved])
        except Exception as error:
            entry.fail(error)
            continue
        row.judge, row.errors, row.wrong = verdict.judge, verdict.errors, verdict.wrong
        row.note = f"WRONG: {verdict}" if verdict.wrong else None
        entry.run = None if verdict.wrong else run
        if variant.name == "textbook":
            slowest_textbook = max(slowest_textbook, entry.first)


def _time(entries: list[Entry], problem: Problem, plan: Plan, tell: Callable[[str], None]) -> None:
    if not entries:
        return
    side = devices.gemm_side(problem.device, plan.quick)
    try:
        product = gemm(problem, side)
        runs = {entry.row.label: _guarded(entry) for entry in entries} | {_GEMM: product}
        first = {entry.row.label: entry.first for entry in entries} | {_GEMM: product(1)}
        once = {entry.row.label for entry in entries if not entry.is_quoted}
        samples = interleave(runs, first, once, plan.budget, 3 if plan.quick else 5, tell)
    except Exception as error:  # the product's, as when one of them has lost the CUDA context
        for entry in entries:
            if entry.run is not None:
                entry.fail(error)
        return
    for entry in entries:
        if entry.run is not None:
            entry.row.take_beside(samples[_GEMM], side, samples[entry.row.label])


def _guarded(entry: Entry) -> Callable[[int], float]:
    """The run's seconds; infinitely many from its first error on, which are not taken."""

    def seconds(calls: int) -> float:
        if entry.run is None:
            return math.inf
        try:
            return entry.run.seconds(calls)
        except Exception as error:
            entry.fail(error)
            return math.inf

    return seconds


def _weigh(entry: Entry, problem: Problem) -> None:
    try:
        grown = working_memory(problem, entry.variant)
    except Exception as error:
        grown = _in_a_line(error)
        entry.row.wrong = entry.variant.is_backend
    if isinstance(grown, str):
        entry.row.note = f"memory: {grown}"
    else:
        entry.row.working_bytes = grown


def _in_a_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0] if text else ''}"
