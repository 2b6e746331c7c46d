"""The steps of a session, in the order of their worth: what comes last is what falls out of the time."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from on_gpu.records import is_bad, last_states, read
from on_gpu.running import ROOT, Command, Step

NAMES = ("facts", "load", "smoke", "tests", "times", "counters", "memcheck", "rest", "forms")
# Those that there is nothing for on a CPU, and those that say little of what is wrong.
OF_A_GPU = ("counters", "memcheck", "rest")
AFTER_SUCCESS = ("counters", "memcheck", "rest", "forms")
SUITE = Path("tests/gpu")
# Torch.compile and the largest maps need minutes: a step of their own.
_LONG = "long"
TEST_LIMIT = 40
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


def make(name: str, arguments: argparse.Namespace, files: Files) -> list[Step]:
    """What is to be done by this name, for the session's arguments, one after the other."""
    made = _MAKERS[name](arguments, files)
    return [made] if isinstance(made, Step) else made


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


def _tests(arguments: argparse.Namespace, files: Files) -> Step | list[Step]:
    if arguments.failed is not None:
        selection = failed_tests(arguments.failed)
        if not selection:
            return []
    elif arguments.quick:
        selection = [str(SUITE), "-k", _QUICK_TESTS]
    else:
        selection = [str(SUITE), "-m", f"not {_LONG}"]
    return Step("tests", (pytest_command(files, selection, PROCESSES, TEST_LIMIT),), 90)


def _times(arguments: argparse.Namespace, files: Files) -> Step:
    options = ["--device", arguments.device, "--profile", str(files.profile)]
    options += ["--quick"] if arguments.quick else []
    return Step("times", (_program("times", files, "--backend", *arguments.backend, *options),), 90)


def _counters(arguments: argparse.Namespace, files: Files) -> Step:
    return Step("counters", (_program("counters", files, "--csv", str(files.counters)),), 45)


def _memcheck(arguments: argparse.Namespace, files: Files) -> Step:
    options = ["--backend", *arguments.backend, "--log", str(files.memcheck)]
    return Step("memcheck", (_program("memcheck", files, *options),), 40)


def _rest(arguments: argparse.Namespace, files: Files) -> Step:
    """One test at a time: the largest maps want the memory, and torch.compile has processes of its own."""
    return Step("rest", (pytest_command(files, [str(SUITE), "-m", _LONG], 1, 100),), 150)


def _forms(arguments: argparse.Namespace, files: Files) -> list[Step]:
    """A process for each shape: an error that ends one loses nothing of the others."""
    shared = ["--backend", *arguments.backend, "--channels", "128", "--json", str(files.forms)]
    if arguments.quick:
        quick = ["--shape", "1x64x64", "--quick", "--pass", "forward", "--against", "textbook"]
        return [Step("forms 1x64x64", (_benchmark(*quick, *shared),), 60)]
    return [
        Step(
            f"forms {shape} {dtype}", (_benchmark("--shape", shape, "--dtype", dtype, *options, *shared),), 60
        )
        for shape, dtype, options in _FORMS
    ]


_MAKERS = {
    "facts": _facts,
    "load": _load,
    "smoke": _smoke,
    "tests": _tests,
    "times": _times,
    "counters": _counters,
    "memcheck": _memcheck,
    "rest": _rest,
    "forms": _forms,
}


# torch.compile needs half a minute a shape: for one of them.
_PLAIN = ("--budget", "0.5", "--against", "textbook", "dense")
_FORMS = (
    ("1x1024x1024", "bfloat16", _PLAIN),
    ("16x256x256", "bfloat16", _PLAIN),
    ("1x512x680", "bfloat16", ("--budget", "0.5")),
    ("1x512x680", "float32", _PLAIN),
    ("1x2048x2048", "bfloat16", ("--budget", "0.5", "--against")),
)


def failed_tests(records: Path) -> list[str]:
    """The tests that an earlier session has seen failing, or not ending."""
    found = last_states(read(records)).values()
    return [each["what"] for each in found if each["step"] == "tests" and is_bad(each)]


def pytest_command(files: Files, selection: Iterable[str], processes: int, limit: float) -> Command:
    """Tests spread over processes with a limit each, where what that needs is installed."""
    options = ["-p", "no:cacheprovider", "-p", "on_gpu.pytest_records", "--records", str(files.records)]
    # What lies above tests/gpu needs packages that this may not ask for.
    options += ["-q", "--tb=line", f"--confcutdir={SUITE}"]
    if find_spec("xdist"):
        options += ["-n", str(processes), "--dist", "worksteal", "--max-worker-restart", "40"]
    if find_spec("pytest_timeout"):
        # By a thread: a wait for the device never comes back to Python, where a signal would be heeded.
        options += ["--timeout", str(limit), "--timeout-method", "thread"]
    return Command(
        [sys.executable, "-m", "pytest", *options, *selection], environment={"OMP_NUM_THREADS": "2"}
    )


def _benchmark(*options: str) -> Command:
    return Command([sys.executable, str(ROOT / "benchmarks" / "bench_attention.py"), *options])


def _program(module: str, files: Files, *options: str, name: str = "") -> Command:
    path = ROOT / "benchmarks" / "on_gpu" / f"{module}.py"
    return Command([sys.executable, str(path), "--records", str(files.records), *options], name)
