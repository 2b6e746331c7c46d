"""The course of a benchmark on one problem: check everything, time in turns, then weigh one by one."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass

import devices
import torch
from cases import Problem
from checking import Judge
from measure import Run, gemm, interleave, working_memory
from report import bytes_text, problem_text, time_text
from results import Row, add_ratios
from variants import Variant, variants_for

_GEMM = "GEMM"
# What is left free of the memory: other programs, and the error of an estimate.
_MARGIN = 0.1


@dataclass(frozen=True)
class Plan:
    """What to measure, and how thoroughly: the command's options of the same names."""

    backends: tuple[str, ...]
    forms: tuple[str, ...]
    threads: int
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
    def is_form(self) -> bool:
        return not self.variant.is_backend

    @property
    def is_quoted(self) -> bool:
        """Whether ratios are made of it: then a single slow sample is not enough."""
        return self.variant.name == "textbook" or self.variant.is_fused


def measure(problem: Problem, direction: str, plan: Plan, tell: Callable[[str], None]) -> list[Row]:
    """A row for every variant; `tell` is told what is being done.

    An error of the package is raised. One of another form, or of torch.compile, is the note of its row.
    """
    # Else a new size would count as a change of the last one, and soon be run without compiling.
    torch.compiler.reset()
    gc.collect()
    about = problem_text(Row.of(problem, Variant("textbook"), direction, plan.threads))
    variants = variants_for(problem, plan.backends, plan.forms, plan.quick)
    entries = [Entry(each, Row.of(problem, each, direction, plan.threads)) for each in variants]
    _check(entries, problem, direction, plan, lambda what: tell(f"{about}: checking {what}"))
    right = [entry for entry in entries if entry.run is not None]
    _time(right, problem, plan, lambda what: tell(f"{about}: timing {what}"))
    for entry in right:
        tell(f"{about}: memory of {entry.row.label}")
        entry.run = None
        _weigh(entry, problem, direction, plan.threads)
    add_ratios([entry.row for entry in entries])
    return [entry.row for entry in entries]


def _check(
    entries: list[Entry], problem: Problem, direction: str, plan: Plan, tell: Callable[[str], None]
) -> None:
    judges: dict[Problem, Judge] = {}
    textbook_seconds = 0.0
    for entry in entries:
        tell(entry.row.label)
        entry.row.note = _obstacle(entry, problem, textbook_seconds, plan.patience)
        if entry.row.note is not None:
            continue
        solved = entry.variant.problem(problem)
        if solved not in judges:
            judges[solved] = Judge(solved, direction)
        try:
            _check_one(entry, problem, direction, judges[solved])
        except Exception as error:
            if not entry.is_form:
                raise
            entry.row.note = _in_a_line(error)
        if entry.variant.name == "textbook":
            textbook_seconds = max(textbook_seconds, entry.first)


def _check_one(entry: Entry, problem: Problem, direction: str, judge: Judge) -> None:
    run = Run(problem, entry.variant, direction)
    if entry.variant.name == "compiled":
        run.once()  # compiles
    devices.synchronize(problem.device)
    start = time.perf_counter()
    result = run.once()
    devices.synchronize(problem.device)
    entry.first = time.perf_counter() - start
    verdict = judge.verdict(entry.variant, problem, result)
    row = entry.row
    row.judge, row.errors, row.wrong = verdict.judge, verdict.errors, verdict.wrong
    if verdict.wrong:
        row.note = f"WRONG: {verdict}"
    else:
        entry.run = run


def _obstacle(entry: Entry, problem: Problem, textbook_seconds: float, patience: float) -> str | None:
    """Why a variant is not run on a problem; None: it is."""
    refusal = entry.variant.refusal(problem)
    if refusal is not None:
        return refusal
    if entry.row.estimated_bytes > (1 - _MARGIN) * devices.free_bytes(problem.device):
        return f"would need {bytes_text(entry.row.estimated_bytes)}"
    if textbook_seconds > patience and not entry.is_quoted:
        return f"left out: the textbook form takes {time_text(textbook_seconds)}"
    return None


def _time(entries: list[Entry], problem: Problem, plan: Plan, tell: Callable[[str], None]) -> None:
    if not entries:
        return
    side = devices.gemm_side(problem.device, plan.quick)
    product = gemm(problem, side)
    runs = {entry.row.label: entry.run.seconds for entry in entries} | {_GEMM: product}
    first = {entry.row.label: entry.first for entry in entries} | {_GEMM: product(1)}
    once = {entry.row.label for entry in entries if not entry.is_quoted}
    samples = interleave(runs, first, once, plan.budget, tell)
    for entry in entries:
        entry.row.take(samples[entry.row.label], samples[_GEMM], side)


def _weigh(entry: Entry, problem: Problem, direction: str, threads: int) -> None:
    try:
        grown = working_memory(problem, entry.variant, direction, threads)
    except Exception as error:
        if not entry.is_form:
            raise
        grown = _in_a_line(error)
    if isinstance(grown, str):
        entry.row.note = f"memory: {grown}"
    else:
        entry.row.working_bytes = grown


def _in_a_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0] if text else ''}"
