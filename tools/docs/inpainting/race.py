"""Runs the methods on cases, each in a process of its own, and measures what comes of them."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from .cases import Case
from .kept import Kept
from .measures import Judge
from .methods import METHODS

ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True)
class Filled:
    """A case as one method filled it; seconds are processor time of all threads, peak is in MiB."""

    picture: np.ndarray
    seconds: float
    elapsed: float
    peak: float


@dataclass(frozen=True)
class Row:
    """What was measured of one method on one case of a list of photographs."""

    photographs: str
    group: str
    case: str
    photograph: str
    method: str
    measures: dict[str, float]


@dataclass
class Results:
    """Rows, the pictures behind them by case and method, and what did not run, with why."""

    rows: list[Row] = field(default_factory=list)
    pictures: dict[tuple[str, str], np.ndarray] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    def mean(self, measure: str, method: str, **of: str) -> float | None:
        """Over the rows of a method with these attributes; None: there is none."""
        numbers = [
            row.measures[measure]
            for row in self.rows
            if row.method == method and all(getattr(row, name) == value for name, value in of.items())
        ]
        return statistics.fmean(numbers) if numbers else None

    def drop(self, methods: Collection[str]) -> None:
        """Remove what some methods made."""
        self.rows = [row for row in self.rows if row.method not in methods]
        self.pictures = {of: picture for of, picture in self.pictures.items() if of[1] not in methods}


def installed(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """The methods that can run here, and why each of the others cannot."""
    able, left_out = [], []
    for name in names:
        # In a process of its own: two packages may bring libraries that do not go together.
        code = f"from tools.docs.inpainting.methods import METHODS; METHODS[{name!r}].make()"
        tried = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
        if tried.returncode == 0:
            able.append(name)
            continue
        package = METHODS[name].package
        why = tried.stderr.strip().splitlines()[-1] if tried.stderr.strip() else f"status {tried.returncode}"
        left_out.append(f"{name}: {why}" + (f"; pip install {package}" if package else ""))
    return able, left_out


def fill(method: str, cases: Sequence[Case], limit: float) -> list[Filled]:
    """The cases filled by a method, in one process.

    Raises:
        RuntimeError: It ended before it had filled all of them, or needed more than `limit` seconds for each.
    """
    with TemporaryDirectory() as name:
        folder = Path(name)
        for place, case in enumerate(cases):
            np.savez(folder / f"case-{place:04d}.npz", image=case.seen(), hole=case.hole)
        command = [sys.executable, "-m", f"{__package__}.worker", method, name]
        try:
            ran = subprocess.run(
                command, cwd=ROOT, capture_output=True, text=True, timeout=limit * len(cases)
            )
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"{method}: more than {limit:g} s a picture") from None
        # Others may print too.
        lines = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith('{"seconds"')]
        if ran.returncode or len(lines) != len(cases):
            last = (ran.stderr.strip().splitlines() or [f"status {ran.returncode}"])[-1]
            raise RuntimeError(f"{method}: filled {len(lines)} of {len(cases)} cases, then: {last}")
        return [
            Filled(np.load(folder / f"filled-{place:04d}.npy"), **line) for place, line in enumerate(lines)
        ]


def race(
    cases: dict[str, list[Case]],
    methods: Sequence[str],
    kept: Kept,
    limit: float,
    only: Mapping[str, Collection[str]] | None = None,
    turn: int = 20,
) -> Results:
    """Every method on every case of some lists; one that fails is left out as a whole.

    Args:
        cases: By the name of the list.
        methods: Those that can run.
        kept: What they have done before.
        limit: Seconds that each may need for a case.
        only: Of some lists the methods that run on them. Default: all on all.
        turn: So many cases, then it is the next method's turn: a machine that becomes slower or faster in
            the course of a race does so for all of them.
    """
    results, only = Results(), only or {}
    flat = [(name, case) for name, listed in cases.items() for case in listed]
    failed: set[str] = set()
    for start in range(0, len(flat), turn):
        for method in methods:
            if method in failed:
                continue
            in_turn = flat[start : start + turn]
            due = [(name, case) for name, case in in_turn if method in only.get(name, methods)]
            try:
                made = _made(method, [case for _, case in due], kept, limit)
            except RuntimeError as error:
                failed.add(method)
                results.left_out.append(str(error))
                print(error, flush=True)
                continue
            for (name, case), (picture, measures) in zip(due, made, strict=True):
                results.rows.append(Row(name, case.group, case.name, case.photograph, method, measures))
                results.pictures[case.name, method] = picture
        print(f"{min(start + turn, len(flat))} of {len(flat)} cases: done", flush=True)
    results.drop(failed)
    return results


# A picture and its measures; seconds of processor time and MiB at most are among them.
Made = tuple[np.ndarray, dict[str, float]]


def _made(method: str, cases: Sequence[Case], kept: Kept, limit: float) -> list[Made]:
    """What a method made of each case, now or before."""
    found = [kept.load(method, case) for case in cases]
    todo = [case for case, one in zip(cases, found, strict=True) if one is None]
    new = iter(_fill_and_measure(method, todo, kept, limit) if todo else ())
    return [next(new) if one is None else one for one in found]


def _fill_and_measure(method: str, cases: Sequence[Case], kept: Kept, limit: float) -> list[Made]:
    filled = fill(method, cases, limit)
    with ProcessPoolExecutor() as pool:
        measured = list(pool.map(_measure, cases, [one.picture for one in filled]))
    made = []
    for case, one, measures in zip(cases, filled, measured, strict=True):
        made.append((one.picture, {**measures, "seconds": one.seconds, "MiB": one.peak}))
        kept.store(method, case, *made[-1])
    return made


def _measure(case: Case, picture: np.ndarray) -> dict[str, float]:
    return Judge(case.truth, case.hole).measure(picture)


# Sizes: time and memory alone


@dataclass(frozen=True)
class Timed:
    """One method on one picture: medians of rounds, each in a process of its own; or why there is none."""

    case: str
    method: str
    missing: float
    seconds: float | None = None
    elapsed: float | None = None
    peak: float | None = None
    failed: str = ""


def race_sizes(cases: Sequence[Case], methods: Sequence[str], rounds: int, limit: float) -> Iterator[Timed]:
    """The methods in turns, so many times."""
    for case in cases:
        runs: dict[str, list[Filled]] = {method: [] for method in methods}
        failed: dict[str, str] = {}
        for _ in range(rounds):
            for method in methods:
                if method not in failed:
                    try:
                        runs[method] += fill(method, [case], limit)
                    except RuntimeError as error:
                        failed[method] = str(error)
        for method, some in runs.items():
            missing = float(case.hole.mean())
            if method in failed:
                yield Timed(case.name, method, missing, failed=failed[method])
                continue
            medians = [
                statistics.median(getattr(one, name) for one in some)
                for name in ("seconds", "elapsed", "peak")
            ]
            yield Timed(case.name, method, missing, *medians)
