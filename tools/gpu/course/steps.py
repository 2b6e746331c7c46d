"""The steps of a session, in the order of their worth: what comes last is what falls out of the time."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from tools.gpu import ROOT
from tools.gpu.course.running import Command, Step
from tools.gpu.records import unfinished

NAMES = ("facts", "load", "smoke", "tests", "times", "counters", "memcheck", "rest", "forms")
# Those that there is nothing for on a CPU, and those that say little of what is wrong.
OF_A_GPU = ("counters", "memcheck", "rest")
AFTER_SUCCESS = ("counters", "memcheck", "rest", "forms")
# What names of tests begin from.
TESTED = ROOT
SUITE = Path("tests/gpu")
# Torch.compile and the largest maps need minutes: a step of their own.
_LONG = "long"
TEST_LIMIT = 40
# Of times, in seconds; and where smoke or tests have failed.
_TIMES, _SHORT = 90, 30
PROCESSES = 8
_QUICK_TESTS = "test_exact_pixels or test_memcheck"


@dataclass(frozen=True)
class Files:
    """What a session leaves behind: all of it, in a folder, in at most seven files."""

    folder: Path

    @property
    def digest(self) -> Path:
        return self.folder / "digest.txt"

    @property
    def log(self) -> Path:
        return self.folder / "session.log"

    @property
    def records(self) -> Path:
        return self.folder / "records.jsonl"

    @property
    def forms(self) -> Path:
        """As bench_attention.py writes them."""
        return self.folder / "forms.json"

    @property
    def profile(self) -> Path:
        return self.folder / "profile.txt"

    @property
    def counters(self) -> Path:
        return self.folder / "counters.csv"

    @property
    def memcheck(self) -> Path:
        return self.folder / "memcheck.log"

    def all(self) -> list[Path]:
        logs = [self.digest, self.log, self.records, self.memcheck]
        return [*logs, self.forms, self.profile, self.counters]


def make(name: str, arguments: argparse.Namespace, files: Files, is_short: bool = False) -> Step | None:
    """The step of this name, for the session's arguments; None: there is nothing to do.

    Args:
        is_short: Of times the first alone.
    """
    if name == "times":
        return _times(arguments, files, _SHORT if is_short else _TIMES)
    return _MAKERS[name](arguments, files)


def _facts(arguments: argparse.Namespace, files: Files) -> Step:
    return Step("facts", (_program("facts", files, "--device", arguments.device),), 25)


def _load(arguments: argparse.Namespace, files: Files) -> Step:
    """Ten seconds where the module was brought along; the rest is for building it."""
    return Step("load", (_program("load", files, "--device", arguments.device),), 100)


def _smoke(arguments: argparse.Namespace, files: Files) -> Step:
    """Both backends at the same time; then the bad cases alone, and under memcheck."""
    options = ["--device", arguments.device, "--memcheck-log", str(files.memcheck)]
    return Step(
        "smoke",
        tuple(
            _program("smoke", files, "--backend", backend, *options, name=backend)
            for backend in arguments.backend
        ),
        70,
    )


def _tests(arguments: argparse.Namespace, files: Files) -> Step | None:
    selection = ["-k", _QUICK_TESTS] if arguments.quick else ["-m", f"not {_LONG}"]
    processes = min(PROCESSES, os.cpu_count() or 1)
    return _pytest("tests", selection, processes, TEST_LIMIT, 90, arguments, files)


def _times(arguments: argparse.Namespace, files: Files, limit: float) -> Step:
    options = ["--device", arguments.device, "--profile", str(files.profile)]
    # It ends by itself, and says what it has not come to.
    options += ["--limit", str(limit - 4), *(["--quick"] if arguments.quick else [])]
    return Step("times", (_program("times", files, "--backend", *arguments.backend, *options),), limit)


def _counters(arguments: argparse.Namespace, files: Files) -> Step:
    return Step("counters", (_program("counters", files, "--csv", str(files.counters)),), 45)


def _memcheck(arguments: argparse.Namespace, files: Files) -> Step:
    options = ["--backend", *arguments.backend, "--log", str(files.memcheck)]
    return Step("memcheck", (_program("memcheck", files, *options),), 40)


def _rest(arguments: argparse.Namespace, files: Files) -> Step | None:
    """One test at a time: the largest maps want the memory, and torch.compile has processes of its own."""
    return _pytest("rest", ["-m", _LONG], 1, 100, 150, arguments, files)


def _forms(arguments: argparse.Namespace, files: Files) -> Step:
    options = ["--backend", *arguments.backend, "--json", str(files.forms)]
    options += ["--quick"] if arguments.quick else []
    return Step("forms", (_program("forms", files, *options),), 245)


_MAKERS = {
    "facts": _facts,
    "load": _load,
    "smoke": _smoke,
    "tests": _tests,
    "counters": _counters,
    "memcheck": _memcheck,
    "rest": _rest,
    "forms": _forms,
}


def _pytest(
    name: str,
    selection: Sequence[str],
    processes: int,
    test_limit: float,
    limit: float,
    arguments: argparse.Namespace,
    files: Files,
) -> Step | None:
    """Tests spread over processes, each with a limit, where plugins for it are there; None: none failed."""
    # Files behind an equals sign: pytest would else look there, too, for its configuration.
    options = ["-p", "tools.gpu.course.pytest_records", f"--records={files.records}", f"--step={name}"]
    options.append(f"--rootdir={TESTED}")
    if arguments.failed is not None:
        if not unfinished(arguments.failed, name):
            return None
        options.append(f"--again={arguments.failed.resolve()}")
    # What lies above tests/gpu needs packages that this may not ask for.
    options += ["-p", "no:cacheprovider", "-q", "--tb=line", f"--confcutdir={SUITE}"]
    if find_spec("xdist"):
        options += ["-n", str(processes), "--dist", "worksteal", "--max-worker-restart", "40"]
    if find_spec("pytest_timeout"):
        # By a thread: a wait for the device never comes back to Python, where a signal would be heeded.
        options += ["--timeout", str(test_limit), "--timeout-method", "thread"]
    command = [sys.executable, "-m", "pytest", *options, str(SUITE), *selection]
    return Step(name, (Command(command, environment={"OMP_NUM_THREADS": "2"}),), limit)


def _program(module: str, files: Files, *options: str, name: str = "") -> Command:
    command = [sys.executable, "-m", f"tools.gpu.{module}", "--records", str(files.records), *options]
    return Command(command, name)
